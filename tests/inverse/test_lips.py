"""Laws of the mouth on a photo: a dark gap or teeth open it, whatever closed lips look like does not."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.inverse.lips import gap_share, mouth_open

LIP = (176, 96, 92)
_INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)


def mouth(height: float, turn: float = 0.0) -> np.ndarray:
    """(478, 2) landmarks of a mouth 100 px wide whose inner lips are `height` px apart."""
    out = np.zeros((478, 2))
    for ids, depth, wide in (
        (_OUTER_UPPER, -18.0, 50.0),
        (_OUTER_LOWER, 22.0, 50.0),
        (_INNER_UPPER, -0.5 * height, 44.0),
        (_INNER_LOWER, 0.5 * height, 44.0),
    ):
        t = np.linspace(-1, 1, len(ids))
        out[list(ids)] = np.stack([wide * t, depth * (1 - t * t)], axis=1)
    c, s = np.cos(turn), np.sin(turn)
    return out @ np.array([[c, s], [-s, c]]) + 100.0


def painted(landmarks: np.ndarray, between: tuple[int, int, int]) -> np.ndarray:
    """A photo of lips, and a colour between the inner ones."""
    import cv2

    image = np.full((200, 200, 3), (205, 160, 140), np.uint8)
    for upper, lower, color in (
        (_OUTER_UPPER, _OUTER_LOWER, LIP),
        (_INNER_UPPER, _INNER_LOWER, between),
    ):
        ring = np.round(landmarks[[*upper, *lower[::-1]]]).astype(np.int32)
        cv2.fillPoly(image, [ring], color)
    return image


@pytest.mark.parametrize("turn", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("between", [(30, 14, 12), (228, 222, 210)])
def test_a_dark_gap_or_teeth_open_the_mouth(between, turn):
    marks = mouth(10.0, turn)
    assert mouth_open(painted(marks, between), marks)


@pytest.mark.parametrize("turn", [0.0, 0.5, -2.0])
def test_lips_of_one_colour_are_closed_whatever_the_landmarks_say(turn):
    marks = mouth(12.0, turn)
    image = painted(marks, LIP)
    assert gap_share(image, marks) == pytest.approx(0.0, abs=0.02)
    assert not mouth_open(image, marks)


def test_a_wide_opening_needs_no_colours():
    marks = mouth(30.0)
    assert mouth_open(painted(marks, LIP), marks)


def test_other_landmarks_and_tiny_mouths_count_as_open():
    marks = mouth(4.0)
    assert mouth_open(np.zeros((50, 50, 3), np.uint8), marks[:68])
    small = (marks - 100.0) * 0.05 + 25.0
    assert np.isnan(gap_share(np.zeros((50, 50, 3), np.uint8), small))
    assert mouth_open(np.zeros((50, 50, 3), np.uint8), small)
