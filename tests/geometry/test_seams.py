"""Tangents of planes are known; copies of seam vertices keep place and texture coordinate."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.seams import split_seams, vertex_tangents


def _square(uv: np.ndarray) -> Mesh:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(vertices, triangles, uv=uv.astype(np.float32), uv_triangles=triangles)


UPRIGHT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


@pytest.mark.parametrize(
    ("uv", "tangent", "sign"),
    [
        (UPRIGHT, (1, 0, 0), 1),
        (UPRIGHT * [-1, 1], (-1, 0, 0), -1),
        (UPRIGHT[:, ::-1] * [1, -1], (0, 1, 0), 1),  # turned by a quarter
        (UPRIGHT * [1, -3], (1, 0, 0), -1),
    ],
)
def test_tangents_of_a_plane_follow_u_and_the_sign_follows_v(uv, tangent, sign):
    mesh = _square(uv)
    found = vertex_tangents(mesh.vertices, np.tile([0.0, 0, 1], (4, 1)), uv, mesh.triangles)
    np.testing.assert_allclose(found[:, :3], np.tile(tangent, (4, 1)), atol=1e-6)
    np.testing.assert_array_equal(found[:, 3], sign)
    along_v = sign * np.cross([0, 0, 1], tangent)
    rise = (
        np.array([2, 0, 0]) @ along_v * (uv[1] - uv[0])[1]
        + np.array([0, 2, 0]) @ along_v * (uv[3] - uv[0])[1]
    )
    assert rise > 0


def test_tangents_are_unit_and_orthogonal_to_the_normals(toy_model):
    mesh = Mesh(toy_model.mean, toy_model.triangles, uv=toy_model.uv, uv_triangles=toy_model.uv_triangles)
    split = split_seams(mesh)
    normals = vertex_normals(mesh.vertices, mesh.triangles)[split.source]
    assert split.uv is not None
    found = vertex_tangents(mesh.vertices[split.source], normals, split.uv, split.triangles)
    np.testing.assert_allclose(np.linalg.norm(found[:, :3], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((found[:, :3] * normals).sum(axis=1), 0, atol=1e-5)
    assert set(np.unique(found[:, 3])) <= {-1.0, 1.0}


def test_degenerate_uv_gives_some_orthogonal_tangent():
    mesh = _square(np.zeros((4, 2)))
    found = vertex_tangents(mesh.vertices, np.tile([0.0, 0, 1], (4, 1)), np.zeros((4, 2)), mesh.triangles)
    np.testing.assert_allclose(np.linalg.norm(found[:, :2], axis=1), 1, atol=1e-6)


def test_split_vertices_keep_place_and_texture_coordinate(toy_model):
    mesh = Mesh(toy_model.mean, toy_model.triangles, uv=toy_model.uv, uv_triangles=toy_model.uv_triangles)
    split = split_seams(mesh)
    assert split.uv is not None
    np.testing.assert_array_equal(split.source[: len(mesh.vertices)], np.arange(len(mesh.vertices)))
    np.testing.assert_array_equal(split.source[split.triangles], mesh.triangles)
    np.testing.assert_array_equal(split.uv[split.triangles], toy_model.uv[toy_model.uv_triangles])
