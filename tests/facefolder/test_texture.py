"""The colours that are saved are the skin's: no light in them, whatever the photo's was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_parts import COLORS, with_parts

from facerelief.face.reconstruction import ColorPatch
from facerelief.facefolder import texture as texture_module
from facerelief.facefolder.texture import appearance, model_skin, without_light
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.mesh import Mesh
from facerelief.inverse.detail import blended_albedo
from facerelief.rendering.lighting import ambient_light, directional_light, shade
from facerelief.rendering.render import shade_mesh
from facerelief.rendering.texture import sample_texture

SIZE = 128


def lit(r, light, skin=None):
    """The same head photographed in another light; skin (N, 3), the model's unless given."""
    skin = model_skin(r) if skin is None else skin
    height, width = r.image.shape[:2]
    mesh = Mesh(r.vertices, r.model.triangles, skin)
    image, _ = shade_mesh(mesh, r.camera, height, width, light=light, background=(0.3, 0.4, 0.3))
    return replace(r, image=image, light=np.asarray(light, np.float32), fine=r.coarse)


def with_skin(r, color=None):
    """With the albedo that a fit finds on the pixels of the face, or with `color` (3,) there."""
    patch = r.fine
    h, w = patch.depth.shape
    if color is None:
        photo = r.image[patch.top : patch.top + h, patch.left : patch.left + w] / np.float32(255)
        shading = shade(np.nan_to_num(normals_from_depth(patch.depth, r.camera.scale)), r.light)
        own = blended_albedo(photo, photo / np.maximum(shading, 0.1), shading.astype(np.float32))
    else:
        own = np.broadcast_to(np.float32(color), (h, w, 3)).copy()
    own[np.isnan(patch.depth)] = np.nan
    return replace(r, skin=ColorPatch(own.astype(np.float32), patch.left, patch.top))


def seen(r):
    """(S, S) where the photo shows the head well."""
    mesh = texture_module.textured(r.model, r.vertices)
    return sample_texture(r.image, mesh, r.camera, SIZE, margin_mm=7)[1] > 0.8


LIGHTS = [
    directional_light((-0.7, 0.2, 0.7), (0.6, 0.55, 0.5), 0.4),
    directional_light((0.6, -0.2, 0.7), (0.5, 0.6, 0.7), 0.35),
]


@pytest.mark.parametrize("detailed", [False, True])
def test_two_lights_give_one_texture(toy_reconstruction, detailed):
    faces = [lit(toy_reconstruction, light) for light in LIGHTS]
    faces = [with_skin(face) for face in faces] if detailed else faces
    one, two = (appearance(face, SIZE)[1] for face in faces)
    there = seen(faces[0])
    assert there.mean() > 0.1
    photos = [
        sample_texture(f.image, texture_module.textured(f.model, f.vertices), f.camera, SIZE)[0]
        for f in faces
    ]
    apart = np.abs(one - two)[there]
    assert np.percentile(apart, 95) < 0.06
    assert np.median(apart) < 0.2 * np.median(np.abs(photos[0] - photos[1])[there])


def test_seen_texels_have_the_skins_colour(toy_reconstruction):
    skin = np.tile(np.float32([0.7, 0.5, 0.4]), (toy_reconstruction.model.n_vertices, 1))
    face = lit(toy_reconstruction, LIGHTS[0], skin)
    texture = appearance(face, SIZE)[1]
    there = seen(face)
    off = np.abs(texture - [0.7, 0.5, 0.4])
    assert np.percentile(off[there], 95) < 0.04
    assert np.isfinite(texture).all()


def test_the_side_without_light_is_not_believed(toy_reconstruction):
    """Noise in deep shade, divided by nearly nothing, would be the brightest of all colours."""
    skin = np.tile(np.float32([0.7, 0.5, 0.4]), (toy_reconstruction.model.n_vertices, 1))
    face = lit(toy_reconstruction, directional_light((-1, 0, 0.3), 0.9, 0.02), skin)
    noise = np.random.default_rng(0).integers(0, 60, face.image.shape)
    dark = face.image.max(axis=2, keepdims=True) < 25
    noisy = replace(face, image=np.where(dark, noise, face.image).astype(np.uint8))
    clean, texture = (appearance(f, SIZE)[1] for f in (face, noisy))
    mesh = texture_module.textured(face.model, face.vertices)
    before, after = (sample_texture(f.image, mesh, f.camera, SIZE)[0] for f in (face, noisy))
    changed = np.abs(after - before).max(axis=2) > 0.05
    assert changed.mean() > 0.02
    assert np.percentile(np.abs(texture - clean)[changed], 95) < 0.4


def test_the_found_albedo_holds_inside_the_face_and_runs_out_softly(toy_reconstruction):
    skin = np.tile(np.float32([0.6, 0.6, 0.6]), (toy_reconstruction.model.n_vertices, 1))
    face = with_skin(lit(toy_reconstruction, ambient_light(), skin), color=(0.6, 0.4, 0.2))
    found = without_light(face)
    h, w = face.coarse.depth.shape
    left, top = face.coarse.left - found.left, face.coarse.top - found.top
    color = found.color[top : top + h, left : left + w]
    middle = color[h // 2]
    np.testing.assert_allclose(middle[w // 2], [0.6, 0.4, 0.2], atol=0.01)
    there = np.isfinite(face.coarse.depth[h // 2])
    blue = middle[there][:, 2]
    assert blue[1] > 0.45, "at the outline the photo's colour"
    assert np.abs(np.diff(blue[1:-1])).max() < 0.2, "a step at the outline"


def test_what_is_whiter_than_white_is_not_the_head(toy_reconstruction):
    """A bright wall where a fit a little off has the dim side of the head."""
    r = lit(toy_reconstruction, directional_light((-0.7, 0.2, 0.7), 0.6, 0.3))
    image = r.image.copy()
    edge = int(r.camera.project(r.vertices)[:, 0].max())
    image[:, edge - 8 :] = 255
    clean, walled = (appearance(face, SIZE)[1] for face in (r, replace(r, image=image)))
    assert walled.min(axis=2).max() < 0.9
    assert np.percentile(np.abs(walled - clean), 95) < 0.1


def test_no_light_leaves_the_photo(toy_reconstruction):
    dark = replace(toy_reconstruction, light=np.zeros((9, 3), np.float32))
    found = without_light(dark)
    h, w = found.color.shape[:2]
    photo = dark.image[found.top : found.top + h, found.left : found.left + w]
    np.testing.assert_allclose(found.color, photo / 255, atol=1e-6)
    assert np.isfinite(appearance(dark, 64)[1]).all()


def test_a_head_beside_the_photo_is_the_models(toy_reconstruction):
    r = toy_reconstruction
    away = replace(r, camera=replace(r.camera, translation_u=5000.0))
    colors, texture = appearance(away, 64)
    assert np.isfinite(texture).all()
    assert np.median(np.abs(colors - model_skin(r))) < 0.02


def test_eyes_are_the_photos_and_not_the_faces(toy_reconstruction):
    """The model's own iris, which the fit blends into the skin, is no part of the eyes."""
    eyes = np.zeros(toy_reconstruction.model.n_vertices, bool)
    place = toy_reconstruction.camera.project(toy_reconstruction.vertices)
    front = int(place[:, 2].argmax())
    eyes[np.linalg.norm(place[:, :2] - place[front, :2], axis=1) < 12] = True
    model = replace(toy_reconstruction.model, regions={**toy_reconstruction.model.regions, "eyeballs": eyes})
    skin = np.tile(np.float32([0.6, 0.6, 0.6]), (model.n_vertices, 1))
    face = with_skin(
        lit(replace(toy_reconstruction, model=model), ambient_light(), skin), color=(0.6, 0.2, 0.1)
    )
    found = without_light(face)
    u, v = place[front, :2].astype(int) - [found.left, found.top]
    np.testing.assert_allclose(found.color[v, u], 0.6, atol=0.02)


def test_unseen_eyes_are_white_and_not_glaring():
    """Of a ball of which the photo shows the dark iris and a little grey, the rest takes the grey."""
    uv = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    square = np.int32([[0, 1, 2], [0, 2, 3]])
    eyes = Mesh(np.zeros((4, 3), np.float32), square, uv=uv, uv_triangles=square)
    white = np.full((4, 3), 0.85, np.float32)
    sampled = np.full((64, 64, 3), 0.6, np.float32)
    weight = np.zeros((64, 64), np.float32)
    weight[20:44, 20:44] = 1
    sampled[28:36, 28:36] = 0.05
    texture = np.full((64, 64, 3), 0.9, np.float32)
    texture_module._paint_eyes(texture, sampled, weight, eyes, white)
    np.testing.assert_allclose(texture[30:34, 30:34], 0.05, atol=1e-6)
    np.testing.assert_allclose(texture[:10], 0.6, atol=1e-6)
    sampled[:] = 0.1  # dark glasses
    texture_module._paint_eyes(texture, sampled, weight, eyes, white)
    assert (texture[:10] > 0.4).all()
    texture_module._paint_eyes(texture, sampled, 0 * weight, eyes, white)
    np.testing.assert_allclose(texture, texture[0, 0, 0])
    assert 0.5 < texture[0, 0, 0] < 0.85


def test_no_photo_is_projected_on_inner_parts_and_lashes(toy_reconstruction):
    model = with_parts(toy_reconstruction.model)
    pink = np.full_like(toy_reconstruction.image, (255, 0, 255))
    r = replace(toy_reconstruction, model=model, image=pink, skin=None)
    colors, texture = appearance(r, SIZE)
    own = model_skin(r)
    for name in COLORS:
        part = model.regions[name]
        np.testing.assert_allclose(colors[part], own[part], atol=1e-6)
        corners = model.uv_triangles[part[model.triangles].all(axis=1)]
        column, row = (model.uv[corners].mean(axis=1) * [SIZE, -SIZE] + [0, SIZE]).astype(int).T
        np.testing.assert_allclose(texture[row, column], np.tile(COLORS[name], (len(row), 1)), atol=1e-6)
    assert texture[..., 1].min() < 0.05  # the rest is pink


def test_the_finer_of_two_photos_gives_the_texture():
    """Of two frames alike but for their resolution; the tone is that of the first."""
    rng, size = np.random.default_rng(0), (32, 32)
    albedo = [rng.uniform(0.3, 0.7, (*size, 3)).astype(np.float32) for _ in range(2)]
    one = np.ones(size, np.float32)
    for sharp, expected in (((1.0, 0.4), 0), ((0.4, 1.0), 1)):
        found, weight = texture_module._merged(albedo[0], one, [(albedo[1], one)], sharp)
        np.testing.assert_array_equal(weight, one)
        assert np.corrcoef(found.ravel(), albedo[expected].ravel())[0, 1] > 0.99
        np.testing.assert_allclose(
            np.median(found, axis=(0, 1)), np.median(albedo[0], axis=(0, 1)), atol=0.01
        )
