"""Normals: outward, unit length, covariant to rotation, zero where there is no surface."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.normals import face_normals, triangle_ids, vertex_normals
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.morphable.model import FaceModel

TETRAHEDRON = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
OUTWARD = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def test_normals_of_a_ball_point_along_the_radius(toy_model: FaceModel) -> None:
    directions = toy_model.mean / np.linalg.norm(toy_model.mean, axis=1, keepdims=True)
    normals = vertex_normals(70.0 * directions, toy_model.triangles)
    assert normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    assert (normals * directions).sum(axis=1).min() > 0.995


def test_faces_of_a_tetrahedron_point_outward() -> None:
    normals = face_normals(TETRAHEDRON, OUTWARD)
    np.testing.assert_allclose(normals, [[0, 0, -1], [0, -1, 0], [-1, 0, 0], np.full(3, 3**-0.5)], atol=1e-12)
    np.testing.assert_allclose(face_normals(TETRAHEDRON, OUTWARD[:, ::-1]), -normals)


def test_vertex_normal_is_the_area_weighted_mean() -> None:
    weighted = np.cross(
        TETRAHEDRON[OUTWARD[:, 1]] - TETRAHEDRON[OUTWARD[:, 0]],
        TETRAHEDRON[OUTWARD[:, 2]] - TETRAHEDRON[OUTWARD[:, 0]],
    )
    expected = np.array([weighted[(v == OUTWARD).any(axis=1)].sum(axis=0) for v in range(4)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(TETRAHEDRON, OUTWARD), expected, atol=1e-12)


def test_rotating_the_mesh_rotates_the_normals(toy_model: FaceModel) -> None:
    rotation = matrix_from_euler(0.3, -0.6, 1.1)
    vertices = toy_model.mean.astype(np.float64)
    turned = vertex_normals(vertices @ rotation.T, toy_model.triangles)
    np.testing.assert_allclose(turned, vertex_normals(vertices, toy_model.triangles) @ rotation.T, atol=1e-12)


def test_no_area_no_normal() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5]])
    flat = np.array([[0, 1, 2]])
    assert not vertex_normals(vertices, flat).any()
    assert not face_normals(vertices, flat).any()
    assert vertex_normals(vertices, np.zeros((0, 3), int)).shape == (4, 3)


@pytest.mark.parametrize(
    ("vertices", "triangles"),
    [
        (np.zeros((3, 2)), [[0, 1, 2]]),
        (np.zeros((3, 3)), [[0, 1, 3]]),
        (np.zeros((3, 3)), [[0, 1, -1]]),
        (np.zeros((3, 3)), [[0, 1, 2, 0]]),
    ],
)
def test_bad_arguments_are_named(vertices: np.ndarray, triangles: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"vertices|triangles"):
        vertex_normals(vertices, triangles)


def test_fixed_triangles_are_checked_against_every_count():
    fixed = np.array([[0, 1, 2], [2, 3, 0]], np.int32)
    fixed.setflags(write=False)
    for _ in range(2):
        assert triangle_ids(fixed, 4) is fixed
        with pytest.raises(ValueError, match=r"outside 0\.\.2"):
            triangle_ids(fixed, 3)
    changed = np.array([[0, 1, 2]], np.int32)
    triangle_ids(changed, 3)
    changed[0, 0] = 7
    with pytest.raises(ValueError, match="outside"):
        triangle_ids(changed, 3)
