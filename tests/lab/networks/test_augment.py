"""Laws of augmentation."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("torch")

from facerelief.lab.networks.augment import FINE_AUGMENT, AugmentConfig, _line, augment, occlude

SHARES = ("color", "saturation", "grey", "occluder", "blur", "motion", "coarse", "noise", "jpeg")
ALWAYS = AugmentConfig(**dict.fromkeys(SHARES, 1.0))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_images_keep_their_form_and_the_generator_decides_alone(image, seed):
    before = image.copy()
    other = image[::-1].copy()
    one, two = (augment(image, np.random.default_rng(seed), ALWAYS, lambda: other) for _ in range(2))
    assert one.shape == image.shape
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, before)
    assert (one != image).any()


@pytest.mark.parametrize("name", SHARES)
def test_every_kind_changes_images_and_none_changes_nothing(image, name):
    alone = AugmentConfig(**(dict.fromkeys(SHARES, 0.0) | {name: 1.0}))
    assert (augment(image, np.random.default_rng(3), alone) != image).any()
    np.testing.assert_array_equal(
        augment(image, np.random.default_rng(3), AugmentConfig().strength(0.0)), image
    )


def test_grey_images_have_no_colour(image):
    grey = AugmentConfig(**(dict.fromkeys(SHARES, 0.0) | {"grey": 1.0}))
    changed = augment(image, np.random.default_rng(0), grey)
    assert int(np.ptp(changed, axis=2).max()) == 0


def test_occluders_cover_a_part(image):
    for seed in range(10):
        changed = (occlude(image, np.random.default_rng(seed)) != image).any(axis=2).mean()
        assert 0 < changed < 0.75


def test_smears_keep_brightness():
    for seed in range(20):
        assert float(_line(np.random.default_rng(seed), 9.0).sum()) == pytest.approx(1.0, abs=1e-5)


def test_what_would_hide_wrinkles_is_left_out():
    assert FINE_AUGMENT.occluder == FINE_AUGMENT.motion == FINE_AUGMENT.coarse == 0.0


def test_strength_multiplies_shares_alone():
    half = AugmentConfig().strength(0.5)
    for field in fields(AugmentConfig):
        factor = 0.5 if field.name in SHARES else 1.0
        assert getattr(half, field.name) == factor * getattr(AugmentConfig(), field.name)
