"""preview.png: photo, overlay, coarse and detailed surface, two turned views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.texture import model_skin
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import camera_normals
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.patch import DepthPatch
from facerelief.inverse.detail import face_outline
from facerelief.morphable.front import lining_triangles, solid_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import directional_light, shade
from facerelief.rendering.preview import preview_sheet
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.render import overlay, shade_mesh
from facerelief.typed import Float, Float32, Image

_PAPER = (0.98, 0.98, 0.98)
_RAKING = (-0.7, 0.6, 0.4)
"""Direction of the light on the clay: from the side, so that wrinkles are visible."""
_SOFT = (0.15, 0.25, 1.0)
"""Direction of the light on the turned heads."""


def preview(
    reconstruction: Reconstruction, detail: Mesh, colors: Float32 | None = None, height: int = 384
) -> Image:
    """Six panels in a row: photo, overlay, shaded coarse and detailed surface, two turned views.

    The overlay is the image predicted by the result, skin times light, on the pixels of the face. The
    detailed surface is rendered over the coarse one, which fills gaps at its outline.

    Args:
        reconstruction: The face.
        detail: Dense surface in model space, mm.
        colors: (N, 3) albedo of the model's vertices, sRGB in [0, 1], for the turned views; clay unless
            given.
        height: Height of the panels, px.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    r = reconstruction
    model, vertices = r.model, r.vertices
    middle = vertices[model.face_vertices]
    uv = r.camera.project(middle)[:, :2]
    low, high = uv.min(axis=0), uv.max(axis=0)
    side = max(int(np.ceil(1.4 * float((high - low).max()))), 8)
    left, top = (int(x) for x in np.round((low + high - side) / 2))
    camera = r.camera.in_crop(left, top, height / side)
    photo = _window(r.image, left, top, side, height)
    rendering, share = _predicted(r, left, top, side, height)

    def clay(mesh: Mesh, behind: ArrayLike = _PAPER) -> Image:
        light = directional_light(_RAKING, 1.0, 0.28)
        return shade_mesh(replace(mesh, colors=None), camera, height, height, light=light, background=behind)[
            0
        ]

    coarse = clay(_face(model, vertices))

    def turned(yaw: float) -> Image:
        light = None if colors is None else directional_light(_SOFT, 0.45, 0.6)
        view = _turned(camera, vertices, middle, yaw, height)
        # without lashes: at this size they would be a few jagged pixels
        head = Mesh(vertices, solid_triangles(model)[0], colors)
        return shade_mesh(head, view, height, height, light=light, background=_PAPER)[0]

    return preview_sheet(
        [
            ("photo", photo),
            ("overlay", overlay(photo, rendering, share)),
            ("coarse", coarse),
            ("detail" if r.fine else "detail (no relief)", clay(detail, coarse)),
            ("turned left", turned(-0.7)),
            ("turned right", turned(0.7)),
        ],
        height=height,
    )


def _predicted(r: Reconstruction, left: int, top: int, side: int, size: int) -> tuple[Float, Float32]:
    """The face predicted by the result, in the square (left, top, side) of the photo at size x size px: image
    (size, size, 3) in [0, 1] and the share (size, size) that it covers."""
    patch = r.fine or r.coarse
    h, w = patch.depth.shape
    shading = shade(np.nan_to_num(camera_normals(patch.depth, r.camera, patch.left, patch.top)), r.light)
    if r.skin is not None and r.fine is not None:
        skin = r.skin.color
    else:
        uvz = r.camera.in_crop(patch.left, patch.top, 1.0).project(r.vertices)
        solid, _ = solid_triangles(r.model)
        rendered = rasterize(uvz, solid, h, w, cull_backfaces=True)
        skin = interpolate(rendered, solid, model_skin(r))
    there = np.isfinite(patch.depth) & np.isfinite(skin).all(axis=2)
    color = np.where(there[:, :, None], np.clip(shading * skin, 0, 1), 0).astype(np.float32)
    layers = np.dstack([color, there.astype(np.float32)])
    layers = _resampled(layers, patch, left, top, side, size)
    share = layers[:, :, 3]
    return layers[:, :, :3] / np.maximum(share, 1e-3)[:, :, None], share


def _face(model: FaceModel, vertices: Float32) -> Mesh:
    """Skin of the face, eyes and inside of the mouth of the model's mesh, cut along the outline of the depth
    maps.

    vertices (N, 3) model space, mm.
    """
    share, whole, eyes = face_outline(model)
    inside = share[model.triangles] >= 0.5
    kept = (whole[:-1] & inside.all(axis=1)) | eyes[:-1] | lining_triangles(model)
    crossed = model.triangles[whole[:-1] & ~kept & inside.any(axis=1)]
    # each cut triangle begins with the corner that is alone on its side
    inside = share[crossed] >= 0.5
    one = inside.sum(axis=1) == 1
    first = np.where(one, inside.argmax(axis=1), (~inside).argmax(axis=1))
    corners = np.take_along_axis(crossed, (first[:, None] + np.arange(3)) % 3, axis=1)
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [0, 2]]]), axis=1)
    edges, place = np.unique(edges, axis=0, return_inverse=True)
    low, high = share[edges[:, 0]], share[edges[:, 1]]
    at = ((0.5 - low) / (high - low))[:, None]
    cuts = vertices[edges[:, 0]] * (1 - at) + vertices[edges[:, 1]] * at
    p, q = place.reshape(2, -1) + len(vertices)
    alone, b, c = corners.T
    pieces = (
        model.triangles[kept],
        np.column_stack([alone, p, q])[one],
        np.column_stack([p, b, c])[~one],
        np.column_stack([p, c, q])[~one],
    )
    return Mesh(np.concatenate([vertices, cuts]).astype(np.float32), np.concatenate(pieces).astype(np.int32))


def _resampled(values: Float32, patch: DepthPatch, left: int, top: int, side: int, size: int) -> Float32:
    """Values (h, w[, C]) of a patch's pixels in the square (left, top, side) of the photo at size x size px;
    0 beside the patch."""
    import cv2

    zoom = size / side
    # blurred so that enlarged pixels are not visible and reduced ones do not alias
    soft = cv2.GaussianBlur(values, (0, 0), max(0.45 / zoom, 0.7), borderType=cv2.BORDER_CONSTANT)
    u, v = ((x + 0.5) * zoom - 0.5 for x in (patch.left - left, patch.top - top))
    matrix = np.array([[zoom, 0, u], [0, zoom, v]])
    return np.asarray(cv2.warpAffine(soft, matrix, (size, size), flags=cv2.INTER_LINEAR), np.float32)


def _turned(
    camera: WeakPerspective, head: Float32, middle: Float32, yaw: float, size: int
) -> WeakPerspective:
    """Upright camera of the same scale, turned by `yaw`: it centres `head` (N, 3) across a square, size px,
    and `middle` (M, 3) vertically."""
    view = WeakPerspective(0.0, yaw, 0.0, 0.0, 0.0, camera.scale)
    u, v = view.project(head)[:, 0], view.project(middle)[:, 1]
    across, down = (size - float(x.min() + x.max()) for x in (u, v))
    return replace(view, translation_u=across / 2, translation_v=down / 2)


def _window(image: Image, left: int, top: int, side: int, size: int) -> Image:
    """The square (left, top, side) of the photo at size x size px; outside the photo the paper's colour."""
    import cv2

    height, width = image.shape[:2]
    window = np.full((size, size, 3), round(_PAPER[0] * 255), np.uint8)
    x0, x1 = (min(max(x, 0), width) for x in (left, left + side))
    y0, y1 = (min(max(y, 0), height) for y in (top, top + side))
    u0, u1 = (round((x - left) * size / side) for x in (x0, x1))
    v0, v1 = (round((y - top) * size / side) for y in (y0, y1))
    if u0 < u1 and v0 < v1:
        method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
        window[v0:v1, u0:u1] = np.asarray(cv2.resize(part, (u1 - u0, v1 - v0), interpolation=method))
    return window
