"""The prior of light: laws of its mean and inverse covariance."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.inverse.light_prior import LightPrior

PRIOR = LightPrior()


def cost(light) -> float:
    """Squared distance (9, 3) from the usual light, in standard deviations."""
    away = np.asarray(light).T.reshape(-1)
    return float(away @ PRIOR.precision() @ away)


def grey(band_coefficient: int, size: float):
    light = np.zeros((9, 3))
    light[band_coefficient] = size
    return light


def test_one_deviation_of_brightness_costs_one() -> None:
    assert cost(grey(0, PRIOR.level)) == pytest.approx(1)
    assert cost(grey(2, PRIOR.direction)) == pytest.approx(1)
    assert cost(grey(7, 2 * PRIOR.direction)) == pytest.approx(4)


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
    light = rng.normal(0, 0.1, (9, 3))
    odd_in_x = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1.0])[:, None]
    assert cost(light * odd_in_x) == pytest.approx(cost(light))
    mean = PRIOR.mean().reshape(3, 9)
    assert np.allclose(mean * odd_in_x.T, mean)


def test_precision_is_positive_definite() -> None:
    precision = PRIOR.precision()
    assert np.allclose(precision, precision.T)
    assert np.linalg.eigvalsh(precision).min() > 0
