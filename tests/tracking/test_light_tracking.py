"""The light of a rendered head is measured, and a change of its skin is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.photometric_term import Appearance
from facerelief.rendering import ambient_light, directional_light, shade
from facerelief.rendering.render import shade_mesh
from facerelief.tracking.light_tracking import LightTracker

LIGHT = directional_light((-0.5, 0.4, 0.8), color=0.5, ambient=0.4).astype(np.float32)


@pytest.fixture
def albedo(toy_model):
    return np.zeros(toy_model.n_albedo, np.float32)


@pytest.fixture
def tracker(toy_model, albedo):
    made = LightTracker(toy_model, ncc_drop=0.25)
    made.start(Appearance(albedo, ambient_light(0.7).astype(np.float32)))
    return made


@pytest.fixture(scope="module")
def image(toy_model, toy_camera):
    mesh = Mesh(toy_model.mean, toy_model.triangles, toy_model.skin(np.zeros(toy_model.n_albedo)))
    return shade_mesh(mesh, toy_camera, 160, 120, light=LIGHT)[0]


def test_the_light_of_a_rendered_head_is_found(tracker, toy_model, toy_camera, image, albedo):
    for _ in range(10):
        light, _ = tracker.measure(image, toy_model.mean, toy_camera)
    normals = vertex_normals(toy_camera.to_camera(toy_model.mean), toy_model.triangles)
    front = normals[toy_model.face_vertices & (normals[:, 2] > 0.5)]
    np.testing.assert_allclose(shade(front, light), shade(front, LIGHT), atol=0.06)
    np.testing.assert_array_equal(tracker.appearance.light, light)
    np.testing.assert_array_equal(tracker.appearance.albedo, albedo)


def test_a_new_light_moves_from_the_last_one(tracker, toy_model, toy_camera, image):
    """The first frame comes most of the way, the following ones the rest."""
    before = tracker.appearance.light
    steps = [tracker.measure(image, toy_model.mean, toy_camera)[0] for _ in range(4)]
    moves = np.abs(np.diff([before, *steps], axis=0)).sum(axis=(1, 2))
    assert (np.diff(moves) < 0).all()
    assert moves[0] > 3 * moves[1]


def test_unchanged_skin_looks_the_same_however_bright(tracker, toy_model, toy_camera, image):
    assert [tracker.measure(x, toy_model.mean, toy_camera)[1] for x in (image, image, image // 2)] == [
        True
    ] * 3
    assert tracker.likeness > 0.99


def test_another_pattern_on_the_skin_is_a_change_until_the_reference_is_forgotten(
    tracker, toy_model, toy_camera, image
):
    tracker.measure(image, toy_model.mean, toy_camera)
    for expected in (False, False):
        assert tracker.measure(255 - image, toy_model.mean, toy_camera)[1] is expected
    assert tracker.measure(image, toy_model.mean, toy_camera)[1]
    tracker.forget_reference()
    assert tracker.measure(255 - image, toy_model.mean, toy_camera)[1]


def test_a_face_out_of_the_image_keeps_its_light_and_counts_as_changed(tracker, toy_model, toy_camera, image):
    away = replace(toy_camera, translation_u=1000.0)
    before = tracker.appearance.light
    light, same = tracker.measure(image, toy_model.mean, away)
    np.testing.assert_array_equal(light, before)
    assert not same
