"""Registration: a known displacement comes back, and nothing moves where there is nothing to hold to."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.rendering.registration import RegistrationConfig, blurred, displaced, displacement

TEXEL = 0.5


@pytest.fixture(scope="module")
def marks() -> np.ndarray:
    """(160, 200) blotches some 3 mm wide."""
    return blurred(np.random.default_rng(0).normal(size=(160, 200)), 3.0)


@pytest.fixture(scope="module")
def flow() -> np.ndarray:
    """(160, 200, 2) texels: up to 1.4 mm, turning over the map."""
    row, column = np.indices((160, 200))
    return np.stack([2 * np.sin(row / 60), 2 * np.cos(column / 70)], axis=-1).astype(np.float32)


def test_a_smooth_displacement_comes_back(marks, flow):
    one = np.ones_like(marks)
    found = displacement(displaced(marks, flow), marks, one, one, TEXEL)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(found - flow)[inner].mean() * TEXEL < 0.12
    assert np.linalg.norm(flow, axis=2)[inner].mean() * TEXEL > 0.8


def test_light_and_contrast_of_the_maps_do_not_count(marks, flow):
    one = np.ones_like(marks)
    fixed = displaced(marks, flow)
    slope = np.linspace(0, 40 * float(marks.std()), 200)
    found = displacement(fixed, marks, one, one, TEXEL)
    other = displacement(fixed, 3 * marks + slope, one, one, TEXEL)
    assert np.abs(found - other)[20:-20, 20:-20].mean() * TEXEL < 0.05


def test_a_map_lies_on_itself(marks):
    one = np.ones_like(marks)
    np.testing.assert_allclose(displacement(marks, marks, one, one, TEXEL), 0, atol=1e-4)


def test_displacements_are_limited(marks):
    one = np.ones_like(marks)
    far = displaced(marks, np.full((160, 200, 2), 10.0, np.float32))
    found = displacement(far, marks, one, one, TEXEL, RegistrationConfig(most_mm=1.0))
    assert np.linalg.norm(found, axis=2).max() * TEXEL <= 1 + 1e-4


def test_hidden_and_plain_parts_do_not_move(marks, flow):
    one = np.ones_like(marks)
    seen = (np.indices(marks.shape)[1] < 60).astype(np.float32)
    found = displacement(displaced(marks, flow), marks, seen, one, TEXEL)
    assert np.abs(found[:, 150:]).max() < 1e-3
    assert np.abs(displacement(0 * marks, marks, one, one, TEXEL)).max() * TEXEL < 0.02
    assert displacement(0 * marks, 0 * marks, one, one, TEXEL).max() == 0
