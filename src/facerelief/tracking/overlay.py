"""Overlay of a followed face: photo, coarse and detailed surface of each frame side by side."""

from __future__ import annotations

from functools import cache

import numpy as np

from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.patch import DepthPatch
from facerelief.rendering.lighting import directional_light, shade
from facerelief.rendering.render import CLAY
from facerelief.tracking.frame import TrackedFrame
from facerelief.typed import Float32, Float64, Image

_SIDES = (320, 640)
"""Least and greatest length of a panel's longer side, px."""
_RAKING, _FILL = (-0.7, 0.6, 0.4), (0.6, -0.1, 0.8)
"""Directions of the lights on the clay: a strong one from the side, so that wrinkles show, and a weak one."""
_FACETS_MM = 1.0
"""Blur of the coarse surface's shading, mm, against its facets."""


def overlay_size(width: int, height: int, *, detail: bool = True) -> tuple[int, int]:
    """Width and height, both even, of the `overlay_frame` of frames of width x height px."""
    w, h = _panel_size(width, height)
    return w * (3 if detail else 2), h


def overlay_frame(frame: TrackedFrame, *, detail: bool = True) -> Image:
    """Three panels in a row: the frame, its coarse surface in clay, its detailed surface in clay.

    The clay is rendered over the frame, lit from the side. Panels have the frame's size, but
    the longer side is at most 640 and at least 320 px. A frame without a face fills every panel,
    labelled "no face"; one without relief has its coarse surface twice, the second labelled "no detail".

    Args:
        frame: A frame with its followed face.
        detail: Include the third panel.

    Returns:
        (h, w, 3) RGB of the size `overlay_size`.
    """
    import cv2

    height, width = frame.image.shape[:2]
    w, h = _panel_size(width, height)
    zoom = w / width, h / height
    photo = frame.image
    if (w, h) != (width, height):
        method = cv2.INTER_AREA if w < width else cv2.INTER_CUBIC
        photo = np.asarray(cv2.resize(photo, (w, h), interpolation=method), np.uint8)
    count = 3 if detail else 2
    sheet = np.concatenate([photo] * count, axis=1)
    labels = ["no face"] * count
    face = frame.face
    if face is not None:
        labels = ["photo", "coarse", "detail" if face.fine else "no detail"][:count]
        for k, patch in enumerate([face.coarse, face.fine or face.coarse][: count - 1], 1):
            blur = _FACETS_MM if patch is face.coarse else 0.0
            _add_clay(sheet[:, k * w : (k + 1) * w], patch, face.camera.scale, zoom, blur)
    for k, label in enumerate(labels):
        _write(sheet, label, k * w, h)
    return sheet


def _panel_size(width: int, height: int) -> tuple[int, int]:
    least, greatest = _SIDES
    longer = max(width, height)
    zoom = min(max(longer, least), greatest) / longer
    return max(2 * round(zoom * width / 2), 2), max(2 * round(zoom * height / 2), 2)


def _add_clay(
    panel: Image, patch: DepthPatch, scale: float, zoom: tuple[float, float], blur_mm: float
) -> None:
    """Shade a depth patch as clay into a panel (h, w, 3), in place; panel px = zoom times the frame's px.

    scale: px/mm of the frame; blur_mm: blur of the shading.
    """
    import cv2

    step = max(int(1 / max(zoom)), 1)  # finer sampling would not be visible
    depth = patch.depth[::step, ::step]
    if depth.size == 0:
        return
    there = np.isfinite(depth).astype(np.float32)
    normals = np.where(there[:, :, None] > 0, normals_from_depth(depth, scale / step), 0)
    shading: Float32 = shade(normals, _light())[:, :, 0] * there  # the light is white
    if blur_mm * scale > 0.5 * step:
        sigma = blur_mm * scale / step
        shading = np.asarray(cv2.GaussianBlur(shading, (0, 0), sigma), np.float32)
        shading /= np.maximum(cv2.GaussianBlur(there, (0, 0), sigma), 1e-3)
    # softer at the outline, but nothing beside it, where there is no normal
    share = there * np.asarray(cv2.blur(there, (3, 3), borderType=cv2.BORDER_CONSTANT))

    # from the patch's samples to the panel; pixel centres lie at +0.5
    across, down = zoom[0] * step, zoom[1] * step
    u = (patch.left + 0.5) * zoom[0] - 0.5
    v = (patch.top + 0.5) * zoom[1] - 0.5
    height, width = panel.shape[:2]
    left, top = max(int(np.floor(u)), 0), max(int(np.floor(v)), 0)
    right = min(int(np.ceil(u + across * depth.shape[1])) + 1, width)
    bottom = min(int(np.ceil(v + down * depth.shape[0])) + 1, height)
    if left >= right or top >= bottom:
        return
    matrix = np.array([[across, 0, u - left], [0, down, v - top]])
    # brightness weighted by its share: pixels beside the face do not bleed in
    layers = np.dstack([np.clip(shading, 0, 1) * share, share])
    layers = np.asarray(cv2.warpAffine(layers, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR))
    window = panel[top:bottom, left:right]
    clay = layers[:, :, :1] * (255 * np.array(CLAY, np.float32))
    window[:] = window * (1 - layers[:, :, 1:]) + clay + np.float32(0.5)


@cache
def _light() -> Float64:
    return directional_light(_RAKING, 0.8, 0.2) + directional_light(_FILL, 0.25)


def _write(sheet: Image, text: str, left: int, height: int) -> None:
    """A small label in the lower left corner of the panel that begins at `left`."""
    import cv2

    size = max(height / 900, 0.35)
    place = left + round(14 * size), height - round(16 * size)
    for ink, wide in (((20, 20, 20), 3), ((245, 245, 245), 1)):
        cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, wide, cv2.LINE_AA)
