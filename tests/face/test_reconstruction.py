"""A reconstruction derives its shapes and landmarks from its coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.inverse.detail import photo_albedo


def test_shapes_are_the_models(toy_reconstruction):
    r = toy_reconstruction
    np.testing.assert_array_equal(r.vertices, r.model.shape(r.identity, r.expression))
    np.testing.assert_array_equal(r.neutral, replace(r, expression=0 * r.expression).vertices)
    assert not np.array_equal(r.neutral, r.vertices)


def test_landmarks_lie_on_the_shape_and_in_the_image(toy_reconstruction):
    r = toy_reconstruction
    assert r.landmarks68_mm.shape == (68, 3)
    distance = np.linalg.norm(r.landmarks68_mm[:, None] - r.vertices, axis=2).min(axis=1)
    assert distance.max() < 1e-4  # the toy's landmarks are vertices
    np.testing.assert_allclose(r.landmarks68_px, r.camera.project(r.landmarks68_mm)[:, :2])


def test_skin_is_the_photos_albedo_where_there_is_relief(toy_reconstruction):
    r = replace(toy_reconstruction, skin=None)
    found = r.with_skin()
    expected = photo_albedo(r.model, r.image, r.vertices, r.camera, r.albedo, r.light, r.fine)
    np.testing.assert_array_equal(found.skin.color, expected.color)
    assert found.skin.color.shape[:2] == r.fine.depth.shape


def test_skin_is_neither_replaced_nor_found_without_relief(toy_reconstruction):
    found = toy_reconstruction.with_skin()
    assert found.with_skin() is found
    coarse = replace(toy_reconstruction, fine=None, skin=None)
    assert coarse.with_skin() is coarse
