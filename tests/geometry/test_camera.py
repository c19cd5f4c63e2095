"""Laws of the weak-perspective camera: round trips between spaces, crops and representations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerelief.geometry.camera import WeakPerspective

CAMERAS = st.builds(
    WeakPerspective,
    pitch=st.floats(-1.5, 1.5),
    yaw=st.floats(-1.5, 1.5),
    roll=st.floats(-3, 3),
    translation_u=st.floats(-500, 2000),
    translation_v=st.floats(-500, 2000),
    scale=st.floats(0.05, 30),
)
POINTS = np.random.default_rng(0).normal(0, 80, (50, 3))


@given(CAMERAS)
def test_project_then_unproject(camera: WeakPerspective) -> None:
    np.testing.assert_allclose(camera.unproject(camera.project(POINTS)), POINTS, atol=1e-8)


@given(CAMERAS, st.floats(-100, 100), st.floats(-100, 100), st.floats(0.1, 10))
def test_crop_round_trip_and_meaning(camera: WeakPerspective, left: float, top: float, zoom: float) -> None:
    crop = camera.in_crop(left, top, zoom)
    back = crop.in_crop(-left * zoom, -top * zoom, 1.0 / zoom)
    np.testing.assert_allclose(back.vector, camera.vector, rtol=1e-9, atol=1e-6)
    full, seen = camera.project(POINTS), crop.project(POINTS)
    np.testing.assert_allclose(seen[:, 0], (full[:, 0] - left) * zoom, atol=1e-6)
    np.testing.assert_allclose(seen[:, 1], (full[:, 1] - top) * zoom, atol=1e-6)
    np.testing.assert_allclose(seen[:, 2], full[:, 2], atol=1e-9)


@given(CAMERAS)
def test_vector_and_matrix_round_trips(camera: WeakPerspective) -> None:
    assert WeakPerspective.from_vector(camera.vector) == camera
    again = WeakPerspective.from_matrix(
        camera.rotation, (camera.translation_u, camera.translation_v), camera.scale
    )
    np.testing.assert_allclose(again.rotation, camera.rotation, atol=1e-9)
    np.testing.assert_allclose(again.project(POINTS), camera.project(POINTS), atol=1e-6)


def test_worked_number() -> None:
    camera = WeakPerspective(0, 0, 0, 100, 200, 2)
    np.testing.assert_allclose(camera.project([[10.0, 20.0, 30.0]]), [[120.0, 160.0, 30.0]])


def test_precision_follows_the_points() -> None:
    camera = WeakPerspective(0.1, 0.2, 0.3, 100, 200, 2)
    single = camera.project(POINTS.astype(np.float32))
    assert single.dtype == np.float32
    assert camera.unproject(single).dtype == np.float32
    np.testing.assert_allclose(single, camera.project(POINTS), atol=1e-3)


@pytest.mark.parametrize("dtype", [int, bool])
def test_whole_numbers_are_not_rounded(dtype: type) -> None:
    camera = WeakPerspective(0.1, 0.2, 0.3, 100, 200, 2)
    point = np.array([[1, 0, 1]], dtype=dtype)
    np.testing.assert_allclose(camera.project(point), camera.project(point.astype(float)))
    np.testing.assert_allclose(camera.unproject(point), camera.unproject(point.astype(float)))


def test_any_batch_shape() -> None:
    camera = WeakPerspective(0.1, 0.2, 0.3, 100, 200, 2)
    grid = POINTS.reshape(5, 10, 3)
    np.testing.assert_allclose(camera.project(grid).reshape(-1, 3), camera.project(POINTS))
