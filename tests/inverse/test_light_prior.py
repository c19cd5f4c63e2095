"""The prior of light: laws of its mean and inverse covariance."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.inverse.light_prior import LightPrior
from facerelief.rendering.lighting import shade

PRIOR = LightPrior()


def cost(light) -> float:
    """Squared distance (9, 3) from the usual light, in standard deviations."""
    away = np.asarray(light).T.reshape(-1)
    return float(away @ PRIOR.precision() @ away)


def grey(band_coefficient: int, size: float):
    light = np.zeros((9, 3))
    light[band_coefficient] = size
    return light


def test_one_deviation_of_direction_costs_one() -> None:
    """Of coefficients that leave the face's brightness as it is."""
    assert cost(grey(7, PRIOR.direction)) == pytest.approx(1)
    assert cost(grey(4, 2 * PRIOR.direction)) == pytest.approx(4)


def test_brightness_costs_by_what_the_face_gets() -> None:
    """Even light and light from the front brighten alike; one from below instead of above changes nothing."""
    rng = np.random.default_rng(2)
    z = np.sqrt(rng.random(200_000))  # normals by projected area
    angle = rng.uniform(0, 2 * np.pi, len(z))
    normals = np.column_stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z])
    for k in range(9):
        light = grey(k, 0.1)
        brighter = shade(normals, light)[:, 0].mean()
        expected = (brighter / PRIOR.level) ** 2 + (0.1 / PRIOR.direction) ** 2
        assert cost(light) == pytest.approx(expected, rel=0.02)


def test_colour_costs_more_than_brightness() -> None:
    red = np.zeros((9, 3))
    red[0, 0] = 0.1
    assert cost(red) > 1.5 * cost(grey(0, 0.1) / np.sqrt(3))


def test_no_channel_is_favoured() -> None:
    rng = np.random.default_rng(0)
    light = rng.normal(0, 0.1, (9, 3))
    for order in ((1, 2, 0), (2, 1, 0)):
        assert cost(light[:, order]) == pytest.approx(cost(light))


def test_mirrored_light_costs_the_same() -> None:
    rng = np.random.default_rng(1)
    prior_mean = PRIOR.mean().reshape(3, 9)
    light = rng.normal(0, 0.1, (9, 3))
    odd_in_x = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1.0])[:, None]
    assert cost(light * odd_in_x) == pytest.approx(cost(light))
    assert np.allclose(prior_mean * odd_in_x.T, prior_mean)


def test_precision_is_positive_definite() -> None:
    precision = PRIOR.precision()
    assert np.allclose(precision, precision.T)
    assert np.linalg.eigvalsh(precision).min() > 0
