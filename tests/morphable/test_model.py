"""Laws of the linear model: shapes, linearity, landmarks, and errors that say what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from full_models import full_model, with_correctives, with_quads

from facerelief.errors import ModelError
from facerelief.morphable import Contour, FaceModel, SurfacePoints
from facerelief.morphable.model import Corrective, concatenate_points


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


@pytest.fixture(scope="module")
def corrected(toy_model: FaceModel) -> FaceModel:
    return with_correctives(toy_model)


class TestCorrectives:
    @pytest.fixture
    def model(self, corrected: FaceModel) -> FaceModel:
        return corrected

    def test_they_need_both_identity_and_expression(self, model: FaceModel, toy_model: FaceModel) -> None:
        a, e = np.ones(5), np.ones(52)
        np.testing.assert_array_equal(model.shape(a), toy_model.shape(a))
        np.testing.assert_array_equal(model.shape(None, e), toy_model.shape(None, e))
        assert np.abs(model.shape(a, e) - toy_model.shape(a, e)).max() > 0.3

    def test_only_their_vertices_move_by_the_product(self, model: FaceModel, toy_model: FaceModel) -> None:
        rng = np.random.default_rng(1)
        a, e = rng.normal(size=5), rng.random(52)
        wanted = np.zeros((model.n_vertices, 3))
        for corrective in model.correctives:
            wanted[corrective.vertices] += e[corrective.unit] * (corrective.basis @ a)
        found = model.shape(a, e) - toy_model.shape(a, e)
        np.testing.assert_allclose(found, wanted, atol=1e-4)

    def test_for_one_identity_the_shape_is_linear_in_the_expression(self, model: FaceModel) -> None:
        rng = np.random.default_rng(2)
        a, (e, f) = rng.normal(size=5), rng.random((2, 52))
        neutral = model.shape(a, np.zeros(52))
        one, two, both = (model.shape(a, w) - neutral for w in (e, f, 0.3 * e - 0.7 * f))
        np.testing.assert_allclose(both, 0.3 * one - 0.7 * two, atol=2e-4)

    def test_expressions_of_an_identity_are_differences_of_shapes(self, model: FaceModel) -> None:
        a = np.random.default_rng(3).normal(size=5)
        units = model.expression_of(a)
        assert units.shape == model.expression.shape
        for unit, column in zip(np.eye(52), units.transpose(2, 0, 1)):
            np.testing.assert_allclose(model.shape(a, unit) - model.shape(a), column, atol=5e-5)

    def test_left_out_coefficients_are_zero(self, model: FaceModel) -> None:
        few, all_ = [1.0, -2.0], [1.0, -2.0, 0.0, 0.0, 0.0]
        np.testing.assert_allclose(model.expression_of(few), model.expression_of(all_), atol=1e-6)
        open_mouth = model.expression_weights({"jawOpen": 1.0, "eyeBlinkLeft": 0.5})
        short = np.trim_zeros(open_mouth, "b")
        np.testing.assert_allclose(model.shape(few, open_mouth), model.shape(all_, open_mouth), atol=1e-4)
        np.testing.assert_allclose(model.shape(few, short), model.shape(few, open_mouth), atol=1e-4)

    def test_the_mean_face_and_models_without_any_keep_their_units(self, model: FaceModel, toy_model) -> None:
        np.testing.assert_array_equal(model.expression_of(np.zeros(5)), model.expression)
        np.testing.assert_array_equal(toy_model.expression_of(np.ones(5)), toy_model.expression)

    def test_expressions_of_an_identity_leave_the_model_alone(self, model: FaceModel) -> None:
        before = model.expression.copy()
        model.expression_of(np.ones(5))[:] = 7
        np.testing.assert_array_equal(model.expression, before)

    def test_change_at_surface_points_is_that_of_their_corners(self, model: FaceModel) -> None:
        rng = np.random.default_rng(4)
        triangles = model.triangles[rng.integers(0, len(model.triangles), 300)]
        points = SurfacePoints(triangles, rng.dirichlet((1, 1, 1), 300).astype(np.float32))
        for corrective in model.correctives:
            dense = np.zeros((model.n_vertices, 3, 5), np.float32)
            dense[corrective.vertices] = corrective.basis
            np.testing.assert_allclose(corrective.of(points), points.of(dense), atol=1e-6)

    def test_truncated_models_keep_the_first_components(self, model: FaceModel) -> None:
        few = model.truncated(identity=2)
        e = np.random.default_rng(5).random(52)
        np.testing.assert_allclose(few.shape([0.5, -1.0], e), model.shape([0.5, -1.0, 0, 0, 0], e), atol=1e-4)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: replace(c, unit=52), "corrective of expression 52 .* below 52"),
            (lambda c: replace(c, unit=-1), "corrective of expression -1"),
            (lambda c: replace(c, basis=c.basis[:, :, :4]), "expected .*, 3, 5"),
            (lambda c: replace(c, basis=c.basis[1:]), "has shape"),
            (lambda c: replace(c, vertices=c.vertices + 2242), "outside 0..2241"),
        ],
    )
    def test_what_does_not_fit_is_named(self, model: FaceModel, change, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            replace(model, correctives=(change(model.correctives[0]),))


class TestQuads:
    def test_there_cannot_be_more_than_half_of_the_triangles(self, toy_model: FaceModel) -> None:
        for wrong in (-1, len(toy_model.triangles) // 2 + 1):
            with pytest.raises(ModelError, match="quads in"):
                replace(toy_model, quads=wrong)

    def test_the_toy_order_pairs_triangles_that_share_a_diagonal(self, toy_model: FaceModel) -> None:
        model = with_quads(toy_model)
        for one, two in model.triangles[: 2 * model.quads].reshape(-1, 2, 3):
            assert len(set(one) & set(two)) == 2


@pytest.fixture(scope="module")
def full(toy_model: FaceModel) -> FaceModel:
    return full_model(toy_model)


class TestRestricted:
    """A restricted model is the same model, seen through fewer vertices."""

    @pytest.fixture
    def model(self, full: FaceModel) -> FaceModel:
        return full

    @pytest.fixture
    def kept(self, model: FaceModel) -> np.ndarray:
        return np.asarray(model.mean[:, 2] > -10)

    def test_vertices_and_colours_are_the_same(self, model: FaceModel, kept) -> None:
        small = model.restricted(kept)
        rng = np.random.default_rng(6)
        a, e, b = rng.normal(size=5), rng.random(52), rng.normal(size=3)
        np.testing.assert_allclose(small.shape(a, e), model.shape(a, e)[kept], atol=1e-4)
        np.testing.assert_allclose(small.skin(b), model.skin(b)[kept], atol=1e-6)
        for name, mask in model.regions.items():
            np.testing.assert_array_equal(small.regions[name], mask[kept])

    def test_landmarks_and_outline_candidates_are_the_same_points(self, model: FaceModel, kept) -> None:
        small = model.restricted(kept)
        for vertices in (lambda m: m.mean, lambda m: m.shape(np.ones(5), np.ones(52))):
            one, two = (m.landmarks["ibug68"].of(vertices(m)) for m in (small, model))
            np.testing.assert_allclose(one, two, atol=1e-4)
        rows = small.contours["ibug68"]
        assert rows.landmarks.tolist() == [3, 8, 13]
        np.testing.assert_array_equal(
            small.mean[rows.candidates], model.mean[model.contours["ibug68"].candidates[:3]]
        )

    def test_a_set_that_loses_a_point_is_left_out(self, model: FaceModel, kept) -> None:
        lost = kept.copy()
        lost[model.landmarks["ibug68"].vertices[33, 0]] = False
        small = model.restricted(lost)
        assert not small.landmarks
        assert not small.contours

    def test_triangles_are_the_ones_with_all_corners(self, model: FaceModel, kept) -> None:
        small = model.restricted(kept)
        whole = model.triangles[kept[model.triangles].all(axis=1)]
        numbers = np.flatnonzero(kept)
        assert set(map(tuple, numbers[small.triangles])) == set(map(tuple, whole))
        assert len(small.triangles) == len(whole)

    def test_texture_coordinates_go_with_their_triangles(self, model: FaceModel, kept) -> None:
        small = model.restricted(kept)
        numbers = np.flatnonzero(kept)
        place = {tuple(t): tuple(u) for t, u in zip(model.triangles.tolist(), model.uv_triangles.tolist())}
        for triangle, uv in zip(numbers[small.triangles].tolist(), small.uv_triangles.tolist()):
            assert place[tuple(triangle)] == tuple(uv)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_quads_are_whole_quads(self, model: FaceModel, kept, seed: int) -> None:
        """Also where a quad loses one of its triangles: the other stands alone."""
        some = kept & (np.random.default_rng(seed).random(model.n_vertices) < 0.97)
        small = model.restricted(some)
        numbers = np.flatnonzero(some)
        before = {frozenset(q) for q in model.triangles[: 2 * model.quads].reshape(-1, 6).tolist()}
        after = [frozenset(q) for q in numbers[small.triangles[: 2 * small.quads]].reshape(-1, 6).tolist()]
        assert len(set(after)) == len(after)
        assert set(after) == {quad for quad in before if some[list(quad)].all()}
        assert len(small.triangles) > 2 * small.quads

    def test_symmetry_stays_an_involution_or_goes(self, model: FaceModel, kept) -> None:
        mirror = model.restricted(kept).symmetry
        assert mirror is not None
        np.testing.assert_array_equal(mirror[mirror], np.arange(kept.sum()))
        assert model.restricted(kept & (model.mean[:, 0] > -20)).symmetry is None

    def test_everything_kept_changes_nothing(self, model: FaceModel) -> None:
        same = model.restricted(np.ones(model.n_vertices, bool))
        for name in ("mean", "triangles", "uv_triangles", "symmetry", "quads"):
            np.testing.assert_array_equal(getattr(same, name), getattr(model, name))
        a, e = np.ones(5), np.ones(52)
        np.testing.assert_array_equal(same.shape(a, e), model.shape(a, e))

    def test_correctives_without_a_vertex_are_left_out(self, model: FaceModel, kept) -> None:
        left = kept & (model.mean[:, 0] < -40)
        units = [c.unit for c in model.restricted(left).correctives]
        touched = [c.unit for c in model.correctives if left[c.vertices].any()]
        assert units == touched
        assert len(units) < len(model.correctives)


def test_a_corrective_of_unsorted_vertices_and_one_that_is_nowhere() -> None:
    corrective = Corrective(0, np.array([7, 2, 5], np.int32), np.arange(9, dtype=np.float32).reshape(3, 3, 1))
    found = corrective.of(SurfacePoints.at_vertices(np.array([2, 3, 7, 9])))
    np.testing.assert_array_equal(found[:, :, 0], [[3, 4, 5], [0, 0, 0], [0, 1, 2], [0, 0, 0]])
