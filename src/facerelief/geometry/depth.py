"""Depth on the image's pixel grid: to a mesh, and to normals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.typed import Float32


def depth_to_mesh(
    depth: ArrayLike,
    camera: WeakPerspective,
    left: int = 0,
    top: int = 0,
    colors: ArrayLike | None = None,
    max_jump_mm: float | None = None,
) -> Mesh:
    """The surface of a depth patch as a mesh in model space.

    The mesh has one vertex per finite pixel, at the pixel's centre, in row order.

    Args:
        depth: (h, w) mm along camera z, larger is nearer, NaN off the face.
        camera: Pose, in px of the whole image.
        left: Column of the patch in the image, px.
        top: Row of the patch in the image, px.
        colors: (h, w, 3) uint8, or float in [0, 1], of the vertices.
        max_jump_mm: Triangles whose depths differ by more are left out; eight pixel widths unless given, a
            slope of 83 degrees.

    Returns:
        Triangles counter-clockwise seen from the viewer, none across NaN.

    Raises:
        ValueError: Shapes do not fit.
    """
    z = np.asarray(depth, dtype=np.float64)
    if z.ndim != 2:
        raise ValueError(f"depth has shape {z.shape}, expected (h, w)")
    height, width = z.shape
    jump = 8.0 / camera.scale if max_jump_mm is None else max_jump_mm
    valid = np.isfinite(z)
    rows, columns = np.nonzero(valid)
    uvz = np.column_stack([columns + (left + 0.5), rows + (top + 0.5), z[valid]])
    vertices = camera.unproject(uvz).astype(np.float32)

    ids = np.full((height, width), -1, np.int64)
    ids[valid] = np.arange(len(rows))
    a, b, c, d = (x.ravel() for x in (ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]))
    za, zb, zc, zd = (x.ravel() for x in (z[:-1, :-1], z[:-1, 1:], z[1:, :-1], z[1:, 1:]))
    # each square splits along the diagonal with the smaller step; a missing corner forces the other one
    with np.errstate(invalid="ignore"):
        along_bc = ~(np.abs(za - zd) < np.abs(zb - zc))
    along_bc = np.where((b < 0) | (c < 0), False, np.where((a < 0) | (d < 0), True, along_bc))
    one = np.where(along_bc[:, None], np.column_stack([a, c, b]), np.column_stack([a, c, d]))
    two = np.where(along_bc[:, None], np.column_stack([b, c, d]), np.column_stack([a, d, b]))
    triangles = np.stack([one, two], axis=1).reshape(-1, 3)
    triangles = triangles[(triangles >= 0).all(axis=1)]
    corner_depth = z[valid][triangles]
    triangles = triangles[np.ptp(corner_depth, axis=1) <= jump] if len(triangles) else triangles

    vertex_colors = None
    if colors is not None:
        given = np.asarray(colors)
        if given.shape != (height, width, 3):
            raise ValueError(f"colors have shape {given.shape}, expected {(height, width, 3)}")
        vertex_colors = given[valid].astype(np.float32)
        if np.issubdtype(given.dtype, np.uint8):
            vertex_colors /= 255.0
    return Mesh(vertices, triangles.astype(np.int32), vertex_colors)


def camera_normals(depth: ArrayLike, camera: WeakPerspective, left: int = 0, top: int = 0) -> Float32:
    """Unit normals in camera space of a depth patch seen by a camera, exact under perspective.

    With a = -s dz/du, b = s dz/dv and the point's place (U, V) = (u - t_u, t_v - v), V up:
    n ~ (a, b, 1 - k z + k (a U + b V) / s), which for k = 0 is `normals_from_depth`.

    Args:
        depth: (h, w) mm along camera z, larger is nearer, NaN off the face.
        camera: Pose, in px of the whole image.
        left: Column of the patch in the image, px.
        top: Row of the patch in the image, px.

    Returns:
        (h, w, 3), NaN where the depth is NaN.

    Raises:
        ValueError: As `normals_from_depth`.
    """
    flat = normals_from_depth(depth, camera.scale)
    k = np.float32(camera.inverse_distance)
    if not k:
        return flat
    z = np.asarray(depth, np.float32)
    height, width = z.shape
    across = np.arange(width, dtype=np.float32) + np.float32(left + 0.5 - camera.translation_u)
    up = np.float32(camera.translation_v - top - 0.5) - np.arange(height, dtype=np.float32)
    slope = flat[:, :, :2] / flat[:, :, 2:]
    toward = slope[:, :, 0] * across + slope[:, :, 1] * up[:, None]
    out = np.concatenate([slope, (1 - k * z + k / np.float32(camera.scale) * toward)[:, :, None]], axis=2)
    return (out / np.linalg.norm(out, axis=2, keepdims=True)).astype(np.float32)


def normals_from_depth(depth: ArrayLike, scale: float) -> Float32:
    """Unit normals in camera space of a depth grid: n ~ (-dz/dx, -dz/dy, 1), y up.

    Differences are central, one-sided beside NaN and at the border, and 0 along a direction without a
    neighbour.

    Args:
        depth: (h, w) mm along camera z, larger is nearer, NaN off the face.
        scale: px/mm.

    Returns:
        (h, w, 3), NaN where the depth is NaN.

    Raises:
        ValueError: The depth has another shape, or scale <= 0.
    """
    from facerelief.geometry import _kernels

    z = np.ascontiguousarray(depth, np.float32)
    if z.ndim != 2:
        raise ValueError(f"depth has shape {z.shape}, expected (h, w)")
    if not scale > 0:
        raise ValueError(f"scale is {scale} px/mm, expected a positive number")
    out = np.empty((*z.shape, 3), np.float32)
    _kernels.normals_from_depth(z, float(scale), out)
    return out
