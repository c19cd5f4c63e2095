"""Boxes around points."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.boxes import bounds, overlap


def test_bounds_are_the_extremes_of_each_column():
    points = np.array([[1.0, -2.0, 5.0], [0.5, 7.0, 5.0]], np.float32)
    low, high = bounds(points)
    np.testing.assert_array_equal(low, [0.5, -2.0, 5.0])
    np.testing.assert_array_equal(high, [1.0, 7.0, 5.0])
    assert low.dtype == high.dtype == np.float32


def test_bounds_need_a_point():
    with pytest.raises(ValueError, match="zero-size"):
        bounds(np.zeros((0, 2)))


def test_overlap_is_intersection_over_union():
    box = np.array([0.0, 0.0, 4.0, 2.0])
    others = np.array([[0, 0, 4, 2], [2, 0, 6, 2], [4, 0, 8, 2], [5, 5, 6, 6], [1, 0, 3, 2]], float)
    np.testing.assert_allclose(overlap(others, box), [1, 1 / 3, 0, 0, 0.5])
    assert overlap(box, others[1]) == overlap(others[1], box)
    assert overlap(np.zeros(4), np.zeros(4)) == 0
