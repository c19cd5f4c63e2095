"""What was written comes back; damaged files are refused in one line."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from facerelief.errors import ImageError
from facerelief.geometry.mesh import Mesh
from facerelief.io.glb import Joint, Material, MorphTargets, Part, Skeleton, encode_glb, write_glb
from facerelief.io.read_glb import read_glb
from facerelief.io.write_images import encode_jpeg, encode_png


@pytest.fixture
def written(tmp_path, toy_model):
    mesh = Mesh(toy_model.mean, toy_model.triangles, uv=toy_model.uv, uv_triangles=toy_model.uv_triangles)
    shown = np.linspace(0, 1, 52).astype(np.float32)
    morphs = MorphTargets(toy_model.expression_names, toy_model.expression.transpose(2, 0, 1), shown)
    grey, flat = np.full((8, 8, 3), 99, np.uint8), np.full((8, 8, 3), 128, np.uint8)
    eyes = np.arange(len(mesh.triangles)) < 30
    weights = np.zeros((len(mesh.vertices), 2), np.float32)
    weights[:, 1] = 1
    joints = [Joint("neck", (0.0, -100.0, 0.0)), Joint("head", (0.0, 0.0, -20.0), 0)]
    write_glb(
        tmp_path / "a.glb",
        mesh,
        material=Material("skin", encode_jpeg(grey), roughness=0.5, normal_texture=encode_png(flat)),
        parts=[Part(eyes, Material("eyes", double_sided=True, color=(1.0, 0.0, 0.5)))],
        morphs=morphs,
        morph_normals=True,
        skeleton=Skeleton(joints, weights),
    )
    return tmp_path / "a.glb", mesh, morphs


def test_what_was_written_comes_back(written):
    path, mesh, morphs = written
    scene = read_glb(path)
    assert scene.names == tuple(morphs.names)
    np.testing.assert_allclose(scene.weights, morphs.weights, atol=1e-6)
    skin, eyes = scene.primitives
    n = len(mesh.vertices)
    np.testing.assert_allclose(skin.vertices[:n], mesh.vertices, atol=1e-4)
    np.testing.assert_allclose(skin.targets[:, :n], morphs.deltas, atol=2e-3)
    assert skin.uv is not None
    np.testing.assert_allclose(skin.uv[skin.triangles], mesh.uv[mesh.uv_triangles[30:]], atol=1e-6)
    assert skin.normal_targets is not None
    assert skin.tangents is not None
    assert eyes.tangents is None
    assert len(skin.triangles) + len(eyes.triangles) == len(mesh.triangles)
    assert (skin.surface.double_sided, eyes.surface.double_sided) == (False, True)
    np.testing.assert_allclose(eyes.surface.color, (1, 0, 0.214), atol=1e-3)
    assert abs(int(skin.surface.texture[4, 4, 0]) - 99) <= 1
    assert (skin.surface.normal_map == 128).all()


def test_nodes_place_meshes(tmp_path, toy_model):
    data = encode_glb(Mesh(toy_model.mean, toy_model.triangles))
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    document["nodes"] = [
        {"children": [1], "translation": [0, 1, 0]},
        {"mesh": 0, "rotation": [0, 0.7071068, 0, 0.7071068], "scale": [2, 2, 2]},
    ]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    (tmp_path / "a.glb").write_bytes(head + text + rest)
    found = read_glb(tmp_path / "a.glb").primitives[0].vertices
    x, y, z = 2 * toy_model.mean.T
    np.testing.assert_allclose(found, np.stack([z, y + 1000, -x], axis=1), atol=1e-3)


@pytest.mark.parametrize("damage", [b"", b"glTF", b"PNG and more", "cut", "json"])
def test_damaged_files_are_refused_in_one_line(written, damage, tmp_path):
    path, *_ = written
    data = path.read_bytes()
    if damage == "cut":
        damage = data[: len(data) // 2]
    elif damage == "json":
        damage = data[:30] + b"\xff" + data[31:]
    bad = tmp_path / "bad.glb"
    bad.write_bytes(damage)
    with pytest.raises(ImageError, match=r"bad\.glb: no \.glb file that can be shown") as caught:
        read_glb(bad)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="cannot be read"):
        read_glb(tmp_path / "none.glb")
