"""face.glb: parts, joints and blendshapes of a head, read back by another reader."""

from __future__ import annotations

import numpy as np
import pygltflib
import pytest
from gltf_validator import run_validator
from toy_parts import with_parts

from facerelief.facefolder.head_glb import GlbOptions, encode_head_glb
from facerelief.facefolder.maps import HeadMaps
from facerelief.geometry.normals import vertex_normals
from facerelief.io.glb import Animation
from facerelief.morphable import open_model
from facerelief.morphable.named_expressions import AVATAR_KEYS, VISEMES

DTYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@pytest.fixture(scope="module")
def maps(toy_model):
    flat = np.full((16, 16, 3), 128, np.uint8)
    flat[..., 2] = 255
    return HeadMaps(toy_model.albedo_mean, np.full((16, 16, 3), 0.5, np.float32), flat)


def read(data):
    return pygltflib.GLTF2.load_from_bytes(data)


def values(gltf, index):
    """An accessor's values (count, width), sparse ones filled in."""
    accessor, blob = gltf.accessors[index], gltf.binary_blob()

    def raw(view, component, count, width, offset=0):
        at = gltf.bufferViews[view].byteOffset + (offset or 0)
        size = count * width * np.dtype(DTYPES[component]).itemsize
        return np.frombuffer(blob[at : at + size], DTYPES[component]).reshape(count, width)

    width = WIDTHS[accessor.type]
    if accessor.sparse is None:
        return raw(accessor.bufferView, accessor.componentType, accessor.count, width, accessor.byteOffset)
    out = np.zeros((accessor.count, width), DTYPES[accessor.componentType])
    sparse = accessor.sparse
    rows = raw(sparse.indices.bufferView, sparse.indices.componentType, sparse.count, 1)[:, 0]
    out[rows] = raw(sparse.values.bufferView, accessor.componentType, sparse.count, width)
    return out


def test_parts_have_materials_of_their_own(toy_model, maps):
    model = with_parts(toy_model)
    gltf = read(encode_head_glb(model, model.mean, maps))
    counts = {
        gltf.materials[p.material].name: gltf.accessors[p.indices].count for p in gltf.meshes[0].primitives
    }
    assert set(counts) == {"skin", "teeth", "mouth", "lashes"}
    assert sum(counts.values()) == 3 * len(model.triangles)
    assert {m.name for m in gltf.materials if m.doubleSided} == {"lashes", "mouth"}
    assert [m.name for m in gltf.materials if m.normalTexture is not None] == ["skin"]
    tangents = [p.attributes.TANGENT is not None for p in gltf.meshes[0].primitives]
    assert tangents == [gltf.materials[p.material].name == "skin" for p in gltf.meshes[0].primitives]


def test_bind_pose_reproduces_the_mesh(toy_model, maps):
    gltf = read(encode_head_glb(toy_model, toy_model.mean, maps))
    (skin,) = gltf.skins
    assert [gltf.nodes[i].name for i in skin.joints] == ["neck", "head", "jaw", "leftEye", "rightEye"]
    parent = {child: i for i, node in enumerate(gltf.nodes) for child in node.children or []}

    def world(i):
        own = np.array(gltf.nodes[i].translation or [0, 0, 0], float)
        return own + (world(parent[i]) if i in parent else 0)

    inverse = values(gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    for i, matrix in zip(skin.joints, inverse):
        placed = np.eye(4)
        placed[:3, 3] = world(i)
        np.testing.assert_allclose(placed @ matrix, np.eye(4), atol=1e-6)
    attributes = gltf.meshes[0].primitives[0].attributes
    np.testing.assert_allclose(values(gltf, attributes.WEIGHTS_0).sum(axis=1), 1, atol=1e-6)
    joints, weights = values(gltf, attributes.JOINTS_0), values(gltf, attributes.WEIGHTS_0)
    assert joints.max() < len(skin.joints)
    assert (joints[weights == 0] == 0).all()


def test_normals_of_targets_are_those_of_the_moved_mesh(toy_model, maps):
    gltf = read(encode_head_glb(toy_model, toy_model.mean, maps))
    primitive = gltf.meshes[0].primitives[0]
    base = values(gltf, primitive.attributes.NORMAL)[: toy_model.n_vertices]
    for name in ("jawOpen", "mouthSmileLeft"):
        k = gltf.meshes[0].extras["targetNames"].index(name)
        moved = toy_model.mean + toy_model.expression[:, :, k]
        wanted = vertex_normals(moved, toy_model.triangles)
        turned = base + values(gltf, primitive.targets[k]["NORMAL"])[: toy_model.n_vertices]
        np.testing.assert_allclose(turned, wanted, atol=6e-3)
    without = read(encode_head_glb(toy_model, toy_model.mean, maps, options=GlbOptions(morph_normals=False)))
    assert set(without.meshes[0].primitives[0].targets[0]) == {"POSITION"}


def test_visemes_are_sums_of_the_52(toy_model, maps):
    shown = np.linspace(0, 1, 52).astype(np.float32)
    options = GlbOptions(visemes=True, morph_normals=False)
    moving = Animation(np.array([0.0, 1.0]), weights=np.zeros((2, 52)))
    data = encode_head_glb(toy_model, toy_model.mean, maps, weights=shown, animation=moving, options=options)
    gltf = read(data)
    names = gltf.meshes[0].extras["targetNames"]
    assert names[52:] == [*VISEMES, *AVATAR_KEYS]
    assert gltf.meshes[0].weights[52:] == [0] * 20
    targets = gltf.meshes[0].primitives[0].targets
    for name in ("viseme_sil", "viseme_aa", "mouthSmile"):
        found = values(gltf, targets[names.index(name)]["POSITION"])[: toy_model.n_vertices]
        wanted = toy_model.expression @ toy_model.expression_weights({name: 1.0})
        np.testing.assert_allclose(1000 * found, wanted, atol=0.011)
    (animation,) = gltf.animations
    output = animation.samplers[animation.channels[0].sampler].output
    assert gltf.accessors[output].count == 2 * 72


def test_no_normal_map_without_the_option(toy_model, maps):
    data = encode_head_glb(toy_model, toy_model.mean, maps, options=GlbOptions(normal_map=False))
    gltf = read(data)
    assert len(gltf.images) == 1
    assert gltf.meshes[0].primitives[0].attributes.TANGENT is None


def test_khronos_validator_has_nothing_to_say_about_a_head(tmp_path, toy_model, maps):
    toy = with_parts(toy_model)
    (tmp_path / "toy.glb").write_bytes(encode_head_glb(toy, toy.mean, maps))
    two = open_model("open2")
    still, unturned = np.zeros((2, 54)), np.tile(np.eye(3), (2, 1, 1))
    moving = Animation(np.array([0.0, 1.0]), weights=still, rotations=unturned)
    look = HeadMaps(two.albedo_mean, maps.texture, maps.normal_map)
    options = GlbOptions(visemes=True, morph_normals=False)
    data = encode_head_glb(two, two.mean, look, animation=moving, options=options)
    (tmp_path / "two.glb").write_bytes(data)
    for file, report in run_validator(*sorted(tmp_path.glob("*.glb"))).items():
        assert (report["errors"], report["warnings"]) == (0, 0), (file, report["messages"])
