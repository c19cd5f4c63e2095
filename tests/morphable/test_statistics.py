"""Expression statistics: plausible weights, and components that are what they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.morphable import FaceModel, load_model, save_model
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored
from facerelief.morphable.statistics import ExpressionSampling, expression_pca, sample_expressions


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return sample_expressions(ARKIT_NAMES, 4000, seed=1)


def _column(weights: np.ndarray, name: str) -> np.ndarray:
    return weights[:, ARKIT_NAMES.index(name)]


def test_weights_are_sparse_and_in_range(weights: np.ndarray) -> None:
    assert weights.shape == (4000, 52)
    assert weights.dtype == np.float32
    assert weights.min() == 0.0
    assert 0.9 < weights.max() <= 1.0
    assert 3 < (weights > 0).sum(axis=1).mean() < 12
    assert ((weights > 0).mean(axis=0) > 0.01).all()  # every unit is used


def test_sides_move_together(weights: np.ndarray) -> None:
    for name in ("eyeBlinkLeft", "mouthSmileLeft", "browOuterUpLeft", "noseSneerLeft"):
        left, right = _column(weights, name), _column(weights, mirrored(name))
        assert np.corrcoef(left, right)[0, 1] > 0.6
        assert left.mean() == pytest.approx(right.mean(), rel=0.15)
        assert ((left > 0) != (right > 0)).any()


def test_exclusive_units_never_meet(weights: np.ndarray) -> None:
    for one, two in (
        ("jawLeft", "jawRight"),
        ("mouthLeft", "mouthRight"),
        ("eyeBlinkLeft", "eyeWideLeft"),
        ("mouthSmileRight", "mouthFrownRight"),
        ("mouthPucker", "mouthStretchLeft"),
        ("eyeLookUpLeft", "eyeLookDownLeft"),
        ("eyeLookInLeft", "eyeLookOutLeft"),
    ):
        assert not ((_column(weights, one) > 0) & (_column(weights, two) > 0)).any()


def test_eyes_look_the_same_way(weights: np.ndarray) -> None:
    np.testing.assert_array_equal(_column(weights, "eyeLookOutLeft"), _column(weights, "eyeLookInRight"))
    np.testing.assert_array_equal(_column(weights, "eyeLookInLeft"), _column(weights, "eyeLookOutRight"))
    np.testing.assert_array_equal(_column(weights, "eyeLookUpLeft"), _column(weights, "eyeLookUpRight"))


def test_lips_close_no_further_than_the_jaw_opens(weights: np.ndarray) -> None:
    close, jaw = _column(weights, "mouthClose"), _column(weights, "jawOpen")
    assert (close <= jaw).all()
    assert (close > 0).any()


def test_sampling_is_repeatable_and_configurable() -> None:
    np.testing.assert_array_equal(
        sample_expressions(ARKIT_NAMES, 50, 3), sample_expressions(ARKIT_NAMES, 50, 3)
    )
    few = sample_expressions(ARKIT_NAMES, 500, 0, ExpressionSampling(active=1.0))
    many = sample_expressions(ARKIT_NAMES, 500, 0, ExpressionSampling(active=12.0))
    assert (few > 0).sum() < 0.3 * (many > 0).sum()
    assert sample_expressions(("a", "b_L", "b_R"), 10).shape == (10, 3)
    assert sample_expressions((), 10).shape == (10, 0)


def test_neutral_stays_neutral(toy_model: FaceModel) -> None:
    pca = expression_pca(toy_model, 10)
    np.testing.assert_array_equal(pca.shape(), toy_model.mean)
    assert pca.expression_kind == "pca"
    assert pca.expression_names[0] == "expression_000"
    assert pca.expression.shape == (2242, 3, 10)
    assert pca.expression.flags.c_contiguous


def test_components_are_orthogonal_and_ordered(toy_model: FaceModel) -> None:
    basis = expression_pca(toy_model, 20).expression.reshape(-1, 20).astype(np.float64)
    gram = basis.T @ basis
    strength = np.diag(gram)
    assert (np.diff(strength) <= 1e-6 * strength[0]).all()
    np.testing.assert_allclose(gram - np.diag(strength), 0, atol=1e-4 * strength[0])


def test_all_components_span_the_drawn_faces_with_unit_deviation(toy_model: FaceModel) -> None:
    """The drawn motions are combinations of the components, with mean square coefficient one."""
    pca = expression_pca(toy_model, 52, samples=600, seed=2)
    basis = pca.expression.reshape(-1, 52).astype(np.float64)[::7]
    drawn = sample_expressions(ARKIT_NAMES, 600, seed=2).astype(np.float64)
    motion = toy_model.expression.reshape(-1, 52).astype(np.float64)[::7] @ drawn.T
    used = np.linalg.norm(basis, axis=0) > 1e-3 * np.linalg.norm(basis[:, 0])
    coefficients, *_ = np.linalg.lstsq(basis[:, used], motion, rcond=None)
    np.testing.assert_allclose(basis[:, used] @ coefficients, motion, atol=0.05)
    np.testing.assert_allclose((coefficients**2).mean(axis=1), 1.0, rtol=0.05)


def test_few_components_hold_most_of_the_motion(toy_model: FaceModel) -> None:
    strength = (expression_pca(toy_model, 52).expression.astype(np.float64) ** 2).sum(axis=(0, 1))
    assert strength[:30].sum() > 0.9 * strength.sum()


def test_same_seed_same_basis(toy_model: FaceModel) -> None:
    one, two, other = (expression_pca(toy_model, 5, 200, seed).expression for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_result_can_be_saved(toy_model: FaceModel, tmp_path: Path) -> None:
    save_model(expression_pca(toy_model, 6), tmp_path / "pca.npz")
    assert load_model(tmp_path / "pca.npz").expression_kind == "pca"


def test_errors(toy_model: FaceModel) -> None:
    for count in (0, 53):
        with pytest.raises(ModelError, match="ask for 1 to 52"):
            expression_pca(toy_model, count)
    with pytest.raises(ModelError, match="statistical already"):
        expression_pca(expression_pca(toy_model, 3), 2)
