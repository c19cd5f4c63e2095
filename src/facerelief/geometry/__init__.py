"""Cameras, rotations, meshes, normals, alignment and closest points; conventions: docs/conventions.md."""

from facerelief.geometry.alignment import (
    Registration,
    Similarity,
    procrustes,
    rigid_icp,
    rotation_from_vector,
    solve_weak_perspective,
)
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.closest import ClosestPoint, Nearest
from facerelief.geometry.depth import depth_to_mesh, normals_from_depth
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import face_normals, vertex_normals
from facerelief.geometry.patch import ColorPatch, DepthPatch
from facerelief.geometry.rotation import euler_from_matrix, matrix_from_euler, nearest_rotation

__all__ = [
    "ClosestPoint",
    "ColorPatch",
    "DepthPatch",
    "Mesh",
    "Nearest",
    "Registration",
    "Similarity",
    "WeakPerspective",
    "depth_to_mesh",
    "euler_from_matrix",
    "face_normals",
    "matrix_from_euler",
    "nearest_rotation",
    "normals_from_depth",
    "procrustes",
    "rigid_icp",
    "rotation_from_vector",
    "solve_weak_perspective",
    "vertex_normals",
]
