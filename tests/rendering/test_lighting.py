"""Spherical-harmonic light: shading, turning the scene, ambient and directional light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerelief.geometry.alignment import rotation_from_vector
from facerelief.rendering.lighting import ambient_light, directional_light, rotate_light, shade
from facerelief.rendering.spherical_harmonics import sh_basis

SEEDS = st.integers(0, 2**32 - 1)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    n = rng.normal(size=(*shape, 3))
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


@given(SEEDS)
def test_shade_is_basis_times_light(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, light = unit(rng, 5, 7), rng.normal(size=(9, 3))
    np.testing.assert_allclose(shade(n, light), sh_basis(n) @ light, atol=1e-10)
    single = shade(n.astype(np.float32), light.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, sh_basis(n) @ light, atol=3e-5)


@given(SEEDS)
def test_turning_the_scene_keeps_the_shading(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, light = unit(rng, 30), rng.normal(size=(9, 3))
    rotation = rotation_from_vector(rng.normal(0, 2, 3))
    turned = rotate_light(light, rotation)
    np.testing.assert_allclose(shade(n @ rotation.T, turned), shade(n, light), atol=1e-9)
    np.testing.assert_allclose(rotate_light(turned, rotation.T), light, atol=1e-9)
    np.testing.assert_allclose(turned[0], light[0], atol=1e-12)
    assert rotate_light(light.astype(np.float32), rotation).dtype == np.float32


def test_ambient_light_is_the_same_from_everywhere() -> None:
    n = unit(np.random.default_rng(1), 10)
    np.testing.assert_allclose(shade(n, ambient_light((0.2, 0.5, 1.0))), np.tile([0.2, 0.5, 1.0], (10, 1)))
    np.testing.assert_allclose(shade(n, ambient_light(0.7)), np.full((10, 3), 0.7))


class TestDirectionalLight:
    def test_known_answers(self) -> None:
        light = directional_light((0, 0, 5.0), color=(1.0, 0.5, 0.0), ambient=0.1)
        np.testing.assert_allclose(shade([[0.0, 0, 1]], light), [[1.1625, 0.63125, 0.1]], atol=1e-12)
        np.testing.assert_allclose(shade([[0.0, 0, -1]], light), [[0.1625, 0.13125, 0.1]], atol=1e-12)
        side = shade([[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0]], light)
        np.testing.assert_allclose(side, np.tile([0.19375, 0.146875, 0.1], (3, 1)), atol=1e-12)

    @given(SEEDS)
    def test_close_to_the_clamped_cosine(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        d, n = unit(rng), unit(rng, 200)
        cosine = np.maximum(n @ d, 0.0)
        assert np.abs(shade(n, directional_light(d))[:, 0] - cosine).max() < 0.1

    def test_nearest_of_all_lights(self) -> None:
        d = np.array([0.6, 0.0, 0.8])
        fine = unit(np.random.default_rng(0), 200_000)
        target = np.maximum(fine @ d, 0)
        h = sh_basis(fine)
        fitted = np.linalg.solve(h.T @ h, h.T @ target)
        np.testing.assert_allclose(directional_light(d)[:, 0], fitted, atol=0.01)

    @given(SEEDS)
    def test_turns_with_its_direction(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        d, rotation = unit(rng), rotation_from_vector(rng.normal(size=3))
        turned = rotate_light(directional_light(d, 0.7, 0.2), rotation)
        np.testing.assert_allclose(turned, directional_light(rotation @ d, 0.7, 0.2), atol=1e-10)

    def test_needs_a_direction(self) -> None:
        with pytest.raises(ValueError, match="direction"):
            directional_light((0, 0, 0))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="light"):
        shade(np.zeros((4, 3)), np.zeros((3, 9)))
    with pytest.raises(ValueError, match="normals"):
        shade(np.zeros((4, 2)), np.zeros((9, 3)))
    with pytest.raises(ValueError, match="light"):
        rotate_light(np.zeros(9), np.eye(3))
