"""Ambient occlusion: the share of ambient light that reaches each vertex."""

from __future__ import annotations

import numpy as np

from facerelief.geometry.normals import vertex_normals
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.rendering.spherical_harmonics import sphere_points
from facerelief.typed import Float, Int32


def seen_share(vertices: Float, triangles: Int32, directions: int = 48, size: int = 200) -> Float:
    """Ambient visibility: cosine-weighted share of directions in which the mesh does not hide a vertex.

    Args:
        vertices: (N, 3) mm.
        triangles: (T, 3) vertex ids, counter-clockwise seen from outside.
        directions: Number of directions, spread over the sphere.
        size: Side of the images rendered from them, px.

    Returns:
        (N,) float32, 0 to 1; 1 on convex parts.
    """
    normals = vertex_normals(vertices, triangles).astype(np.float64)
    centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    scale = 0.49 * size / float(np.linalg.norm(centred, axis=1).max())
    seen, whole = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for way in sphere_points(directions):
        side = np.cross(way, [0.0, 1.0, 0.0] if abs(way[1]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        uvz = centred @ np.stack([side, np.cross(way, side), way], axis=1)
        uvz[:, :2] = uvz[:, :2] * (scale, -scale) + size / 2
        clear = visible_vertices(uvz, triangles, rasterize(uvz, triangles, size, size), tolerance_mm=2.0)
        weight = np.clip(normals @ way, 0, None)
        seen += weight * clear
        whole += weight
    return np.clip(seen / whole, 0, 1).astype(np.float32)
