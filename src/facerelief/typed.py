"""Array types of all signatures; shapes, units and frames are in the docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float16 = NDArray[np.float16]
"""Arrays kept in large numbers."""
Float32 = NDArray[np.float32]
"""Arrays passed between rooms."""
Float64 = NDArray[np.float64]
"""Arrays inside algorithms that need the precision."""
Float = NDArray[np.floating]
"""float32 or float64, as the caller's array."""
Int32 = NDArray[np.int32]
"""Indices of vertices and triangles."""
Bool = NDArray[np.bool_]
"""Masks."""
Image = NDArray[np.uint8]
"""(H, W, 3) RGB or (H, W) grey image, sRGB-coded."""
