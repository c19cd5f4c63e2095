"""Relief through the model's surface: what arrives is what left, in the target's size, on plain skin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.inference.crops import fine_crop
from facerelief.inverse.detail import coarse_depth
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering import directional_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.face_map import face_map, plain_skin
from facerelief.synthesis.relief_photo import ReliefPhoto
from facerelief.synthesis.transfer import ReliefView, relief_bands

LIGHT = directional_light((-0.6, 0.5, 0.8), color=0.7, ambient=0.3).astype(np.float32)
CAMERA = WeakPerspective(0.05, 0.1, 0.0, 150.0, 130.0, 1.25)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model()


def photo(
    model: FaceModel,
    camera: WeakPerspective = CAMERA,
    identity: tuple[float, ...] = (),
    wrinkles: float = 0.3,
) -> ReliefPhoto:
    """A face of plain skin before a wall, with waves across the forehead and cheeks."""
    vertices = model.shape(identity)
    drawn = rasterize(camera.project(vertices), model.triangles, 300, 300, cull_backfaces=True)
    color = interpolate(drawn, model.triangles, model.albedo_mean) * 0.8
    rng = np.random.default_rng(1)
    image = np.where(drawn.mask[..., None], color, 0.5) + rng.normal(0, 0.01, (300, 300, 1))
    depth = coarse_depth(model, vertices, camera, image.shape)
    rows = np.arange(depth.depth.shape[0], dtype=np.float32)[:, None]
    relief = np.where(np.isfinite(depth.depth), wrinkles * np.sin(rows / 3), np.nan).astype(np.float32)
    return ReliefPhoto(
        model,
        (255 * np.clip(image, 0, 1)).astype(np.uint8),
        camera,
        identity,
        (),
        np.zeros(model.n_albedo),
        LIGHT,
        DepthPatch(relief, depth.left, depth.top),
    )


def view(p: ReliefPhoto):
    return ReliefView(p, fine_crop(p.uvz[p.model.face_vertices]))


def test_bands_add_up_to_the_whole() -> None:
    relief = np.random.default_rng(0).normal(size=(60, 80)).astype(np.float32)
    bands = relief_bands(relief)
    assert bands.shape == (3, 60, 80)
    assert np.allclose(bands.sum(axis=0), relief, atol=1e-5)
    sharpness = [np.abs(np.diff(band, axis=0)).mean() / band.std() for band in bands]
    assert sharpness[0] > sharpness[1] > sharpness[2]


def test_relief_moved_to_the_face_it_came_from_comes_back(model: FaceModel) -> None:
    p = photo(model)
    v = view(p)
    moved = v.moved(p.mapped(), own=(0, 0, 0))
    sure = v.free * p.mapped().at(v.place)[1] > 0.95
    assert sure.sum() > 5000
    assert np.corrcoef(moved[sure], v.own[sure])[0, 1] > 0.97
    assert 0.85 < moved[sure].std() / v.own[sure].std() < 1.1


def test_relief_grows_with_the_face(model: FaceModel) -> None:
    source = photo(model).mapped()
    v = view(photo(model, wrinkles=0.0))
    half = replace(source, width=2 * source.width)
    assert np.allclose(v.moved(half) - v.own, 0.5 * (v.moved(source) - v.own), atol=1e-4)
    assert np.isclose(source.width, v.photo.width)


def test_the_pose_does_not_change_how_high_relief_is(model: FaceModel) -> None:
    turned = WeakPerspective(0.0, 0.35, 0.1, 150.0, 130.0, 1.25)
    one, two = photo(model).mapped(), photo(model, turned)
    v = view(two)
    moved = v.moved(one, own=(0, 0, 0))
    height, weight = one.at(v.place)
    sure = (weight * v.free > 0.95) & (v.normals[..., 2] > 0.8)
    assert np.allclose(moved[sure] * v.normals[sure, 2], height[sure], atol=0.02)


def test_nothing_comes_to_eyes_and_mouth_nor_off_the_mask(model: FaceModel) -> None:
    source = photo(model).mapped()
    v = view(photo(model, identity=(1.0, -1.0, 0.5), wrinkles=0.0))
    change = v.moved(source) - v.own
    assert np.abs(change).max() > 0.1
    assert not change[~v.mask].any()
    drawn = rasterize(v.uvz, model.triangles, 256, 256, cull_backfaces=True)
    for name in ("eyeballs", "lips", "brows"):
        part = model.regions[name][model.triangles].all(axis=1)
        assert not change[drawn.mask & part[drawn.triangle]].any(), name
    assert not plain_skin(model)[model.regions["lips"] | model.regions["eyeballs"]].any()


def test_the_own_relief_leaves_the_photo_untouched(model: FaceModel) -> None:
    v = view(photo(model))
    assert np.array_equal(v.relit(v.own), v.image)
    assert np.array_equal(v.moved(None), v.own)


def test_pictures_change_as_their_shading_does(model: FaceModel) -> None:
    source = photo(model).mapped()
    v = view(photo(model, wrinkles=0.0))
    relief = v.moved(source)
    out = v.relit(relief)
    assert np.array_equal(out[v.inside == 0], v.image[v.inside == 0])
    from facerelief.geometry import normals_from_depth

    sure = (v.free > 0.95) & (v.normals[..., 2] > 0.6)
    ratio = shade(np.nan_to_num(normals_from_depth(v.depth + relief, v.camera.scale)), LIGHT)
    ratio = (ratio / shade(np.nan_to_num(normals_from_depth(v.depth + v.own, v.camera.scale)), LIGHT))[sure]
    seen = out[sure].astype(float) / np.maximum(v.image[sure].astype(float), 1)
    usual = (ratio > 0.6) & (ratio < 1.5) & (out[sure] < 250)
    assert np.abs(ratio - 1)[usual].max() > 0.1
    assert np.allclose(seen[usual], ratio[usual], atol=0.03)


def test_a_new_light_from_the_other_side_brightens_that_side(model: FaceModel) -> None:
    v = view(photo(model))
    other = directional_light((0.8, 0.3, 0.6), color=0.7, ambient=0.3)
    change = v.relit(v.own, other).astype(float) - v.image
    left, right = v.inside[:, :128].astype(bool), v.inside[:, 128:].astype(bool)
    assert change[:, 128:][right].mean() > 5 > -5 > change[:, :128][left].mean()


def test_the_atlas_shows_each_vertex_of_the_front_once(model: FaceModel) -> None:
    known = face_map(model)
    height, width = known.shape
    assert face_map(model) is known
    column, row = known.places[known.plain > 0.5].T
    assert min(column.min(), row.min()) > 0
    assert column.max() < width
    assert row.max() < height
    back = interpolate(known.fragments, known.triangles, known.places)
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    assert np.abs((back - grid)[known.front]).max() < 0.05
