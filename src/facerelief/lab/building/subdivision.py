"""One Catmull-Clark step as a sparse linear operator (Catmull & Clark 1978; creased boundary rule)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from facerelief.typed import Int32

Sparse = Any
"""A SciPy sparse matrix; its annotations do not follow products."""


@dataclass(frozen=True, eq=False)
class QuadTopology:
    """Quads (Q, 4) over N vertices with face-varying uv: uv_quads (Q, 4) over M texture vertices."""

    n_vertices: int
    quads: Int32
    n_uv: int
    uv_quads: Int32


@dataclass(frozen=True, eq=False)
class SubdivisionStep:
    """The refined topology and the operators that carry vertices (smoothed) and uv (linear) to it."""

    topology: QuadTopology
    vertices: Sparse
    """(N', N)"""
    uv: Sparse
    """(M', M)"""


def catmull_clark(topology: QuadTopology) -> SubdivisionStep:
    """Refine quads 1 -> 4. New vertices are ordered: old vertices, edge points, face points.

    Boundary edges get their midpoint and boundary vertices the (1, 6, 1) / 8 curve rule, so openings keep
    their outline.
    """
    n, quads = topology.n_vertices, topology.quads
    edges, quad_edges, edge_faces = _edges(quads)
    boundary = edge_faces == 1
    n_edges, n_faces = len(edges), len(quads)

    face_rows = np.repeat(np.arange(n_faces), 4)
    face_points = sparse.csr_matrix(
        (np.full(4 * n_faces, 0.25), (face_rows, quads.reshape(-1))), (n_faces, n)
    )
    midpoints = _pair_mean(edges, n)
    face_of_edge = sparse.csr_matrix(
        (np.ones(4 * n_faces), (quad_edges.reshape(-1), face_rows)), (n_edges, n_faces)
    )
    inner = sparse.diags((~boundary).astype(float))
    # interior edge point: mean of its two ends and its two face points
    edge_points = sparse.diags(boundary.astype(float)) @ midpoints + inner @ (
        0.5 * midpoints + 0.25 * (face_of_edge @ face_points)
    )
    vertex_points = _vertex_rule(quads, edges, boundary, n, midpoints, face_points)
    operator = sparse.vstack([vertex_points, edge_points, face_points]).tocsr()

    uv_edges, uv_quad_edges, _ = _edges(topology.uv_quads)
    uv_faces = sparse.csr_matrix(
        (np.full(4 * n_faces, 0.25), (face_rows, topology.uv_quads.reshape(-1))), (n_faces, topology.n_uv)
    )
    uv_operator = sparse.vstack(
        [sparse.identity(topology.n_uv), _pair_mean(uv_edges, topology.n_uv), uv_faces]
    ).tocsr()
    return SubdivisionStep(
        QuadTopology(
            n + n_edges + n_faces,
            _split(quads, quad_edges, n, n_edges),
            topology.n_uv + len(uv_edges) + n_faces,
            _split(topology.uv_quads, uv_quad_edges, topology.n_uv, len(uv_edges)),
        ),
        operator,
        uv_operator,
    )


def _edges(quads: Int32) -> tuple[Int32, Int32, Int32]:
    """Unique edges (E, 2), edge id per quad side (Q, 4), number of quads at each edge (E,)."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, inverse, counts = np.unique(
        np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return edges.astype(np.int32), inverse.reshape(-1, 4).astype(np.int32), counts.astype(np.int32)


def _pair_mean(pairs: Int32, n: int) -> Sparse:
    rows = np.repeat(np.arange(len(pairs)), 2)
    return sparse.csr_matrix((np.full(2 * len(pairs), 0.5), (rows, pairs.reshape(-1))), (len(pairs), n))


def _vertex_rule(
    quads: Int32,
    edges: Int32,
    boundary: NDArray[np.bool_],
    n: int,
    midpoints: Sparse,
    face_points: Sparse,
) -> Sparse:
    faces_at = sparse.csr_matrix(
        (np.ones(quads.size), (quads.reshape(-1), np.repeat(np.arange(len(quads)), 4))), (n, len(quads))
    )
    edges_at = sparse.csr_matrix(
        (np.ones(edges.size), (edges.reshape(-1), np.repeat(np.arange(len(edges)), 2))), (n, len(edges))
    )
    valence = np.asarray(faces_at.sum(axis=1)).ravel()
    safe = np.maximum(valence, 1.0)
    smooth = (
        sparse.diags(1 / safe**2) @ faces_at @ face_points
        + sparse.diags(2 / safe**2) @ edges_at @ midpoints
        + sparse.diags((safe - 3) / safe)
    )
    rim = edges_at @ sparse.diags(boundary.astype(float))
    on_rim = np.asarray(rim.sum(axis=1)).ravel() > 0
    # (1, 6, 1) / 8 along the rim = half the vertex + a quarter of each rim midpoint
    rim_rule = 0.5 * sparse.identity(n) + 0.25 * (rim @ midpoints)
    # a corner where several rims meet stays where it is
    corner = np.asarray(rim.sum(axis=1)).ravel() > 2
    keep = (valence == 0) | corner
    on_rim &= ~corner
    interior = ~on_rim & ~keep
    return (
        sparse.diags(interior.astype(float)) @ smooth
        + sparse.diags(on_rim.astype(float)) @ rim_rule
        + sparse.diags(keep.astype(float))
    ).tocsr()


def _split(quads: Int32, quad_edges: Int32, n: int, n_edges: int) -> Int32:
    center = n + n_edges + np.arange(len(quads))
    parts = [
        np.stack([quads[:, i], n + quad_edges[:, i], center, n + quad_edges[:, i - 1]], axis=1)
        for i in range(4)
    ]
    return np.stack(parts, axis=1).reshape(-1, 4).astype(np.int32)


def boundary_loops(polygons: Int32) -> list[Int32]:
    """Closed chains of vertices along a mesh's openings, in the winding of its polygons (P, 3 or 4)."""
    size = polygons.shape[1]
    sides = np.concatenate([polygons[:, [i, (i + 1) % size]] for i in range(size)])
    _, inverse, counts = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    following = {int(a): int(b) for a, b in sides[counts[inverse.reshape(-1)] == 1]}
    loops: list[Int32] = []
    while following:
        start = next(iter(following))
        chain = [start]
        here = following.pop(start)
        while here != start and here in following:
            chain.append(here)
            here = following.pop(here)
        loops.append(np.array(chain, np.int32))
    return loops
