"""Strengths: 1 changes nothing, 0 is the coarse surface or the mean face, factors are linear."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.facefolder.strengths import with_identity_strength, with_relief_strength


def heights(r):
    return np.nan_to_num(r.fine.depth - r.coarse.depth)


def test_one_is_the_photo_and_zero_is_coarse(toy_reconstruction):
    assert with_relief_strength(toy_reconstruction, 1.0) is toy_reconstruction
    flat = with_relief_strength(toy_reconstruction, 0.0)
    np.testing.assert_allclose(heights(flat), 0, atol=1e-4)
    np.testing.assert_array_equal(np.isnan(flat.fine.depth), np.isnan(toy_reconstruction.fine.depth))


def test_heights_are_linear_in_one_factor_and_in_three(toy_reconstruction):
    own = heights(toy_reconstruction)
    assert np.abs(own).max() > 0.05
    np.testing.assert_allclose(heights(with_relief_strength(toy_reconstruction, 1.7)), 1.7 * own, atol=1e-3)
    np.testing.assert_allclose(
        heights(with_relief_strength(toy_reconstruction, (1.7, 1.7, 1.7))), 1.7 * own, atol=1e-3
    )
    parts = [heights(with_relief_strength(toy_reconstruction, f)) for f in np.eye(3)]
    np.testing.assert_allclose(sum(parts), own, atol=1e-3)
    rough = [np.abs(np.diff(part, axis=0)).sum() / max(np.abs(part).sum(), 1e-9) for part in parts]
    assert rough[0] > rough[2]


def test_identity_strength_moves_along_the_way_from_the_mean(toy_reconstruction):
    r = toy_reconstruction
    double, none = with_identity_strength(r, 2.0), with_identity_strength(r, 0.0)
    away = r.neutral - none.neutral
    np.testing.assert_allclose(double.neutral - none.neutral, 2 * away, atol=1e-3)
    np.testing.assert_array_equal(double.expression, r.expression)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), (1.0, 2.0), ()])
def test_what_is_no_strength_is_refused(toy_reconstruction, strength):
    with pytest.raises(ValueError, match="relief strength"):
        with_relief_strength(toy_reconstruction, strength)
    if isinstance(strength, float):
        with pytest.raises(ValueError, match="identity strength"):
            with_identity_strength(toy_reconstruction, strength)
