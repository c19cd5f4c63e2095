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


NEAR = st.builds(
    WeakPerspective,
    pitch=st.floats(-1.5, 1.5),
    yaw=st.floats(-1.5, 1.5),
    roll=st.floats(-3, 3),
    translation_u=st.floats(-500, 2000),
    translation_v=st.floats(-500, 2000),
    scale=st.floats(0.05, 30),
    inverse_distance=st.floats(0.0, 1 / 400),
)


@given(NEAR)
def test_perspective_is_undone(camera: WeakPerspective) -> None:
    np.testing.assert_allclose(camera.unproject(camera.project(POINTS)), POINTS, atol=1e-7)


@given(NEAR, st.floats(-3, 3), st.floats(0.1, 10))
def test_perspective_moves_with_the_image(camera: WeakPerspective, angle: float, zoom: float) -> None:
    """Crops, turns and zooms of the image are those of the camera, whatever its distance."""
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.array([[c, s, 40.0], [-s, c, -70.0]])
    before, after = camera.project(POINTS), camera.moved(matrix).project(POINTS)
    np.testing.assert_allclose(
        after[:, :2], before[:, :2] @ matrix[:, :2].T + matrix[:, 2], rtol=1e-9, atol=1e-6
    )
    crop = camera.in_crop(30.0, 20.0, zoom)
    np.testing.assert_allclose(crop.project(POINTS)[:, :2], zoom * (before[:, :2] - [30, 20]), atol=1e-5)
    assert crop.inverse_distance == camera.inverse_distance


@pytest.mark.parametrize("k", [0.0, 1 / 350])
def test_derivatives_agree_with_differences(k: float) -> None:
    camera = WeakPerspective(0.1, 0.2, 0.3, 100.0, 80.0, 1.7, k)
    by_point, by_k = camera.derivatives(POINTS)
    for axis in range(3):
        step = 1e-4 * np.eye(3)[axis]
        slope = (camera.image_points(POINTS + step) - camera.image_points(POINTS - step)) / 2e-4
        np.testing.assert_allclose(by_point[..., axis], slope, atol=1e-6)
    there, back = (
        WeakPerspective(0.1, 0.2, 0.3, 100.0, 80.0, 1.7, k + d).image_points(POINTS) for d in (1e-8, -1e-8)
    )
    np.testing.assert_allclose(by_k, (there - back) / 2e-8, rtol=1e-4, atol=0.1)


def test_perspective_is_that_of_a_pinhole() -> None:
    """A camera 400 mm before the origin with a focal length of 800 px."""
    camera = WeakPerspective(0.0, 0.0, 0.0, 320.0, 240.0, scale=2.0, inverse_distance=1 / 400)
    assert camera.focal_length_px == pytest.approx(800)
    x, y, z = 30.0, -20.0, 80.0
    u, v, depth = camera.project([x, y, z])
    assert (u, v, depth) == pytest.approx((320 + 800 * x / (400 - z), 240 - 800 * y / (400 - z), z))
    assert camera.magnification(z) == pytest.approx(1.25)
    assert WeakPerspective(0, 0, 0, 0, 0, 2.0).focal_length_px == np.inf


def test_points_behind_the_camera_have_no_place() -> None:
    camera = WeakPerspective(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, inverse_distance=1 / 100)
    uvz = camera.project([[1.0, 1.0, 150.0], [1.0, 1.0, 0.0]])
    assert np.isnan(uvz[0, :2]).all()
    assert uvz[1].tolist() == [1.0, -1.0, 0.0]
