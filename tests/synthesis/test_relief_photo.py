"""Relief of a photo in the atlas: its heights, its weights, and the test for glasses."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.synthesis.face_map import face_map
from facerelief.synthesis.relief_photo import MappedRelief, neutral_width


def test_values_at_texel_centres_are_the_stored_ones():
    rng = np.random.default_rng(0)
    height, weight = rng.integers(-900, 900, (6, 8)), rng.integers(0, 256, (6, 8))
    relief = MappedRelief(height.astype(np.int16), weight.astype(np.uint8), 140.0)
    grid = np.stack(np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5), axis=-1).astype(np.float32)
    found, trust = relief.at(grid)
    np.testing.assert_allclose(found, height / 2000, atol=1e-6)
    np.testing.assert_allclose(trust, weight / 255, atol=1e-6)
    assert not np.any(relief.at(grid + np.float32(100)))


def test_flat_skin_maps_to_heights_near_zero(photo):
    flat, waves = photo(wrinkles=0.0).mapped(), photo().mapped()
    sure = (flat.weight > 200) & (waves.weight > 200)
    assert sure.sum() > 3000
    assert np.abs(waves.height[sure]).mean() > 8 * np.abs(flat.height[sure]).mean()


def test_weights_are_zero_off_plain_skin(photo, model):
    known, mapped = face_map(model), photo().mapped()
    assert not mapped.weight[~known.fragments.mask].any()
    assert (mapped.weight[known.front] > 200).mean() > 0.5


def test_dark_hair_over_the_skin_is_not_trusted(photo):
    def fringe(image: np.ndarray) -> None:
        image[40:90] = 0.03

    bare, covered = photo().mapped(), photo(paint=fringe).mapped()
    lost = (bare.weight > 200) & (covered.weight < 30)
    assert lost.sum() > 0.1 * (bare.weight > 200).sum()


def test_a_dark_bar_across_the_bridge_is_a_steep_step(photo):
    def glasses(image: np.ndarray) -> None:
        marks = bare.camera.project(bare.model.landmarks["ibug68"].of(bare.vertices))[:, 1]
        row = int(marks[28])
        image[row - 3 : row + 3] = 0.05

    bare = photo()
    assert bare.bridge_step() < 0.17
    assert photo(paint=glasses).bridge_step() > 0.24


def test_width_scales_with_the_shape(toy_model):
    mean = neutral_width(toy_model, ())
    assert mean == pytest.approx(float(np.ptp(toy_model.mean[toy_model.face_vertices, 0])))
    assert neutral_width(toy_model, (2.0,)) > mean > neutral_width(toy_model, (-2.0,))
