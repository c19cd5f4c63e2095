"""Cameras, rotations, meshes, normals, alignment and closest points; conventions: docs/conventions.md."""

from facerelief.geometry.alignment import (
    Similarity,
    procrustes,
    rotation_from_vector,
    solve_weak_perspective,
)
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import face_normals, vertex_normals
from facerelief.geometry.rotation import euler_from_matrix, matrix_from_euler, nearest_rotation

__all__ = [
    "Mesh",
    "Similarity",
    "WeakPerspective",
    "euler_from_matrix",
    "face_normals",
    "matrix_from_euler",
    "nearest_rotation",
    "procrustes",
    "rotation_from_vector",
    "solve_weak_perspective",
    "vertex_normals",
]
