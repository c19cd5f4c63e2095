"""Real spherical harmonics of the second order, as Lambertian light needs them (Ramamoorthi & Hanrahan 2001).

Convention: normals are unit vectors in camera space (x right, y up, z toward the viewer). With a0 = pi, a1 =
2 pi/sqrt 3, a2 = 2 pi/sqrt 8, c0 = 1/sqrt(4 pi), c1 = sqrt 3/sqrt(4 pi), c2 = 3 sqrt 5/sqrt(12 pi):

    H = [a0 c0, -a1 c1 y, a1 c1 z, -a1 c1 x, a2 c2 x y, -a2 c2 y z, a2 c2/(2 sqrt 3) (3 z^2 - 1), -a2 c2 x z,
         a2 c2/2 (x^2 - y^2)]

Worked number: H[0] = 0.8862 for every normal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.normals import floating
from facerelief.typed import Float, Float64

BAND_NORM = (math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8))
"""Norms a0, a1, a2 of the three bands."""
_C = (
    1 / math.sqrt(4 * math.pi),
    math.sqrt(3) / math.sqrt(4 * math.pi),
    3 * math.sqrt(5) / math.sqrt(12 * math.pi),
)
K0, K1, K2 = (a * c for a, c in zip(BAND_NORM, _C))
"""Constants of the three bands: a0 c0, a1 c1, a2 c2."""
BAND = (0, 1, 1, 1, 2, 2, 2, 2, 2)
"""Band of each of the nine coefficients."""


def sphere_points(count: int) -> Float64:
    """(count, 3) unit vectors spread evenly over the sphere (Fibonacci spiral)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    r = np.sqrt(1 - z * z)
    angle = k * math.pi * (3 - math.sqrt(5))
    return np.column_stack([r * np.cos(angle), r * np.sin(angle), z])


def sh_basis(normals: ArrayLike) -> Float:
    """(..., 9) basis values H of unit normals (..., 3) in camera space, float32 or float64 as these are."""
    n = floating(normals)
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    out = np.empty((*n.shape[:-1], 9), n.dtype)
    out[..., 0] = K0
    out[..., 1] = -K1 * y
    out[..., 2] = K1 * z
    out[..., 3] = -K1 * x
    out[..., 4] = K2 * x * y
    out[..., 5] = -K2 * y * z
    out[..., 6] = K2 / (2 * math.sqrt(3)) * (3 * z * z - 1)
    out[..., 7] = -K2 * x * z
    out[..., 8] = K2 / 2 * (x * x - y * y)
    return out


def sh_basis_jacobian(normals: ArrayLike) -> Float:
    """(..., 9, 3) derivative of `sh_basis` by each component of the normals (..., 3), taken as independent.

    For normals kept at unit length, multiply by the derivative of the normalisation, (I - n n^T)/length.
    """
    n = floating(normals)
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    out = np.zeros((*n.shape[:-1], 9, 3), n.dtype)
    out[..., 1, 1] = -K1
    out[..., 2, 2] = K1
    out[..., 3, 0] = -K1
    out[..., 4, 0] = K2 * y
    out[..., 4, 1] = K2 * x
    out[..., 5, 1] = -K2 * z
    out[..., 5, 2] = -K2 * y
    out[..., 6, 2] = K2 * math.sqrt(3) * z
    out[..., 7, 0] = -K2 * z
    out[..., 7, 2] = -K2 * x
    out[..., 8, 0] = K2 * x
    out[..., 8, 1] = -K2 * y
    return out
