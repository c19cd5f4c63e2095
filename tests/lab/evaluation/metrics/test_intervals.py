"""Laws of intervals over persons and of telling persons apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.metrics.intervals import (
    PersonBootstrap,
    identity_consistency,
    shape_distances,
    shape_gram,
)
from facerelief.lab.evaluation.photos.fit_quality import identity_agreement


class TestIntervals:
    def test_the_width_is_what_theory_says(self):
        count = 400
        values = np.random.default_rng(0).normal(5, 2, count)
        found = PersonBootstrap([str(k) for k in range(count)]).mean(values)
        assert found.value == pytest.approx(values.mean())
        assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / np.sqrt(count), rel=0.15)

    def test_pictures_of_one_person_count_as_one(self):
        values = np.random.default_rng(0).normal(5, 2, 50)
        one = PersonBootstrap([str(k) for k in range(50)]).mean(values)
        many = PersonBootstrap([str(k % 50) for k in range(500)]).mean(np.tile(values, 10))
        assert (many.low, many.high) == pytest.approx((one.low, one.high))

    def test_neither_order_nor_names_of_rows_matter_and_seeds_do(self):
        rng = np.random.default_rng(1)
        values, persons = rng.normal(size=60), [f"p{k:02d}" for k in rng.integers(0, 20, 60)]
        order = rng.permutation(60)
        first = PersonBootstrap(persons, seed=3).mean(values)
        again = PersonBootstrap([persons[k] for k in order], seed=3).mean(values[order])
        assert again.document == pytest.approx(first.document)
        assert PersonBootstrap(persons, seed=4).mean(values).low != first.low

    def test_a_constant_has_no_width(self):
        found = PersonBootstrap(list("abcab")).mean(np.full(5, 7.0))
        assert (found.value, found.low, found.high) == (7, 7, 7)

    def test_parts_and_what_is_missing(self):
        boot = PersonBootstrap(list("aabbcc"))
        values = np.array([1.0, 1, 2, 2, np.nan, np.nan])
        assert boot.mean(values).value == 1.5
        assert boot.mean(values, np.array([True, True, False, False, True, True])).value == 1
        assert np.isnan(boot.mean(values, np.array([False] * 4 + [True] * 2)).value)
        assert boot.persons(np.array([True, False, False, False, True, False])) == 2
        assert np.isnan(PersonBootstrap([]).mean(np.zeros(0)).value)

    def test_a_ratio_is_of_sums(self):
        boot = PersonBootstrap(list("ab"))
        found = boot.ratio(np.array([1.0, 3]), np.array([2.0, 2]))
        assert found.value == 1
        assert (found.low, found.high) == (0.5, 1.5)


def pairs(model: Any, count: int, noise: float, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(count, model.n_identity))
    return tuple((own + noise * rng.normal(size=own.shape)).astype(np.float32) for _ in range(2))


class TestIdentity:
    def test_the_same_as_identity_agreement(self, toy_model):
        first, second = pairs(toy_model, 12, 0.6)
        measures = [
            SimpleNamespace(photo=Photo(Path(f"{k:02d}_{n}.jpg"), str(k), "g"), identity=x[k])
            for k in range(12)
            for n, x in enumerate((first, second))
        ]
        other = identity_agreement(measures, toy_model)  # type: ignore[arg-type]
        own = identity_consistency(first, second, shape_gram(toy_model))
        assert own is not None
        assert other is not None
        assert own.same_mm.value == pytest.approx(other.same_mm)
        assert own.different_mm.value == pytest.approx(other.different_mm)
        assert own.ratio.value == pytest.approx(1 / other.ratio)
        assert own.rank1 == pytest.approx(other.rank1)

    def test_distances_are_those_of_the_shapes(self, toy_model):
        first, second = pairs(toy_model, 3, 0.5)
        found = shape_distances(first, second, shape_gram(toy_model))
        face = toy_model.face_vertices
        apart = toy_model.shape(first[1])[face] - toy_model.shape(second[2])[face]
        assert found[1, 2] == pytest.approx(np.sqrt((apart**2).sum(axis=1).mean()), rel=1e-4)

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
        assert (perfect.auc.value, perfect.eer.value, perfect.ratio.value, perfect.rank1) == (1, 0, 0, 1)
        blind = identity_consistency(0 * first, 0 * first, gram)
        assert blind is not None
        assert (blind.auc.value, blind.eer.value, blind.rank1) == (0.5, 0.5, pytest.approx(1 / 6))
        assert np.isnan(blind.ratio.value)
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
