"""The output contract, file by file, and the promise that it is there whole or not at all."""

from __future__ import annotations

import errno
import json
import pathlib
from dataclasses import replace

import cv2
import numpy as np
import pygltflib
import pytest
import trimesh

from facerelief.errors import FacereliefError, OutputError
from facerelief.face.reconstruction import DepthPatch
from facerelief.facefolder import save as save_module
from facerelief.facefolder.maps import decode_displacement, relief_maps
from facerelief.facefolder.save import save_reconstruction
from facerelief.geometry.depth import normals_from_depth
from facerelief.io.write_images import decode_normals

CONTRACT = {
    "face.json",
    "coarse.obj",
    "neutral.obj",
    "face.mtl",
    "face.glb",
    "detail.ply",
    "depth.npy",
    "depth_coarse.npy",
    "normals.png",
    "photo.jpg",
    "texture.png",
    "normal_map.png",
    "displacement.png",
    "preview.png",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, toy_reconstruction):
    """One reconstruction and the folder it was saved to."""
    folder = tmp_path_factory.mktemp("out") / "photo" / "face0"
    assert toy_reconstruction.save(folder, texture_size=512) == folder
    return toy_reconstruction, folder


def load_mesh(path):
    mesh = trimesh.load(path, process=False, maintain_order=True)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def names(folder):
    return {entry.name for entry in folder.iterdir()}


def test_folder_holds_the_contract_and_nothing_else(saved):
    _, folder = saved
    assert names(folder) == CONTRACT
    assert names(folder.parent) == {"face0"}


def test_face_json(saved):
    r, folder = saved
    face = json.loads((folder / "face.json").read_text())
    assert face["image_size"] == {"width": 120, "height": 160}
    assert face["model"] == {"name": "toy", "version": "1", "expression_kind": "blendshape"}
    assert face["source"] == "toy.png"
    assert face["relief"] is True
    assert face["warnings"] == ["a toy"]
    assert list(face["expression"]) == list(r.model.expression_names)
    assert face["expression"]["eyeLookDownLeft"] == pytest.approx(0.8)
    landmarks = np.array(face["landmarks68_mm"])
    pose = face["pose"]
    x, y, _ = np.array(pose["rotation_matrix"]) @ landmarks.T
    u = pose["scale_px_per_mm"] * x + pose["translation_px"][0]
    v = pose["translation_px"][1] - pose["scale_px_per_mm"] * y
    np.testing.assert_allclose(np.stack([u, v], axis=1), face["landmarks68_px"], atol=2e-3)


def test_meshes_are_the_model_in_mm(saved):
    r, folder = saved
    for name, vertices in (("coarse", r.vertices), ("neutral", r.neutral)):
        mesh = load_mesh(folder / f"{name}.obj")
        np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-5)
        np.testing.assert_array_equal(mesh.faces, r.model.triangles)
        assert "mtllib face.mtl\n" in (folder / f"{name}.obj").read_text()
    assert "map_Kd texture.png" in (folder / "face.mtl").read_text()


def test_glb_is_neutral_with_named_morphs_and_the_photos_weights(saved):
    r, folder = saved
    gltf = pygltflib.GLTF2().load(str(folder / "face.glb"))
    assert gltf.meshes[0].extras["targetNames"] == list(r.model.expression_names)
    np.testing.assert_allclose(gltf.meshes[0].weights, r.expression, atol=1e-6)
    assert gltf.images[0].mimeType == "image/jpeg"
    scene = trimesh.load_scene(folder / "face.glb", process=False)
    (geometry,) = scene.geometry.values()
    np.testing.assert_allclose(geometry.triangles * 1000, r.neutral[r.model.triangles], atol=1e-4)


def test_depth_lies_on_the_photos_grid(saved):
    r, folder = saved
    for name, patch in (("depth", r.fine), ("depth_coarse", r.coarse)):
        depth = np.load(folder / f"{name}.npy", allow_pickle=False)
        assert depth.dtype == np.float32
        assert depth.shape == r.image.shape[:2]
        h, w = patch.depth.shape
        window = depth[patch.top : patch.top + h, patch.left : patch.left + w]
        np.testing.assert_array_equal(window, patch.depth)
        assert np.isfinite(depth).sum() == np.isfinite(patch.depth).sum()


def test_normals_are_those_of_the_depth(saved):
    r, folder = saved
    coded = cv2.imread(str(folder / "normals.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert coded.dtype == np.uint16
    depth = np.load(folder / "depth.npy", allow_pickle=False)
    expected = normals_from_depth(depth, r.camera.scale)
    np.testing.assert_allclose(decode_normals(coded), expected, atol=2e-5)


def test_detail_overlays_the_coarse_mesh(saved):
    r, folder = saved
    mesh = load_mesh(folder / "detail.ply")
    assert len(mesh.vertices) == np.isfinite(r.fine.depth).sum()
    u, v, z = r.camera.project(mesh.vertices).T
    depth = np.load(folder / "depth.npy", allow_pickle=False)
    row, column = np.floor(v).astype(int), np.floor(u).astype(int)
    np.testing.assert_allclose(z, depth[row, column], atol=1e-3)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], r.image[row, column])


def test_texture_is_the_skin_without_light(saved):
    r, folder = saved
    texture = cv2.imread(str(folder / "texture.png"))[..., ::-1]
    assert texture.shape == (512, 512, 3)
    # a vertex that faces the camera: its texel has the skin's colour, which the photo shows lit
    index = int(r.camera.project(r.vertices)[:, 2].argmax())
    corner = int(r.model.uv_triangles.ravel()[np.flatnonzero(r.model.triangles.ravel() == index)[0]])
    column, row = (r.model.uv[corner] * [512, -512] + [0, 512]).astype(int)
    skin = 255 * r.model.skin(r.albedo)[index]
    np.testing.assert_allclose(texture[row, column].astype(int), skin, atol=12)
    u, v = r.camera.project(r.vertices)[index, :2].astype(int)
    assert np.abs(r.image[v, u] - skin).max() > 15


def test_preview_has_six_panels(saved):
    _, folder = saved
    sheet = cv2.imread(str(folder / "preview.png"))
    assert 384 <= sheet.shape[0] < 460
    assert sheet.shape[1] == pytest.approx(6 * 384, abs=80)
    assert sheet.std() > 20


def test_without_relief_the_surface_stands_in_and_face_json_says_so(tmp_path, toy_reconstruction):
    save_reconstruction(replace(toy_reconstruction, fine=None), tmp_path / "face0", texture_size=64)
    assert names(tmp_path / "face0") == CONTRACT - {"normal_map.png", "displacement.png"}
    assert json.loads((tmp_path / "face0" / "face.json").read_text())["relief"] is False
    depth, coarse = (np.load(tmp_path / "face0" / f"{n}.npy") for n in ("depth", "depth_coarse"))
    np.testing.assert_array_equal(depth, coarse)


def test_patch_that_leaves_the_photo_is_cut(tmp_path, toy_reconstruction):
    patch = toy_reconstruction.coarse
    moved = DepthPatch(patch.depth, patch.left - 40, patch.top + 60)
    save_reconstruction(
        replace(toy_reconstruction, coarse=moved, fine=None), tmp_path / "face0", texture_size=64
    )
    depth = np.load(tmp_path / "face0" / "depth.npy")
    assert depth.shape == toy_reconstruction.image.shape[:2]
    assert 0 < np.isfinite(depth).sum() < np.isfinite(patch.depth).sum()
    mesh = load_mesh(tmp_path / "face0" / "detail.ply")
    assert len(mesh.vertices) == np.isfinite(depth).sum()


def test_model_without_uv_and_landmarks(tmp_path, toy_reconstruction):
    none = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
    model = replace(toy_reconstruction.model, uv=none[0], uv_triangles=none[1], landmarks={}, regions={})
    save_reconstruction(replace(toy_reconstruction, model=model), tmp_path / "face0")
    assert names(tmp_path / "face0") == CONTRACT - {
        "texture.png",
        "normal_map.png",
        "displacement.png",
        "face.mtl",
    }
    assert json.loads((tmp_path / "face0" / "face.json").read_text())["landmarks68_px"] is None
    gltf = pygltflib.GLTF2().load(str(tmp_path / "face0" / "face.glb"))
    attributes = gltf.meshes[0].primitives[0].attributes
    assert attributes.COLOR_0 is not None
    assert attributes.TEXCOORD_0 is None
    mesh = load_mesh(tmp_path / "face0" / "coarse.obj")
    skin = np.clip(model.skin(toy_reconstruction.albedo), 0, 1)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, skin, atol=1 / 255)


def test_statistical_expressions_and_no_albedo(tmp_path, toy_reconstruction):
    r = toy_reconstruction
    pca = tuple(f"expression{i}" for i in range(3))
    model = replace(
        r.model,
        expression=r.model.expression[:, :, :3],
        expression_names=pca,
        expression_kind="pca",
        albedo=np.zeros((r.model.n_vertices, 3, 0), np.float32),
    )
    bare = replace(r, model=model, expression=np.float32([-2, 0, 3]), albedo=np.zeros(0, np.float32))
    save_reconstruction(bare, tmp_path / "face0", texture_size=64)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "face0" / "face.glb"))
    assert gltf.meshes[0].extras["targetNames"] == list(pca)
    assert gltf.meshes[0].weights == [-2, 0, 3]
    face = json.loads((tmp_path / "face0" / "face.json").read_text())
    assert face["model"]["expression_kind"] == "pca"
    assert face["albedo"] == []


def test_eyeballs_get_their_own_material(tmp_path, toy_reconstruction):
    eyes = np.zeros(toy_reconstruction.model.n_vertices, bool)
    eyes[:300] = True
    model = replace(toy_reconstruction.model, regions={"eyeballs": eyes, "ears": ~eyes})
    save_reconstruction(replace(toy_reconstruction, model=model), tmp_path / "face0", texture_size=64)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "face0" / "face.glb"))
    assert [m.name for m in gltf.materials] == ["skin", "eyes"]
    assert [image.mimeType for image in gltf.images] == ["image/jpeg", "image/png"]


def test_taken_folder(tmp_path, toy_reconstruction, monkeypatch):
    monkeypatch.setattr(save_module, "preview", lambda *_: np.zeros((2, 2, 3), np.uint8))
    save_reconstruction(toy_reconstruction, tmp_path / "face0", texture_size=64)
    with pytest.raises(OutputError, match="already there"):
        toy_reconstruction.save(tmp_path / "face0")
    (tmp_path / "face0" / "extra").write_text("gone after")
    save_reconstruction(toy_reconstruction, tmp_path / "face0", overwrite=True, texture_size=64)
    assert names(tmp_path / "face0") == CONTRACT
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(OutputError, match=r"no face\.json"):
        toy_reconstruction.save(tmp_path / "letters", overwrite=True)
    assert names(tmp_path / "letters") == {"dear.txt"}


@pytest.mark.parametrize("room", [0, 1, 5, 9])
def test_full_disk_leaves_nothing(tmp_path, toy_reconstruction, monkeypatch, room):
    real = pathlib.Path.write_bytes
    written = []

    def fill_up(path, data):
        if len(written) == room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return real(path, data)

    monkeypatch.setattr(pathlib.Path, "write_bytes", fill_up)
    monkeypatch.setattr(save_module, "preview", lambda *_: np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(OutputError, match="the disk is full") as caught:
        save_reconstruction(toy_reconstruction, tmp_path / "face0", texture_size=64)
    assert "\n" not in str(caught.value)
    assert len(written) == room
    assert list(tmp_path.iterdir()) == []


def test_fit_that_went_wrong_is_not_written(tmp_path, toy_reconstruction):
    light = np.full((9, 3), np.nan, np.float32)
    with pytest.raises(OutputError, match="light"):
        save_reconstruction(replace(toy_reconstruction, light=light), tmp_path / "face0")
    assert list(tmp_path.iterdir()) == []


def test_chosen_files_alone_are_written(tmp_path, toy_reconstruction):
    r = toy_reconstruction
    save_reconstruction(r, tmp_path / "a", texture_size=64, files=("glb", "json"))
    assert names(tmp_path / "a") == {"face.json", "face.glb"}
    save_reconstruction(r, tmp_path / "b", texture_size=64, files=("depth", "photo"))
    assert names(tmp_path / "b") == {"face.json", "depth.npy", "depth_coarse.npy", "normals.png", "photo.jpg"}
    with pytest.raises(FacereliefError, match="no file 'glbs' of a face; expected some of json, obj, glb"):
        save_reconstruction(r, tmp_path / "c", files=("glbs",))
    assert not (tmp_path / "c").exists()


def test_displacement_is_in_mm(saved):
    r, folder = saved
    coded = cv2.imread(str(folder / "displacement.png"), cv2.IMREAD_UNCHANGED)
    assert coded.dtype == np.uint16
    reach = json.loads((folder / "face.json").read_text())["displacement_range_mm"]
    found = decode_displacement(coded, reach)
    np.testing.assert_allclose(found, relief_maps(r, 512)[1], atol=reach / 32767)
    assert coded[0, 0] == 32768
    assert 0.1 < np.abs(found).max() <= reach
