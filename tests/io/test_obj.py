"""OBJ: what another program reads is the model's topology, vertex for vertex."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from facerelief.errors import OutputError
from facerelief.geometry.mesh import Mesh
from facerelief.io.obj import ObjMaterial, write_mtl, write_obj
from facerelief.io.write_images import write_png


@pytest.fixture
def mesh(toy_model):
    return Mesh(toy_model.mean, toy_model.triangles, uv=toy_model.uv, uv_triangles=toy_model.uv_triangles)


def read_lines(path, word):
    return [line.split()[1:] for line in path.read_text().splitlines() if line.startswith(word + " ")]


def test_text_holds_the_very_topology(tmp_path, mesh):
    path = tmp_path / "a.obj"
    write_obj(path, mesh, ObjMaterial("a.mtl", "texture.png"))
    np.testing.assert_allclose(np.array(read_lines(path, "v"), float), mesh.vertices, atol=5.1e-6)
    np.testing.assert_allclose(np.array(read_lines(path, "vt"), float), mesh.uv, atol=1e-6)
    corners = np.array([[corner.split("/") for corner in row] for row in read_lines(path, "f")], int)
    np.testing.assert_array_equal(corners[..., 0] - 1, mesh.triangles)
    np.testing.assert_array_equal(corners[..., 1] - 1, mesh.uv_triangles)


def test_trimesh_reads_same_order_faces_uv_and_texture(tmp_path, mesh):
    material = ObjMaterial("a.mtl", "texture.png")
    write_obj(tmp_path / "a.obj", mesh, material)
    write_mtl(tmp_path / "a.mtl", material)
    write_png(tmp_path / "texture.png", np.full((4, 4, 3), 77, np.uint8))
    kept = trimesh.load(tmp_path / "a.obj", process=False, maintain_order=True)
    np.testing.assert_allclose(kept.vertices, mesh.vertices, atol=5.1e-6)
    np.testing.assert_array_equal(kept.faces, mesh.triangles)
    # with its own order trimesh splits vertices at uv seams, so compare corner by corner
    back = trimesh.load(tmp_path / "a.obj", process=False)
    np.testing.assert_allclose(back.triangles, mesh.vertices[mesh.triangles], atol=1e-5)
    np.testing.assert_allclose(back.visual.uv[back.faces], mesh.uv[mesh.uv_triangles], atol=1e-6)
    assert back.visual.material.image.size == (4, 4)


def test_without_uv_trimesh_keeps_every_vertex(tmp_path, toy_model):
    write_obj(tmp_path / "a.obj", Mesh(toy_model.mean, toy_model.triangles))
    back = trimesh.load(tmp_path / "a.obj", process=False, maintain_order=True)
    np.testing.assert_array_equal(back.faces, toy_model.triangles)
    np.testing.assert_allclose(back.vertices, toy_model.mean, atol=5.1e-6)


def test_vertex_colours_are_kept(tmp_path, toy_model):
    colors = np.clip(toy_model.albedo_mean, 0, 1)
    write_obj(tmp_path / "a.obj", Mesh(toy_model.mean, toy_model.triangles, colors=colors))
    back = trimesh.load(tmp_path / "a.obj", process=False, maintain_order=True)
    np.testing.assert_allclose(back.visual.vertex_colors[:, :3] / 255, colors, atol=1 / 255)


def test_no_folder_is_one_line(tmp_path, mesh):
    with pytest.raises(OutputError, match=r"a\.obj: cannot write: .*; try again") as caught:
        write_obj(tmp_path / "gone" / "a.obj", mesh)
    assert "\n" not in str(caught.value)
