"""Spherical harmonics: the constants, orthogonality over the sphere, derivatives, precision."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facerelief.rendering.spherical_harmonics import sh_basis, sh_basis_jacobian

SEEDS = st.integers(0, 2**32 - 1)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    n = rng.normal(size=(*shape, 3))
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def sphere_quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that integrate polynomials of degree 15 over the sphere exactly."""
    z, weight = np.polynomial.legendre.leggauss(8)
    phi = np.arange(16) * np.pi / 8
    r = np.sqrt(1 - z**2)
    points = np.stack([np.outer(r, np.cos(phi)), np.outer(r, np.sin(phi)), np.outer(z, np.ones(16))], -1)
    return points.reshape(-1, 3), np.repeat(weight, 16) * np.pi / 8


def test_the_written_formula() -> None:
    a0, a1, a2 = np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)
    c0, c1, c2 = 1 / np.sqrt(4 * np.pi), np.sqrt(3) / np.sqrt(4 * np.pi), 3 * np.sqrt(5) / np.sqrt(12 * np.pi)
    n = unit(np.random.default_rng(0), 20)
    nx, ny, nz = n.T
    expected = np.stack(
        [
            np.full(20, a0 * c0),
            -a1 * c1 * ny,
            a1 * c1 * nz,
            -a1 * c1 * nx,
            a2 * c2 * nx * ny,
            -a2 * c2 * ny * nz,
            a2 * c2 / (2 * np.sqrt(3)) * (3 * nz**2 - 1),
            -a2 * c2 * nx * nz,
            a2 * c2 / 2 * (nx**2 - ny**2),
        ],
        axis=1,
    )
    np.testing.assert_allclose(sh_basis(n), expected, atol=1e-12)


def test_orthogonal_over_the_sphere() -> None:
    points, weights = sphere_quadrature()
    h = sh_basis(points)
    scale = np.array([np.pi] + [2 * np.pi / np.sqrt(3)] * 3 + [2 * np.pi / np.sqrt(8)] * 5)
    np.testing.assert_allclose((h * weights[:, None]).T @ h, np.diag(scale**2), atol=1e-10)


@given(SEEDS)
def test_jacobian_is_the_derivative(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = rng.normal(size=(4, 3))
    jacobian = sh_basis_jacobian(n)
    assert jacobian.shape == (4, 9, 3)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-5
        numeric = (sh_basis(n + step) - sh_basis(n - step)) / 2e-5
        np.testing.assert_allclose(jacobian[..., k], numeric, atol=1e-7)


def test_precision_follows_the_normals() -> None:
    n = unit(np.random.default_rng(2), 3)
    assert sh_basis(n.astype(np.float32)).dtype == np.float32
    assert sh_basis_jacobian(n.astype(np.float32)).dtype == np.float32
    assert sh_basis([[0, 0, 1]]).dtype == np.float64
