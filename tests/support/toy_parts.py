"""Teeth, mouth and lashes added to any face model, for tests that need no data file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.morphable.model import FaceModel

SIDE = 6
"""Vertices along each side of a part."""
COLORS = {"teeth": (0.9, 0.85, 0.8), "mouth": (0.4, 0.15, 0.12), "lashes": (0.1, 0.08, 0.08)}


def with_parts(model: FaceModel) -> FaceModel:
    """The model with three squares: lashes 3 mm before the face, teeth 4 mm and a mouth 8 mm behind it.

    They follow no coefficient. Texture coordinates of the head shrink to nine tenths, for room beside it.
    """
    front = model.mean[model.face_vertices]
    middle = (front.min(axis=0) + front.max(axis=0)) / 2
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE)), axis=-1).reshape(-1, 2)
    ids = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = (x.ravel() for x in (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]))
    square = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    n, m, count = model.n_vertices, len(model.uv), len(grid)
    points, triangles, uv = [model.mean], [model.triangles], [0.9 * model.uv]
    uv_triangles = [model.uv_triangles]
    for k, (y, z) in enumerate(((-35.0, -4.0), (-35.0, -8.0), (20.0, 3.0))):
        at = middle + [0, y, 0]
        near = np.abs(front[:, :2] - at[:2]).max(axis=1) < 12
        depth = front[near, 2].min() if z < 0 else front[near, 2].max()
        points.append(np.column_stack([at[:2] + 8 * grid, np.full(count, depth + z)]).astype(np.float32))
        triangles.append((square + n + k * count).astype(np.int32))
        uv.append((np.float32([0.95, 0.2 + 0.3 * k]) + 0.03 * grid).astype(np.float32))
        uv_triangles.append((square + m + k * count).astype(np.int32))
    more = 3 * count
    regions = {name: np.append(mask, np.zeros(more, bool)) for name, mask in model.regions.items()}
    albedo = [model.albedo_mean]
    for k, (name, color) in enumerate(COLORS.items()):
        regions[name] = np.zeros(n + more, bool)
        regions[name][n + k * count : n + (k + 1) * count] = True
        albedo.append(np.tile(np.float32(color), (count, 1)))

    def still(basis: np.ndarray) -> np.ndarray:
        return np.concatenate([basis, np.zeros((more, *basis.shape[1:]), np.float32)])

    symmetry = None if model.symmetry is None else np.append(model.symmetry, np.arange(n, n + more))
    return replace(
        model,
        name=f"{model.name} with parts",
        mean=np.concatenate(points),
        identity=still(model.identity),
        expression=still(model.expression),
        triangles=np.concatenate(triangles),
        albedo_mean=np.concatenate(albedo),
        albedo=still(model.albedo),
        uv=np.concatenate(uv),
        uv_triangles=np.concatenate(uv_triangles),
        regions=regions,
        symmetry=None if symmetry is None else symmetry.astype(np.int32),
    )
