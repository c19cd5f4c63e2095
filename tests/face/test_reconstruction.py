"""A reconstruction derives its shapes and landmarks from its coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.geometry.closest import ClosestPoint


def test_shapes_are_the_models(toy_reconstruction):
    r = toy_reconstruction
    np.testing.assert_array_equal(r.vertices, r.model.shape(r.identity, r.expression))
    np.testing.assert_array_equal(r.neutral, replace(r, expression=0 * r.expression).vertices)
    assert not np.array_equal(r.neutral, r.vertices)


def test_landmarks_lie_on_the_shape_and_in_the_image(toy_reconstruction):
    r = toy_reconstruction
    assert r.landmarks68_mm.shape == (68, 3)
    hit = ClosestPoint(r.vertices, r.model.triangles).query(r.landmarks68_mm.astype(np.float64))
    assert hit.distance.max() < 0.3  # the jaw's lie on chords of the surface
    np.testing.assert_allclose(r.landmarks68_px, r.camera.project(r.landmarks68_mm)[:, :2])
