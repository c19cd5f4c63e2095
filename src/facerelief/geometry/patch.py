"""Maps on a rectangle of the photo's pixel grid. Tested by tests/inverse/test_detail.py."""

from __future__ import annotations

from dataclasses import dataclass

from facerelief.typed import Float32


@dataclass(frozen=True, eq=False)
class DepthPatch:
    """Depth on a rectangle of the photo's pixel grid: pixel (i, j) is the photo's (top + i, left + j)."""

    depth: Float32
    """(h, w) mm along camera z, larger is nearer, NaN off the face."""
    left: int
    top: int


@dataclass(frozen=True, eq=False)
class ColorPatch:
    """Colours on a rectangle of the photo's pixel grid: pixel (i, j) is the photo's (top + i, left + j)."""

    color: Float32
    """(h, w, 3), NaN where there is none."""
    left: int
    top: int
