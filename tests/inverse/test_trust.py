"""Laws of the mask of trust: bare skin and wrinkles are trusted, other things are not, without borders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.inverse.relief_config import ReliefConfig
from facerelief.inverse.trust import evidence, skin_trust

SIZE, SCALE = 160, 2.0
MEASURES = ("contrast", "shine", "texture", "step", "spots")
OFF = replace(ReliefConfig(), **dict.fromkeys(MEASURES, float("inf")))


@pytest.fixture
def mask() -> np.ndarray:
    out = np.zeros((SIZE, SIZE), bool)
    out[4:-4, 4:-4] = True
    return out


def skin(seed: int = 0, noise: float = 0.01) -> np.ndarray:
    """(S, S, 3) log ratio of bare skin: noise on a slope that light or albedo may have wrong."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(-0.15, 0.15, SIZE)[:, None, None]
    return (slope + rng.normal(0, noise, (SIZE, SIZE, 3))).astype(np.float32)


def trust(ratio: np.ndarray, mask: np.ndarray, config: ReliefConfig | None = None) -> np.ndarray:
    ones = np.ones(mask.shape, np.float32)
    return skin_trust(ratio.astype(np.float32), ones, mask, SCALE, config or ReliefConfig())


def square(half: int = 14) -> tuple[slice, slice]:
    return (slice(SIZE // 2 - half, SIZE // 2 + half),) * 2


def test_plain_skin_is_trusted(mask):
    assert trust(skin(), mask)[mask].min() > 0.7


def test_wrinkles_are_trusted(mask):
    rows = np.arange(SIZE) / SCALE
    lines = sum(-0.15 * np.exp(-0.5 * ((rows - at) / 0.8) ** 2) for at in (30.0, 38.0, 46.0))
    ratio = skin() + lines[:, None, None]
    assert trust(ratio, mask)[square()].mean() > 0.6


def test_dark_hair_is_not(mask):
    ratio = skin()
    rng = np.random.default_rng(1)
    ratio[square()] -= 0.8 + 0.3 * rng.standard_normal((28, 28, 1)).astype(np.float32)
    found = trust(ratio, mask)
    assert found[square(8)].max() < 0.1
    assert found[mask].mean() > 0.7


@pytest.mark.parametrize(
    ("limit", "spot"),
    [
        ({"contrast": 0.5}, -0.9),
        ({"shine": 0.35}, 0.6),
    ],
)
def test_contrast_has_a_limit_to_each_side(mask, limit, spot):
    ratio = skin()
    ratio[square(6)] += spot
    config = replace(OFF, **limit)
    assert trust(ratio, mask, config)[square(3)].max() < 0.3
    mirrored = skin()
    mirrored[square(6)] -= spot
    assert trust(mirrored, mask, config)[square(3)].min() > 0.8


def test_texture_is_told_by_its_fineness(mask):
    config = replace(OFF, texture=0.06)
    rng = np.random.default_rng(2)
    rough, smooth = skin(), skin()
    rough[square()] += 0.3 * rng.standard_normal((28, 28, 1)).astype(np.float32)
    smooth[square()] += 0.3
    assert trust(rough, mask, config)[square(8)].max() < 0.2
    assert trust(smooth, mask, config)[square(6)].min() > 0.8


def test_a_noisy_photo_is_not_all_hair(mask):
    assert trust(skin(noise=0.2), mask, replace(OFF, texture=0.06))[mask].mean() > 0.7


def test_a_shadows_edge_is_a_step_and_a_fold_is_not(mask):
    config = replace(OFF, step=0.12)
    shadow, fold = skin(), skin()
    shadow[:, SIZE // 2 :] -= 1.0
    fold[:, SIZE // 2 - 1 : SIZE // 2 + 2] -= 0.3
    column = (slice(30, -30), slice(SIZE // 2 - 2, SIZE // 2 + 2))
    assert trust(shadow, mask, config)[column].max() < 0.5
    assert trust(fold, mask, config)[column].min() > 0.8


def test_no_border_is_sharp(mask):
    ratio = skin()
    ratio[square()] -= 1.0
    found = trust(ratio, mask)
    inner = (slice(8, -8), slice(8, -8))
    assert max(np.abs(np.diff(found[inner], axis=axis)).max() for axis in (0, 1)) < 0.4


def test_it_lies_within_the_prior_and_the_mask(mask):
    rng = np.random.default_rng(3)
    prior = rng.random(mask.shape).astype(np.float32)
    found = skin_trust(skin(), prior, mask, SCALE, ReliefConfig())
    assert (found >= 0).all()
    assert (found <= prior + 1e-6).all()
    assert not found[~mask].any()


def test_all_measures_off_leave_the_prior(mask):
    np.testing.assert_allclose(trust(skin(), mask, OFF)[mask], 1, atol=1e-3)


def test_an_empty_mask_is_trusted_nowhere():
    assert not trust(skin(), np.zeros((SIZE, SIZE), bool)).any()


class TestSpots:
    CONFIG = replace(OFF, spots=0.08)

    def drawn(self, kind: str, height: float) -> np.ndarray:
        x, y = np.meshgrid(*(np.arange(SIZE) - SIZE / 2,) * 2)
        across = x * x + (y * y if kind == "spot" else 0)
        return skin() + (height * np.exp(-0.5 * across / 2.0**2))[..., None]

    def test_moles_and_shine_are_not_trusted(self, mask):
        for height in (-0.7, 0.7):
            found = trust(self.drawn("spot", height), mask, self.CONFIG)
            assert found[square(2)].max() < 0.3
            assert found[mask].mean() > 0.9

    def test_a_wrinkle_of_the_same_contrast_is(self, mask):
        assert trust(self.drawn("line", -0.7), mask, self.CONFIG)[40:-40, 20:-20].min() > 0.7


class TestEvidence:
    def log_shading(self, lines: float) -> np.ndarray:
        """(S, S) texture that runs in no direction, and three lines."""
        rng = np.random.default_rng(5)
        rows = np.arange(SIZE) / SCALE
        drawn = sum(np.exp(-0.5 * ((rows - at) / 0.8) ** 2) for at in (30.0, 38.0, 46.0))
        return (0.02 * rng.standard_normal((SIZE, SIZE)) - lines * drawn[:, None]).astype(np.float32)

    def test_lines_count_more_than_texture(self, mask):
        weight = evidence(self.log_shading(0.15), mask, SCALE, replace(OFF, lines=0.3))
        assert weight[58:94, 20:-20].mean() > 0.9
        assert weight[120:150, 20:-20].mean() < 0.5

    def test_contrast_of_the_photo_does_not_matter(self, mask):
        config = replace(OFF, lines=0.3)
        first, second = (evidence(k * self.log_shading(0.15), mask, SCALE, config) for k in (1, 3))
        np.testing.assert_allclose(first, second, atol=1e-3)

    def test_zero_switches_it_off(self, mask):
        assert (evidence(self.log_shading(0.1), mask, SCALE, replace(OFF, lines=0.0)) == 1).all()

    def test_an_even_or_empty_face_is_finite(self, mask):
        even = np.zeros((SIZE, SIZE), np.float32)
        for some in (mask, np.zeros_like(mask)):
            found = evidence(even, some, SCALE, ReliefConfig())
            assert np.isfinite(found).all()
