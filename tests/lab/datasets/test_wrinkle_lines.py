"""Drawn wrinkles: as deep and as wide as asked for, on either side alike, none where none are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.datasets.wrinkle_lines import (
    TEXEL,
    Anatomy,
    Line,
    SideDraws,
    anatomy,
    curve,
    heights,
    joined,
    mirrored,
    wrinkle,
)
from facerelief.morphable import open_model

PLACE = Anatomy(np.zeros((68, 2)), (30.0, 30.0), (200, 200))


def across(line: Line, at: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Heights up a column of the atlas, and b of the places, mm."""
    a, b = PLACE.grid()
    column = int(np.abs(a[0] - at).argmin())
    return heights([line], PLACE)[:, column], b[:, column]


def straight(**given) -> Line:
    points = np.column_stack([np.linspace(-20, 20, 30), np.zeros(30)])
    return Line(points, **({"depth": np.full(30, 0.4), "width": 2.0, "shoulder": 0.0} | given))


@pytest.mark.parametrize("power", [1.3, 2.0])
@pytest.mark.parametrize("width", [1.5, 3.0])
def test_a_line_has_the_depth_and_the_width_it_is_given(power, width):
    found, b = across(straight(width=width, power=power))
    # the texel's centre is up to half a texel off the line
    assert -0.4 <= found.min() <= -0.4 * np.exp(-np.log(2) * (TEXEL / width) ** power) + 1e-5
    half = b[found < 0.5 * -0.4]
    assert np.ptp(half) + TEXEL == pytest.approx(width, abs=1.1 * TEXEL)
    assert np.abs(found[np.abs(b) > 2.5 * width]).max() < 0.01


def test_shoulders_are_raised_on_both_sides_and_a_fold_on_one():
    found, b = across(straight(shoulder=0.5, spacing=1.5))
    for side in (b > 0, b < 0):
        assert 0.05 < found[side].max() < 0.2
    fold, b = across(straight(fold=np.full(30, 0.8), fold_mm=5.0))
    assert fold[b > 0].max() == pytest.approx(0.8, abs=0.1)  # to the left of the way to the right
    assert fold[b < 0].max() < 0.05


def test_crossing_lines_are_as_deep_as_the_deeper_one():
    turned = Line(straight().points[:, ::-1], np.full(30, 0.2), 2.0, shoulder=0.0)
    both = heights([straight(), turned], PLACE)
    assert both.min() == pytest.approx(heights([straight()], PLACE).min(), abs=0.02)


def test_no_lines_are_no_relief():
    assert not heights([], PLACE).any()


def test_without_asymmetry_both_sides_draw_the_same_numbers():
    right, left = (SideDraws([3, 1], side, 0.0) for side in (1, -1))
    assert right.shares(5).tolist() == left.shares(5).tolist()
    right, left = (SideDraws([3, 1], side, 0.5) for side in (1, -1))
    assert right.count(0, 9) == left.count(0, 9)
    assert right.uniform(0, 1) != left.uniform(0, 1)


def test_a_mirrored_line_is_the_mirror_image_fold_and_all():
    line = wrinkle(SideDraws([1], 1, 0.3), [(4, 10), (8, 0), (7, -9)], 0.5, 1.5, kind="x", fold=0.6)
    one, other = heights([line], PLACE), heights([mirrored(line)], PLACE)
    np.testing.assert_allclose(one, other[:, ::-1], atol=0.02)
    assert one.max() > 0.2


def test_a_line_fades_out_at_its_ends_and_keeps_its_greatest_depth():
    line = wrinkle(SideDraws([2], 1, 0.3), [(-12, 0), (0, 3), (12, 0)], 0.5, 1.5, kind="x")
    assert line.depth.max() == pytest.approx(0.5)
    assert line.depth[[0, -1]].max() < 1e-6


def test_joined_halves_are_one_continuous_line():
    halves = [
        wrinkle(SideDraws([7], side, 0.7), [(0, 0), (10, 2), (20, 0)], 0.4, 1.5, kind="x", taper=(0, 0.4))
        for side in (1, -1)
    ]
    line = joined(*halves)
    steps = np.linalg.norm(np.diff(line.points, axis=0), axis=1)
    assert steps.max() < 2.5 * np.median(steps)
    assert (np.diff(line.points[:, 0]) > 0).all()
    assert np.abs(np.diff(line.depth)).max() < 0.3 * line.depth.max()


def test_a_curve_keeps_its_ends_and_even_steps():
    found = curve([(0, 0), (10, 0), (10, 10)])
    assert found[0].tolist() == [0, 0]
    assert found[-1].tolist() == [10, 10]
    steps = np.linalg.norm(np.diff(found, axis=0), axis=1)
    assert np.ptp(steps) < 0.2


@pytest.mark.parametrize("name", ["open", "open2"])
def test_the_anatomy_of_a_model_is_symmetric(name):
    marks = anatomy(open_model(name)).marks
    np.testing.assert_allclose(marks[36], marks[45] * [-1, 1])
    np.testing.assert_allclose(marks[48], marks[54] * [-1, 1])
    np.testing.assert_allclose(marks[27], 0, atol=0.5)
    assert marks[8, 1] < marks[57, 1] < marks[33, 1] < 0 < marks[19, 1]
