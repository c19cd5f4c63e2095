"""The expected distance of the camera: none known, a focal length, an absurd one."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.inverse.distance_prior import DistancePrior


def test_a_focal_length_gives_the_distance():
    """2 px/mm with a focal length of 1000 px: 500 mm away."""
    expected, precision = DistancePrior().of(2.0, 1000.0)
    assert expected == pytest.approx(2.0)
    assert 1 / np.sqrt(precision) == pytest.approx(0.1)


@pytest.mark.parametrize("focal", [None, 0.0, -5.0, np.nan, np.inf, 50.0])
def test_without_one_or_with_an_absurd_one_the_camera_is_far(focal):
    assert DistancePrior(0.5).of(2.0, focal) == (0.0, 4.0)


def test_far_cameras_stay_far():
    expected, precision = DistancePrior().of(2.0, 1e6)
    assert expected == pytest.approx(0.002)
    assert np.isfinite(precision)


@pytest.mark.parametrize("focal", [None, 800.0, 1e-3, float("inf")])
def test_without_a_deviation_the_distance_stays_infinite(focal):
    expected, precision = DistancePrior(0.0).of(1.2, focal)
    assert expected == 0
    assert np.isfinite(precision)
