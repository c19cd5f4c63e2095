"""Means over rendered heads: intervals that hold their mean, counts, targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from facerelief.lab.evaluation.truth.heads_draw import GROUPS, HEAD_YAW_NAMES
from facerelief.lab.evaluation.truth.heads_errors import MEASURES
from facerelief.lab.evaluation.truth.heads_report import FoundCount, HeadPart, HeadRow, head_report


def rows(persons: int = 12, pictures: int = 5, seed: int = 0, copies: int = 1) -> list[HeadRow]:
    """Each person has an error of its own; "fit" is three quarters of the mean face's."""
    rng = np.random.default_rng(seed)
    out = []
    for person in range(persons):
        base = rng.uniform(1.0, 3.0)
        for number in range(pictures):
            for _ in range(copies):
                errors: dict[str, dict[str, float]] = {
                    "mean_face": dict.fromkeys(MEASURES, base),
                    "fit": dict.fromkeys(MEASURES, 0.75 * base),
                }
                group = GROUPS[(person + number) % 5]
                found = not (person == 0 and number == 4)
                out.append(
                    HeadRow(0, person, 5.0, HEAD_YAW_NAMES[number], group, found, errors, {"fit": 8.0})
                )
    return out


def part_of(those: Sequence[HeadRow], method: str) -> HeadPart:
    return head_report(those, [method]).methods[method].whole


class TestIntervals:
    def test_they_hold_the_mean(self):
        for seed in range(5):
            part = part_of(rows(seed=seed), "mean_face")
            assert part.low < part.mean_mm < part.high
            values = [row.errors["mean_face"]["mean_mm"] for row in rows(seed=seed)]
            assert part.mean_mm == pytest.approx(np.mean(values))

    def test_a_constant_share_is_certain(self):
        part = part_of(rows(), "fit")
        assert [part.below_percent, part.below_low, part.below_high] == pytest.approx([25.0] * 3)

    def test_more_persons_narrow_them_more_pictures_do_not(self):
        def width(those):
            part = part_of(those, "fit")
            return part.high - part.low

        assert width(rows(persons=120)) < 0.5 * width(rows(persons=12))
        assert width(rows(copies=4)) == pytest.approx(width(rows()))

    def test_the_width_is_that_of_the_mean(self):
        those = rows(persons=200, pictures=1)
        part = part_of(those, "mean_face")
        sigma = np.std([row.errors["mean_face"]["mean_mm"] for row in those]) / np.sqrt(200)
        assert part.high - part.low == pytest.approx(2 * 1.96 * sigma, rel=0.1)

    def test_nothing_is_nothing(self):
        part = part_of(rows(), "net")
        assert part.pictures == 0
        assert np.isnan([part.mean_mm, part.low, part.below_percent]).all()


class TestSeeds:
    def test_each_seed_has_its_own_subjects(self):
        both = [*rows(seed=0), *(replace(row, seed=9) for row in rows(seed=1))]
        about = head_report(both, ["mean_face"])
        assert about.persons == 24
        parts = about.methods["mean_face"].seeds
        assert {seed: part.pictures for seed, part in parts.items()} == {0: 60, 9: 60}
        for seed, number in ((0, 0), (9, 1)):
            assert parts[seed].mean_mm == pytest.approx(part_of(rows(seed=number), "mean_face").mean_mm)

    def test_targets_are_those_that_are_given(self):
        (target,) = head_report(rows(), ["fit"], below={"fit": 24.0}).targets
        assert (target.at_least, target.met) == (24.0, True)


class TestReport:
    def test_parts_counts_and_targets(self):
        about = head_report(rows(), ["mean_face", "fit", "net"])
        assert about.mean_mm.keys() == {"mean_face", "fit", "net"}
        assert about.found.whole == FoundCount(60, 59)
        assert about.found.yaw["60-80"] == FoundCount(12, 11)
        assert about.methods["fit"].found.pictures == 59
        assert {x: part.pictures for x, part in about.methods["fit"].yaw.items()} == dict.fromkeys(
            HEAD_YAW_NAMES, 12
        )
        assert sum(part.pictures for part in about.methods["fit"].expression.values()) == 60
        met = {target.what.split(":")[0]: (target.at_least, target.met) for target in about.targets}
        assert met == {"fit": (30.0, False), "net": (20.0, None), "e2far": (20.0, None)}


class TestRecovered:
    def rows_of(self, found, true):
        return [
            replace(row, identities={"fit": f, "nearest": t})
            for row, f, t in zip(rows(persons=len(true), pictures=1), found, true)
        ]

    def recovered(self, found, true):
        return head_report(self.rows_of(found, true), ["fit"]).recovered["fit"]

    def test_the_truth_is_recovered_whole(self):
        true = np.random.default_rng(0).normal(size=(30, 4))
        shares = self.recovered(true, true)
        for values in (shares.share, shares.correlation, shares.undone):
            np.testing.assert_allclose(values, 1.0)

    def test_shrinkage_is_a_share_and_noise_is_not_undone(self):
        rng = np.random.default_rng(1)
        true = rng.normal(size=(4000, 2))
        shrunk = self.recovered(0.5 * true, true)
        np.testing.assert_allclose(
            (shrunk.share, shrunk.correlation, shrunk.undone), [[0.5] * 2, [1] * 2, [2] * 2]
        )
        # noise as large as what is left of the truth: doubling it would bring nothing
        noisy = self.recovered(0.5 * true + 0.5 * rng.normal(size=true.shape), true)
        np.testing.assert_allclose(noisy.share, 0.5, atol=0.03)
        np.testing.assert_allclose(noisy.undone, 1.0, atol=0.06)

    def test_bands_beyond_the_components_and_unknown_methods(self):
        true = np.ones((12, 3))
        assert np.isnan(self.recovered(true, true).band(5, 20)).all()
        assert not head_report(rows(), ["fit"]).recovered
