"""A smooth warp of a whole image that moves some points to new places.

Parts that are not modelled (hair, shoulders, background) follow the head: displacements of points of the head
are spread over a grid as a thin plate that is fixed at the image's border. Where the head reaches the border
the plate continues beyond it. The grid's equations depend on the old places of the points alone: they are
factorised once, and each variation is one solve with two right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.typed import Float32, Float64

_LEAST = 0.12
"""Least area at a cell's corner, as a share of the undeformed one."""
_STIFFNESS = 0.01
"""Weight of the plate's bending relative to the points of one cell."""
_TENSION = 0.08
"""Weight of a membrane's energy relative to the plate's: less overshoot beyond the points."""


@dataclass(frozen=True, eq=False)
class WarpField:
    """Sources of the pixels of a warped image."""

    shift: Float32
    """(h, w, 2) px on a coarse lattice over the image, at its centres: source = (u, v) + shift."""
    height: int
    width: int

    def maps(
        self, left: int = 0, top: int = 0, right: int | None = None, bottom: int | None = None
    ) -> tuple[Float32, Float32]:
        """Sources of the pixels in a rectangle of the image; the whole image unless given.

        Args:
            left, top, right, bottom: The rectangle, px.

        Returns:
            Columns and rows, each (bottom - top, right - left), as for `cv2.remap`: integers are pixel
            centres.
        """
        import cv2

        right, bottom = right or self.width, bottom or self.height
        resized = cv2.resize(self.shift, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        dense = np.asarray(resized, np.float32)[top:bottom, left:right]
        x = dense[:, :, 0] + np.arange(left, right, dtype=np.float32)
        y = dense[:, :, 1] + np.arange(top, bottom, dtype=np.float32)[:, None]
        return x, y


class BackgroundWarp:
    """The warp of one image, prepared for any displacement of its points.

    Args:
        points: (P, 2) px, places in the photo.
        height, width: Size of the image, px.
        weight: (P,) trust in each point, 1 unless given.
        cells: Cells of the grid along its longer side.
        room: Free space around the points, as a share of their extent. Where the image ends before, the grid
            continues beyond its border, and the border is repeated there.

    Raises:
        ValueError: A point is not finite.
    """

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
        self._inside = ((p >= low) & (p <= high)).all(axis=1) & (trust > 0)
        self._factorise((p[self._inside] - low) / self._cell, trust[self._inside])
        longer = max(height, width)
        self._lattice = (max(round(72 * height / longer), 4), max(round(72 * width / longer), 4))
        self._grid, self._triangles = self._mesh()

    def _factorise(self, place: Float64, held: Float64) -> None:
        """Prepare the solve for points at places (Q, 2), in cells, with weights (Q,)."""
        from scipy.sparse import coo_array, diags_array
        from scipy.sparse.linalg import splu

        gy, gx = self.shape
        # bilinear weights of the cells' corners at the points
        corner = np.minimum(place.astype(int), [gx - 2, gy - 2])
        fx, fy = (place - corner).T
        node = corner[:, 1] * gx + corner[:, 0]
        ids = np.stack([node, node + 1, node + gx, node + gx + 1], axis=1)
        parts = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], axis=1)
        rows = np.repeat(np.arange(len(node)), 4)
        shares = coo_array((parts.ravel(), (rows, ids.ravel())), shape=(len(node), gy * gx)).tocsr()
        # the points of a cell count as one, independently of the density of the mesh
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

    def _mesh(self) -> tuple[Float64, NDArray[np.int32]]:
        """(G, 2) nodes of the grid, px, and its triangles (T, 3)."""
        gy, gx = self.shape
        rows, columns = np.mgrid[0:gy, 0:gx]
        grid = np.stack([columns.ravel(), rows.ravel()], axis=1) * self._cell + self._low
        ids = np.arange(gy * gx).reshape(gy, gx)
        a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, :-1].ravel(), ids[1:, 1:].ravel()
        triangles = np.concatenate([np.stack([a, c, d], axis=1), np.stack([a, d, b], axis=1)])
        return grid, triangles.astype(np.int32)

    def nodes(self, displacement: ArrayLike) -> Float64:
        """(gy, gx, 2) px, motion of each node of the grid, for displacements (P, 2) px of the points.

        Where the cells would fold, the displacements around are smoothed until they do not.
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
        """Sources of the warped image for motions (P, 2) px of the points."""
        from facerelief.rendering.rasterizer import interpolate, rasterize

        moved = self.nodes(displacement).reshape(-1, 2)
        h, w = self._lattice
        zoom = np.array([w / self.width, h / self.height])
        flat = np.column_stack([(self._grid + moved) * zoom, np.zeros(len(moved))])
        rendered = rasterize(flat, self._triangles, h, w)
        shift = interpolate(rendered, self._triangles, (-moved).astype(np.float32))
        return WarpField(shift, self.height, self.width)


def _bending(gy: int, gx: int) -> Any:
    """Second differences along rows, columns and diagonals: the energy of a thin plate."""
    from scipy.sparse import coo_array, vstack

    ids = np.arange(gy * gx).reshape(gy, gx)
    # border nodes have a mirrored neighbour: the plate is level at the border
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
