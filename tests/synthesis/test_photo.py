"""One photo's face, prepared: places, trust, albedo and texture. The toy's photo is a rendering of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_parts import with_parts

from facerelief.morphable.model import Corrective
from facerelief.rendering import shade
from facerelief.synthesis.photo import PhotoFace, image_box


@pytest.fixture(scope="module")
def photo(toy_reconstruction):
    return PhotoFace(toy_reconstruction, 128, 0.35)


def test_vertices_are_the_reconstructions(photo, toy_reconstruction):
    r = toy_reconstruction
    np.testing.assert_array_equal(photo.vertices, r.vertices)
    np.testing.assert_allclose(photo.uvz, r.camera.project(r.vertices.astype(float)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(photo.normals, axis=1), 1, atol=1e-5)


def test_other_weights_give_the_models_shape(photo, toy_reconstruction):
    r = toy_reconstruction
    assert photo.shape(r.expression) is r.vertices
    weights = np.linspace(0, 1, r.model.n_expression, dtype=np.float32)
    np.testing.assert_allclose(photo.shape(weights), r.model.shape(r.identity, weights), atol=1e-3)


def test_trust_is_a_weight_and_hidden_vertices_have_none(photo):
    assert 0 <= photo.seen.min() <= photo.seen.max() <= 1
    n = photo.reconstruction.model.n_vertices
    assert not photo.seen[:n][photo.normals[:n, 2] < 0].any()
    middle = photo.front[photo.surface.outline_mm[photo.front] > 20]
    assert photo.seen[middle].mean() > 0.9


def test_visible_vertices_face_the_viewer_inside_the_image(photo):
    height, width = photo.reconstruction.image.shape[:2]
    u, v = photo.uvz[photo.visible, :2].T
    assert (photo.normals[photo.visible, 2] > 0).all()
    assert u.min() > 0
    assert v.min() > 0
    assert u.max() < width
    assert v.max() < height


def test_least_shading_is_proportional_to_the_light(photo, toy_reconstruction):
    light = toy_reconstruction.light
    one, two = (photo.least_shading(photo.normals, k * light) for k in (1, 2))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)
    assert (one < shade(photo.normals[photo.front], light).mean(axis=0)).all()


def test_albedo_is_the_models_where_the_photo_is_a_rendering(toy_reconstruction):
    """Without relief the photo is exactly skin times light."""
    smooth = PhotoFace(replace(toy_reconstruction, fine=None), 128, 0.35)
    albedo, left, top = smooth.albedo
    column, row = (smooth.uvz[smooth.front, :2] - [left, top]).astype(int).T
    apart = np.abs(albedo[row, column] - smooth.colors[smooth.front])
    assert np.median(apart) < 0.02


def test_the_texture_holds_the_skin(photo, toy_reconstruction):
    model = toy_reconstruction.model
    assert photo.texture.shape == (128, 128, 3)
    corner = np.zeros(model.n_vertices, int)
    corner[model.triangles.ravel()] = model.uv_triangles.ravel()
    at = np.clip(photo.texture_uv[corner[photo.front]].astype(int), 0, 127)
    apart = np.abs(photo.texture[at[:, 1], at[:, 0]] - photo.colors[photo.front])
    assert np.median(apart) < 0.04


def test_other_weights_move_a_face_as_its_identity_does(toy_reconstruction):
    model = toy_reconstruction.model
    rng = np.random.default_rng(0)
    vertices = np.arange(50, 400, 7, dtype=np.int32)
    basis = rng.normal(size=(len(vertices), 3, model.n_identity)).astype(np.float32)
    corrected = replace(model, correctives=(Corrective(2, vertices, basis),))
    r = replace(toy_reconstruction, model=corrected)
    weights = np.linspace(1, 0, model.n_expression, dtype=np.float32)
    found = PhotoFace(r, 64, 0.35).shape(weights)
    np.testing.assert_allclose(found, corrected.shape(r.identity, weights), atol=1e-3)
    assert np.abs(found - model.shape(r.identity, weights)).max() > 0.1


def test_lips_that_an_inexact_fit_lays_on_teeth_are_not_used(toy_reconstruction):
    r = toy_reconstruction
    model = with_parts(r.model)
    # nothing before the teeth
    before = np.abs(model.mean - model.mean[model.regions["teeth"]].mean(axis=0))[:, :2].max(axis=1) < 12
    before &= model.face_vertices
    open_face = ~before[model.triangles].any(axis=1)
    model = replace(model, triangles=model.triangles[open_face], uv_triangles=model.uv_triangles[open_face])
    teeth = model.regions["teeth"]
    trust = []
    for color in ((170, 90, 90), (170, 165, 150)):
        painted = replace(r, model=model, image=np.full_like(r.image, color), fine=None)
        trust.append(PhotoFace(painted, 64, 0.35).seen[: model.n_vertices][teeth])
    red, white = trust
    assert not red.any()
    assert white.max() > 0.5


def test_relief_is_empty_without_detail_and_grows_with_its_share(toy_reconstruction, photo):
    none = PhotoFace(replace(toy_reconstruction, fine=None), 64, 0.35)
    assert none.relief.size == 0
    more = PhotoFace(toy_reconstruction, 64, 0.7)
    np.testing.assert_allclose(more.relief, 2 * photo.relief, atol=1e-6)
    assert np.abs(photo.relief).max() > 0.02


def test_a_mouth_that_stays_as_it_is_comes_from_the_photo(photo, toy_reconstruction):
    assert photo.mouth_share(toy_reconstruction.vertices) == (0.0, 0.0)  # the toy has no opening


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ([[10.5, 20.2], [30.0, 25.0]], (8, 18, 32, 27)),
        ([[-50.0, 5.0], [300.0, 6.0]], (0, 3, 100, 8)),
        ([[-50.0, 5.0], [-40.0, 6.0]], (0, 3, 0, 8)),
    ],
)
def test_the_box_around_points(points, box):
    assert image_box(np.array(points), 2.0, np.zeros((60, 100, 3), np.uint8)) == box
