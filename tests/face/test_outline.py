"""Laws of the visible outline: on the skin, invariant to the image, under the chin of a raised head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief import open_model
from facerelief.face.outline import JAW, visible_landmarks
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.closest import ClosestPoint

CAMERA = WeakPerspective(0.0, 0.0, 0.0, 100.0, 100.0, 1.0)


@pytest.fixture(scope="module", params=["open", "open2"])
def model(request):
    return open_model(request.param)


def test_all_landmarks_lie_on_the_skin_and_others_stay(model):
    fixed = model.landmarks["ibug68"].of(model.mean)
    found = visible_landmarks(model, model.mean, CAMERA)
    others = [k for k in range(68) if k not in JAW]
    np.testing.assert_allclose(found[others], fixed[others], atol=1e-4)
    hit = ClosestPoint(model.mean, model.triangles).query(found[list(JAW)].astype(np.float64))
    assert hit.distance.max() < 0.5


def test_size_and_place_in_the_image_do_not_matter(model):
    first = visible_landmarks(model, model.mean, CAMERA)
    moved = replace(CAMERA, translation_u=-40.0, translation_v=300.0, scale=3.7)
    np.testing.assert_allclose(visible_landmarks(model, model.mean, moved), first, atol=1e-4)


def test_roll_does_not_matter(model):
    first = visible_landmarks(model, model.mean, CAMERA)
    turned = visible_landmarks(model, model.mean, replace(CAMERA, roll=1.2))
    np.testing.assert_allclose(turned, first, atol=0.6)


def test_a_symmetric_head_seen_from_the_front_has_a_symmetric_jaw(model):
    found = visible_landmarks(model, model.mean, CAMERA)[list(JAW)]
    np.testing.assert_allclose(found[::-1] * [-1, 1, 1], found, atol=1.0)


def test_the_outline_moves_under_the_chin_when_the_head_is_raised(model):
    # pitch > 0 lowers the head
    raised, lowered = (
        visible_landmarks(model, model.mean, replace(CAMERA, pitch=pitch))[8] for pitch in (-0.4, 0.4)
    )
    assert raised[2] < lowered[2] - 1.0


@pytest.mark.parametrize("pitch", [-0.5, -0.3, 0.0, 0.3])
def test_the_jaw_has_no_kinks(model, pitch):
    line = CAMERA.project(visible_landmarks(model, model.mean, replace(CAMERA, pitch=pitch)))[3:14, :2]
    way = np.diff(line, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    assert (way[1:] * way[:-1]).sum(axis=1).min() > np.cos(np.radians(75))
