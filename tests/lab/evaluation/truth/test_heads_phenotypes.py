"""Laws of random adults: weights within ranges, one end of a slider at a time, the mean of many at zero."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.truth.heads_phenotypes import (
    AGE,
    ANCESTRY,
    GENDER,
    LIMIT,
    SPREAD,
    Phenotypes,
    is_used,
)

SLIDERS = (
    "chin/chin-width-decr",
    "chin/chin-width-incr",
    "eyes/l-eye-scale-decr",
    "eyes/l-eye-scale-incr",
    "eyes/r-eye-scale-decr",
    "eyes/r-eye-scale-incr",
    "head/head-square",
    "nose/nose-compression-compress",
    "nose/nose-compression-uncompress",
)
LOOKS = tuple(f"macrodetails/{a}-{g}-{o}" for a in ANCESTRY for g in GENDER for o in AGE)


@pytest.fixture(scope="module")
def people() -> Phenotypes:
    return Phenotypes.of((*LOOKS, *SLIDERS))


@pytest.fixture(scope="module")
def drawn(people) -> np.ndarray:
    return np.stack([people(seed, person) + people.mean for seed in (0, 1) for person in range(300)])


def column(name: str) -> int:
    return (*LOOKS, *SLIDERS).index(name)


def test_weights_stay_in_their_ranges(drawn):
    assert drawn.min() >= -1e-6
    assert drawn[:, len(LOOKS) :].max() <= LIMIT + 1e-6
    # ancestry, gender and age share one person among them
    np.testing.assert_allclose(drawn[:, : len(LOOKS)].sum(axis=1), 1, atol=1e-5)


def test_a_slider_is_at_one_end_at_a_time(drawn):
    for stem in ("chin/chin-width", "eyes/r-eye-scale"):
        low, high = (drawn[:, column(f"{stem}-{end}")] for end in ("decr", "incr"))
        assert np.minimum(low, high).max() < 1e-6
        spread = SPREAD[stem.split("/")[0]]
        assert np.std(high - low) == pytest.approx(spread, rel=0.15)
        assert abs(np.mean(high - low)) < 0.2 * spread


def test_both_sides_of_a_face_are_nearly_alike(drawn):
    left, right = (
        drawn[:, column(f"eyes/{side}-eye-scale-incr")] - drawn[:, column(f"eyes/{side}-eye-scale-decr")]
        for side in "lr"
    )
    assert np.corrcoef(left, right)[0, 1] > 0.9
    assert (left != right).mean() > 0.9


def test_a_slider_without_opposite_is_seldom_used(drawn):
    square = drawn[:, column("head/head-square")]
    assert 0.15 < (square > 1e-6).mean() < 0.35


def test_the_mean_of_people_is_the_mean(people, drawn):
    np.testing.assert_allclose(drawn.mean(axis=0), people.mean, atol=0.04)


def test_a_seed_and_a_number_are_a_person(people):
    np.testing.assert_array_equal(people(3, 5), Phenotypes.of((*LOOKS, *SLIDERS))(3, 5))
    assert (people(3, 5) != people(3, 6)).any()
    assert (people(3, 5) != people(4, 5)).any()


def test_a_person_keeps_its_sliders_where_other_targets_come_first(people):
    turned = Phenotypes.of((*reversed(SLIDERS), *LOOKS))
    order = [turned.targets.index(name) for name in people.targets]
    np.testing.assert_array_equal(turned(2, 1)[order], people(2, 1))


@pytest.mark.parametrize(
    ("folder", "name", "wanted"),
    [
        ("chin", "chin-width-incr", True),
        ("macrodetails", "asian-male-old", True),
        ("macrodetails", "universal-female-young-maxmuscle-minweight", True),
        ("macrodetails", "asian-male-child", False),
        ("ears", "l-ear-shape-pointed", False),
        ("head", "head-trans-up", False),
        ("expression", "grin", False),
    ],
)
def test_targets_of_adults(folder, name, wanted):
    assert is_used(folder, name) is wanted
