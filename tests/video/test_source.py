"""Frame rates that no video has are not taken for one."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from facerelief.video.source import NOMINAL_FPS, usual_rate


@pytest.mark.parametrize("rate", [0.01, 1, 23.976, 25, Fraction(30000, 1001), 480])
def test_usual_rates_stay_as_they_are(rate):
    assert usual_rate(rate) == float(rate)


@pytest.mark.parametrize("rate", [None, 0, -25, 0.009, 1000, Fraction(90000), math.inf, math.nan])
def test_other_rates_are_none(rate):
    assert usual_rate(rate) is None


def test_the_nominal_rate_is_a_usual_one():
    assert usual_rate(NOMINAL_FPS) == NOMINAL_FPS
