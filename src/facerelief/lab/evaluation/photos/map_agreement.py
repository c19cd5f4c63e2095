"""Agreement of head and normal map with the normals of the photo's relief.

The head is rendered in the photo's pose as an engine does: interpolated normals and tangents, turned by the
normal map. On visible skin its normals are compared with those of the fine depth (`normals.png`).

Tested by tests/lab/evaluation/photos/test_map_agreement.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.maps import relief_maps
from facerelief.facefolder.relief_uv import relief_in_uv, skin_triangles
from facerelief.geometry.depth import camera_normals
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.seams import split_seams, vertex_tangents
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.typed import Float32

_SEEN = 0.05
"""Weight of the relief in uv from which a pixel counts as visible skin."""


@dataclass(frozen=True)
class MapAgreement:
    """Angles in degrees over the pixels of visible skin."""

    pixels: int
    median: float
    """Head with normal map to the fine normals."""
    p90: float
    """90th percentile of the same."""
    smooth_median: float
    """Head without normal map to the fine normals: what the map has to bridge."""
    smooth_p90: float


def map_agreement(r: Reconstruction, size: int = 2048) -> MapAgreement:
    """Compare head and normal map with the fine normals.

    Args:
        r: A face with relief of a model with uv.
        size: Side of the normal map, texels.

    Raises:
        ValueError: The face has no relief, or its model no uv.
    """
    import cv2

    if r.fine is None:
        raise ValueError("the face has no relief")
    fine, mesh = r.fine, r.mesh
    coded = relief_maps(r, size)[0]
    weight = relief_in_uv(r, size)[1]
    camera = r.camera.in_crop(fine.left, fine.top, 1.0)
    split = split_seams(mesh)
    if split.uv is None:
        raise ValueError("the model has no uv")
    corners = split.triangles.astype(np.int32)
    fragments = rasterize(camera.project(r.vertices), mesh.triangles, *fine.depth.shape, cull_backfaces=True)
    points = camera.to_camera(r.vertices)
    normals = vertex_normals(points, mesh.triangles)
    tangents = vertex_tangents(points[split.source], normals[split.source], split.uv, split.triangles)
    normal = _unit(interpolate(fragments, mesh.triangles, normals))
    frame, uv = interpolate(fragments, corners, tangents), interpolate(fragments, corners, split.uv)
    tangent = _unit(frame[..., :3] - (frame[..., :3] * normal).sum(axis=-1, keepdims=True) * normal)
    across = np.sign(frame[..., 3:]) * np.cross(normal, tangent)
    column, row = uv[..., 0] * size - 0.5, (1 - uv[..., 1]) * size - 0.5
    n = np.asarray(cv2.remap(coded.astype(np.float32), column, row, cv2.INTER_LINEAR)) / 127.5 - 1
    shown = _unit(np.asarray(n[..., :1] * tangent + n[..., 1:2] * across + n[..., 2:] * normal, np.float32))
    wanted = camera_normals(fine.depth, r.camera, fine.left, fine.top)
    seen = fragments.mask & skin_triangles(r.model)[fragments.triangle] & np.isfinite(wanted).all(axis=-1)
    seen &= np.asarray(cv2.remap(weight, column, row, cv2.INTER_LINEAR)) > _SEEN
    if not seen.any():
        return MapAgreement(0, *[float("nan")] * 4)
    found, smooth = (_degrees(x[seen], wanted[seen]) for x in (shown, normal))
    return MapAgreement(
        int(seen.sum()),
        float(np.median(found)),
        float(np.percentile(found, 90)),
        float(np.median(smooth)),
        float(np.percentile(smooth, 90)),
    )


def _unit(vectors: Float32) -> Float32:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def _degrees(a: Float32, b: Float32) -> Float32:
    return np.degrees(np.arccos(np.clip((a * b).sum(axis=-1), -1, 1))).astype(np.float32)
