"""Maps on a rectangle of the photo's pixel grid. Tested by tests/inverse/test_detail.py."""

from __future__ import annotations

from dataclasses import dataclass

from facerelief.typed import Float32


@dataclass(frozen=True, eq=False)
class DepthPatch:
    """Depth on the photo's pixel grid inside a rectangle.

    depth (h, w) float32, mm along camera z, larger is nearer, NaN off the face; its pixel (i, j) is the
    photo's pixel (top + i, left + j).
    """

    depth: Float32
    left: int
    top: int


@dataclass(frozen=True, eq=False)
class ColorPatch:
    """Colours on the photo's pixel grid inside a rectangle.

    color (h, w, 3) float32, NaN where there is none; its pixel (i, j) is the photo's pixel
    (top + i, left + j).
    """

    color: Float32
    left: int
    top: int
