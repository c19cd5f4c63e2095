"""Unit normals of triangle meshes, and checks of mesh arrays."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.typed import Float


def vertex_normals(vertices: ArrayLike, triangles: ArrayLike) -> Float:
    """Area-weighted unit normals of the vertices: normalised sums of the triangles' cross products.

    Args:
        vertices: (N, 3) in any frame and unit.
        triangles: (T, 3) vertex ids, counter-clockwise seen from outside.

    Returns:
        (N, 3) in the frame of the vertices, pointing outward, float32 or float64 as they are; (0, 0, 0) at a
        vertex whose triangles have no area.

    Raises:
        ValueError: Shapes or ids do not fit.
    """
    from facerelief.geometry import _kernels

    v, t = mesh_arrays(vertices, triangles)
    out = np.empty_like(v)
    _kernels.vertex_normals(v, t, out)
    return out


def face_normals(vertices: ArrayLike, triangles: ArrayLike) -> Float:
    """(T, 3) unit normals of triangles, (0, 0, 0) for those without area; arguments as `vertex_normals`."""
    v, t = mesh_arrays(vertices, triangles)
    a, b, c = (v[t[:, k]].astype(np.float64) for k in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return (normal / np.where(length > 0, length, 1.0)).astype(v.dtype)


def mesh_arrays(vertices: ArrayLike, triangles: ArrayLike) -> tuple[Float, NDArray[np.int32]]:
    """Contiguous (N, 3) float and (T, 3) int32 arrays; ValueError on shapes or ids that do not fit."""
    v = np.ascontiguousarray(floating(vertices))
    if v.ndim != 2 or v.shape[1] != 3:
        raise ValueError(f"vertices have shape {v.shape}, expected (N, 3)")
    return v, triangle_ids(triangles, len(v))


def floating(array: ArrayLike) -> Float:
    """float32 and float64 arrays as they are, anything else as float64."""
    out = np.asarray(array)
    single, double = np.issubdtype(out.dtype, np.float32), np.issubdtype(out.dtype, np.float64)
    return out if single or double else out.astype(np.float64)


def triangle_ids(triangles: ArrayLike, count: int) -> NDArray[np.int32]:
    """Contiguous (T, 3) int32 ids, checked to lie in 0..count-1; ValueError otherwise."""
    t = np.ascontiguousarray(triangles, np.int32)
    if t.size == 0:
        return t.reshape(0, 3)
    if t.ndim != 2 or t.shape[1] != 3:
        raise ValueError(f"triangles have shape {t.shape}, expected (T, 3)")
    if _highest(t) >= count:
        raise ValueError(f"triangles refer to vertices outside 0..{count - 1}")
    return t


_checked: dict[int, tuple[weakref.ref[NDArray[np.int32]], int]] = {}


def _highest(t: NDArray[np.int32]) -> int:
    """Largest id, negative ones counting as larger still; cached for arrays that are not writeable."""
    fixed = not t.flags.writeable and t.base is None
    if fixed and (known := _checked.get(id(t))) is not None and known[0]() is t:
        return known[1]
    # one pass: as unsigned numbers, negative ids are the largest
    highest = int(t.view(np.uint32).max())
    if fixed:
        key = id(t)
        _checked[key] = weakref.ref(t, lambda _: _checked.pop(key, None)), highest
    return highest
