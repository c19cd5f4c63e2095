"""Contact of lids and lips on every identity.

A blink of a linear model fits one face: on others the lids stay open or the cornea pierces them. Here the
displacement that a unit lacks is found on many random identities and regressed on their coefficients; the
constant part goes into the unit, the linear part into a `Corrective`. Lips touch at rest on every face, so
there the identity components themselves are kept from parting them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from facerelief.geometry.adjacency import graph_laplacian, vertex_links
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building.subdivision import boundary_loops
from facerelief.typed import Bool, Float64, Int32

LID_REACH_MM = 14.0
LIP_REACH_MM = 7.0
"""Distance from the rims at which a correction has faded out."""
CLEARANCE_MM = 0.9
"""Distance that closed lids keep from the eyeball: what is linear in the identity misses by some tenths."""
OVERLAP_MM = 0.12
"""Vertical overlap of the rims when they are closed, so that no light falls through."""
IDENTITIES = 700
"""Random identities that a corrective is regressed on."""
RIDGE = 4.0
"""Ridge penalty of the regression, in identities."""


@dataclass(frozen=True, eq=False)
class Rims:
    """The two edges that a unit closes, from one corner to the other; both hold the corners."""

    upper: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper_share: float
    """Place of the closed line: 0 on the upper rim, 1 on the lower one."""


def rims_of(mean: Float64, triangles: Int32, upper_share: float, near: Float64) -> Rims:
    """The rims around the hole of a skin surface that lies nearest to a point.

    Args:
        mean: (N, 3) mm.
        triangles: (T, 3) of the skin, with holes for eyes and mouth.
        upper_share: As in `Rims`.
        near: (3,) a point in the hole.
    """
    loops = [np.asarray(loop, np.int64) for loop in boundary_loops(triangles)]
    loop = min(loops, key=lambda ids: float(np.linalg.norm(mean[ids].mean(axis=0) - near)))
    x = mean[loop, 0]
    a, b = int(np.argmin(x)), int(np.argmax(x))
    one = np.roll(loop, -a)[: (b - a) % len(loop) + 1]
    two = np.roll(loop, -b)[: (a - b) % len(loop) + 1][::-1]
    upper, lower = (one, two) if mean[one, 1].mean() > mean[two, 1].mean() else (two, one)
    return Rims(upper, lower, upper_share)


def mesh_edges(triangles: Int32, quads: int) -> NDArray[np.int64]:
    """(E, 2) edges of a mesh without the diagonals of its first `quads` pairs of triangles."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2).astype(np.int64)
    pairs = edges[: 2 * quads].reshape(-1, 6, 2)
    key = pairs[:, :, 0] * (int(triangles.max()) + 1) + pairs[:, :, 1]
    shared = (key[:, :, None] == key[:, None]).sum(axis=2) > 1
    return np.unique(np.concatenate([pairs[~shared], edges[2 * quads :].reshape(-1, 2)]), axis=0)


def lip_line(mean: Float64, edges: NDArray[np.int64], skin: Int32, jaw_open: Float64) -> Rims:
    """The two chains of vertices along which closed lips touch.

    Of the rings of vertices around the inner border of the skin at the mouth, the one whose upper and lower
    halves are nearest to each other at rest.

    Args:
        mean: (N, 3) mm, lips closed.
        edges: (E, 2) of the mesh, without the diagonals of quads.
        skin: (T, 3) triangles of the skin, with a hole for the mouth.
        jaw_open: (N, 3) displacement that tells the lower lip from the upper one.
    """
    border = min(
        boundary_loops(skin), key=lambda ids: float(np.linalg.norm(mean[ids].mean(axis=0) - [0, -70, 25]))
    )
    kept = np.zeros(len(mean), bool)
    kept[skin] = True
    a, b = edges[kept[edges].all(axis=1)].T
    links = sparse.coo_matrix(
        (np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (len(mean), len(mean))
    ).tocsr()
    seen, ring = np.zeros(len(mean), bool), np.asarray(border, np.int64)
    best, found = np.inf, None
    for _ in range(_RINGS):
        seen[ring] = True
        falls = -jaw_open[ring, 1]
        low = falls > 0.5 * (falls.min() + falls.max())
        upper, lower = (part[np.argsort(mean[part, 0])] for part in (ring[~low], ring[low]))
        gap = np.abs(mean[upper, 1] - np.interp(mean[upper, 0], mean[lower, 0], mean[lower, 1]))
        inner = np.abs(mean[upper, 0]) < _INNER_LIPS_MM
        if gap[inner].mean() < best:
            best, found = gap[inner].mean(), Rims(upper, lower, 0.5)
        near = np.zeros(len(mean), bool)
        near[ring] = True
        ring = np.flatnonzero((links @ near > 0) & ~seen)
        if not len(ring):
            break
    assert found is not None
    return found


_RINGS = 10
_INNER_LIPS_MM = 16.0


@dataclass(frozen=True, eq=False)
class Contact:
    """Closing of one opening, prepared for one mesh."""

    rims: Rims
    patch: NDArray[np.int64]
    """(V,) vertices that the correction may move, rims among them."""
    spread: NDArray[np.floating]
    """(V, R) displacement of each patch vertex for one of each rim vertex (both rims, corners once)."""
    rim: NDArray[np.int64]
    """(R,) vertices of both rims."""
    ball: Int32 | None
    """(B, 3) triangles of the eyeball behind the lids; None for lips."""
    outer: Bool
    """(V,) patch vertices that must lie before the eyeball: the skin, not its lining."""
    below: Float64
    """Place on the lower rim, as a fraction of its vertices' numbers, of each vertex of the upper rim."""
    above: Float64
    """Place on the upper rim of each vertex of the lower rim."""

    @classmethod
    def prepare(
        cls,
        mean: Float64,
        closing: Float64,
        triangles: Int32,
        skin: Bool,
        rims: Rims,
        ball: Int32 | None = None,
        lining: Bool | None = None,
        reach: float = LID_REACH_MM,
    ) -> Contact:
        """Find the patch and its biharmonic interpolation.

        Args:
            mean: (N, 3) mm.
            closing: (N, 3) mm, the mean face as the unit at 1 leaves it: its rims are compared along x.
            triangles: (T, 3) of the whole mesh.
            skin: (N,) vertices that are connected with the rims.
            rims: Edges to close.
            ball: Triangles of the eyeball, None for lips.
            lining: (N,) vertices of the inside of the lids, which may lie in the eyeball.
            reach: Distance from the rims at which the correction has faded out, mm.
        """
        rim = np.unique(np.concatenate([rims.upper, rims.lower]))
        distance = np.min(np.linalg.norm(mean[:, None] - mean[rim][None], axis=2), axis=1)
        patch = np.flatnonzero(skin & (distance < reach))
        laplacian = graph_laplacian(vertex_links(triangles, len(mean)))
        ring = np.asarray((laplacian[patch] != 0).sum(axis=0)).ravel() > 0
        ring = np.flatnonzero(ring & skin)
        number = {int(v): k for k, v in enumerate(ring)}
        local = laplacian[ring][:, ring]
        bend = (local.T @ local).tocsc()
        held = np.array([number[int(v)] for v in rim])
        outer = np.array([number[int(v)] for v in np.setdiff1d(ring, patch)])
        known = np.concatenate([held, outer])
        free = np.setdiff1d(np.arange(len(ring)), known)
        values = np.zeros((len(known), len(rim)))
        values[: len(held)] = np.eye(len(held))
        full = np.zeros((len(ring), len(rim)))
        full[known] = values
        full[free] = splu(bend[free][:, free]).solve(-(bend[free][:, known] @ values))
        rows = np.array([number[int(v)] for v in patch])
        upper, lower = closing[rims.upper, 0], closing[rims.lower, 0]
        below = np.interp(upper, lower, np.arange(len(lower)))
        above = np.interp(lower, upper, np.arange(len(upper)))
        outer = np.ones(len(patch), bool) if lining is None else ~lining[patch]
        return cls(rims, patch, full[rows], rim, ball, outer, below, above)

    def pull(self, values: Float64, *, gaps_only: bool = False) -> Float64:
        """Displacement that brings the rims together; linear in the values.

        Args:
            values: (N, 3) positions or displacements, mm.
            gaps_only: Leave alone what overlaps (not linear then).

        Returns:
            (V, 3) mm, of the patch.
        """
        upper, lower = values[self.rims.upper], values[self.rims.lower]
        wanted, count = np.zeros((len(values), 3)), np.zeros(len(values))
        share = self.rims.upper_share
        for rim, points, other, place, along in (
            (self.rims.upper, upper, lower, self.below, share),
            (self.rims.lower, lower, upper, self.above, 1.0 - share),
        ):
            # a fixed place on the other rim for each vertex
            apart = _at(other, place) - points
            if gaps_only:
                apart *= (apart[:, 1:2] < 0) == (rim is self.rims.upper)
            wanted[rim] += along * apart
            count[rim] += 1
        return self.spread @ (wanted[self.rim] / count[self.rim, None])

    def correction(self, shape: Float64) -> Float64:
        """(V, 3) displacement, mm, that closes the lids of a shape (N, 3) and keeps them before the
        eyeball."""
        wanted = np.zeros((len(shape), 3))
        for rim, sign in ((self.rims.upper, -1.0), (self.rims.lower, 1.0)):
            ends = np.minimum(np.arange(len(rim)), np.arange(len(rim))[::-1]) / 3.0
            wanted[rim, 1] += sign * 0.5 * OVERLAP_MM * np.minimum(ends, 1.0)
        moved = self.pull(shape) + self.spread @ wanted[self.rim]
        for _ in range(3 if self.ball is not None else 0):
            moved = moved + self._outward(shape, moved)
        return moved

    def _outward(self, shape: Float64, moved: Float64) -> Float64:
        """(V, 3) what takes patch vertices out of the eyeball."""
        assert self.ball is not None
        points = shape[self.patch] + moved
        depth, direction = inside_ball(points, shape, self.ball, CLEARANCE_MM)
        return (depth * self.outer)[:, None] * direction


def _at(points: Float64, place: Float64) -> Float64:
    """Points (P, 3) interpolated at fractional places (Q,)."""
    first = np.minimum(place.astype(np.int64), len(points) - 2)
    share = (place - first)[:, None]
    return (1.0 - share) * points[first] + share * points[first + 1]


def inside_ball(
    points: Float64, shape: Float64, ball: Int32, clearance: float = 0.0
) -> tuple[Float64, Float64]:
    """Depth of points in an eyeball.

    Args:
        points: (P, 3) mm.
        shape: (N, 3) mm, vertices that `ball` refers to.
        ball: (B, 3) triangles of the eyeball.
        clearance: Distance that points shall keep from it, mm.

    Returns:
        (P,) depth below the surface plus the clearance, mm, 0 outside; (P, 3) direction that leads out.
        Points further behind than the middle of the eyeball count as outside: they belong to the socket.
    """
    ids = np.unique(ball)
    centre = 0.5 * (shape[ids].min(axis=0) + shape[ids].max(axis=0))
    normals = vertex_normals(shape, ball)
    hit = ClosestPoint(shape, ball).query(points)
    normal = (normals[ball[hit.triangle]] * hit.barycentric[:, :, None]).sum(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    height = ((points - hit.point) * normal).sum(axis=1)
    depth = np.maximum(clearance - height, 0.0)
    depth[(points[:, 2] < centre[2] + 2.0) | (depth > 5.0)] = 0.0
    return depth, normal


def regress(
    contact: Contact, shape: Float64, identity: Float64, seed: int = 0, rounds: int = 3
) -> tuple[Float64, Float64]:
    """Constant and linear part of an opening's correction.

    Args:
        contact: Opening.
        shape: (N, 3) mm, the mean face with the units at 1 that shall close it.
        identity: (N, 3, K) one standard deviation each, mm.
        seed: Seed of the random identities.
        rounds: Rounds; each measures what the last one has left.

    Returns:
        (V, 3) and (V, 3, K), mm.
    """
    count = identity.shape[2]
    draws = np.random.default_rng(seed).standard_normal((IDENTITIES, count))
    draws[0] = 0.0
    design = np.concatenate([np.ones((IDENTITIES, 1)), draws], axis=1)
    ridge = RIDGE * np.eye(count + 1)
    ridge[0, 0] = 0.0
    solve = np.linalg.solve(design.T @ design + ridge, design.T)
    ball = np.zeros(0, np.int64) if contact.ball is None else np.unique(contact.ball)
    rows = np.unique(np.concatenate([contact.patch, ball]))
    basis = identity[rows]
    total = np.zeros((len(contact.patch), 3, count + 1))
    for _ in range(rounds):
        rest = np.empty((IDENTITIES, len(contact.patch), 3))
        posed = shape.copy()
        for k, draw in enumerate(draws):
            posed[rows] = shape[rows] + basis @ draw
            posed[contact.patch] += total @ design[k]
            rest[k] = contact.correction(posed)
        step = solve @ rest.reshape(IDENTITIES, -1)
        total += step.T.reshape(*total.shape[:2], -1)
    return total[:, :, 0], total[:, :, 1:]
