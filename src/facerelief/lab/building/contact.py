"""Contact of lids and lips on every identity.

A blink of a linear model fits one face: on others the lids stay open or the cornea pierces them. Here the
displacement that a unit lacks is found on many random identities and regressed on their coefficients; the
constant part goes into the unit, the linear part into a `Corrective`. Lips touch at rest on every face, so
there the identity components themselves are kept from parting them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
CLEARANCE_MM = 0.5
"""Distance that closed lids keep from the eyeball."""
OVERLAP_MM = 0.12
"""Vertical overlap of the rims when they are closed, so that no light falls through."""
BEHIND_MM = 1.0
"""Distance from the backmost vertices of an eyeball, along z, at which it has a clear outside."""
IDENTITIES = 500
"""Random identities that a corrective is regressed on."""
MARGIN_IDENTITIES = 100
MARGIN_PERCENTILE = 98.0
"""The part of random identities that a constant margin on top of the regression keeps from the eyeball."""
MARGIN_CLEARANCE_MM = 0.25
"""Distance that they keep then: triangles of closed lids sag by some tenths of a millimetre."""
MARGIN_ROUNDS = 2
"""Rounds of margin and closing."""
MARGIN_SMOOTHING = 8
"""Rounds that spread a margin over neighbouring vertices."""
RIDGE = 4.0
"""Ridge penalty of the regression, in identities."""


@dataclass(frozen=True, eq=False)
class Rims:
    """The two edges that a unit closes, from one corner to the other; both hold the corners."""

    upper: NDArray[np.int64]
    lower: NDArray[np.int64]


def rims_of(mean: Float64, triangles: Int32, near: Float64) -> Rims:
    """The rims around the hole of a skin surface that lies nearest to a point.

    Args:
        mean: (N, 3) mm.
        triangles: (T, 3) of the skin, with holes for eyes and mouth.
        near: (3,) a point in the hole.
    """
    loops = [np.asarray(loop, np.int64) for loop in boundary_loops(triangles)]
    loop = min(loops, key=lambda ids: float(np.linalg.norm(mean[ids].mean(axis=0) - near)))
    x = mean[loop, 0]
    a, b = int(np.argmin(x)), int(np.argmax(x))
    one = np.roll(loop, -a)[: (b - a) % len(loop) + 1]
    two = np.roll(loop, -b)[: (a - b) % len(loop) + 1][::-1]
    upper, lower = (one, two) if mean[one, 1].mean() > mean[two, 1].mean() else (two, one)
    return Rims(upper, lower)


def lid_edges(mean: Float64, skin: Int32, ball: Int32) -> Rims:
    """The edges of the lids: the skin is turned in behind them, and its border lies deep on the eyeball.

    Args:
        mean: (N, 3) mm.
        skin: (T, 3) triangles of the skin, with a hole for the eye.
        ball: (B, 3) triangles of the eyeball.
    """
    near = mean[np.unique(ball)].mean(axis=0)
    for _ in range(_RINGS_BEHIND_LIDS):
        border = rims_of(mean, skin, near)
        edge = np.concatenate([border.upper, border.lower])
        skin = skin[~np.isin(skin, edge).any(axis=1)]
    return rims_of(mean, skin, near)


_RINGS_BEHIND_LIDS = 2


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
            best, found = gap[inner].mean(), Rims(upper, lower)
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
    """(V,) patch vertices that must lie before the eyeball: the skin's outside."""
    below: Float64
    """Place on the lower rim, as a fraction of its vertices' numbers, of each vertex of the upper rim."""
    above: Float64
    """Place on the upper rim of each vertex of the lower rim."""
    line: float
    """Place of the closed line: 0 on the upper rim, 1 on the lower one."""
    links: Any
    """(V, V) sparse mean over a patch vertex and its neighbours in the patch."""
    edges: NDArray[np.int64]
    """(E, 2) rows of the patch, edges of the skin: closed lids are stretched, and what lies between vertices
    must be out of the eyeball, too."""

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
        line: float = 0.5,
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
            line: Place of the closed line: 0 on the upper rim, 1 on the lower one.
        """
        rim = np.unique(np.concatenate([rims.upper, rims.lower]))
        distance = np.min(np.linalg.norm(mean[:, None] - mean[rim][None], axis=2), axis=1)
        patch = np.flatnonzero(skin & (distance < reach))
        links = vertex_links(triangles, len(mean))
        laplacian = graph_laplacian(links)
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
        if ball is not None:
            outer &= turned_out(mean, triangles, ball)[patch]
        near = sparse.csr_matrix(links[patch][:, patch]) + sparse.identity(len(patch))
        near = sparse.diags(1.0 / np.asarray(near.sum(axis=1)).ravel()) @ near
        a, b = sparse.triu(near, 1).nonzero()
        edges = np.stack([a, b], axis=1)[outer[a] & outer[b]]
        return cls(rims, patch, full[rows], rim, ball, outer, below, above, line, near, edges)

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
        for rim, points, other, place, along in (
            (self.rims.upper, upper, lower, self.below, self.line),
            (self.rims.lower, lower, upper, self.above, 1.0 - self.line),
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
        moved = self.closing(shape)
        if self.ball is not None:
            moved = moved + self._outward(shape, moved)
        return moved

    def _outward(self, shape: Float64, moved: Float64) -> Float64:
        """(V, 3) what takes patch vertices out of the eyeball, smoothed so that lids do not crumple."""
        points = shape[self.patch] + moved
        depth, direction = self._depth(points, shape, CLEARANCE_MM)
        return self.links @ (self.links @ (depth[:, None] * direction))

    def _depth(self, points: Float64, shape: Float64, clearance: float) -> tuple[Float64, Float64]:
        """Depth in the eyeball of patch vertices at (V, 3), and of the middles of their edges, and the way
        out."""
        assert self.ball is not None
        middles = points[self.edges].mean(axis=1)
        depth, direction = inside_ball(np.concatenate([points, middles]), shape, self.ball, clearance)
        count = len(points)
        out = depth[:count] * self.outer
        for end in self.edges.T:
            np.maximum.at(out, end, depth[count:])
        return out, direction[:count]

    def closing(self, shape: Float64) -> Float64:
        """(V, 3) displacement, mm, that closes the rims of a shape (N, 3) with some overlap."""
        wanted = np.zeros((len(shape), 3))
        for rim, sign in ((self.rims.upper, -1.0), (self.rims.lower, 1.0)):
            ends = np.minimum(np.arange(len(rim)), np.arange(len(rim))[::-1]) / 3.0
            wanted[rim, 1] += sign * 0.5 * OVERLAP_MM * np.minimum(ends, 1.0)
        return self.pull(shape) + self.spread @ wanted[self.rim]

    def margin(self, shapes: Iterable[Sequence[Float64]]) -> Float64:
        """(V, 3) displacement, mm, that takes lids out of the eyeball on most faces.

        The depth of each vertex at `MARGIN_PERCENTILE`, spread over its neighbours.

        Args:
            shapes: Of each face some shapes (N, 3), the deepest of which counts.
        """
        depths: list[Float64] = []
        outward = np.zeros((len(self.patch), 3))
        for face in shapes:
            found = [self._depth(shape[self.patch], shape, MARGIN_CLEARANCE_MM) for shape in face]
            depths.append(np.max([depth for depth, _ in found], axis=0))
            outward += np.sum([way for _, way in found], axis=0)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        wanted = spread = np.percentile(depths, MARGIN_PERCENTILE, axis=0)
        for _ in range(MARGIN_SMOOTHING):
            spread = np.maximum(self.links @ spread, wanted)
        return spread[:, None] * outward


def _at(points: Float64, place: Float64) -> Float64:
    """Points (P, 3) interpolated at fractional places (Q,)."""
    first = np.minimum(place.astype(np.int64), len(points) - 2)
    share = (place - first)[:, None]
    return (1.0 - share) * points[first] + share * points[first + 1]


def turned_out(mean: Float64, triangles: Int32, ball: Int32) -> Bool:
    """(N,) vertices whose normal points away from an eyeball.

    The skin behind the edges of the lids is turned in and lies on the eyeball, unseen.
    """
    corners = mean[np.unique(ball)]
    away = mean - np.array([*corners[:, :2].mean(axis=0), corners[:, 2].min()])
    return np.asarray((vertex_normals(mean, triangles) * away).sum(axis=1) > 0)


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
        (P,) depth below the surface plus the clearance, mm, 0 outside; (P, 3) direction that leads out, zero
        where that is far away.
        Points behind the border of the eyeball, whose back is left out, count as outside.
    """
    corners = shape[np.unique(ball)]
    centre = corners.mean(axis=0)
    reach = np.linalg.norm(corners - centre, axis=1).max() + clearance
    behind = float(corners[:, 2].min()) + BEHIND_MM
    near = np.flatnonzero((np.linalg.norm(points - centre, axis=1) < reach) & (points[:, 2] >= behind))
    normals = vertex_normals(shape, ball)
    hit = ClosestPoint(shape, ball).query(points[near])
    normal = (normals[ball[hit.triangle]] * hit.barycentric[:, :, None]).sum(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    height = ((points[near] - hit.point) * normal).sum(axis=1)
    found = np.maximum(clearance - height, 0.0)
    found[found > 5.0] = 0.0
    depth, direction = np.zeros(len(points)), np.zeros((len(points), 3))
    depth[near], direction[near] = found, normal
    return depth, direction


def regress(
    contact: Contact,
    shape: Float64,
    identity: Float64,
    together: Sequence[Float64] = (),
    seed: int = 0,
    rounds: int = 4,
) -> tuple[Float64, Float64]:
    """Constant and linear part of an opening's correction.

    Args:
        contact: Opening.
        shape: (N, 3) mm, the mean face with the units at 1 that shall close it.
        identity: (N, 3, K) one standard deviation each, mm.
        together: (N, 3) mm each, displacements of other units; lids stay before the eyeball with them, too.
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
    posed = shape.copy()

    def pose(k: int) -> Float64:
        posed[rows] = shape[rows] + basis @ draws[k]
        posed[contact.patch] += total @ design[k]
        return posed

    def fit(correction: Callable[[Float64], Float64]) -> None:
        rest = np.empty((IDENTITIES, len(contact.patch), 3))
        for k in range(IDENTITIES):
            rest[k] = correction(pose(k))
        step = solve @ rest.reshape(IDENTITIES, -1)
        total[:] += step.T.reshape(*total.shape[:2], -1)

    for _ in range(rounds):
        fit(contact.correction)
    moves = [np.zeros_like(shape), *together]
    for _ in range(MARGIN_ROUNDS if contact.ball is not None else 0):
        total[:, :, 0] += contact.margin(
            [face + move for move in moves] for face in map(pose, range(MARGIN_IDENTITIES))
        )
        fit(contact.closing)
    return total[:, :, 0], total[:, :, 1:]
