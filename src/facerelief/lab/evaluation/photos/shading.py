"""Explained shading: how much of a photo's fine light and dark a reconstructed surface accounts for.

The photo is brought to a face 240 px wide; its log brightness and the eight spherical harmonics of the
surface's normals that are not constant are band-passed alike (Gaussians of 0.8 minus 5 px, normalised by the
mask), and the first is fitted by the others over plain skin: one light for the whole face. Eight numbers
cannot fit noise, so the explained share grows only where the surface has its shape where the photo has its
shading. Albedo that is printed through raises it too: read it together with identity consistency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.typed import Bool, Float, Float32, Image

FACE_PX = 240.0
"""Width of the face at which shading is compared, px."""
LOW_PX, HIGH_PX = 0.8, 5.0
"""Gaussians whose difference is the band."""
BORDER_PX = 15
"""Width of the square that the skin's mask is eroded by."""
_FEATURES = (slice(17, 22), slice(22, 27), slice(36, 42), slice(42, 48), slice(48, 60))
"""iBUG landmarks of brows, eyes and lips, which are not plain skin."""


@dataclass(frozen=True)
class Shading:
    """Explained shares of one photo's fine shading, at most 1."""

    coarse: float
    """By the coarse surface."""
    fine: float
    """By the surface with relief."""
    relief_mm: float
    """Strength of the relief between 1 and 4 px: standard deviation on plain skin, mm."""


def explained_shading(result: Reconstruction) -> Shading:
    """Measure a reconstruction with relief; NaN where too little skin is seen."""
    import cv2

    assert result.fine is not None
    scale = float(result.camera.scale)
    coarse, fine = (_whole(patch, result.image) * scale for patch in (result.coarse, result.fine))
    known = np.isfinite(coarse) & np.isfinite(fine)
    columns = np.flatnonzero(np.isfinite(fine).any(axis=0))
    if not len(columns):
        return Shading(np.nan, np.nan, np.nan)
    zoom = min(FACE_PX / float(columns[-1] - columns[0] + 1), 1.0)
    height, width = result.image.shape[:2]
    size = (round(width * zoom), round(height * zoom))

    def shrunk(values: Float | Bool) -> Float32:
        return np.asarray(
            cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32
        )

    share = np.maximum(shrunk(known), 1e-3)
    mask = (share > 0.99) & plain_skin((size[1], size[0]), result.landmarks68_px[:, :2] * zoom)
    upright = np.ascontiguousarray(result.image)
    photo = np.asarray(cv2.resize(upright, size, interpolation=cv2.INTER_AREA), np.uint8)
    depths = [shrunk(np.where(known, depth, 0)) / share * zoom for depth in (coarse, fine)]
    by_coarse, by_fine = (explained(photo, depth, mask) for depth in depths)
    relief = band((depths[1] - depths[0]) / (scale * zoom), mask, 1.0, 4.0)
    inner = _eroded(mask)
    return Shading(by_coarse, by_fine, float(relief[inner].std()) if inner.any() else np.nan)


def explained(photo: Image, depth: Float, mask: Bool) -> float:
    """Share of a photo's band-passed log brightness that the normals of a depth map explain.

    Args:
        photo: (H, W, 3) uint8 RGB.
        depth: (H, W) px, larger is nearer.
        mask: (H, W) plain skin.

    Returns:
        1 - residual / total, in [0, 1]; NaN where fewer than 200 pixels are left.
    """
    rows, columns = np.gradient(np.where(mask, depth, np.nan))
    length = np.sqrt(1.0 + rows**2 + columns**2)
    x, y, z = (np.nan_to_num(part / length) for part in (-columns, rows, np.ones_like(depth)))
    inner = _eroded(mask)
    if inner.sum() < 200:
        return float("nan")
    target = band(np.log(photo.astype(np.float32).mean(axis=2) / 255.0 + 0.05), mask)[inner]
    harmonics = (x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    basis = np.stack([band(h, mask)[inner] for h in harmonics], axis=-1)
    weights = np.linalg.lstsq(basis, target, rcond=None)[0]
    return float(1.0 - ((target - basis @ weights) ** 2).sum() / max(float((target**2).sum()), 1e-12))


def band(values: Float, mask: Bool, low: float = LOW_PX, high: float = HIGH_PX) -> Float:
    """Difference of two Gaussians of values (H, W) within a mask (H, W), each normalised by the mask."""
    import cv2

    weight = mask.astype(np.float32)
    inside = np.where(mask, values, 0).astype(np.float32)

    def blurred(sigma: float) -> Float:
        return cv2.GaussianBlur(inside, (0, 0), sigma) / np.maximum(
            cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3
        )

    return blurred(low) - blurred(high)


def plain_skin(shape: tuple[int, int], landmarks68: Float) -> Bool:
    """(H, W) True outside brows, eyes and lips and 6 px round them; landmarks68 (68, 2) px."""
    import cv2

    marked = np.zeros(shape, np.uint8)
    for part in _FEATURES:
        hull = cv2.convexHull(landmarks68[part].astype(np.float32)).astype(np.int32)
        cv2.fillConvexPoly(marked, hull, 1)
    return np.asarray(cv2.dilate(marked, np.ones((13, 13), np.uint8)) == 0)


def _eroded(mask: Bool) -> Bool:
    import cv2

    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((BORDER_PX, BORDER_PX), np.uint8)) > 0)


def _whole(patch: DepthPatch, image: Image) -> Float:
    """The patch's depth on all of the image's pixels, NaN beyond it."""
    out = np.full(image.shape[:2], np.nan)
    height, width = patch.depth.shape
    out[patch.top : patch.top + height, patch.left : patch.left + width] = patch.depth
    return out
