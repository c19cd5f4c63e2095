"""Portraits depend on their seed alone, and their points lie where the head is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.datasets import portraits
from facerelief.lab.datasets.portraits import PortraitConfig, PortraitMaker, portrait_expression
from facerelief.morphable import open_model
from facerelief.morphable.dense_points import dense_points


@pytest.fixture(scope="module")
def maker():
    model = open_model("open2")
    return PortraitMaker(model, dense_points(model, 200))


@pytest.fixture(scope="module")
def made(maker):
    return maker(6, 1)


def test_the_same_seed_gives_the_same_images(maker, made):
    again = maker(6, 1)
    np.testing.assert_array_equal(again.image, made.image)
    np.testing.assert_array_equal(again.points, made.points)


def test_another_seed_gives_other_heads(maker, made):
    assert np.abs(maker(6, 2).points - made.points).max() > 3


def test_points_in_sight_lie_on_the_head(made):
    size = made.image.shape[1]
    for image, points, seen in zip(made.image, made.points, made.seen):
        inside = (seen > 0) & ((points > 1) & (points < size - 2)).all(axis=1)
        u, v = points[inside].astype(int).T
        assert inside.sum() > 20
        assert (image[v, u, 3] > 0).mean() > 0.97


def test_the_face_fills_the_crop_in_the_middle(maker, made):
    config = maker.config
    low = (config.canvas - config.crop) / 2
    skin = made.points[:, maker.model.region("narrow_face")[maker.vertices]]
    inside = ((skin > low - 25) & (skin < config.canvas - low + 25)).all(axis=2)
    assert inside.mean() > 0.97


def test_black_behind_the_head(made):
    empty = made.image[..., 3] == 0
    assert empty.any()
    assert (made.image[..., :3][empty] == 0).all()


def test_hidden_points_have_places_too(made):
    assert np.isfinite(made.points).all()
    assert 0.2 < made.seen.mean() < 0.98


def test_without_perspective_or_noise_points_are_the_projected_vertices(maker, monkeypatch):
    kept = []
    random = portraits._Eye.random

    def remembered(model, shape, rng, config):
        eye = random(model, shape, rng, config)
        kept.append((eye, shape.copy()))
        return eye

    monkeypatch.setattr(portraits._Eye, "random", remembered)
    made = maker(3, 5)
    for (eye, shape), points in zip(kept, made.points):
        np.testing.assert_allclose(eye.project(shape[maker.vertices])[:, :2], points, atol=1e-3)
    far = [eye for eye, _ in kept if eye.inverse == 0.0]
    for eye in far:  # weak perspective: equal steps in the model are equal steps in the image
        a, b, c = eye.project(np.array([[0.0, 0, 0], [10, 5, 0], [20, 10, 0]]))[:, :2]
        np.testing.assert_allclose(b - a, c - b, atol=1e-6)


def test_a_near_camera_enlarges_what_is_near(maker):
    eye = portraits._Eye((0.0, 0.0, 0.0), np.eye(3), np.zeros(3), 1 / 400, np.array([[1.0, 0, 0], [0, 1, 0]]))
    near, far = eye.project(np.array([[10.0, 0, 40], [10.0, 0, -40]]))[:, 0]
    assert near == pytest.approx(10 / 0.9)
    assert far == pytest.approx(10 / 1.1)


def test_expressions_are_weights_and_of_all_kinds():
    names = open_model("open2").expression_names
    rng = np.random.default_rng(0)
    some = np.stack([portrait_expression(names, np.zeros(len(names), np.float32), rng) for _ in range(200)])
    assert some.min() >= 0
    assert some.max() <= 1
    share = (some > 0.4).mean(axis=0)
    for unit in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight"):
        assert share[names.index(unit)] > 0.05
    assert (some == 0).all(axis=1).any()


def test_the_configuration_holds_the_net_in_the_canvas():
    config = PortraitConfig()
    assert config.crop < config.canvas


def test_bare_skin_is_a_channel_that_changes_nothing_else(maker, made):
    model = open_model("open2")
    masked = PortraitMaker(model, maker.vertices, PortraitConfig(skin=True))(6, 1)
    np.testing.assert_array_equal(masked.image[..., :4], made.image)
    share = masked.image[..., 4]
    assert (share[masked.image[..., 3] == 0] == 0).all()
    cheeks = np.flatnonzero(
        model.region("narrow_face")[maker.vertices] & ~model.region("lids")[maker.vertices]
    )
    u, v = np.clip(masked.points[:, cheeks], 0, share.shape[1] - 1).astype(int).transpose(2, 0, 1)
    seen = masked.seen[:, cheeks] > 0
    assert share[np.arange(6)[:, None], v, u][seen].mean() > 120  # most of what is seen of the face
    assert share.mean() < 0.6 * masked.image[..., 3].mean()  # hair and clothes are not
