"""Laws of the linear model: shapes, linearity, landmarks, and errors that say what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.morphable import Contour, FaceModel, SurfacePoints
from facerelief.morphable.model import concatenate_points


def test_zero_coefficients_are_the_mean(toy_model: FaceModel) -> None:
    np.testing.assert_array_equal(toy_model.shape(), toy_model.mean)
    np.testing.assert_array_equal(toy_model.shape(np.zeros(5), np.zeros(52)), toy_model.mean)
    np.testing.assert_array_equal(toy_model.skin(), toy_model.albedo_mean)


def test_shape_is_linear_in_the_coefficients(toy_model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5))
    e, f = rng.random((2, 52))
    offsets = [toy_model.shape(*c) - toy_model.mean for c in ((a, e), (b, f), (2 * a - 3 * b, 2 * e - 3 * f))]
    np.testing.assert_allclose(offsets[2], 2 * offsets[0] - 3 * offsets[1], atol=2e-4)


def test_one_coefficient_is_one_column(toy_model: FaceModel) -> None:
    for k in range(5):
        moved = toy_model.shape(identity=np.eye(5)[k]) - toy_model.mean
        np.testing.assert_allclose(moved, toy_model.identity[:, :, k], atol=2e-5)
    brighter = toy_model.skin([0, 0, 1.5]) - toy_model.albedo_mean
    np.testing.assert_allclose(brighter, 1.5 * toy_model.albedo[:, :, 2], atol=1e-6)


def test_missing_coefficients_are_zero(toy_model: FaceModel) -> None:
    np.testing.assert_allclose(toy_model.shape([1.0, -2.0]), toy_model.shape([1.0, -2.0, 0, 0, 0]), atol=1e-4)


def test_results_are_new_arrays(toy_model: FaceModel) -> None:
    toy_model.shape()[:] = 0
    toy_model.skin()[:] = 0
    assert np.abs(toy_model.mean).max() > 50
    assert toy_model.albedo_mean.min() > 0


def test_results_are_float32(toy_model: FaceModel) -> None:
    assert toy_model.shape(np.ones(5, np.float64), [0.5]).dtype == np.float32
    assert toy_model.skin([1]).dtype == np.float32


def test_too_many_coefficients(toy_model: FaceModel) -> None:
    with pytest.raises(ModelError, match="6 identity coefficients given, the model has 5"):
        toy_model.shape(np.zeros(6))
    with pytest.raises(ModelError, match="albedo"):
        toy_model.skin(np.zeros(4))


def test_named_weights(toy_model: FaceModel) -> None:
    weights = toy_model.expression_weights({"jawOpen": 0.5, "eyeBlinkLeft": 1.0})
    assert weights[toy_model.expression_names.index("jawOpen")] == 0.5
    assert weights.sum() == 1.5
    with pytest.raises(ModelError, match="no expression 'jawOpn'"):
        toy_model.expression_weights({"jawOpn": 1.0})


def test_truncation_keeps_the_first_components(toy_model: FaceModel) -> None:
    short = toy_model.truncated(identity=2, albedo=1)
    assert (short.n_identity, short.n_expression, short.n_albedo) == (2, 52, 1)
    np.testing.assert_allclose(short.shape([1, 2]), toy_model.shape([1, 2]), atol=1e-4)
    with pytest.raises(ModelError):
        short.shape([0, 0, 1])


def test_bounds_follow_the_kind(toy_model: FaceModel) -> None:
    assert toy_model.expression_bounds == (0.0, 1.0)
    low, high = replace(toy_model, expression_kind="pca").expression_bounds
    assert low < 0 < high


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("mean", np.zeros((2242, 2), np.float32)),
        ("identity", np.zeros((2241, 3, 5), np.float32)),
        ("expression", np.zeros((2242, 3, 51), np.float32)),
        ("triangles", np.zeros((4, 4), np.int32)),
        ("albedo_mean", np.zeros((1, 3), np.float32)),
        ("albedo", np.zeros((2242, 3), np.float32)),
        ("uv", np.zeros((9, 3), np.float32)),
        ("uv_triangles", np.zeros(9, np.int32)),
    ],
)
def test_wrong_shapes_are_named(toy_model: FaceModel, label: str, value: np.ndarray) -> None:
    with pytest.raises(ModelError, match=rf"model 'toy': {label} has shape .*expected") as caught:
        replace(toy_model, **{label: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [-1, 2242])
def test_indices_outside_the_model_are_named(toy_model: FaceModel, bad: int) -> None:
    contour = Contour(np.zeros(1, np.int32), np.array([[bad]], np.int32))
    changes = {
        "triangles": {"triangles": np.array([[0, 1, bad]], np.int32)},
        "landmarks x": {"landmarks": {"x": SurfacePoints.at_vertices([bad])}},
        "contour x": {"contours": {"x": contour}},
        "symmetry": {"symmetry": np.full(2242, bad, np.int32)},
    }
    for label, change in changes.items():
        with pytest.raises(ModelError, match=f"{label} refers to vertices outside"):
            replace(toy_model, **change)
    with pytest.raises(ModelError, match="uv_triangles"):
        replace(toy_model, uv_triangles=np.full((4, 3), 10**6, np.int32))


def test_region_of_wrong_length(toy_model: FaceModel) -> None:
    with pytest.raises(ModelError, match="region face"):
        replace(toy_model, regions={"face": np.ones(3, bool)})


def test_surface_points_weigh_their_corners(toy_model: FaceModel) -> None:
    points = SurfacePoints(np.array([[0, 1, 2]], np.int32), np.array([[0.2, 0.3, 0.5]], np.float32))
    corner = toy_model.mean[:3]
    expected = 0.2 * corner[0] + 0.3 * corner[1] + 0.5 * corner[2]
    np.testing.assert_allclose(points.of(toy_model.mean)[0], expected, atol=1e-4)
    # any number of trailing axes: a basis row is gathered like a position
    assert points.of(toy_model.identity).shape == (1, 3, 5)
    vertices = SurfacePoints.at_vertices([4, 7])
    np.testing.assert_array_equal(vertices.of(toy_model.mean), toy_model.mean[[4, 7]])
    both = concatenate_points([points, vertices])
    assert len(both) == 3
    np.testing.assert_allclose(both.of(toy_model.mean)[1:], toy_model.mean[[4, 7]])


def test_landmarks_move_with_the_surface(toy_model: FaceModel) -> None:
    """Landmarks of a shape = mean landmarks + landmark rows of the basis: what the fitters rely on."""
    points, a = toy_model.landmarks["ibug68"], np.array([1.0, -1, 2, 0.5, 0])
    direct = points.of(toy_model.shape(a))
    np.testing.assert_allclose(
        direct, points.of(toy_model.mean) + points.of(toy_model.identity) @ a, atol=1e-4
    )


def test_regions_come_together_and_unknown_ones_are_empty(toy_model):
    left, right = (np.arange(toy_model.n_vertices) % 3 == k for k in (0, 1))
    model = replace(toy_model, regions={"left": left, "right": right})
    assert np.array_equal(model.region("left", "right", "tail"), left | right)
    assert not model.region("tail").any()
    model.region("left")[:] = True  # a copy
    assert not left.all()
