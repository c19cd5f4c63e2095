"""Laws of consistency: own relief is found again, what all share does not count, nor does pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.lab.evaluation.photos.relief_consistency import (
    AtlasRelief,
    atlas_relief,
    relief_consistency,
)
from facerelief.rendering.rasterizer import interpolate, rasterize

SHAPE, SUBJECTS = (60, 80), 12


def maps(
    own: float, shared: float, noise: float, seed: int = 0
) -> tuple[list[AtlasRelief], list[AtlasRelief]]:
    """Two maps of each subject: its own relief, one that all share, and noise, each of these strengths."""
    rng = np.random.default_rng(seed)
    common = shared * rng.standard_normal(SHAPE)
    subjects = [own * rng.standard_normal(SHAPE) for _ in range(SUBJECTS)]
    known = np.ones(SHAPE, bool)

    def photo(subject: np.ndarray) -> AtlasRelief:
        height = subject + common + noise * rng.standard_normal(SHAPE)
        return AtlasRelief(height.astype(np.float32), known)

    return [photo(s) for s in subjects], [photo(s) for s in subjects]


def test_own_relief_with_as_much_noise_correlates_by_half():
    found = relief_consistency(*maps(1, 0, 1))
    assert found is not None
    assert found.subjects == SUBJECTS
    assert found.same == pytest.approx(0.5, abs=0.1)
    assert abs(found.other) < 0.1
    assert found.nearest == 1


def test_noise_alone_is_nobodys():
    found = relief_consistency(*maps(0, 0, 1))
    assert found is not None
    assert abs(found.same) < 0.1
    assert found.nearest < 0.5


def test_what_all_share_is_taken_away():
    found = relief_consistency(*maps(0, 1, 1))
    assert found is not None
    assert found.raw_same == pytest.approx(0.5, abs=0.1)
    assert found.raw_other == pytest.approx(0.5, abs=0.1)
    assert abs(found.same) < 0.15
    assert abs(found.other) < 0.15


def test_texels_that_one_photo_hides_do_not_count():
    first, second = maps(1, 0, 0.1)
    hidden = np.ones(SHAPE, bool)
    hidden[:, :30] = False
    wrong = np.where(hidden, first[0].height, 50).astype(np.float32)
    first[0] = replace(first[0], height=np.where(hidden, wrong, 0).astype(np.float32), known=hidden)
    found = relief_consistency(first, second)
    assert found is not None
    assert found.same > 0.9


def test_too_little_shared_skin_is_left_out():
    first, second = maps(1, 0, 0.1)
    few = np.zeros(SHAPE, bool)
    few[:5] = True
    first[0] = replace(first[0], known=few)
    found = relief_consistency(first, second)
    assert found is not None
    assert np.isfinite(found.same)


def test_one_pair_says_nothing_and_lists_must_match():
    first, second = maps(1, 0, 1)
    assert relief_consistency(first[:1], second[:1]) is None
    with pytest.raises(ValueError, match="second photos"):
        relief_consistency(first, second[:-1])


def test_relief_of_the_surface_lies_at_one_place_in_the_atlas_in_any_pose(toy_model):
    vertices = toy_model.mean
    height = (0.3 * np.sin(vertices[:, 0] / 2) * np.cos(vertices[:, 1] / 2)).astype(np.float32)
    found = []
    for yaw, scale in ((0.0, 3.0), (0.25, 2.5)):
        camera = WeakPerspective(
            pitch=0.0, yaw=yaw, roll=0.0, translation_u=240, translation_v=300, scale=scale
        )
        fragments = rasterize(camera.project(vertices), toy_model.triangles, 600, 480, cull_backfaces=True)
        relief = interpolate(fragments, toy_model.triangles, height)
        coarse, fine = (DepthPatch(fragments.depth + x, 0, 0) for x in (0, relief))
        found.append(atlas_relief(toy_model, vertices, camera, coarse, fine))
    both = found[0].known & found[1].known
    assert both.sum() > 2000
    assert np.corrcoef(found[0].height[both], found[1].height[both])[0, 1] > 0.9
    assert not found[0].height[~found[0].known].any()
