"""The front of a head draws the same face as the whole head."""

import numpy as np
import pytest
from full_models import full_model
from toy_parts import with_parts

from facerelief import WeakPerspective, open_model
from facerelief.inverse.detail import coarse_depth, face_pixels, photo_albedo, rasterize_face
from facerelief.morphable.front import front_model, front_triangles, lining_triangles, solid_triangles
from facerelief.rendering import rasterize


@pytest.mark.parametrize("yaw", [0.0, -0.6, 1.3])
def test_the_front_alone_draws_the_same_face(yaw):
    model = open_model()
    rng = np.random.default_rng(0)
    shape = model.shape(rng.normal(size=model.n_identity), 0.4 * rng.random(model.n_expression))
    uvz = WeakPerspective(0.1, yaw, 0.2, 64.0, 66.0, 0.55).project(shape)
    whole = rasterize(uvz, model.triangles, 128, 128, cull_backfaces=True)
    front = rasterize_face(model, uvz, 128, 128)
    for one, other in zip(face_pixels(model, whole), face_pixels(model, front), strict=True):
        np.testing.assert_array_equal(one, other)
    skin, eyes = face_pixels(model, front)
    np.testing.assert_array_equal(whole.triangle[skin | eyes], front.triangle[skin | eyes])
    np.testing.assert_array_equal(whole.depth[skin | eyes], front.depth[skin | eyes])
    assert skin.sum() > 2000


def test_ids_are_the_models():
    model = open_model()
    kept, ids = front_triangles(model)
    np.testing.assert_array_equal(model.triangles[ids[:-1]], kept)
    assert ids[-1] == -1
    assert len(kept) < len(model.triangles)


def test_models_without_inner_parts_are_their_own_front(toy_model):
    assert front_model(toy_model) is toy_model


def test_the_front_holds_the_face_and_two_rings_around_it(toy_model):
    model = full_model(toy_model)
    front = front_model(model)
    assert front is front_model(model)
    assert front.n_vertices < model.n_vertices
    np.testing.assert_array_equal(front.mean[front.face_vertices], model.mean[model.face_vertices])
    ids, _ = front_triangles(model)
    kept = np.zeros(model.n_vertices, bool)
    kept[ids] = True
    np.testing.assert_array_equal(front.mean, model.mean[kept])
    a, e = np.ones(5), np.ones(52)
    np.testing.assert_allclose(front.shape(a, e), model.shape(a, e)[kept], atol=1e-4)


def test_a_model_without_lashes_is_solid(toy_model):
    kept, ids = solid_triangles(toy_model)
    np.testing.assert_array_equal(kept, toy_model.triangles)
    np.testing.assert_array_equal(ids, [*range(len(kept)), -1])
    assert not lining_triangles(toy_model).any()


def test_parts_are_told_apart(toy_model):
    model = with_parts(toy_model)
    _, ids = solid_triangles(model)
    lashes = np.setdiff1d(np.arange(len(model.triangles)), ids)
    assert model.regions["lashes"][model.triangles[lashes]].all()
    inner = model.triangles[lining_triangles(model)]
    assert model.region("teeth", "mouth")[inner].all()
    assert len(inner) == 2 * len(lashes) > 0


def test_lashes_hide_nothing_of_a_photo(toy_reconstruction):
    r = toy_reconstruction
    model = with_parts(r.model)
    vertices = model.shape(r.identity, r.expression)
    np.testing.assert_array_equal(
        coarse_depth(model, vertices, r.camera, r.image.shape).depth,
        coarse_depth(r.model, r.vertices, r.camera, r.image.shape).depth,
    )
    found = [
        photo_albedo(m, r.image, v, r.camera, r.albedo, r.light, r.fine).color
        for m, v in ((model, vertices), (r.model, r.vertices))
    ]
    np.testing.assert_array_equal(*found)
