"""Laws of explained shading: a surface explains its own shading under one light, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.photos.shading import band, explained, plain_skin

SIZE = 160


def surface(relief: float, seed: int = 0) -> np.ndarray:
    """(S, S) px: a dome with waves of 8 to 20 px on it."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    depth = 60 - (u**2 + v**2) / 300
    for _ in range(12):
        a, b = rng.normal(size=2)
        length = rng.uniform(8, 20)
        a, b = np.array([a, b]) / np.hypot(a, b) * 2 * np.pi / length
        depth += relief * 0.03 * length * np.sin(a * u + b * v + rng.uniform(0, 7))
    return depth


def photo_of(depth: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8, Lambertian, one light from the upper left."""
    dv, du = np.gradient(depth)
    normal = np.stack([-du, dv, np.ones_like(du)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([-0.4, 0.5, 0.77])
    shade = 0.5 + 0.3 * np.clip(normal @ light, 0, None)
    return np.repeat(np.rint(255 * shade)[..., None], 3, axis=2).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    out = np.zeros((SIZE, SIZE), bool)
    out[10:-10, 10:-10] = True
    return out


class TestExplained:
    def test_a_lambertian_surface_explains_its_image(self, mask):
        depth = surface(1.0)
        assert explained(photo_of(depth), depth, mask) > 0.9

    def test_noise_is_not_explained(self, mask):
        noise = np.random.default_rng(0).integers(60, 200, (SIZE, SIZE, 3)).astype(np.uint8)
        assert 0 <= explained(noise, surface(1.0), mask) < 0.02

    def test_another_surface_explains_little(self, mask):
        assert explained(photo_of(surface(1.0)), surface(1.0, seed=1), mask) < 0.3

    def test_the_true_relief_explains_more_than_the_smooth_surface(self, mask):
        photo = photo_of(surface(1.0))
        assert explained(photo, surface(1.0), mask) > explained(photo, surface(0.0), mask) + 0.5

    def test_brightness_of_the_photo_hardly_matters(self, mask):
        depth = surface(1.0)
        photo = photo_of(depth)
        darker = (0.6 * photo).astype(np.uint8)
        assert explained(darker, depth, mask) == pytest.approx(explained(photo, depth, mask), abs=0.05)

    def test_too_little_skin_has_no_share(self, mask):
        depth = surface(1.0)
        mask[:, 12:] = False
        assert np.isnan(explained(photo_of(depth), depth, mask))


class TestBand:
    def test_constants_vanish_within_any_mask(self):
        mask = np.random.default_rng(0).random((40, 50)) < 0.7
        np.testing.assert_allclose(band(np.full((40, 50), 3.0), mask)[mask], 0, atol=1e-5)

    def test_it_is_linear_and_blind_beyond_the_mask(self, mask):
        rng = np.random.default_rng(1)
        one, two = rng.normal(size=(2, SIZE, SIZE))
        both = band(2 * one - two, mask)
        np.testing.assert_allclose(both[mask], (2 * band(one, mask) - band(two, mask))[mask], atol=1e-5)
        np.testing.assert_array_equal(band(np.where(mask, one, 1e6), mask), band(one, mask))


def test_plain_skin_leaves_out_brows_eyes_and_lips_only():
    rng = np.random.default_rng(0)
    marks = np.full((68, 2), 20.0)
    marks[36:42] = [80, 60] + rng.uniform(-6, 6, (6, 2))
    marks[:17] = [130, 130]
    plain = plain_skin((150, 150), marks)
    assert not plain[60, 80]
    assert not plain[20, 20]
    assert plain[130, 130]
    assert plain[100, 40]
