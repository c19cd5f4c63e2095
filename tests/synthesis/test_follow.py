"""The background moves with the head: not at all when it rests, alike when it shifts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.synthesis.follow import BackgroundMotion
from facerelief.synthesis.photo import PhotoFace


@pytest.fixture(scope="module")
def motion(toy_reconstruction):
    return BackgroundMotion(PhotoFace(toy_reconstruction, 64, 0.35))


def seen_by(motion, camera):
    photo = motion.photo
    uvz = camera.project(photo.vertices.astype(float))
    return uvz, camera, photo.camera_normals(camera, photo.vertices)


def test_a_head_at_rest_moves_nothing(motion):
    camera = motion.photo.reconstruction.camera
    np.testing.assert_allclose(motion.displacement(*seen_by(motion, camera)), 0, atol=1e-9)
    x, y = motion(*seen_by(motion, camera)).maps()
    np.testing.assert_allclose(x, np.broadcast_to(np.arange(x.shape[1]), x.shape), atol=1e-4)
    np.testing.assert_allclose(y, np.broadcast_to(np.arange(y.shape[0])[:, None], y.shape), atol=1e-4)


def test_a_shifted_head_takes_its_points_along(motion):
    camera = motion.photo.reconstruction.camera
    shifted = replace(camera, translation_u=camera.translation_u + 4, translation_v=camera.translation_v - 3)
    moved = motion.displacement(*seen_by(motion, shifted))
    assert len(moved) > 50
    np.testing.assert_allclose(moved, np.broadcast_to([4, -3], moved.shape), atol=1e-6)
    x, y = motion(*seen_by(motion, shifted)).maps()
    column, row = (int(c) for c in shifted.project(motion.photo.vertices.mean(axis=0))[:2])
    assert x[row, column] == pytest.approx(column - 4, abs=0.5)
    assert y[row, column] == pytest.approx(row + 3, abs=0.5)


def test_opposite_turns_move_the_points_in_opposite_directions(motion):
    camera = motion.photo.reconstruction.camera
    left, right = (
        motion.displacement(*seen_by(motion, replace(camera, yaw=camera.yaw + d))) for d in (-0.05, 0.05)
    )
    assert np.corrcoef(left[:, 0], right[:, 0])[0, 1] < -0.9
