"""The atlas of a face model: the average face unrolled on a cylinder about the head's axis.

Relief moves from face to face through it: every model vertex has a fixed place in the atlas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.detail import brow_share
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import Fragments, interpolate, rasterize
from facerelief.synthesis.surface import face_surface
from facerelief.typed import Bool, Float32, Float64, Int32

FACING = 0.3
"""z of the normal below which relief is neither mapped nor applied."""
_FACING_FULL = 0.55
"""z of the normal from which it is fully mapped and applied."""
TEXEL_MM = 0.5
"""Side of a texel on the average face."""
_RADIUS_MM = 80.0
"""Radius of the cylinder."""
_AXIS_MM = -60.0
"""z of the cylinder's axis on the average face."""


@dataclass(frozen=True, eq=False)
class FaceMap:
    """The average face of a model, unrolled: the point of the surface at each texel."""

    places: Float32
    """(N, 2) column and row of each vertex in the atlas, texels, centres at + 0.5."""
    fragments: Fragments
    """(h, w) triangles of the model rendered in the atlas."""
    plain: Float32
    """(N,) 0..1 plain skin, from and to which relief is transferred."""
    triangles: Int32
    """(T, 3) of the face region."""
    front: Bool
    """(h, w) plain skin that faces forward on the average face."""
    bridge: Float32
    """(r, c, 2) places in the atlas across the nose between the eyes, rows 0.5 mm apart from top to bottom;
    (0, 0, 2) for a model without landmarks there."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the atlas."""
        height, width = self.fragments.triangle.shape
        return height, width


_KNOWN: WeakKeyDictionary[FaceModel, FaceMap] = WeakKeyDictionary()


def face_map(model: FaceModel) -> FaceMap:
    """The atlas of a model, cached per model."""
    if model not in _KNOWN:
        _KNOWN[model] = _unroll(model)
    return _KNOWN[model]


def _unroll(model: FaceModel) -> FaceMap:
    shown = model.face_vertices
    x, y, z = model.mean.astype(np.float64).T
    depth = z - _AXIS_MM - (z[shown].max() - 51.0)  # models place their heads differently
    around = _RADIUS_MM * np.arctan2(x, depth)
    low = np.array([around[shown].min(), -y[shown].max()]) - 2.0
    high = np.array([around[shown].max(), -y[shown].min()]) + 2.0
    places = (np.column_stack([around, -y]) - low) / TEXEL_MM
    width, height = (int(n) for n in np.ceil((high - low) / TEXEL_MM))
    kept = shown[model.triangles].all(axis=1)
    triangles = np.ascontiguousarray(model.triangles[kept])
    fragments = rasterize(
        np.column_stack([places, np.hypot(x, depth)]), triangles, height, width, cull_backfaces=True
    )
    plain = plain_skin(model)
    toward = vertex_normals(model.mean, model.triangles)[:, 2]
    across = interpolate(fragments, triangles, np.column_stack([plain, toward > _FACING_FULL]))
    return FaceMap(
        places.astype(np.float32),
        fragments,
        plain,
        triangles,
        np.asarray((across > 0.5).all(axis=2)),
        _bridge(model, places).astype(np.float32),
    )


def _bridge(model: FaceModel, places: Float64) -> Float64:
    """(r, c, 2) as `FaceMap.bridge`."""
    from scipy.interpolate import griddata

    if "ibug68" not in model.landmarks:
        return np.zeros((0, 0, 2))
    marks = model.landmarks["ibug68"].of(model.mean)
    corners, tip = marks[[39, 42]].mean(axis=0), marks[30]
    above, below = corners[1] + 16.0, corners[1] + 0.6 * (tip[1] - corners[1])
    grid = np.stack(np.meshgrid(np.arange(-5.0, 5.1), np.arange(above, below, -0.5)), axis=-1)
    near = model.face_vertices & (np.abs(model.mean[:, 0]) < 20) & (np.abs(model.mean[:, 1] - above) < 60)
    found = griddata(model.mean[near, :2], places[near], grid.reshape(-1, 2), method="linear")
    found = np.asarray(found).reshape(grid.shape)
    return found if np.isfinite(found).all() else np.zeros((0, 0, 2))


def plain_skin(model: FaceModel) -> Float32:
    """(N,) 1 on plain skin of the face, falling to 0 toward eyes, lips, brows, nostrils and outline."""
    surface = face_surface(model)
    out = ramp(surface.outline_mm, 5.0, 15.0) * model.face_vertices
    for name, begin, end in (("eyeballs", 4.0, 9.0), ("lips", 1.0, 6.0), ("brows", 3.0, 8.0)):
        out = out * ramp(distance_mm(model, model.region(name)), begin, end)
    out *= 1 - np.clip(2 * brow_share(model), 0, 1)
    out *= ramp(distance_mm(model, (surface.openness < 0.75) & model.face_vertices), 1.0, 4.0)
    return out.astype(np.float32)


def distance_mm(model: FaceModel, part: Bool) -> Float64:
    """(N,) mm from each vertex to the nearest one of a part (N,), on the average face."""
    from scipy.spatial import KDTree

    if not part.any():
        return np.full(model.n_vertices, np.inf)
    return np.asarray(KDTree(model.mean[part]).query(model.mean)[0])


def ramp(x: Any, begin: float, end: float) -> Any:
    """0 up to `begin`, 1 from `end` on, smooth (cubic) between."""
    t = np.clip((np.minimum(x, 1e6) - begin) / (end - begin), 0, 1)
    return t * t * (3 - 2 * t)


def facing(normals: Float32) -> Float32:
    """(h, w) 0..1, weight of skin with these normals (h, w, 3) by its slant to the viewer."""
    return ramp(normals[:, :, 2], FACING, _FACING_FULL).astype(np.float32)
