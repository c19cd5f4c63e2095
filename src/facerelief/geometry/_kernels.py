# pyright: basic
"""Compiled loops of the geometry room. Import inside functions only: importing facerelief stays quick."""

from __future__ import annotations

import math

import numpy as np

from facerelief.geometry._jit import kernel


@kernel
def vertex_normals(vertices, triangles, out):
    """Sum of the triangles' cross products per vertex, normalised; out (N, 3) is overwritten."""
    n = vertices.shape[0]
    total = np.zeros((n, 3), np.float64)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
        bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        x = by * cz - bz * cy
        y = bz * cx - bx * cz
        z = bx * cy - by * cx
        total[a, 0] += x
        total[a, 1] += y
        total[a, 2] += z
        total[b, 0] += x
        total[b, 1] += y
        total[b, 2] += z
        total[c, 0] += x
        total[c, 1] += y
        total[c, 2] += z
    for i in range(n):
        x, y, z = total[i, 0], total[i, 1], total[i, 2]
        length = math.sqrt(x * x + y * y + z * z)
        inverse = 1.0 / length if length > 0.0 else 0.0
        out[i, 0] = x * inverse
        out[i, 1] = y * inverse
        out[i, 2] = z * inverse
