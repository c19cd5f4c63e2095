"""Whether a photo shows an open mouth: a dark gap or teeth between the lips."""

from __future__ import annotations

import numpy as np

from facerelief.typed import Bool, Float, Image

_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
"""MediaPipe's rings around and within the lips."""
_WIDTH = 96
"""Width of the mouth at which colours are compared, px."""
DARK = 0.5
"""A gap is darker than this share of the lips' median brightness."""
PALE = 0.55
"""Teeth have less than this share of the lips' median saturation."""
OPEN_SHARE = 0.09
"""Share of gap and teeth within the inner lips from which a mouth is open."""
OPEN_HEIGHT = 0.17
"""Height over width of the inner lips from which a mouth is open whatever its colours."""


def mouth_open(image: Image, landmarks: Float) -> bool:
    """Whether there is a gap or teeth between the lips.

    Detectors part closed lips by up to a seventh of their width, so landmarks alone do not tell.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (468 or 478, 2) MediaPipe landmarks, px.

    Returns:
        True for open mouths, for other landmark sets, and where the mouth is too small to say.
    """
    if len(landmarks) < 468:
        return True
    corners, middle = landmarks[[78, 308]], landmarks[[13, 14]]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    if np.linalg.norm(middle[1] - middle[0]) > OPEN_HEIGHT * width:
        return True
    return not gap_share(image, landmarks) < OPEN_SHARE


def gap_share(image: Image, landmarks: Float) -> float:
    """Share of the pixels within the inner lips that are gap or teeth; NaN where it cannot be measured."""
    import cv2

    if len(landmarks) < 468:
        return float("nan")
    outer, inner = landmarks[list(_OUTER)], landmarks[list(_INNER)]
    corner, other = landmarks[61], landmarks[291]
    width = float(np.linalg.norm(other - corner))
    if not width > 12.0:
        return float("nan")
    zoom = _WIDTH / width
    c, s = (other - corner) / width * zoom
    matrix = np.array([[c, s, 0.0], [-s, c, 0.0]])
    matrix[:, 2] = [0.65 * _WIDTH, 0.5 * _WIDTH] - matrix[:, :2] @ (0.5 * (corner + other))
    size = (round(1.3 * _WIDTH), _WIDTH)
    patch = np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA)).astype(np.float32) / 255.0
    rings = [_filled((ring @ matrix[:, :2].T + matrix[:, 2]), size) for ring in (outer, inner)]
    # the inner ring of closed lips has hardly a height: what lies between the lips is near their line
    between = np.asarray(cv2.dilate(rings[1].astype(np.uint8), np.ones((3, 1), np.uint8)) > 0) & rings[0]
    lips = rings[0] & ~np.asarray(cv2.dilate(rings[1].astype(np.uint8), np.ones((9, 3), np.uint8)) > 0)
    if between.sum() < 20 or lips.sum() < 60:
        return float("nan")
    bright, saturation = patch.max(axis=2), np.ptp(patch, axis=2) / np.maximum(patch.max(axis=2), 1e-3)
    gap = bright < DARK * np.median(bright[lips])
    pale = (saturation < PALE * np.median(saturation[lips])) & (bright > 0.6 * np.median(bright[lips]))
    return float((gap | pale)[between].mean())


def _filled(ring: Float, size: tuple[int, int]) -> Bool:
    import cv2

    out = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(out, [np.round(ring).astype(np.int32)], 1)
    return out > 0
