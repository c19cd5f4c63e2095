"""Wrinkles of a face: mirrored without asymmetry, more with age, deeper where an expression folds skin."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.datasets.wrinkle_families import FAMILIES, drives, face_lines
from facerelief.lab.datasets.wrinkle_lines import Line, anatomy, heights
from facerelief.morphable import open_model

PLACE = anatomy(open_model("open2"))


def depths(lines: list[Line], kind: str, side: int = 0) -> float:
    """Sum of the depths of a family's lines, on one side."""
    return sum(
        float(line.depth.sum())
        for line in lines
        if line.kind == kind and (not side or side * line.points[:, 0].mean() > 0)
    )


def test_the_same_seed_gives_the_same_lines_and_another_seed_others():
    one, same, other = (heights(face_lines(PLACE, 0.8, {}, 0.5, [s, 1]), PLACE) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_without_asymmetry_the_left_side_mirrors_the_right(seed):
    found = heights(face_lines(PLACE, 1.0, {}, 0.0, [seed]), PLACE)
    a, _ = PLACE.grid()
    column = PLACE.texels([(0, 0)])[0, 0]
    # texels lie to both sides of the midline at different distances
    mirror = np.interp(
        2 * column - np.arange(found.shape[1]) - 1, np.arange(found.shape[1]), np.arange(found.shape[1])
    )
    columns = np.rint(mirror).astype(int)
    near = np.abs(a[0]) < 60
    part, flipped = found[:, near], found[:, columns[near]]
    assert np.abs(part).max() > 0.1
    assert np.corrcoef(part.ravel(), flipped.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        ("browInnerUp", "forehead"),
        ("browDown", "frown"),
        ("mouthSmile", "crow"),
        ("cheekSquint", "nasolabial"),
        ("mouthSmile", "cheek"),
        ("noseSneer", "bunny"),
        ("mouthPucker", "lips"),
        ("mouthShrugLower", "chin"),
    ],
)
def test_an_expression_deepens_its_lines_on_its_own_side(weight, kind):
    seeds, sides = range(8), [weight] if weight in ("browInnerUp", "mouthPucker", "mouthShrugLower") else None
    still = [face_lines(PLACE, 0.5, {}, 0.5, [seed]) for seed in seeds]
    moved = [
        face_lines(PLACE, 0.5, dict.fromkeys(sides or [f"{weight}Left", f"{weight}Right"], 1.0), 0.5, [s])
        for s in seeds
    ]
    assert sum(depths(x, kind) for x in moved) > 1.3 * sum(depths(x, kind) for x in still)
    if sides is None:  # the subject's left is the image's right
        one = [face_lines(PLACE, 0.5, {f"{weight}Left": 1.0}, 0.5, [seed]) for seed in seeds]
        assert sum(depths(x, kind, 1) for x in one) > 1.2 * sum(depths(x, kind, -1) for x in one)


def test_drives_are_of_known_families_and_none_at_rest():
    for side in (-1, 1):
        found = drives({"jawOpen": 1.0}, side)
        assert found.keys() <= FAMILIES.keys() | {"dimples"}
        assert not any(found.values())


def test_depths_and_widths_are_human_and_grow_with_age():
    total = []
    for age in (0.1, 1.0):
        lines = [line for seed in range(12) for line in face_lines(PLACE, age, {}, 0.5, [seed])]
        total.append(sum(float(line.depth.sum()) for line in lines))
        drawn = [line for line in lines if line.kind != "crinkles"]
        assert max(line.depth.max() for line in drawn) <= 1.25
        assert all(0.4 <= line.width <= 4.0 for line in lines)
        assert all(np.isfinite(line.points).all() for line in lines)
    assert total[1] > 4 * total[0]
