"""Joints lie where the head turns, and vertices follow them smoothly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.facefolder.skeleton import head_skeleton
from facerelief.geometry.adjacency import open_edges
from facerelief.morphable import open_model


@pytest.fixture(scope="module", params=["open", "open2"])
def model(request):
    return open_model(request.param)


def test_weights_are_shares(model):
    skeleton = head_skeleton(model, model.mean)
    assert skeleton.weights.shape == (model.n_vertices, 5)
    assert skeleton.weights.min() >= 0
    np.testing.assert_allclose(skeleton.weights.sum(axis=1), 1, atol=1e-6)


def test_rim_stays_and_face_follows_the_head(model):
    skeleton = head_skeleton(model, model.mean)
    rim = np.zeros(model.n_vertices, bool)
    rim[open_edges(model.triangles).ravel()] = True
    assert skeleton.weights[rim & model.region("neck") & ~model.face_vertices, 0].min() == 1
    assert skeleton.weights[model.face_vertices & ~model.region("neck"), 0].max() == 0
    links = np.abs(np.diff(skeleton.weights[model.triangles], axis=1)).max(axis=(1, 2))
    assert np.percentile(links[~model.eyeballs[model.triangles].any(axis=1)], 99.5) < 0.5


def test_eyes_turn_about_their_middle(model):
    skeleton = head_skeleton(model, model.mean)
    for k, side in ((3, 1), (4, -1)):
        ball = model.eyeballs & (side * model.mean[:, 0] > 0)
        assert (skeleton.weights[ball, k] == 1).all()
        radius = np.linalg.norm(model.mean[ball] - np.array(skeleton.joints[k].place), axis=1)
        assert 11 < np.median(radius) < 16
        assert np.percentile(np.abs(radius - np.median(radius)), 90) < 1.5


def test_lower_teeth_follow_the_jaw_as_the_blendshape_moves_them():
    model = open_model("open2")
    skeleton = head_skeleton(model, model.mean)
    way = model.expression[:, :, model.expression_names.index("jawOpen")]
    length = np.linalg.norm(way, axis=1)
    teeth = model.region("teeth")
    lower = teeth & (length > 0.2 * length[teeth].max())
    assert skeleton.weights[lower, 2].min() > 0.98
    assert skeleton.weights[teeth & ~lower, 2].max() < 0.05
    # turned about the joint by some angle, the teeth come to lie where jawOpen puts them
    start = model.mean[lower, 1:] - np.array(skeleton.joints[2].place)[1:]
    end = start + way[lower][:, 1:]
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), np.linalg.norm(end, axis=1), atol=0.3)


def test_a_model_without_regions_has_joints_too(toy_model):
    plain = replace(toy_model, regions={})
    skeleton = head_skeleton(plain, plain.mean)
    assert [j.name for j in skeleton.joints] == ["neck", "head", "jaw", "leftEye", "rightEye"]
    np.testing.assert_allclose(skeleton.weights.sum(axis=1), 1, atol=1e-6)
    still = replace(plain, expression=np.zeros_like(plain.expression))
    assert head_skeleton(still, plain.mean).weights[:, 2].max() == 0
