"""Laws of intervals over subjects."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.metrics.intervals import SubjectBootstrap


class TestIntervals:
    def test_the_width_is_what_theory_says(self):
        count = 400
        values = np.random.default_rng(0).normal(5, 2, count)
        found = SubjectBootstrap([str(k) for k in range(count)]).mean(values)
        assert found.value == pytest.approx(values.mean())
        assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / np.sqrt(count), rel=0.15)

    def test_pictures_of_one_person_count_as_one(self):
        values = np.random.default_rng(0).normal(5, 2, 50)
        one = SubjectBootstrap([str(k) for k in range(50)]).mean(values)
        many = SubjectBootstrap([str(k % 50) for k in range(500)]).mean(np.tile(values, 10))
        assert (many.low, many.high) == pytest.approx((one.low, one.high))

    def test_neither_order_nor_names_of_rows_matter_and_seeds_do(self):
        rng = np.random.default_rng(1)
        values, persons = rng.normal(size=60), [f"p{k:02d}" for k in rng.integers(0, 20, 60)]
        order = rng.permutation(60)
        first = SubjectBootstrap(persons, seed=3).mean(values)
        again = SubjectBootstrap([persons[k] for k in order], seed=3).mean(values[order])
        assert vars(again) == pytest.approx(vars(first))
        assert SubjectBootstrap(persons, seed=4).mean(values).low != first.low

    def test_a_constant_has_no_width(self):
        found = SubjectBootstrap(list("abcab")).mean(np.full(5, 7.0))
        assert (found.value, found.low, found.high) == (7, 7, 7)

    def test_parts_and_what_is_missing(self):
        boot = SubjectBootstrap(list("aabbcc"))
        values = np.array([1.0, 1, 2, 2, np.nan, np.nan])
        assert boot.mean(values).value == 1.5
        assert boot.mean(values, np.array([True, True, False, False, True, True])).value == 1
        assert np.isnan(boot.mean(values, np.array([False] * 4 + [True] * 2)).value)
        assert boot.subjects(np.array([True, False, False, False, True, False])) == 2
        assert np.isnan(SubjectBootstrap([]).mean(np.zeros(0)).value)

    def test_a_ratio_is_of_sums(self):
        boot = SubjectBootstrap(list("ab"))
        found = boot.ratio(np.array([1.0, 3]), np.array([2.0, 2]))
        assert found.value == 1
        assert (found.low, found.high) == (0.5, 1.5)
