"""Openings of eyes and lips in landmarks: how far lids and lips are apart.

Tested by tests/inverse/test_landmark_fit.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facerelief.morphable.model import FaceModel
from facerelief.typed import Float

OPEN = 0.8
"""Share of an average eye's opening from which an eye counts as open: narrow eyes are no blinks."""
SHUT = 1.05
"""Lids are shut where they are seen this much nearer than the fit has them."""
_LIDS: dict[str, tuple[tuple[tuple[tuple[int, int], ...], tuple[int, int]], ...]] = {
    "mediapipe478": ((((159, 145), (158, 153)), (33, 133)), (((386, 374), (385, 380)), (263, 362))),
    "ibug68": ((((37, 41), (38, 40)), (36, 39)), (((43, 47), (44, 46)), (42, 45))),
}
"""By landmark set, of the person's right and left eye: pairs of lid landmarks, and the corners."""

LIP_SLACK = 0.01
"""Opening that is left to lips that touch, as a share of the mouth's width."""


def blinks_of(model: FaceModel, name: str) -> list[tuple[int, Any, Any]]:
    """Index of an eye's blink among the expressions, its lids, its corners; none where the model has none."""
    sides = zip(("eyeBlinkRight", "eyeBlinkLeft"), _LIDS.get(name, ()))
    known = list(model.expression_names)
    return [(known.index(blink), *eye) for blink, eye in sides if blink in known]


def opening_of(points: Float, lids: Any, corners: Any) -> float:
    """Height over width of an eye; points (L, 2 or 3)."""
    xy = np.asarray(points, np.float64)[:, :2]
    height = np.mean([np.linalg.norm(xy[a] - xy[b]) for a, b in lids])
    return float(height / max(float(np.linalg.norm(xy[corners[0]] - xy[corners[1]])), 1e-9))
