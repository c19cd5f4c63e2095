"""Lambertian shading by spherical-harmonic light (Ramamoorthi & Hanrahan 2001).

Convention: a light is (9, 3), nine coefficients per colour channel in the order of
`rendering.spherical_harmonics`; shading = H(n) light, and colour = albedo * shading.

Worked number: a white light of coefficient 1/(a0 c0) = 1.1284 in band 0 alone shades every normal with 1.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.normals import floating
from facerelief.rendering.spherical_harmonics import BAND, BAND_NORM, K0, K1, K2, sh_basis, sphere_points
from facerelief.typed import Float, Float64

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""(3,) weights of red, green and blue in the brightness of an sRGB-coded colour (Rec. 601 luma)."""
_CLAMPED_COSINE = (math.pi, 2 * math.pi / 3, math.pi / 4)


def shade(normals: ArrayLike, light: ArrayLike) -> Float:
    """Shading of each normal: `sh_basis(normals) @ light`, several times faster.

    Args:
        normals: (..., 3) unit normals, camera space.
        light: (9, 3).

    Returns:
        (..., 3) per colour channel, not clamped, in the dtype of the normals.

    Raises:
        ValueError: Shapes do not fit.
    """
    from facerelief.rendering import _kernels

    n = floating(normals)
    folded = fold_light(light)
    if n.shape[-1] != 3:
        raise ValueError(f"normals have shape {n.shape}, expected (..., 3)")
    flat = np.ascontiguousarray(n.reshape(-1, 3))
    out = np.empty_like(flat)
    _kernels.shade(flat, folded.astype(n.dtype), out)
    return out.reshape(n.shape)


def fold_light(light: ArrayLike) -> Float64:
    """(9, 3) coefficients of the polynomials 1, y, z, x, xy, yz, zz, xz, xx - yy that shade as `light` (9, 3)
    does."""
    coefficients = _light(light)
    scale = np.array([K0, -K1, K1, -K1, K2, -K2, K2 * math.sqrt(3) / 2, -K2, K2 / 2])
    folded = coefficients * scale[:, None]
    folded[0] -= coefficients[6] * (K2 / (2 * math.sqrt(3)))
    return folded


def ambient_light(color: ArrayLike = (1.0, 1.0, 1.0)) -> Float64:
    """(9, 3) light that shades every normal with `color`, (3,) or one number."""
    out = np.zeros((9, 3))
    out[0] = np.broadcast_to(np.asarray(color, dtype=float), (3,)) / K0
    return out


def directional_light(
    direction: ArrayLike, color: ArrayLike = (1.0, 1.0, 1.0), ambient: ArrayLike = (0.0, 0.0, 0.0)
) -> Float64:
    """Nine harmonics nearest to `ambient + color * max(0, n . direction)`.

    Worked number: a normal that faces the light is shaded 1.0625 color, one at right angles 0.09375 color,
    one that faces away 0.0625 color.

    Args:
        direction: (3,) from the face to the light, camera space, any length.
        color: (3,) or one number.
        ambient: (3,) or one number.

    Returns:
        (9, 3) light.

    Raises:
        ValueError: The direction has no finite, positive length.
    """
    d = np.asarray(direction, dtype=float).reshape(3)
    length = float(np.linalg.norm(d))
    if not (length > 0 and math.isfinite(length)):
        raise ValueError("a light needs a direction of positive, finite length")
    basis = sh_basis(d / length)
    gain = np.array([_CLAMPED_COSINE[band] / BAND_NORM[band] ** 2 for band in BAND])
    return (gain * basis)[:, None] * np.broadcast_to(np.asarray(color, dtype=float), (3,)) + ambient_light(
        ambient
    )


def rotate_light(light: ArrayLike, rotation: ArrayLike) -> Float:
    """The light after turning the whole scene: `shade(R n, rotate_light(light, R)) == shade(n, light)`.

    This is exact, since each band of harmonics is closed under rotation.

    Args:
        light: (9, 3).
        rotation: (3, 3) R.

    Returns:
        (9, 3), float32 if the light is, else float64.
    """
    given = np.asarray(light)
    coefficients = _light(light)
    points, inverse = _samples()
    turned = inverse @ (sh_basis(points @ np.asarray(rotation, dtype=float).reshape(3, 3)) @ coefficients)
    return turned.astype(np.float32) if given.dtype == np.float32 else turned


@cache
def _samples() -> tuple[Float64, Float64]:
    """(64, 3) directions and the pseudo-inverse (9, 64) of the basis on them."""
    points = sphere_points(64)
    return points, np.linalg.pinv(sh_basis(points)).astype(np.float64)


def _light(light: ArrayLike) -> Float64:
    out = np.asarray(light, dtype=np.float64)
    if out.shape != (9, 3):
        raise ValueError(f"light has shape {out.shape}, expected (9, 3)")
    return out
