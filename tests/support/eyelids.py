"""Measure of an eye's opening for tests of the open model."""

from __future__ import annotations

import numpy as np

from facerelief.lab.building.registration import HeadSurface
from facerelief.lab.building.surface import eyelid_rims


def eyelid_gap(surface: HeadSurface, vertices: np.ndarray, side: int) -> np.ndarray:
    """(U,) opening of one eye (0 right, 1 left): mm from each upper-rim vertex to the lower rim below it."""
    upper, lower = (vertices[ids] for ids in eyelid_rims(surface, side))
    order = np.argsort(lower[:, 0])
    return upper[:, 1] - np.interp(upper[:, 0], lower[order, 0], lower[order, 1])
