"""Stronger and weaker relief and identity: what artists ask of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facerelief.face.reconstruction import Reconstruction
from facerelief.geometry.patch import DepthPatch
from facerelief.typed import Float32

BANDS_MM = (0.6, 2.0)
"""Gaussian deviations between which relief is pores, wrinkles and folds."""


def with_relief_strength(r: Reconstruction, strength: float | Sequence[float]) -> Reconstruction:
    """A face with stronger or weaker relief in all that is made of it.

    Args:
        r: The face; without relief it stays as it is.
        strength: Factor of the relief's height: 0 for none, 1 for the photo's; or three factors, of pores
            (finer than `BANDS_MM[0]`), wrinkles, and folds (coarser than `BANDS_MM[1]`).

    Raises:
        ValueError: Neither one nor three factors, or one that is not finite or below 0.
    """
    factors = np.atleast_1d(np.asarray(strength, np.float64))
    if factors.shape not in ((1,), (3,)) or not (np.isfinite(factors).all() and (factors >= 0).all()):
        raise ValueError(f"relief strength {strength}: expected one or three numbers of at least 0")
    if r.fine is None or (factors == 1).all():
        return r
    coarse = np.where(np.isfinite(r.fine.depth), r.coarse.depth, np.nan)
    known = np.isfinite(coarse)
    height = np.where(known, r.fine.depth - coarse, 0).astype(np.float32)
    if len(factors) == 1:
        height *= np.float32(factors[0])
    else:
        wide = [_smoothed(height, known, sigma * r.camera.scale) for sigma in BANDS_MM]
        bands = (height - wide[0], wide[0] - wide[1], wide[1])
        height = sum((np.float32(f) * band for f, band in zip(factors, bands)), np.zeros_like(height))
    depth = np.where(known, coarse + height, r.fine.depth).astype(np.float32)
    return replace(r, fine=DepthPatch(depth, r.fine.left, r.fine.top))


def with_identity_strength(r: Reconstruction, strength: float) -> Reconstruction:
    """A face whose shape is farther from the mean face, or nearer to it: no longer that of the photo.

    The skin's texture is to be taken from the photo before.

    Args:
        r: The face.
        strength: Factor of the identity coefficients: 0 for the mean face, 1 for the photo's.

    Raises:
        ValueError: The factor is not finite or below 0.
    """
    if not (np.isfinite(strength) and strength >= 0):
        raise ValueError(f"identity strength {strength}: expected a number of at least 0")
    return r if strength == 1 else replace(r, identity=(r.identity * np.float32(strength)).astype(np.float32))


def _smoothed(height: Float32, known: np.ndarray, sigma: float) -> Float32:
    """Gaussian mean over known pixels."""
    import cv2

    inside = known.astype(np.float32)
    above, below = (cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3)) for x in (height * inside, inside))
    return np.asarray(above / np.maximum(below, 1e-4), np.float32)
