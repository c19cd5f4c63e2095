"""Relief in the texture's uv: heights of one face with their weight, and a normal map of heights.

Heights are mm along the normal of the smooth coarse surface, positive outward. The smooth surface is the
model's without its facets, as relief is found on it: what an engine shades, and what a subdivision of the
mesh comes close to. Texels lie as in `rendering.texture`: row i, column j is centred at u = (j + 0.5) / S,
v = 1 - (i + 0.5) / S.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.texture import textured
from facerelief.geometry.normals import face_normals, vertex_normals
from facerelief.geometry.seams import split_seams, vertex_tangents
from facerelief.inverse.detail import DetailConfig, skin_surface
from facerelief.morphable.front import lining_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import Fragments
from facerelief.rendering.texture import rasterize_islands
from facerelief.typed import Bool, Float32

_FULL = 0.6
"""Cosine between normal and line of sight from which a texel has full weight."""
_EDGE_MM = 3.0
"""Width of the rise of the weight inside the outline of the part with relief."""
_BEHIND_MM = 0.8
"""A texel this far behind the nearest surface is hidden."""
_SHOWN = 0.3
"""Weight from which heights are shown whole; below they fade to 0."""


def relief_in_uv(
    r: Reconstruction, size: int = 2048, islands: Fragments | None = None
) -> tuple[Float32, Float32]:
    """Relief of one face in the texture's uv.

    Args:
        r: A face of a model with uv; without relief, heights and weights are 0.
        size: Side S of the maps, texels.
        islands: The model's uv rasterised at this size, where the caller has it already.

    Returns:
        height (S, S) mm along the smooth coarse surface's normal, in the photo's expression, and weight
        (S, S) in [0, 1]: 0 where the photo shows no skin (hidden, turned away by 75 degrees, eyes, inside of
        the mouth, off the photo), 1 on skin seen at less than 53 degrees, 3 mm inside the outline. Heights
        are not faded.

    Raises:
        ValueError: The model has no uv.
    """
    import cv2

    from facerelief.facefolder import _relief_kernels

    height, weight = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    if islands is None:
        islands = rasterize_islands(textured(r.model, r.vertices), size)
    if r.fine is None or min(r.fine.depth.shape) < 2:
        return height, weight
    fine, config = r.fine, DetailConfig()
    camera = r.camera.in_crop(fine.left, fine.top, 1.0)
    uvz = camera.project(r.vertices)
    surface = skin_surface(r.model, uvz, camera.scale, *fine.depth.shape)
    known = surface.mask & np.isfinite(fine.depth)
    relief = np.where(known, fine.depth - surface.base, 0).astype(np.float32)
    padded = np.pad(known.astype(np.uint8), 1)
    inside = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5))[1:-1, 1:-1]
    share = np.clip(inside / max(_EDGE_MM * camera.scale, 1.0), 0, 1)
    share = (share * share * (3 - 2 * share)).astype(np.float32)
    points = camera.to_camera(r.vertices).astype(np.float64)
    _relief_kernels.sample_relief(
        islands.triangle,
        islands.barycentric,
        np.ascontiguousarray(r.model.triangles, np.int32),
        skin_triangles(r.model),
        np.ascontiguousarray(uvz[:, :2], np.float64),
        points,
        np.asarray(vertex_normals(points, r.model.triangles), np.float64),
        relief,
        share,
        surface.depth,
        float(camera.inverse_distance),
        1.0 / camera.scale,
        _BEHIND_MM,
        config.facing,
        _FULL,
        height,
        weight,
    )
    return height, weight


def faded(height: Float32, weight: Float32) -> Float32:
    """(S, S) heights that fade to 0 where the weight falls below 0.3, as maps show them."""
    share = np.clip(weight / np.float32(_SHOWN), 0, 1)
    return np.asarray(height * (share * share * (3 - 2 * share)), np.float32)


def normal_map(
    model: FaceModel, vertices: Float32, height: Float32, islands: Fragments | None = None
) -> NDArray[np.uint8]:
    """Tangent-space normal map of heights over a shape of the model.

    As in glTF: red is +x along increasing u, green +y along increasing v (up in the image), blue outward;
    n = code / 127.5 - 1. With N the interpolated unit normal of the vertices, T the interpolated tangent of
    `geometry.seams.vertex_tangents` (MikkTSpace) made orthogonal to it and B = sign N x T, the normal is
    that of the displaced surface, N - grad h.

    Args:
        model: Face model with uv.
        vertices: (N, 3) the shape on which the slopes of the heights are meant, model space, mm.
        height: (S, S) mm, faded to 0 where nothing is known.
        islands: The model's uv rasterised at this size, where the caller has it already.

    Returns:
        (S, S, 3), RGB; (128, 128, 255) where the surface is smooth, and off the islands.

    Raises:
        ValueError: The model has no uv.
    """
    from facerelief.facefolder import _relief_kernels

    mesh = textured(model, vertices)
    islands = rasterize_islands(mesh, len(height)) if islands is None else islands
    normals = np.asarray(vertex_normals(vertices, model.triangles), np.float32)
    split = split_seams(mesh)
    assert split.uv is not None
    tangents = vertex_tangents(vertices[split.source], normals[split.source], split.uv, split.triangles)
    dual_u, dual_v = _uv_gradients(model, vertices)
    out = np.empty((*height.shape, 3), np.uint8)
    _relief_kernels.tangent_normals(
        islands.triangle,
        islands.barycentric,
        np.ascontiguousarray(split.triangles, np.int32),
        np.ascontiguousarray(split.source, np.int32),
        normals,
        tangents,
        dual_u,
        dual_v,
        np.ascontiguousarray(height, np.float32),
        out,
    )
    return out


def skin_triangles(model: FaceModel) -> Bool:
    """(T,) triangles of skin: no eyeballs, no lashes, nothing behind lips and lids."""
    other = model.eyeballs | model.region("lashes")
    return np.asarray(~(other[model.triangles].all(axis=1) | lining_triangles(model)))


def _uv_gradients(model: FaceModel, vertices: Float32) -> tuple[Float32, Float32]:
    """(T, 3) and (T, 3) gradients of u and v (up) on the triangles of a shape, 1/mm; 0 without area."""
    a, b, c = (vertices[model.triangles[:, k]].astype(np.float64) for k in range(3))
    p, q, r = (model.uv[model.uv_triangles[:, k]].astype(np.float64) for k in range(3))
    normal = face_normals(vertices, model.triangles).astype(np.float64)
    twice = np.linalg.norm(np.cross(b - a, c - a), axis=1)[:, None]
    # the gradient of a linear function is the sum of its corners' values times inward heights
    sides = [np.cross(normal, edge) for edge in (c - b, a - c, b - a)]
    out = [
        sum((corner[:, k : k + 1] * side for corner, side in zip((p, q, r), sides)), np.zeros_like(normal))
        / np.maximum(twice, 1e-12)
        for k in range(2)
    ]
    return out[0].astype(np.float32), out[1].astype(np.float32)
