"""A smooth warp of a whole picture that carries some points to new places.

What is not modelled (hair, shoulders, the room) follows the head: the displacements known at points of the
head are spread over a grid by a thin plate that is held at the picture's border. Where the head reaches the
border the plate goes on beyond it. The grid's equations depend on where the points were, not on where they
go: they are factorised once for each photo, and each variation is one solve with two right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.typed import Float32, Float64

_LEAST = 0.12
"""No cell's corner may shrink below this share of its area."""
_STIFFNESS = 0.01
"""Weight of the plate's bending against one cell's worth of points."""
_TENSION = 0.08
"""Share of a stretched skin's energy beside the plate's, on cells: less swinging beyond the points."""


@dataclass(frozen=True, eq=False)
class WarpField:
    """Where the pixels of a warped picture come from."""

    shift: Float32
    """(h, w, 2) px on a coarse lattice over the picture, at its centres: source = (u, v) + shift."""
    height: int
    width: int

    def maps(
        self, left: int = 0, top: int = 0, right: int | None = None, bottom: int | None = None
    ) -> tuple[Float32, Float32]:
        """Column and row of the source of each pixel in a rectangle of the picture, as `cv2.remap` reads
        them (integers are pixel centres); each (bottom - top, right - left) float32."""
        import cv2

        right, bottom = right or self.width, bottom or self.height
        whole = (left, top, right, bottom) == (0, 0, self.width, self.height)
        if whole:
            dense = np.asarray(
                cv2.resize(self.shift, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
            )
        else:
            dense = np.asarray(
                cv2.resize(self.shift, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
            )
            dense = dense[top:bottom, left:right]
        x = dense[:, :, 0] + np.arange(left, right, dtype=np.float32)
        y = dense[:, :, 1] + np.arange(top, bottom, dtype=np.float32)[:, None]
        return x, y


class BackgroundWarp:
    """The warp of one picture, ready for any displacement of the points it was made with."""

    def __init__(
        self,
        points: ArrayLike,
        height: int,
        width: int,
        *,
        weight: ArrayLike | None = None,
        cells: int = 36,
        room: float = 0.12,
    ) -> None:
        """Set up and factorise.

        points (P, 2) px, where the photo shows them; weight (P,) trust in each; cells: of the grid along its
        longer side; room: free space kept around the points, in shares of their extent: where the picture
        gives less, the grid goes on beyond its border, and what comes from there repeats the picture.
        """
        from scipy.sparse import coo_array, diags_array
        from scipy.sparse.linalg import splu

        p = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(p).all():
            raise ValueError("points of a warp must be finite")
        trust = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=np.float64).reshape(len(p))
        self.height, self.width = height, width
        low, high = np.zeros(2), np.array([width, height], float)
        if len(p):
            extent = np.clip(p, -high, 2 * high)
            space = room * float(np.ptp(extent, axis=0).max())
            low = np.minimum(low, extent.min(axis=0) - space)
            high = np.maximum(high, extent.max(axis=0) + space)
        cell = float((high - low).max()) / cells
        counts = np.maximum(np.ceil((high - low) / cell - 1e-9).astype(int), 3)
        self._low, self._cell = low, (high - low) / counts
        gx, gy = int(counts[0]) + 1, int(counts[1]) + 1
        self.shape = gy, gx

        # bilinear weights of the cells' corners at the points
        inside = ((p >= low) & (p <= high)).all(axis=1) & (trust > 0)
        place = (p[inside] - low) / self._cell
        corner = np.minimum(place.astype(int), [gx - 2, gy - 2])
        fx, fy = (place - corner).T
        node = corner[:, 1] * gx + corner[:, 0]
        ids = np.stack([node, node + 1, node + gx, node + gx + 1], axis=1)
        parts = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], axis=1)
        rows = np.repeat(np.arange(len(node)), 4)
        shares = coo_array((parts.ravel(), (rows, ids.ravel())), shape=(len(node), gy * gx)).tocsr()
        # many points in a cell count as one: the plate sees cells, not the mesh's density
        held = trust[inside]
        crowd = np.bincount(node, held, minlength=gy * gx)[node]
        held = held / np.maximum(crowd, 1.0)

        free = np.zeros((gy, gx), bool)
        free[1:-1, 1:-1] = True
        self._free = np.flatnonzero(free.ravel())
        bending = _bending(gy, gx)[:, self._free]
        slope = _slope(gy, gx)[:, self._free]
        energy: Any = bending.T @ bending + _TENSION * (slope.T @ slope)
        shares = shares[:, self._free]
        pull = shares.T @ diags_array(held)
        matrix: Any = pull @ shares + _STIFFNESS * energy + diags_array(np.full(len(self._free), 1e-9))
        self._solve = splu(
            matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0
        ).solve
        self._pull = pull.tocsr()
        self._inside = inside
        longer = max(height, width)
        self._lattice = (max(round(72 * height / longer), 4), max(round(72 * width / longer), 4))
        self._grid, self._triangles = self._mesh()

    def _mesh(self) -> tuple[Float64, NDArray[np.int32]]:
        """(G, 2) the grid's nodes in lattice units and its triangles."""
        gy, gx = self.shape
        rows, columns = np.mgrid[0:gy, 0:gx]
        grid = np.stack([columns.ravel(), rows.ravel()], axis=1) * self._cell + self._low
        ids = np.arange(gy * gx).reshape(gy, gx)
        a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, :-1].ravel(), ids[1:, 1:].ravel()
        triangles = np.concatenate([np.stack([a, c, d], axis=1), np.stack([a, d, b], axis=1)])
        return grid, triangles.astype(np.int32)

    def nodes(self, displacement: ArrayLike) -> Float64:
        """(gy, gx, 2) px by which each node of the grid moves, for displacements (P, 2) px of the points.

        Free of folds: where the points ask for one, the displacements around it are smoothed until it goes.
        """
        from facerelief.synthesis import _kernels

        given = np.asarray(displacement, dtype=np.float64).reshape(len(self._inside), 2)
        out = np.zeros((self.shape[0] * self.shape[1], 2))
        if self._inside.any():
            out[self._free] = self._solve(self._pull @ given[self._inside])
        out = np.ascontiguousarray(out.reshape(*self.shape, 2))
        while _kernels.unfold(out, self._cell[0], self._cell[1], _LEAST, 200) >= 200:
            out *= 0.8
        return out

    def __call__(self, displacement: ArrayLike) -> WarpField:
        """The warped picture's sources when the points move by `displacement` (P, 2) px."""
        from facerelief.rendering.rasterizer import interpolate, rasterize

        moved = self.nodes(displacement).reshape(-1, 2)
        h, w = self._lattice
        zoom = np.array([w / self.width, h / self.height])
        flat = np.column_stack([(self._grid + moved) * zoom, np.zeros(len(moved))])
        drawn = rasterize(flat, self._triangles, h, w)
        shift = interpolate(drawn, self._triangles, (-moved).astype(np.float32))
        return WarpField(shift, self.height, self.width)


def _bending(gy: int, gx: int) -> Any:
    """Second differences along rows, columns and across: the energy of a thin plate."""
    from scipy.sparse import coo_array, vstack

    ids = np.arange(gy * gx).reshape(gy, gx)
    # second differences at border nodes see a mirrored neighbour: the plate leaves the border level
    up, down = np.vstack([ids[1:2], ids[:-1]]), np.vstack([ids[1:], ids[-2:-1]])
    left, right = np.hstack([ids[:, 1:2], ids[:, :-1]]), np.hstack([ids[:, 1:], ids[:, -2:-1]])
    blocks: list[Any] = []
    count = gy * gx
    rows = np.arange(count)

    def block(columns: list[NDArray[np.intp]], values: list[float]) -> None:
        at = np.concatenate([c.ravel() for c in columns])
        entries = np.repeat(values, [c.size for c in columns])
        line = np.concatenate([rows[: c.size] for c in columns])
        blocks.append(coo_array((entries, (line, at)), shape=(count, count)))

    block([left, ids, right], [1.0, -2.0, 1.0])
    block([up, ids, down], [1.0, -2.0, 1.0])
    corners = [ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]]
    root = float(np.sqrt(2.0))
    block(corners, [root, -root, -root, root])
    return vstack(blocks).tocsr()


def _slope(gy: int, gx: int) -> Any:
    """First differences along rows and columns."""
    from scipy.sparse import coo_array

    ids = np.arange(gy * gx).reshape(gy, gx)
    start = np.concatenate([ids[:, :-1].ravel(), ids[:-1].ravel()])
    end = np.concatenate([ids[:, 1:].ravel(), ids[1:].ravel()])
    rows = np.arange(len(start))
    entries = np.repeat([-1.0, 1.0], len(start))
    return coo_array(
        (entries, (np.tile(rows, 2), np.concatenate([start, end]))), shape=(len(start), gy * gx)
    ).tocsr()
