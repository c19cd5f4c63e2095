"""Shading cues: first-order evidence of relief in an image, input of FineNet.

Under a known light, a small slope (p, q) of relief changes the logarithm of a Lambertian surface's brightness
by a p + b q. The light is estimated from the image itself, with skin as one grey. Shape from shading then
needs only the brightness relative to the smooth surface, and a and b, in each pixel. A network would
need the whole face at once to estimate the light.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facerelief.rendering.spherical_harmonics import K0
from facerelief.typed import Bool, Float32, Image

_STEP = 4
"""The light is estimated from every n-th row and column."""
_RIDGE = 0.01
"""Ridge penalty per pixel of all coefficients but the first: visible normals do not determine all."""
_TOLERANCE = 0.15
"""Residual brightness, of 1, that halves a pixel's influence: brows, beards, shadows."""
_ROUNDS = 3
_DARKEST, _MOST = 0.03, 2.0
"""Brightness below which the cues are zero, and the largest absolute value of the logarithm."""
GAIN = 3.0
"""Factor of the logarithm in the first channel: wrinkles change brightness by a few per cent only."""


def shading_cues(image: Image, depth: Float32, mask: Bool, scale: float) -> Float32:
    """Brightness relative to the smooth surface, and its derivatives by slopes.

    Args:
        image: (S, S, 3) RGB.
        depth: (S, S) of the smooth surface, mm along camera z.
        mask: (S, S) pixels of that surface.
        scale: px/mm.

    Returns:
        (3, S, S) `GAIN` times the logarithm of brightness over that of the smooth surface; the derivatives of
        that logarithm by dz/dx and dz/dy (y up); 0 off the mask and at its border.
    """
    import cv2

    from facerelief.rendering import _kernels

    size = image.shape[:2]
    grey: Any = cv2.transform(image.astype(np.float32), np.full((1, 3), 1 / 765, np.float32)).reshape(size)
    depth = np.ascontiguousarray(depth, np.float32)
    inside = np.ascontiguousarray(mask, np.bool_)
    light = face_light(grey, depth, inside, scale)
    out = np.empty((3, *size), np.float32)
    numbers = (np.float32(x) for x in (_DARKEST, _MOST))
    _kernels.shading_cues(grey, depth, inside, np.float32(0.5 * scale), light, *numbers, out)
    cv2.log(out[0], out[0])
    np.clip(out[0] * np.float32(GAIN), -GAIN * _MOST, GAIN * _MOST, out=out[0])
    return out


def face_light(grey: Float32, depth: Float32, mask: Bool, scale: float) -> Float32:
    """Light of a grey surface, by iteratively reweighted least squares with a ridge penalty.

    Args:
        grey: (S, S) brightness in [0, 1].
        depth: (S, S) mm along camera z.
        mask: (S, S) of the surface.
        scale: px/mm.

    Returns:
        (9,) light times skin, coefficients of `lighting.sh_basis`.
    """
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
