"""GLB: two other readers and the Khronos validator find what was put in."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pygltflib
import pytest
import trimesh
from gltf_validator import run_validator

from facerelief.errors import OutputError
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.io.glb import Animation, Material, MorphTargets, Part, encode_glb, write_glb
from facerelief.io.write_images import encode_jpeg, encode_png

DTYPES = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@pytest.fixture(scope="module")
def texture():
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    return np.stack([*np.meshgrid(ramp, ramp), np.full((32, 32), 99, np.uint8)], axis=-1)


@pytest.fixture(scope="module")
def mesh(toy_model):
    return Mesh(toy_model.mean, toy_model.triangles, uv=toy_model.uv, uv_triangles=toy_model.uv_triangles)


@pytest.fixture(scope="module")
def morphs(toy_model):
    weights = np.random.default_rng(0).uniform(0, 1, 52).astype(np.float32)
    return MorphTargets(toy_model.expression_names, toy_model.expression.transpose(2, 0, 1), weights)


@pytest.fixture(scope="module")
def animation():
    frames = np.arange(7)
    return Animation(
        times=frames / 30,
        weights=np.random.default_rng(1).uniform(0, 1, (7, 52)),
        rotations=np.stack([matrix_from_euler(0.1 * i, 0.8 * i, 0) for i in frames]),
        translations=np.outer(frames, [1.0, 2.0, -3.0]),
    )


@pytest.fixture(scope="module")
def full(mesh, morphs, animation, texture):
    material = Material(texture=encode_png(texture))
    return pygltflib.GLTF2.load_from_bytes(
        encode_glb(mesh, material=material, morphs=morphs, animation=animation)
    )


def view_bytes(gltf, index):
    view = gltf.bufferViews[index]
    return gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]


def values(gltf, index):
    """(count, width) values of an accessor, by the letter of the specification."""
    a = gltf.accessors[index]
    width = WIDTHS[a.type]
    if a.bufferView is None:
        out = np.zeros((a.count, width), DTYPES[a.componentType])
    else:
        out = (
            np.frombuffer(view_bytes(gltf, a.bufferView), DTYPES[a.componentType])
            .reshape(a.count, width)
            .copy()
        )
    if a.sparse is not None:
        rows = np.frombuffer(
            view_bytes(gltf, a.sparse.indices.bufferView), DTYPES[a.sparse.indices.componentType]
        )
        new = np.frombuffer(view_bytes(gltf, a.sparse.values.bufferView), DTYPES[a.componentType])
        assert len(rows) == a.sparse.count
        assert (np.diff(rows.astype(int)) > 0).all()
        out[rows] = new.reshape(-1, width)
    return out


def primitive(gltf, index=0):
    return gltf.meshes[0].primitives[index]


def test_first_vertices_are_the_models_in_metres(full, mesh):
    positions = values(full, primitive(full).attributes.POSITION)
    n = len(mesh.vertices)
    np.testing.assert_allclose(positions[:n] * 1000, mesh.vertices, atol=1e-5)
    assert len(positions) == len(mesh.uv)  # here every texture coordinate belongs to one vertex


def test_triangles_and_uv_are_the_same_corner_by_corner(full, mesh):
    p = primitive(full)
    index = values(full, p.indices).reshape(-1, 3)
    np.testing.assert_allclose(
        values(full, p.attributes.POSITION)[index] * 1000, mesh.vertices[mesh.triangles], atol=1e-5
    )
    uv = values(full, p.attributes.TEXCOORD_0)[index]
    uv[..., 1] = 1 - uv[..., 1]
    np.testing.assert_allclose(uv, mesh.uv[mesh.uv_triangles], atol=1e-6)


def test_normals_are_unit_and_shared_across_the_seam(full, mesh):
    p = primitive(full)
    normals = values(full, p.attributes.NORMAL)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    index = values(full, p.indices).reshape(-1, 3)
    expected = vertex_normals(mesh.vertices, mesh.triangles)[mesh.triangles]
    np.testing.assert_allclose(normals[index], expected, atol=1e-5)


def test_names_and_default_weights(full, morphs):
    assert full.meshes[0].extras["targetNames"] == list(morphs.names)
    np.testing.assert_allclose(full.meshes[0].weights, morphs.weights, atol=1e-6)
    assert len(primitive(full).targets) == 52


def test_morphed_with_the_weights_it_is_the_expected_mesh(full, mesh, morphs):
    p = primitive(full)
    shape = values(full, p.attributes.POSITION).astype(float)
    for weight, target in zip(full.meshes[0].weights, p.targets):
        shape += weight * values(full, target["POSITION"])
    expected = mesh.vertices + np.tensordot(morphs.weights, morphs.deltas, 1)
    # each of the 52 may leave out up to 1e-3 mm
    np.testing.assert_allclose(shape[: len(expected)] * 1000, expected, atol=0.05)
    index = values(full, p.indices).reshape(-1, 3)
    np.testing.assert_allclose(shape[index] * 1000, expected[mesh.triangles], atol=0.05)


def test_sparse_equals_dense(mesh, morphs):
    gltf = pygltflib.GLTF2.load_from_bytes(encode_glb(mesh, morphs=morphs, epsilon_mm=0))
    p = primitive(gltf)
    kinds = {gltf.accessors[t["POSITION"]].sparse is not None for t in p.targets}
    assert True in kinds
    for target, delta in zip(p.targets, morphs.deltas):
        got = values(gltf, target["POSITION"])[: len(delta)] * 1000
        np.testing.assert_allclose(got, delta, atol=1e-6)


def test_target_that_moves_everything_is_dense_and_one_that_moves_nothing_is_valid(mesh):
    deltas = np.zeros((2, len(mesh.vertices), 3), np.float32)
    deltas[0] = 1.0
    two = MorphTargets(("all", "nothing"), deltas, np.zeros(2, np.float32))
    gltf = pygltflib.GLTF2.load_from_bytes(encode_glb(mesh, morphs=two))
    every, nothing = (t["POSITION"] for t in primitive(gltf).targets)
    assert gltf.accessors[every].sparse is None
    assert gltf.accessors[nothing].sparse.count == 1
    np.testing.assert_allclose(values(gltf, every), 0.001)
    np.testing.assert_allclose(values(gltf, nothing), 0)


def test_bounds_are_exact(full):
    checked = 0
    for i, accessor in enumerate(full.accessors):
        if accessor.min is not None and accessor.min != []:
            data = values(full, i).astype(np.float64)
            assert accessor.min == data.min(axis=0).tolist()
            assert accessor.max == data.max(axis=0).tolist()
            checked += 1
    assert checked == 1 + 52 + 1  # positions, morphs, animation times


def test_everything_is_aligned(full):
    assert all(view.byteOffset % 4 == 0 for view in full.bufferViews)
    assert len(full.binary_blob()) % 4 == 0


def test_container_lengths_are_right(mesh):
    data = encode_glb(mesh)
    magic, version, total = struct.unpack_from("<4sII", data)
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON")
    json.loads(data[20 : 20 + length])
    length2, kind2 = struct.unpack_from("<I4s", data, 20 + length)
    assert kind2 == b"BIN\0"
    assert 20 + length + 8 + length2 == len(data)


def test_material_and_embedded_texture(full, texture):
    material = full.materials[0]
    assert material.pbrMetallicRoughness.roughnessFactor == pytest.approx(0.9)
    assert material.pbrMetallicRoughness.metallicFactor == 0
    assert material.doubleSided in (None, False)
    assert view_bytes(full, full.images[0].bufferView) == encode_png(texture)
    assert full.images[0].mimeType == "image/png"


def test_animation_tracks(full, animation):
    clip = full.animations[0]
    by_path = {c.target.path: clip.samplers[c.sampler] for c in clip.channels}
    assert set(by_path) == {"weights", "rotation", "translation"}
    assert {s.interpolation for s in clip.samplers} == {"LINEAR"}
    np.testing.assert_allclose(values(full, by_path["weights"].input).ravel(), animation.times, atol=1e-7)
    np.testing.assert_allclose(
        values(full, by_path["weights"].output).reshape(7, 52), animation.weights, atol=1e-6
    )
    np.testing.assert_allclose(
        values(full, by_path["translation"].output) * 1000, animation.translations, atol=1e-5
    )
    x, y, z, w = values(full, by_path["rotation"].output).astype(float).T
    np.testing.assert_allclose(2 * (x * z + w * y), animation.rotations[:, 0, 2], atol=1e-6)
    np.testing.assert_allclose(1 - 2 * (x * x + y * y), animation.rotations[:, 2, 2], atol=1e-6)
    quaternions = np.stack([x, y, z, w], axis=1)
    assert ((quaternions[1:] * quaternions[:-1]).sum(axis=1) > 0).all()  # always the short way round


def test_trimesh_reads_geometry_and_texture(tmp_path, mesh, morphs, texture):
    write_glb(
        tmp_path / "a.glb", mesh, material=Material(texture=encode_jpeg(texture)), morphs=morphs, name="anna"
    )
    scene = trimesh.load_scene(tmp_path / "a.glb", process=False)
    (geometry,) = scene.geometry.values()
    np.testing.assert_allclose(geometry.triangles * 1000, mesh.vertices[mesh.triangles], atol=1e-5)
    np.testing.assert_allclose(geometry.visual.uv[geometry.faces], mesh.uv[mesh.uv_triangles], atol=1e-6)
    assert geometry.visual.material.baseColorTexture.size == (32, 32)
    assert "anna" in scene.graph.nodes


def test_parts_get_their_own_material(mesh, morphs):
    eyes = np.zeros(len(mesh.triangles), bool)
    eyes[:10] = True
    glossy = Material("eyes", color=(0.2, 0.2, 0.2), roughness=0.1)
    gltf = pygltflib.GLTF2.load_from_bytes(encode_glb(mesh, parts=[Part(eyes, glossy)], morphs=morphs))
    skin, eye = gltf.meshes[0].primitives
    assert gltf.accessors[eye.indices].count == 30
    assert gltf.accessors[skin.indices].count == 3 * len(mesh.triangles) - 30
    assert gltf.materials[eye.material].pbrMetallicRoughness.roughnessFactor == pytest.approx(0.1)
    assert eye.attributes.POSITION == skin.attributes.POSITION
    assert [t["POSITION"] for t in eye.targets] == [t["POSITION"] for t in skin.targets]


def test_vertex_colours_are_linear(toy_model):
    colors = np.full_like(toy_model.mean, 0.5)
    gltf = pygltflib.GLTF2.load_from_bytes(
        encode_glb(Mesh(toy_model.mean, toy_model.triangles, colors=colors))
    )
    got = values(gltf, primitive(gltf).attributes.COLOR_0)
    np.testing.assert_allclose(got, 0.21404, atol=1e-4)
    assert primitive(gltf).attributes.TEXCOORD_0 is None


def test_morph_normals_turn_the_shading(mesh, morphs):
    gltf = pygltflib.GLTF2.load_from_bytes(encode_glb(mesh, morphs=morphs, morph_normals=True))
    p = primitive(gltf)
    k = morphs.names.index("jawOpen")
    got = values(gltf, p.attributes.NORMAL) + values(gltf, p.targets[k]["NORMAL"])
    expected = vertex_normals(mesh.vertices + morphs.deltas[k], mesh.triangles)
    np.testing.assert_allclose(got[: len(expected)], expected, atol=6e-3)


def test_many_vertices_get_wide_indices():
    n = 70_000
    vertices = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    triangles = np.array([[0, 1, 2], [n - 3, n - 2, n - 1]], np.int32)
    deltas = np.zeros((1, n, 3), np.float32)
    deltas[0, -1] = 1
    morphs = MorphTargets(("last",), deltas, np.ones(1, np.float32))
    gltf = pygltflib.GLTF2.load_from_bytes(encode_glb(Mesh(vertices, triangles), morphs=morphs))
    np.testing.assert_array_equal(values(gltf, primitive(gltf).indices).reshape(-1, 3), triangles)
    np.testing.assert_allclose(values(gltf, primitive(gltf).targets[0]["POSITION"])[-1], 0.001)


def test_loose_vertices_keep_a_unit_normal():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], np.float32)
    gltf = pygltflib.GLTF2.load_from_bytes(encode_glb(Mesh(vertices, np.array([[0, 1, 2]], np.int32))))
    normals = values(gltf, primitive(gltf).attributes.NORMAL)
    np.testing.assert_allclose(normals, [[0, 0, 1]] * 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"morphs": MorphTargets(("a",), np.zeros((1, 3, 3), np.float32), np.zeros(1, np.float32))},
            "deltas",
        ),
        ({"parts": [Part(np.zeros(3, bool), Material())]}, r"parts\[0\]"),
        ({"animation": Animation(np.array([0.0, 0.0]), translations=np.zeros((2, 3)))}, "increase"),
        ({"animation": Animation(np.array([0.0]))}, "no track"),
        ({"animation": Animation(np.array([0.0]), weights=np.zeros((1, 0)))}, "no morph targets"),
        ({"material": Material(texture=b"GIF89a")}, "PNG or JPEG"),
    ],
)
def test_what_does_not_fit_is_refused(mesh, change, words):
    with pytest.raises(ValueError, match=words):
        encode_glb(mesh, **change)


def test_no_triangles_is_refused(mesh):
    with pytest.raises(ValueError, match="no triangles"):
        encode_glb(replace(mesh, triangles=np.zeros((0, 3), np.int32), uv_triangles=None))


def test_unwritable_is_one_line(tmp_path, mesh):
    with pytest.raises(OutputError, match="cannot write"):
        write_glb(tmp_path / "gone" / "a.glb", mesh)


def test_khronos_validator_has_nothing_to_say(tmp_path, mesh, morphs, animation, texture, toy_model):
    eyes = np.zeros(len(mesh.triangles), bool)
    eyes[:10] = True
    parts = [Part(eyes, Material("eyes", roughness=0.1))]
    png, jpeg = (
        Material(texture=encode_png(texture)),
        Material(texture=encode_jpeg(texture), double_sided=True),
    )
    write_glb(tmp_path / "full.glb", mesh, material=png, parts=parts, morphs=morphs, animation=animation)
    write_glb(tmp_path / "normals.glb", mesh, material=jpeg, morphs=morphs, morph_normals=True)
    write_glb(
        tmp_path / "colours.glb", Mesh(toy_model.mean, toy_model.triangles, colors=toy_model.albedo_mean)
    )
    for file, report in run_validator(*sorted(tmp_path.glob("*.glb"))).items():
        assert (report["errors"], report["warnings"]) == (0, 0), (file, report["messages"])
        # unused TEXCOORD_0 is a remark on the eyes, which have no texture
        assert {m["code"] for m in report["messages"]} <= {"UNUSED_OBJECT"}, (file, report["messages"])


def test_validator_notices_damage(tmp_path, mesh):
    data = encode_glb(mesh)
    (tmp_path / "bad.glb").write_bytes(data.replace(b'"VEC3"', b'"VEC2"', 1))
    (report,) = run_validator(tmp_path / "bad.glb").values()
    assert report["errors"] > 0
