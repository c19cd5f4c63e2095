"""Boxes around points."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.boxes import bounds


def test_bounds_are_the_extremes_of_each_column():
    points = np.array([[1.0, -2.0, 5.0], [0.5, 7.0, 5.0]], np.float32)
    low, high = bounds(points)
    np.testing.assert_array_equal(low, [0.5, -2.0, 5.0])
    np.testing.assert_array_equal(high, [1.0, 7.0, 5.0])
    assert low.dtype == high.dtype == np.float32


def test_bounds_need_a_point():
    with pytest.raises(ValueError, match="zero-size"):
        bounds(np.zeros((0, 2)))
