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

from facerelief.rendering.spherical_harmonics import K0
from facerelief.typed import Float32

_STEP = 4
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
    import cv2

    from facerelief.rendering import _kernels

    size = picture.shape[:2]
    grey = cv2.transform(picture.astype(np.float32), np.full((1, 3), 1 / 765, np.float32)).reshape(size)
    depth = np.ascontiguousarray(depth, np.float32)
    inside = np.ascontiguousarray(mask, np.bool_)
    light = face_light(grey, depth, inside, scale)
    out = np.empty((3, *size), np.float32)
    numbers = (np.float32(x) for x in (_DARKEST, _MOST))
    _kernels.shading_cues(grey, depth, inside, np.float32(0.5 * scale), light, *numbers, out)
    cv2.log(out[0], out[0])
    np.clip(out[0] * np.float32(GAIN), -GAIN * _MOST, GAIN * _MOST, out=out[0])
    return out


def face_light(grey: Float32, depth: Float32, mask: NDArray[np.bool_], scale: float) -> Float32:
    """(9,) light times skin, as `lighting.sh_basis` counts, that explains brightness (S, S) in [0, 1] on a
    depth map (S, S), mm, inside a mask, best; robustly, with a pull to light from all sides."""
    from facerelief.rendering import _kernels

    rows = np.empty(((grey.shape[0] // _STEP + 1) * (grey.shape[1] // _STEP + 1), 9), np.float32)
    values = np.empty(len(rows), np.float32)
    used = _kernels.harmonic_rows(grey, depth, mask, np.float32(0.5 * scale), _STEP, rows, values)
    if used < 9:
        return np.array([float(grey.mean()) / K0, *np.zeros(8)], np.float32)
    rows, values = rows[:used], values[:used]
    light, weights = np.zeros(9, np.float32), np.ones(used, np.float32)
    pull = np.full(9, _RIDGE * used)
    pull[0] = 1e-9 * used
    for round_ in range(_ROUNDS):
        if round_:
            apart = (values - rows @ light) / np.float32(_TOLERANCE)
            weights = 1 / np.square(1 + np.square(apart))
        weighted = rows * weights[:, None]
        hessian = (weighted.T @ rows).astype(np.float64)
        hessian[np.diag_indices(9)] += pull
        light = np.linalg.solve(hessian, (weighted.T @ values).astype(np.float64)).astype(np.float32)
    return light
