"""The one mesh type. Tested by tests/geometry/test_depth.py and tests/rendering/test_render.py."""

from __future__ import annotations

from dataclasses import dataclass

from facerelief.typed import Float32, Int32


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with optional colours and texture coordinates."""

    vertices: Float32
    """(N, 3) mm."""
    triangles: Int32
    """(T, 3) vertex ids, counter-clockwise seen from outside."""
    colors: Float32 | None = None
    """(N, 3) sRGB in [0, 1]."""
    uv: Float32 | None = None
    """(M, 2) texture coordinates, v up (OBJ convention)."""
    uv_triangles: Int32 | None = None
    """(T, 3) ids of the corners' texture coordinates."""
