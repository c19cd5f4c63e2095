"""Confounders: random but seeded, within their ranges, and honest about what they hide."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.datasets.wrinkle_lines import anatomy
from facerelief.lab.datasets.wrinkle_marks import cast_shadow, noise, photographed, skin_marks, strands
from facerelief.morphable import open_model

PLACE = anatomy(open_model())


def test_noise_is_smooth_and_of_unit_deviation():
    for sigma in (1.2, 6.0, 25.0):
        found = np.stack([noise((240, 200), sigma, np.random.default_rng(k)) for k in range(6)])
        assert found.shape == (6, 240, 200)
        assert found.std() == pytest.approx(1, abs=0.25)
        assert np.abs(np.diff(found, axis=1)).mean() < 1.2 / sigma


def test_marks_repeat_with_the_seed_and_darken_more_than_they_brighten():
    one, same = (skin_marks(PLACE, 0.7, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one.log_rgb, same.log_rgb)
    assert np.array_equal(one.cover, same.cover)
    for seed in range(6):
        found = skin_marks(PLACE, 0.7, np.random.default_rng(seed), 3.0)
        assert -1.6 <= found.log_rgb.min() < -0.2
        assert found.log_rgb.max() <= 0.3
        assert 0 <= found.cover.min() <= found.cover.max() <= 1
        dark = found.log_rgb.mean(axis=2) < -0.5
        assert np.count_nonzero(found.cover[dark] > 0) >= 0.8 * np.count_nonzero(dark)


def test_a_shadow_darkens_and_has_an_edge():
    factor, edge = cast_shadow(96, np.random.default_rng(1))
    assert factor.min() > 0.3
    assert factor.max() <= 1.0
    assert 0 <= edge.min() <= edge.max() <= 1.01


def test_strands_change_the_image_only_where_they_say_so():
    image = np.full((96, 96, 3), 200, np.uint8)
    out, where = strands(image, np.random.default_rng(2))
    changed = np.abs(out.astype(int) - image).max(axis=2) > 3
    assert changed.any()
    assert (where[changed] > 0).all()


def test_a_camera_keeps_the_image_nearly():
    image = np.random.default_rng(0).integers(90, 150, (64, 64, 3), dtype=np.uint8)
    for seed in range(8):
        out = photographed(image, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == image.shape
        assert abs(float(out.mean()) - float(image.mean())) < 2
