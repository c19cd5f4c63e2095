"""PLY: a round trip keeps order, positions and colours."""

from __future__ import annotations

import numpy as np
import trimesh

from facerelief.geometry.mesh import Mesh
from facerelief.io.ply import write_ply


def test_round_trip(tmp_path, toy_model):
    colors = np.clip(toy_model.albedo_mean, 0, 1)
    write_ply(tmp_path / "a.ply", Mesh(toy_model.mean, toy_model.triangles, colors=colors))
    back = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(back.vertices.astype(np.float32), toy_model.mean)
    np.testing.assert_array_equal(back.faces, toy_model.triangles)
    np.testing.assert_allclose(back.visual.vertex_colors[:, :3] / 255, colors, atol=0.5001 / 255)
    assert (tmp_path / "a.ply").read_bytes().startswith(b"ply\nformat binary_little_endian")


def test_without_colours_and_with_a_loose_vertex(tmp_path, toy_model):
    vertices = np.concatenate([toy_model.mean, [[1, 2, 3]]]).astype(np.float32)
    write_ply(tmp_path / "a.ply", Mesh(vertices, toy_model.triangles))
    back = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(back.vertices.astype(np.float32), vertices)
    assert b"red" not in (tmp_path / "a.ply").read_bytes()[:400]
