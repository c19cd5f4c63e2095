# pyright: basic
"""Adjacency of a mesh's vertices as sparse matrices. SciPy is imported on use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def vertex_links(triangles: NDArray[np.integer], count: int, *, counted: bool = False) -> Any:
    """(count, count) symmetric sparse array (CSR, float64): 1 where an edge joins two vertices.

    Args:
        triangles: (T, 3) vertex ids.
        count: Number of vertices.
        counted: Give the number of triangles at the edge instead of 1, so that edges of an open border weigh
            half as much as those inside.
    """
    from scipy.sparse import coo_array

    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    if not counted:
        links.data[:] = 1.0
    return links


def diagonals(vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> Any:
    """(N, N) symmetric sparse array (CSR, float64): 1 at edges that are the longest of both their triangles,
    such as the diagonals of split quads.

    Args:
        vertices: (N, 3) in any frame and unit.
        triangles: (T, 3) vertex ids.
    """
    from scipy.sparse import coo_array

    corners = np.asarray(vertices)[triangles]
    longest = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).argmax(axis=1)
    each = np.arange(len(triangles))
    a, b = triangles[each, longest], triangles[each, (longest + 1) % 3]
    count = len(vertices)
    found = coo_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)).tocsr()
    found.data = (found.data > 1).astype(np.float64)
    found.eliminate_zeros()
    return found


def neighbour_mean(links: Any) -> Any:
    """(N, N) sparse array that maps values (N,) or (N, C) to the weighted means of their neighbours, 0 where
    there are none.

    Args:
        links: (N, N) weights, from `vertex_links`.
    """
    from scipy.sparse import diags_array

    return diags_array(1.0 / np.maximum(_degree(links), 1)) @ links


def graph_laplacian(links: Any) -> Any:
    """(N, N) sparse graph Laplacian D - W, symmetric and positive semi-definite.

    Args:
        links: (N, N) weights W, from `vertex_links`; D holds their row sums.
    """
    from scipy.sparse import diags_array

    return (diags_array(_degree(links)) - links).tocsr()


def _degree(links: Any) -> NDArray[Any]:
    return np.asarray(links.sum(axis=1)).ravel()


def open_edges(triangles: NDArray[np.integer]) -> NDArray[np.int64]:
    """(E, 2) edges of a single triangle: the borders of the mesh and of its holes."""
    edges, counts = _edges(triangles)
    return edges[counts == 1]


def non_manifold_edges(triangles: NDArray[np.integer]) -> int:
    """Number of edges that belong to more than two triangles."""
    return int((_edges(triangles)[1] > 2).sum())


def _edges(triangles: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    t = np.asarray(triangles, np.int64).reshape(-1, 3)
    t = t[(t != np.roll(t, 1, axis=1)).all(axis=1)]  # triangles with a doubled corner have no area
    edges = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)
    if not len(edges):
        return edges, np.zeros(0, np.int64)
    high = int(edges.max()) + 1
    keys, counts = np.unique(edges[:, 0] * high + edges[:, 1], return_counts=True)
    return np.stack([keys // high, keys % high], axis=1), counts
