"""The one mesh type. Tested by tests/geometry/test_depth.py and tests/rendering/test_render.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with optional colours and texture coordinates.

    vertices (N, 3) float32 mm; triangles (T, 3) int32, counter-clockwise seen from outside;
    colors (N, 3) float32 in [0, 1] sRGB; uv (M, 2) float32 with v up (OBJ convention), uv_triangles (T, 3)
    into uv.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    colors: NDArray[np.float32] | None = None
    uv: NDArray[np.float32] | None = None
    uv_triangles: NDArray[np.int32] | None = None
