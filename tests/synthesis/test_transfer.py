"""Relief moves through the model's surface unchanged, in the target's size, on plain skin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.geometry import WeakPerspective, normals_from_depth
from facerelief.inference.crops import fine_crop
from facerelief.rendering import directional_light, shade
from facerelief.rendering.rasterizer import rasterize
from facerelief.synthesis.face_map import plain_skin
from facerelief.synthesis.relief_photo import ReliefPhoto
from facerelief.synthesis.transfer import ReliefView, relief_bands


def view(p: ReliefPhoto):
    return ReliefView(p, fine_crop(p.uvz[p.model.face_vertices]))


def test_bands_add_up_to_the_whole() -> None:
    relief = np.random.default_rng(0).normal(size=(60, 80)).astype(np.float32)
    bands = relief_bands(relief)
    assert bands.shape == (3, 60, 80)
    assert np.allclose(bands.sum(axis=0), relief, atol=1e-5)
    sharpness = [np.abs(np.diff(band, axis=0)).mean() / band.std() for band in bands]
    assert sharpness[0] > sharpness[1] > sharpness[2]


def test_relief_mapped_and_put_back_correlates_with_itself(photo) -> None:
    p = photo()
    v = view(p)
    moved = v.moved(p.mapped(), own=(0, 0, 0))
    sure = v.free * p.mapped().at(v.place)[1] > 0.95
    assert sure.sum() > 5000
    assert np.corrcoef(moved[sure], v.own[sure])[0, 1] > 0.97
    assert 0.85 < moved[sure].std() / v.own[sure].std() < 1.1


def test_relief_grows_with_the_face(photo) -> None:
    source = photo().mapped()
    v = view(photo(wrinkles=0.0))
    half = replace(source, width=2 * source.width)
    assert np.allclose(v.moved(half) - v.own, 0.5 * (v.moved(source) - v.own), atol=1e-4)
    assert np.isclose(source.width, v.photo.width)


def test_heights_do_not_depend_on_the_pose(photo) -> None:
    turned = WeakPerspective(0.0, 0.35, 0.1, 150.0, 130.0, 1.25)
    one, two = photo().mapped(), photo(turned)
    v = view(two)
    moved = v.moved(one, own=(0, 0, 0))
    height, weight = one.at(v.place)
    sure = (weight * v.free > 0.95) & (v.normals[..., 2] > 0.8)
    assert np.allclose(moved[sure] * v.normals[sure, 2], height[sure], atol=0.02)


def test_eyes_mouth_and_pixels_off_the_mask_get_no_relief(model, photo) -> None:
    source = photo().mapped()
    v = view(photo(identity=(1.0, -1.0, 0.5), wrinkles=0.0))
    change = v.moved(source) - v.own
    assert np.abs(change).max() > 0.1
    assert not change[~v.mask].any()
    rendered = rasterize(v.uvz, model.triangles, 256, 256, cull_backfaces=True)
    for name in ("eyeballs", "lips", "brows"):
        part = model.regions[name][model.triangles].all(axis=1)
        assert not change[rendered.mask & part[rendered.triangle]].any(), name
    assert not plain_skin(model)[model.regions["lips"] | model.regions["eyeballs"]].any()


def test_the_own_relief_leaves_the_photo_untouched(photo) -> None:
    v = view(photo())
    assert np.array_equal(v.relit(v.own), v.image)
    assert np.array_equal(v.moved(None), v.own)


def test_images_change_as_their_shading_does(photo, lamp) -> None:
    source = photo().mapped()
    v = view(photo(wrinkles=0.0))
    relief = v.moved(source)
    out = v.relit(relief)
    assert np.array_equal(out[v.inside == 0], v.image[v.inside == 0])
    sure = (v.free > 0.95) & (v.normals[..., 2] > 0.6)
    ratio = shade(np.nan_to_num(normals_from_depth(v.depth + relief, v.camera.scale)), lamp)
    ratio = (ratio / shade(np.nan_to_num(normals_from_depth(v.depth + v.own, v.camera.scale)), lamp))[sure]
    seen = out[sure].astype(float) / np.maximum(v.image[sure].astype(float), 1)
    usual = (ratio > 0.6) & (ratio < 1.5) & (out[sure] < 250)
    assert np.abs(ratio - 1)[usual].max() > 0.1
    assert np.allclose(seen[usual], ratio[usual], atol=0.03)


def test_a_new_light_from_the_other_side_brightens_that_side(photo) -> None:
    v = view(photo())
    other = directional_light((0.8, 0.3, 0.6), color=0.7, ambient=0.3)
    change = v.relit(v.own, other).astype(float) - v.image
    left, right = v.inside[:, :128].astype(bool), v.inside[:, 128:].astype(bool)
    assert change[:, 128:][right].mean() > 5 > -5 > change[:, :128][left].mean()


def test_zero_relief_changes_nothing(photo) -> None:
    v = view(photo())
    flat = photo(wrinkles=0.0).mapped()
    flat = replace(flat, height=np.zeros_like(flat.height))
    np.testing.assert_allclose(v.moved(flat), v.own, atol=1e-6)
    np.testing.assert_array_equal(v.moved(flat, gains=(3, 3, 3)), v.moved(flat))


def test_bands_without_gain_bring_nothing(photo) -> None:
    v, source = view(photo(wrinkles=0.0)), photo().mapped()
    np.testing.assert_allclose(v.moved(source, gains=(0, 0, 0)), v.own, atol=1e-6)
    one, two = (v.moved(source, gains=(k, k, k)) - v.own for k in (1.0, 2.0))
    np.testing.assert_allclose(two, 2 * one, atol=1e-5)
