"""One level of an image pyramid around a face, with its derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.typed import Bool, Float32, Image

MARGIN = 0.35
"""Surroundings kept on each side of the face box, as a share of its longer side."""

LEAST_BARE = 0.4
"""Share of bare skin from which a pixel counts."""


@dataclass(frozen=True, eq=False)
class ImageLevel:
    """One pyramid level: image and derivatives, and the place of its pixels in the photo."""

    color: Float32
    """(h, w, 3) in [0, 1]."""
    du: Float32
    """(h, w, 3) derivative toward the right, per px of this level."""
    dv: Float32
    """(h, w, 3) derivative downward."""
    left: float
    top: float
    zoom: float
    inside: tuple[slice, slice]
    """Rows and columns whose derivatives know only the photo, not its border or the level's."""
    bare: Bool | None = None
    """(h, w) pixels of bare skin; None where all may be."""

    def camera(self, camera: WeakPerspective) -> WeakPerspective:
        """The photo's camera in the pixels of this level."""
        return camera.in_crop(self.left, self.top, self.zoom)


def image_level(
    image: Image, box: tuple[float, float, float, float], face_px: int, bare_skin: Float32 | None = None
) -> ImageLevel:
    """Resample the surroundings of a face box so that the box's longer side has `face_px` pixels.

    Faces smaller than that stay as they are.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (left, top, right, bottom) px.
        face_px: Longer side of the box in the level, px.
        bare_skin: (H, W) share of bare skin in [0, 1].

    Raises:
        ValueError: The box has no size or lies outside the image.
    """
    import cv2

    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    if not (right > max(left, 0) and bottom > max(top, 0) and left < image.shape[1] and top < image.shape[0]):
        raise ValueError(
            f"face box {box} does not meet the picture of {image.shape[1]} x {image.shape[0]} px"
        )
    zoom = min(face_px / side, 1.0)
    margin = MARGIN * side
    x0, y0 = left - margin, top - margin
    width = int(np.ceil((right - left + 2 * margin) * zoom))
    height = int(np.ceil((bottom - top + 2 * margin) * zoom))
    # smooth before sampling more coarsely; the source window is cut first, so a large photo costs no more
    xa, ya = max(int(x0) - 2, 0), max(int(y0) - 2, 0)
    xb = min(int(x0 + width / zoom) + 3, image.shape[1])
    yb = min(int(y0 + height / zoom) + 3, image.shape[0])
    window = image[ya:yb, xa:xb].astype(np.float32) / 255.0
    sigma = 0.45 / zoom
    if sigma > 0.6:
        window = cv2.GaussianBlur(window, (0, 0), sigma)
    # pixel centres sit at +0.5: level px (j + .5) / zoom + x0 = photo px
    matrix = np.array([[zoom, 0, (xa - x0 + 0.5) * zoom - 0.5], [0, zoom, (ya - y0 + 0.5) * zoom - 0.5]])

    def resampled(part: Float32) -> Float32:
        return np.asarray(
            cv2.warpAffine(
                part, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ),
            np.float32,
        )

    color = resampled(np.asarray(window, np.float32))
    bare = None if bare_skin is None else resampled(bare_skin[ya:yb, xa:xb]) > LEAST_BARE
    kernel = np.array([[-0.5, 0.0, 0.5]], np.float32)
    color, du, dv = (
        np.asarray(level, np.float32)
        for level in (
            color,
            cv2.filter2D(color, -1, kernel, borderType=cv2.BORDER_REPLICATE),
            cv2.filter2D(color, -1, kernel.T, borderType=cv2.BORDER_REPLICATE),
        )
    )
    rows = _within(y0, image.shape[0], zoom, height)
    columns = _within(x0, image.shape[1], zoom, width)
    return ImageLevel(color, du, dv, x0, y0, zoom, (rows, columns), bare)


def _within(start: float, length: int, zoom: float, size: int) -> slice:
    """Pixels of a level that lie at least one of its pixels inside the photo and the level."""
    first = max(int(np.ceil(-start * zoom)), 0) + 1
    last = min(int(np.floor((length - start) * zoom)), size) - 1
    return slice(first, max(last, first))
