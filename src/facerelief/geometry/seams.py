"""Meshes with one texture coordinate per vertex, as graphics cards have them, and their tangents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.mesh import Mesh
from facerelief.typed import Float32, Float64


@dataclass(frozen=True, eq=False)
class SeamSplit:
    """A mesh whose vertices on uv seams have copies, one for each texture coordinate."""

    source: NDArray[np.int64]
    """(V,) mesh vertex of each vertex; the identity on the first N."""
    uv: Float32 | None
    """(V, 2) texture coordinates, v up; None for a mesh without."""
    triangles: NDArray[np.int64]
    """(T, 3) ids of the V vertices."""


def split_seams(mesh: Mesh) -> SeamSplit:
    """Give each pair of vertex and texture coordinate a vertex of its own.

    Vertex i of the mesh stays vertex i; further copies of vertices on seams follow after the first N.
    """
    n = len(mesh.vertices)
    triangles = mesh.triangles.astype(np.int64)
    if mesh.uv is None or mesh.uv_triangles is None or not len(mesh.uv_triangles):
        return SeamSplit(np.arange(n), None, triangles)
    m = len(mesh.uv)
    pairs, inverse = np.unique(
        triangles.ravel() * m + mesh.uv_triangles.astype(np.int64).ravel(), return_inverse=True
    )
    vertex, texel = np.divmod(pairs, m)
    first = np.ones(len(pairs), bool)
    first[1:] = vertex[1:] != vertex[:-1]
    place = np.where(first, vertex, 0)
    place[~first] = n + np.arange(int((~first).sum()))
    uv = np.zeros((n + int((~first).sum()), 2), np.float32)
    uv[place] = mesh.uv[texel]
    source = np.concatenate([np.arange(n), vertex[~first]])
    return SeamSplit(source, uv, place[inverse].reshape(-1, 3))


def vertex_tangents(vertices: ArrayLike, normals: ArrayLike, uv: ArrayLike, triangles: ArrayLike) -> Float32:
    """Tangents of a mesh without seams, as MikkTSpace (Mikkelsen 2008) makes them.

    At each corner the direction in which u grows is projected onto the plane of the vertex normal; the unit
    vectors are averaged with the corner's angle, seen in that plane, as weight. MikkTSpace also splits
    vertices between triangles of opposite handedness; here the larger angle decides.

    Args:
        vertices: (V, 3)
        normals: (V, 3) unit.
        uv: (V, 2) v up.
        triangles: (T, 3)

    Returns:
        (V, 4): unit tangent orthogonal to the normal, and +1 or -1, the sign of the bitangent
        sign * normal x tangent, along which v (up) grows. Any orthogonal direction where uv gives none.
    """
    v, n = np.asarray(vertices, np.float64), np.asarray(normals, np.float64)
    coordinates, t = np.asarray(uv, np.float64), np.asarray(triangles, np.int64)
    corner, texel = v[t], coordinates[t]
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    d1, d2 = texel[:, 1] - texel[:, 0], texel[:, 2] - texel[:, 0]
    area = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    along = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * np.sign(area)[:, None]
    total, handed = np.zeros((len(v), 3)), np.zeros(len(v))
    for k in range(3):
        here = t[:, k]
        normal = n[here]
        sides = [_flat(corner[:, (k + step) % 3] - corner[:, k], normal) for step in (1, 2)]
        angle = np.arccos(np.clip((sides[0] * sides[1]).sum(axis=1), -1, 1)) * (area != 0)
        pull = _flat(along, normal) * angle[:, None]
        for axis in range(3):
            total[:, axis] += np.bincount(here, pull[:, axis], len(v))
        handed += np.bincount(here, np.sign(area) * angle, len(v))
    # without a direction: any that the normal is not
    lost = np.linalg.norm(_flat(total, n), axis=1) < 0.5
    other = np.where(np.abs(n[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    tangent = _flat(np.where(lost[:, None], other, total), n)
    return np.column_stack([tangent, np.where(handed < 0, -1.0, 1.0)]).astype(np.float32)


def _flat(vectors: Float64, normals: Float64) -> Float64:
    """Unit vectors (V, 3) of the projections onto the normals' planes; 0 where there is none."""
    flat = vectors - (vectors * normals).sum(axis=1, keepdims=True) * normals
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > 1e-12, flat / np.maximum(length, 1e-12), 0.0)
