"""What a picture's shading says of relief, to first order.

Under a light that is known, a small slope (p, q) of relief changes the logarithm of a Lambertian surface's
brightness by a p + b q. The light is found from the picture itself, with skin taken for one grey: then what
is brighter or darker than the smooth surface, and a and b in each pixel, are all that shape from shading
needs. FineNet is given them: to find the light, a network would have to see the whole face at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.rendering.lighting import K0

# NumPy's annotations widen float32 in mixed arithmetic: these names say what arrays hold, unchecked
Float32 = NDArray[Any]

_STEP = 3
"""Every so manieth row and column is looked at for the light."""
_RIDGE = 0.01
"""Pull of all coefficients but the first to zero, for each pixel: some look alike from the front."""
_TOLERANCE = 0.15
"""Brightness, of 1, that a pixel may be off before it counts for little: brows, beards, shadows."""
_ROUNDS = 3
_DARKEST, _MOST = 0.03, 2.0
"""Brightness below which nothing is told, and the largest values given."""
GAIN = 3.0
"""The first channel is this times the logarithm: wrinkles change brightness by a few per cent."""


def shading_cues(picture: NDArray[np.uint8], depth: Float32, mask: NDArray[Any], scale: float) -> Float32:
    """(3, S, S) `GAIN` times the logarithm of brightness over that of the smooth surface, and the derivatives
    of that logarithm by the slopes dz/dx and dz/dy (y up); 0 off the mask and at its rim.

    picture (S, S, 3) RGB; depth (S, S) mm along camera z of the smooth surface; mask (S, S) where it is;
    scale: px/mm.
    """
    from facerelief.rendering import _kernels

    grey = np.ascontiguousarray(picture.mean(axis=2, dtype=np.float32) / np.float32(255))
    depth = np.ascontiguousarray(depth, np.float32)
    inside = np.ascontiguousarray(mask, np.bool_)
    light = face_light(grey, depth, inside, scale)
    out = np.empty((3, *grey.shape), np.float32)
    _kernels.shading_cues(grey, depth, inside, float(scale), light, _DARKEST, _MOST, out)
    out[0] *= np.float32(GAIN)
    return out


def face_light(grey: Float32, depth: Float32, mask: NDArray[np.bool_], scale: float) -> NDArray[np.float64]:
    """(9,) light times skin, as `lighting.sh_basis` counts, that explains brightness (S, S) in [0, 1] on a
    depth map (S, S), mm, inside a mask, best; robustly, with a pull to light from all sides."""
    from facerelief.rendering import _kernels

    light = np.zeros(9)
    for round_ in range(_ROUNDS):
        hessian, right = np.zeros((9, 9)), np.zeros(9)
        tolerance = _TOLERANCE if round_ else 0.0
        used = _kernels.light_sums(grey, depth, mask, float(scale), _STEP, light, tolerance, hessian, right)
        if used < 9:
            return np.array([float(grey.mean()) / K0, *np.zeros(8)])
        hessian[np.arange(1, 9), np.arange(1, 9)] += _RIDGE * used
        hessian[0, 0] += 1e-9 * used
        light = np.linalg.solve(hessian, right)
    return light
