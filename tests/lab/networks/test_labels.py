"""Laws of labels: a mirrored face has mirrored labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import facerelief
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.networks.labels import camera_of, mirror_of, mirrored_pose, pose_of


def test_a_pose_is_a_camera():
    camera = WeakPerspective(0.2, 0.5, -0.1, 100.0, 110.0, 1.3)
    np.testing.assert_allclose(camera_of(pose_of(camera)).vector, camera.vector, rtol=1e-6)


@pytest.mark.parametrize("name", ["toy", "open"])
def test_mirrored_labels_make_the_mirrored_face(name, toy_model):
    model = toy_model if name == "toy" else facerelief.open_model()
    mirror = mirror_of(model)
    assert mirror is not None
    rng = np.random.default_rng(0)
    identity = rng.normal(size=model.n_identity).astype(np.float32)
    expression = (rng.random(model.n_expression) * (rng.random(model.n_expression) < 0.2)).astype(np.float32)
    camera = WeakPerspective(0.2, 0.5, -0.1, 100.0, 110.0, 1.3)
    uvz = camera.project(model.shape(identity, expression))
    flipped = camera_of(mirrored_pose(pose_of(camera), 224)).project(
        model.shape(identity * mirror.identity, expression[mirror.expression])
    )
    wanted = uvz[model.symmetry] * [-1, 1, 1] + [224, 0, 0]
    apart = np.linalg.norm(flipped - wanted, axis=1)[model.face_vertices]
    assert float(apart.mean()) < 0.1


def test_a_model_without_a_mirror_has_none(toy_model):
    crooked = toy_model.expression.copy()
    crooked[:, 0, toy_model.expression_names.index("jawOpen")] += 1.0
    assert mirror_of(replace(toy_model, symmetry=None)) is None
    assert mirror_of(replace(toy_model, expression=crooked)) is None
