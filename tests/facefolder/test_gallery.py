"""Pictures of .glb files: views differ as named, normal maps and back faces are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.facefolder.gallery import SKY, VIEWS, View, gallery_sheet, render_view, sky_share
from facerelief.facefolder.head_glb import encode_head_glb
from facerelief.facefolder.maps import HeadMaps
from facerelief.io.read_glb import Primitive, Scene, Surface, read_glb
from facerelief.morphable import open_model


@pytest.fixture(scope="module")
def scene(tmp_path_factory, toy_reconstruction):
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    return read_glb(toy_reconstruction.write_glb(path, texture_size=64))


def test_sheet_has_all_views(scene):
    sheet = gallery_sheet(scene, 96)
    assert sheet.shape[0] > 2 * 96
    assert sheet.shape[1] > 3 * 96
    plain = replace(scene, names=(), weights=())
    assert gallery_sheet(plain, 96).shape[0] < 2 * 96  # three views without blendshapes


def test_expressions_change_the_picture(scene):
    still = render_view(scene, View("neutral", 0, ()), 96).astype(int)
    for view in VIEWS[3:]:
        picture = render_view(scene, replace(view, yaw=0), 96).astype(int)
        assert np.abs(picture - still).max() > 6


def _plane(facing: int = 1, **look) -> Scene:
    vertices = np.array([[-50, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)[:, ::facing]
    normals = np.tile(np.array([[0, 0, facing]], np.float32), (4, 1))
    tangents = np.tile(np.array([[1, 0, 0, 1]], np.float32), (4, 1))
    uv = vertices[:, :2] / 100 + 0.5
    surface = Surface(texture=np.full((4, 4, 3), 128, np.uint8), roughness=0.6, **look)
    return Scene((Primitive(vertices, triangles, surface, normals, tangents, uv),))


def test_normal_maps_turn_the_light():
    left, right = (np.full((4, 4, 3), (red, 128, 238), np.uint8) for red in (64, 192))
    dark, plain, bright = (
        render_view(_plane(normal_map=coded), View("front"), 96)[40:56, 40:56].mean()
        for coded in (left, None, right)
    )
    assert dark < plain - 5 < plain + 5 < bright  # the lamp is on the right


def test_back_faces_show_the_sky():
    inside = np.zeros((96, 96), bool)
    inside[30:60, 30:60] = True
    assert sky_share(render_view(_plane(), View("front"), 96), inside) == 0
    assert sky_share(render_view(_plane(-1), View("front"), 96), inside) == 1
    assert sky_share(render_view(_plane(-1, double_sided=True), View("front"), 96), inside) == 0
    assert sky_share(np.full((4, 4, 3), np.rint(255 * np.array(SKY)), np.uint8), np.ones((4, 4), bool)) == 1


def test_an_unknown_expression_is_refused(scene):
    with pytest.raises(ValueError, match="no expression"):
        render_view(scene, View("x", 0, (("wings", 1.0),)), 32)


def test_no_sky_between_the_lips_of_open2(tmp_path):
    model = open_model("open2")
    path = tmp_path / "a.glb"
    path.write_bytes(encode_head_glb(model, model.mean, HeadMaps(np.clip(model.albedo_mean, 0, 1))))
    scene = read_glb(path)
    for yaw in (0, 30):
        picture = render_view(scene, View("jaw open", yaw, (("jawOpen", 1.0),)), 160)
        covered = np.abs(picture.astype(int) - np.rint(255 * np.array(SKY)).astype(int)).max(axis=2) > 2
        for row in np.flatnonzero(covered.any(axis=1)[:130]):
            columns = np.flatnonzero(covered[row])
            assert covered[row, columns[0] : columns[-1] + 1].mean() > 0.95, (yaw, row)
