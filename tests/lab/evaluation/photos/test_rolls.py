"""Turned images against upright ones: the canvas, what counts as kept, and photos and clips through it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facerelief.examples import astronaut_path
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.io.images import read_image
from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.metrics.reports import to_json
from facerelief.lab.evaluation.photos import rolls


@pytest.mark.parametrize("degrees", [0, 15, 90, 200.0])
def test_points_lie_where_the_matrix_says(degrees):
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:23, 50:53] = 255  # centred at (51.5, 21.5)
    moved, matrix = rolls.turned(image, degrees)
    rows, columns = np.nonzero(moved[:, :, 0] > 128)
    expected = matrix @ [51.5, 21.5, 1.0]
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], expected, atol=0.3)
    corners = matrix @ np.array([[0, 80, 0, 80], [0, 0, 60, 60], [1, 1, 1, 1]], float)
    assert corners.min() > -1e-6
    assert (corners.max(axis=1) <= np.array(moved.shape[1::-1]) + 1e-6).all()


def test_a_quarter_turn_keeps_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(rolls.turned(image, 90)[0], np.rot90(image))


def test_roll_follows_counter_clockwise():
    upright = rolls._Face(np.zeros((3, 3), np.float32), WeakPerspective(0.1, 0.2, 0.0, 30, 40, 1), None, 0.9)
    _, matrix = rolls.turned(np.zeros((60, 80, 3), np.uint8), 90)
    for roll, error in ((math.pi / 2, 0.0), (0.0, 90.0), (-math.pi, 90.0)):
        other = upright._replace(camera=WeakPerspective(0.1, 0.2, roll, 0, 0, 1))
        turn = rolls._compared(upright, other, matrix, 90)
        assert turn.roll_deg == pytest.approx(error, abs=1e-6)
        assert turn.yaw_deg == pytest.approx(0, abs=1e-9)


def test_relief_is_compared_where_it_lies():
    """A relief and its turned copy, in windows of their own, are the same."""
    v, u = np.mgrid[0:60, 0:80]
    whole = np.sin(u / 6.0) + np.cos(v / 5.0)
    image = np.repeat(np.rint(60 * whole + 128).astype(np.uint8)[..., None], 3, axis=2)
    moved, matrix = rolls.turned(image, 30)
    one, two = (x[:, :, 0].astype(np.float32) for x in (image, moved))
    here = DepthPatch(one[15:45, 20:60].copy(), 20, 15)
    there = DepthPatch(two[5:-5, 7:-3].copy(), 7, 5)
    assert rolls._relief_apart(here, there, matrix) < 2.0
    there = DepthPatch(there.depth + np.float32(9.0), 7, 5)
    assert rolls._relief_apart(here, there, matrix) == pytest.approx(9.0, abs=0.5)


def test_the_report_counts_what_was_not_found():
    good, bad = rolls.Turn(15, 0.1, 1.0, 0, 0, 0.01, 0.9), rolls.Turn(15, 2.0, 90.0, 0, 0, 0.2, 0.8)
    report = rolls.roll_report("photos", 1, [("a", good), ("a", bad), ("a", rolls._lost(30))], {})
    assert report.whole.images == 3
    assert report.whole.within == pytest.approx(1 / 3)
    assert report.by_angle["30"].found == 0
    assert report.worst[0][1].degrees == 30
    assert report.worst[1][1] == bad
    assert report.confidence["confident_beyond"] == 1.0
    assert [target.met for target in report.targets] == [False, False, False]
    assert to_json(report)["all"]["shape_mm"][2] == 2.0
    assert rolls.printed(report)


def test_a_turned_photo_gives_the_same_face():
    photo = Photo(astronaut_path(), "a", "b")
    report = rolls.evaluate_photo_rolls([photo], [75.0, 180.0])
    assert report.whole.within == 1.0
    assert report.whole.relief_mm[2] < 0.1


def test_a_turned_clip_gives_the_same_faces():
    image = read_image(astronaut_path())[:256, 80:336]
    frames, times = [image] * 4, [0.0, 0.04, 0.08, 0.12]
    report = rolls.evaluate_clip_rolls("clip", frames, times, [90.0])
    assert report.images == 4
    assert set(report.by_angle) == {"90", "tilting"}
    assert report.by_angle["90"].within == 1.0
