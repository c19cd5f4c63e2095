"""Which pixels of a photo show the head, hair and all: what a new light must reach, and the wall must not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.typed import Float32

_SIDE = 160
"""Pixels of the longer side that colours are looked at on."""


def head_matte(
    image: NDArray[np.uint8], head: NDArray[np.uint8], box: tuple[int, int, int, int], mm: float
) -> NDArray[np.uint8]:
    """(H, W) 0..255: how much of each pixel is head or hair, by its place and by its colour.

    image (H, W, 3); head (h, w) over the box (left, top, right, bottom) of the picture, at any resolution: 2
    where the model's head is, 1 where its neck and ears are, which other things may hide, else 0; mm: px per
    mm of the picture.
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
    away = np.asarray(cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)) / unit
    inside = (
        np.asarray(cv2.distanceTransform(np.pad(mask, 1, mode="edge"), cv2.DIST_L2, 5))[1:-1, 1:-1] / unit
    )
    label = np.full((h, w), cv2.GC_BGD, np.uint8)
    label[away < 45] = cv2.GC_PR_BGD
    label[away < 12] = cv2.GC_PR_FGD
    label[inside > 5] = cv2.GC_FGD
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows):
        # below the ears it is collars and shoulders that lie beside the head
        low = rows[0] + 0.62 * (rows[-1] - rows[0])
        below = (np.arange(h) > low)[:, None] & (away > 0)
        label[below & (away < 45)] = cv2.GC_PR_BGD
    label[(labels == 1) & (away > 0)] = cv2.GC_PR_FGD
    found = (labels > 0).astype(np.float32)
    if (label == cv2.GC_FGD).any() and (label == cv2.GC_BGD).any():
        cv2.setRNGSeed(0)  # the colour clusters start at random places
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


def _follow_edges(values: Float32, guide: Float32, reach: int) -> Float32:
    """Smooth values within regions of like brightness (the guided filter)."""
    import cv2

    size = (2 * reach + 1, 2 * reach + 1)

    def mean(x: Float32) -> Float32:
        return np.asarray(cv2.blur(x, size)).astype(np.float32)

    g, v = mean(guide), mean(values)
    slope = (mean(guide * values) - g * v) / (mean(guide * guide) - g * g + np.float32(1e-3))
    return mean(slope) * guide + mean(v - slope * g)
