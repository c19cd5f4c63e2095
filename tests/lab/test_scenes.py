"""Random lights and backgrounds depend on their generator alone and stay within their ranges."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.scenes import (
    LightRanges,
    photo_background,
    random_light,
    skin_noise,
    smooth_background,
)
from facerelief.rendering.lighting import shade


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("strength_first", [False, True])
def test_lights_are_brighter_from_the_key_light_s_side_and_above(strength_first):
    ranges = LightRanges((0.5, 0.5), (0.3, 0.3), fill=0.0, sideways=0.0, strength_first=strength_first)
    for seed in range(20):
        light = random_light(rng(seed), ranges)
        assert light.shape == (9, 3)
        np.testing.assert_array_equal(light, random_light(rng(seed), ranges))
        above, below = shade(np.array([[0, 1, 0], [0, -1, 0]]), light).mean(axis=1)
        assert above >= below


def test_noise_has_unit_deviation_and_no_mean():
    points = rng().uniform(-90, 90, (20000, 3)).astype(np.float32)
    noise = skin_noise(points, rng(1))
    assert abs(noise.mean()) < 0.1
    assert 0.9 < noise.std() < 1.1


def test_photo_backgrounds_show_the_photo():
    photo = np.zeros((80, 120, 3), np.uint8) + np.arange(120, dtype=np.uint8)[:, None]
    found = [photo_background(photo, 40, rng(seed)) for seed in range(20)]
    assert {image.shape for image in found} == {(40, 40, 3)}
    steps = [np.sign(image[0, -1, 0].astype(int) - image[0, 0, 0]) for image in found]
    assert set(steps) == {-1, 1}  # mirrored or not


def test_smooth_backgrounds_keep_one_color():
    image = smooth_background(np.full((5, 5, 3), [0.2, 0.4, 0.6]), 32)
    np.testing.assert_allclose(image / 255, np.broadcast_to([0.2, 0.4, 0.6], image.shape), atol=1 / 255)
