"""Ambient occlusion: light from everywhere reaches a pit less than what stands out."""

from __future__ import annotations

import numpy as np

from facerelief.geometry.normals import vertex_normals
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.typed import Float, Int32


def seen_share(vertices: Float, triangles: Int32, directions: int = 48, size: int = 200) -> Float:
    """(N,) ambient visibility: cosine-weighted share of the directions above each vertex that the mesh leaves
    free, 1 on convex parts. vertices (N, 3) in any unit, triangles (T, 3)."""
    k = np.arange(directions) + 0.5
    z = 1 - 2 * k / directions
    turn = k * np.pi * (3 - np.sqrt(5))
    ways = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)
    normals = vertex_normals(vertices, triangles).astype(np.float64)
    centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    scale = 0.49 * size / float(np.linalg.norm(centred, axis=1).max())
    seen, whole = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for way in ways:
        side = np.cross(way, [0.0, 1.0, 0.0] if abs(way[1]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        uvz = centred @ np.stack([side, np.cross(way, side), way], axis=1)
        uvz[:, :2] = uvz[:, :2] * (scale, -scale) + size / 2
        clear = visible_vertices(uvz, triangles, rasterize(uvz, triangles, size, size), tolerance_mm=2.0)
        weight = np.clip(normals @ way, 0, None)
        seen += weight * clear
        whole += weight
    return np.clip(seen / whole, 0, 1).astype(np.float32)
