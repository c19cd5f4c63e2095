"""Laws of the shading cues."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.depth import normals_from_depth
from facerelief.inference.shading_cues import GAIN, face_light, shading_cues
from facerelief.rendering.lighting import directional_light, shade

S, SCALE = 128, 0.8
LIGHTS = {"front": (0.2, 0.3, 1.0), "left": (-0.8, 0.2, 0.7), "above": (0.1, 0.9, 0.5)}


def surface() -> tuple[np.ndarray, np.ndarray]:
    """Depth (S, S) mm of an egg, and the part of it that is not steep."""
    y, x = np.mgrid[:S, :S] + 0.5
    x, y = (x - S / 2) / SCALE, (S / 2 - y) / SCALE
    inside = 1 - (x / 70) ** 2 - (y / 90) ** 2
    depth = 60 * np.sqrt(np.maximum(inside, 0.04))
    return depth.astype(np.float32), inside > 0.25


def brightness(depth: np.ndarray, light: np.ndarray, skin: float = 0.6) -> np.ndarray:
    return (skin * shade(np.nan_to_num(normals_from_depth(depth, SCALE)), light)[..., 0]).astype(np.float32)


def as_image(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(np.round(255 * grey), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(params=LIGHTS)
def light(request) -> np.ndarray:
    return directional_light(LIGHTS[request.param], 0.6, 0.5)


def test_a_smooth_surface_is_explained_by_its_light(light):
    depth, mask = surface()
    grey = brightness(depth, light)
    found = face_light(grey, depth, mask, SCALE)
    shaded = shade(np.nan_to_num(normals_from_depth(depth, SCALE)), np.repeat(found[:, None], 3, axis=1))[
        ..., 0
    ]
    assert np.abs(shaded - grey)[mask].max() < 0.04
    cues = shading_cues(as_image(grey), depth, mask, SCALE)
    assert np.abs(cues[0]).mean() / GAIN < 0.02


def test_small_relief_changes_brightness_by_the_derivatives(light):
    """log(after / before) = a p + b q to first order, with the light that was found."""
    depth, mask = surface()
    y, x = np.mgrid[:S, :S] / SCALE
    relief = (0.05 * np.sin(x / 3) * np.cos(y / 4)).astype(np.float32)
    before, after = (brightness(z, light) for z in (depth, depth + relief))
    a, b = shading_cues(as_image(before), depth, mask, SCALE)[1:]
    p, q = np.zeros_like(relief), np.zeros_like(relief)
    p[:, 1:-1] = (relief[:, 2:] - relief[:, :-2]) * 0.5 * SCALE
    q[1:-1] = (relief[:-2] - relief[2:]) * 0.5 * SCALE
    deep = mask & (a != 0)
    change = np.log((after + 0.03) / (before + 0.03))[deep]
    predicted = (a * p + b * q)[deep]
    assert np.corrcoef(change, predicted)[0, 1] > 0.97
    assert np.polyfit(predicted, change, 1)[0] == pytest.approx(1, abs=0.15)


def test_a_brighter_image_gives_the_same_cues(light):
    depth, mask = surface()
    grey = brightness(depth, light)
    dim, bright = (shading_cues(as_image(g * grey), depth, mask, SCALE) for g in (0.9, 1.2))
    assert np.abs(dim - bright).mean() < 0.03


def test_a_mirrored_image_gives_mirrored_cues(light):
    depth, mask = surface()
    rng = np.random.default_rng(0)
    image = as_image(brightness(depth, light) + rng.normal(0, 0.02, depth.shape).astype(np.float32))
    cues = shading_cues(image, depth, mask, SCALE)
    other = shading_cues(image[:, ::-1], depth[:, ::-1], mask[:, ::-1], SCALE)[:, :, ::-1]
    # every fourth pixel decides on the light, and these are others
    assert np.abs(cues * np.array([1, -1, 1])[:, None, None] - other).mean() < 0.02


def test_off_the_mask_there_is_nothing(light):
    depth, mask = surface()
    cues = shading_cues(as_image(brightness(depth, light)), depth, mask, SCALE)
    assert not cues[:, ~mask].any()
    nothing = shading_cues(as_image(brightness(depth, light)), depth, np.zeros_like(mask), SCALE)
    assert not nothing.any()
