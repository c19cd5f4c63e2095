"""Landmark indices lie in their sets, each at most once, and agree with each other."""

from __future__ import annotations

import pytest

from facerelief.morphable.landmark_sets import CLOSED_OUTLINES, IBUG68_AMONG_MEDIAPIPE, OUTLINES


@pytest.mark.parametrize(("name", "points", "length"), [("ibug68", 68, 17), ("mediapipe478", 478, 36)])
def test_outlines_are_distinct_landmarks_of_their_set(name, points, length):
    outline = OUTLINES[name]
    assert len(outline) == len(set(outline)) == length
    assert set(outline) <= set(range(points))


def test_closed_outlines_are_outlines():
    assert set(OUTLINES) > CLOSED_OUTLINES


def test_each_ibug_landmark_has_a_mediapipe_point_of_its_own():
    assert len(IBUG68_AMONG_MEDIAPIPE) == len(set(IBUG68_AMONG_MEDIAPIPE)) == 68
    assert set(IBUG68_AMONG_MEDIAPIPE) <= set(range(478))


def test_both_outlines_run_along_the_same_points():
    """The jaw of iBUG lies on MediaPipe's oval, passed in the opposite direction."""
    oval = OUTLINES["mediapipe478"]
    places = [oval.index(IBUG68_AMONG_MEDIAPIPE[i]) for i in OUTLINES["ibug68"]]
    assert places == sorted(places, reverse=True)
