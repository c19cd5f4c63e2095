"""Laws of identity consistency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facerelief.lab.evaluation.metrics.identity import (
    identity_consistency,
    photo_pairs,
    rank1,
    shape_agreement,
)
from facerelief.morphable.shape_distance import shape_distances, shape_gram


def pairs(model: Any, count: int, noise: float, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(count, model.n_identity))
    return tuple((own + noise * rng.normal(size=own.shape)).astype(np.float32) for _ in range(2))


class TestIdentity:
    def test_values_are_those_without_intervals(self, toy_model):
        first, second = pairs(toy_model, 12, 0.6)
        own = identity_consistency(first, second, shape_gram(toy_model))
        other = shape_agreement(first, second, shape_gram(toy_model))
        assert own is not None
        assert (own.subjects, own.rank1) == (other.subjects, other.rank1)
        for name in ("same_mm", "different_mm", "same_over_different"):
            assert getattr(own, name).value == pytest.approx(getattr(other, name))
        assert own.same_over_different.value == pytest.approx(own.same_mm.value / own.different_mm.value)

    def test_photos_are_paired_by_subject_and_name(self):
        found = photo_pairs(["b2", "a1", "c1", "b1", "b3", "a2"], lambda x: x[0], lambda x: x)
        assert found == [("a1", "a2"), ("b1", "b2")]

    def test_verification_against_counting(self, toy_model):
        first, second = pairs(toy_model, 9, 0.9)
        found = identity_consistency(first, second, shape_gram(toy_model))
        assert found is not None
        distance = shape_distances(first, second, shape_gram(toy_model))
        genuine, impostor = np.diagonal(distance), distance[~np.eye(9, dtype=bool)]
        assert (found.genuine, found.impostor) == (len(genuine), len(impostor))
        assert found.auc.value == pytest.approx(np.mean(genuine[:, None] < impostor[None]))
        assert found.auc.low <= found.auc.value <= found.auc.high
        errors = [
            abs(np.mean(impostor <= t) + np.mean(genuine > t)) / 2
            for t in distance.ravel()
            if abs(np.mean(impostor <= t) - np.mean(genuine > t)) < 0.12
        ]
        assert min(errors) - 0.06 <= found.eer.value <= max(errors) + 0.06

    def test_perfect_and_blind(self, toy_model):
        gram = shape_gram(toy_model)
        first, _ = pairs(toy_model, 6, 0)
        perfect = identity_consistency(first, first, gram)
        assert perfect is not None
        assert (perfect.auc.value, perfect.eer.value, perfect.same_over_different.value, perfect.rank1) == (
            1,
            0,
            0,
            1,
        )
        blind = identity_consistency(0 * first, 0 * first, gram)
        assert blind is not None
        assert (blind.auc.value, blind.eer.value, blind.rank1) == (0.5, 0.5, pytest.approx(1 / 6))
        assert np.isnan(blind.same_over_different.value)
        assert (blind.auc.low, blind.auc.high) == (0.5, 0.5)

    def test_which_photo_is_first_and_how_persons_are_ordered(self, toy_model):
        gram = shape_gram(toy_model)
        first, second = pairs(toy_model, 7, 0.7)
        one, back = identity_consistency(first, second, gram), identity_consistency(second, first, gram)
        order = np.random.default_rng(0).permutation(7)
        mixed = identity_consistency(first[order], second[order], gram)
        for other in (back, mixed):
            assert other.same_mm.value == pytest.approx(one.same_mm.value)
            assert other.auc.value == pytest.approx(one.auc.value)
        assert identity_consistency(first[:1], second[:1], gram) is None

    def test_unknown_distances_are_never_the_nearest(self):
        distance = np.array([[1.0, np.nan, 2.0], [0.0, np.nan, 3.0], [0.5, 4.0, 0.5]])
        assert rank1(distance) == pytest.approx((1 + 0.5) / 2)
        assert np.isnan(rank1(np.full((2, 2), np.nan)))
