"""Exact nearest points on a triangle surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.normals import triangle_ids
from facerelief.typed import Float64


class Nearest(NamedTuple):
    """Nearest surface points of Q queries; a query that is not finite gets NaN and triangle -1."""

    distance: Float64
    """(Q,) in the units of the mesh."""
    triangle: NDArray[np.int32]
    """(Q,) id of the triangle the point lies on; of several at the same distance the lowest id."""
    barycentric: Float64
    """(Q, 3) weights of that triangle's vertices, summing to 1."""
    point: Float64
    """(Q, 3) the nearest point itself."""


class ClosestPoint:
    """Nearest points on the surface of a mesh, by a bounding-box tree built once.

    The answers are those of a search through all triangles. Triangles without area count as segments or
    points; triangles with a vertex that is not finite are left out.

    Args:
        vertices: (N, 3) in any frame and unit.
        triangles: (T, 3) vertex ids.

    Raises:
        ValueError: Shapes or ids do not fit, or no triangle is left.
    """

    def __init__(self, vertices: ArrayLike, triangles: ArrayLike) -> None:
        from facerelief.geometry import _kernels

        v = np.ascontiguousarray(vertices, np.float64)
        if v.ndim != 2 or v.shape[1] != 3:
            raise ValueError(f"vertices have shape {v.shape}, expected (N, 3)")
        self.vertices: Float64 = v
        self.triangles: NDArray[np.int32] = triangle_ids(triangles, len(v))
        self._corners: Float64 = np.ascontiguousarray(v[self.triangles])
        order = np.flatnonzero(np.isfinite(self._corners).all(axis=(1, 2))).astype(np.int32)
        if len(order) == 0:
            raise ValueError("a surface to measure against needs at least one triangle with finite vertices")
        self._order = order
        bounds = np.empty((2 * len(order), 6), np.float64)
        split = np.empty((2 * len(order), 3), np.int32)
        nodes: int = _kernels.build_tree(self._corners, order, bounds, split)
        self._bounds, self._split = bounds[:nodes].copy(), split[:nodes].copy()

    def query(self, points: ArrayLike) -> Nearest:
        """Nearest surface points of `points` (Q, 3), in the mesh's frame and units."""
        from facerelief.geometry import _kernels

        p = np.ascontiguousarray(points, np.float64)
        if p.ndim != 2 or p.shape[1] != 3:
            raise ValueError(f"points have shape {p.shape}, expected (Q, 3)")
        distance = np.empty(len(p), np.float64)
        triangle = np.empty(len(p), np.int32)
        weights = np.empty((len(p), 3), np.float64)
        _kernels.query_tree(
            p, self._corners, self._order, self._bounds, self._split, distance, triangle, weights
        )
        point = (self._corners[triangle] * weights[:, :, None]).sum(axis=1)
        return Nearest(distance, triangle, weights, point)

    __call__ = query
