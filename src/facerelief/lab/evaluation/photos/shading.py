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


@dataclass(frozen=True, eq=False)
class ShadingGrid:
    """A photo and its plain skin on the grid on which shading is compared."""

    photo: Image
    """(h, w, 3), the face `FACE_PX` wide, or as wide as it is where it is smaller."""
    mask: Bool
    """(h, w) plain skin."""
    share: Float32
    """(h, w) share of each pixel that the face covers."""
    zoom: float
    scale: float
    """px/mm of the photo."""
    known: Bool
    """(H, W) pixels of the photo that both surfaces know."""

    @classmethod
    def of(
        cls, image: Image, scale: float, coarse: DepthPatch, fine: DepthPatch, landmarks68: Float
    ) -> ShadingGrid | None:
        """The grid of a photo (H, W, 3) with two depth maps, mm, and landmarks (68, 2), px; None without a
        face."""
        import cv2

        known = np.isfinite(_whole(coarse, image)) & np.isfinite(_whole(fine, image))
        columns = np.flatnonzero(np.isfinite(fine.depth).any(axis=0))
        if not len(columns):
            return None
        zoom = min(FACE_PX / float(columns[-1] - columns[0] + 1), 1.0)
        height, width = image.shape[:2]
        size = (round(width * zoom), round(height * zoom))
        share = np.maximum(_shrunk(known, size), np.float32(1e-3))
        mask = (share > 0.99) & plain_skin((size[1], size[0]), landmarks68[:, :2] * zoom)
        photo = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
        return cls(np.asarray(photo, np.uint8), np.asarray(mask), share, zoom, scale, known)

    def explained(self, depth: DepthPatch) -> float:
        """Share of the photo's fine shading that a depth map in mm explains; see `explained`."""
        return explained(self.photo, self._on_grid(depth) * self.scale * self.zoom, self.mask)

    def relief(self, coarse: DepthPatch, fine: DepthPatch) -> Float32:
        """(h, w) mm: the difference of two depth maps."""
        return np.asarray(self._on_grid(fine) - self._on_grid(coarse), np.float32)

    def strength(self, relief: Float, low: float, high: float) -> float:
        """Standard deviation, mm, of relief (h, w) on plain skin between two Gaussians, px."""
        inner = _eroded(self.mask)
        return float(band(relief, self.mask, low, high)[inner].std()) if inner.any() else float("nan")

    def brought(self, values: Float) -> Float32:
        """Means (h, w) of values (H, W) of the photo's pixels."""
        return _shrunk(np.where(self.known, values, 0), self.photo.shape[1::-1]) / self.share

    def _on_grid(self, patch: DepthPatch) -> Float32:
        return self.brought(_whole(patch, self.known))


def explained_shading(result: Reconstruction) -> Shading:
    """Measure a reconstruction with relief; NaN where too little skin is seen."""
    assert result.fine is not None
    scale = float(result.camera.scale)
    grid = ShadingGrid.of(result.image, scale, result.coarse, result.fine, result.landmarks68_px)
    if grid is None:
        return Shading(np.nan, np.nan, np.nan)
    relief = grid.relief(result.coarse, result.fine)
    return Shading(
        grid.explained(result.coarse), grid.explained(result.fine), grid.strength(relief, 1.0, 4.0)
    )


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


def _shrunk(values: Float | Bool, size: tuple[int, ...]) -> Float32:
    """Means of the pixels that fall on each of a smaller grid's; size: (width, height)."""
    import cv2

    small = cv2.resize(
        np.ascontiguousarray(values, np.float32), (size[0], size[1]), interpolation=cv2.INTER_AREA
    )
    return np.asarray(small, np.float32)


def _whole(patch: DepthPatch, image: Image | Bool) -> Float:
    """The patch's depth on all of the image's pixels, NaN beyond it."""
    out = np.full(image.shape[:2], np.nan)
    height, width = patch.depth.shape
    out[patch.top : patch.top + height, patch.left : patch.left + width] = patch.depth
    return out
