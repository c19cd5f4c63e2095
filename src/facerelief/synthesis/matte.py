"""Matte of the head with its hair, to which a new light is applied and not to the background."""

from __future__ import annotations

import numpy as np

from facerelief.typed import Float, Float32, Image

_SIDE = 160
"""Longer side of the reduced image that is segmented, px."""


def head_matte(image: Image, head: Image, box: tuple[int, int, int, int], mm: float) -> Image:
    """Segment head and hair by place and colour (GrabCut, Rother et al. 2004).

    Args:
        image: (H, W, 3) RGB.
        head: (h, w) over the box, at any resolution: 2 on the model's head, 1 on its neck and ears, which
            clothes and hair may hide, else 0.
        box: Left, top, right, bottom in the image, px.
        mm: Scale of the image, px/mm.

    Returns:
        (H, W) 0..255, share of head or hair in each pixel.
    """
    import cv2

    left, top, right, bottom = box
    crop = np.ascontiguousarray(image[top:bottom, left:right])
    zoom = min(_SIDE / max(crop.shape[:2]), 1.0)
    w, h = max(round(crop.shape[1] * zoom), 8), max(round(crop.shape[0] * zoom), 8)
    small = np.asarray(cv2.resize(crop, (w, h), interpolation=cv2.INTER_AREA))
    labels = np.asarray(cv2.resize(head.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST))
    mask = (labels > 1).astype(np.uint8)
    unit = mm * w / crop.shape[1]
    away = _distance(1 - mask) / unit
    inside = _distance(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1] / unit
    label = np.full((h, w), cv2.GC_BGD, np.uint8)
    label[away < 45] = cv2.GC_PR_BGD
    label[away < 12] = cv2.GC_PR_FGD
    label[inside > 5] = cv2.GC_FGD
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows):
        # below the ears, collars and shoulders are beside the head
        low = rows[0] + 0.62 * (rows[-1] - rows[0])
        below = (np.arange(h) > low)[:, None] & (away > 0)
        label[below & (away < 45)] = cv2.GC_PR_BGD
    label[(labels == 1) & (away > 0)] = cv2.GC_PR_FGD
    found = (labels > 0).astype(np.float32)
    if (label == cv2.GC_FGD).any() and (label == cv2.GC_BGD).any():
        cv2.setRNGSeed(0)  # the colour clusters have a random start
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(small[:, :, ::-1].copy(), label, (0, 0, 1, 1), *models, 2, cv2.GC_INIT_WITH_MASK)
        found = ((label == cv2.GC_FGD) | (label == cv2.GC_PR_FGD)).astype(np.float32)
        found = np.maximum(found, (inside > 3).astype(np.float32))
    found *= np.clip((45 - away) / 15, 0, 1).astype(np.float32)
    soft = _follow_edges(found, small.astype(np.float32).mean(axis=2) / 255, max(round(4 * unit), 1))
    soft = np.clip((soft - 0.35) / 0.55, 0, 1)
    out = np.zeros(image.shape[:2], np.uint8)
    full = cv2.resize(soft, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    out[top:bottom, left:right] = np.rint(255 * np.clip(np.asarray(full), 0, 1)).astype(np.uint8)
    return out


def _distance(mask: Image) -> Float32:
    """Distance of each pixel to the next 0 of `mask`, px; its number of pixels where it holds no 0."""
    import cv2

    found = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5))
    return np.minimum(found, np.float32(mask.size))


def _follow_edges(values: Float32, guide: Float32, reach: int) -> Float32:
    """Smooth values (h, w) within regions of similar brightness (guided filter, He et al. 2010)."""
    import cv2

    size = (2 * reach + 1, 2 * reach + 1)

    def mean(x: Float) -> Float32:
        return np.asarray(cv2.blur(x, size)).astype(np.float32)

    g, v = mean(guide), mean(values)
    slope = (mean(guide * values) - g * v) / (mean(guide * guide) - g * g + np.float32(1e-3))
    return mean(slope) * guide + mean(v - slope * g)
