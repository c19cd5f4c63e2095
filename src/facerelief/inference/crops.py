"""The square part of a picture that a network looks at.

One rule for training data and for use: whoever cuts a face out of a picture for FineNet does it here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.boxes import bounds
from facerelief.geometry.camera import WeakPerspective

CONTRAST_SIZES = (4, 16)
"""px of the surroundings that FineNet compares pixels with."""
Border = Literal["black", "mirrored", "repeated"]

FINE_SIZE = 256
"""Side of FineNet's crop, px (Guo et al., TPAMI 2019)."""
FINE_MARGIN = 1.15
"""Side of that crop over the longer side of the face's box."""


@dataclass(frozen=True)
class SquareCrop:
    """A square of a picture, drawn with `size` px a side.

    Convention: a point (u, v) of the picture lies in the crop at zoom * T(angle) ((u, v) - centre) + size /
    2, where T turns counter-clockwise as seen; pixel centres sit at + 0.5 in both.
    """

    centre_u: float
    """px of the picture"""
    centre_v: float
    side: float
    """px of the picture"""
    size: int = FINE_SIZE
    """px of the crop"""
    angle: float = 0.0
    """The crop shows the picture turned counter-clockwise by this, radians."""

    @property
    def zoom(self) -> float:
        """px of the crop per px of the picture."""
        return self.size / self.side

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) from points (u, v) of the picture, px, to points of the crop, px."""
        c, s = self.zoom * math.cos(self.angle), self.zoom * math.sin(self.angle)
        turn = np.array([[c, s], [-s, c]])  # v is down
        shift = self.size / 2 - turn @ [self.centre_u, self.centre_v]
        return np.column_stack([turn, shift])

    def pixel_matrix(self, left: int = 0, top: int = 0) -> NDArray[np.float64]:
        """(2, 3) the same between array indices (column, row), of a part of the picture with that corner."""
        out = self.matrix
        out[:, 2] += out[:, :2] @ [left + 0.5, top + 0.5] - 0.5
        return out

    def camera(self, camera: WeakPerspective) -> WeakPerspective:
        """The same pose as seen in the crop."""
        return camera.moved(self.matrix)

    def outer_camera(self, camera: WeakPerspective) -> WeakPerspective:
        """Inverse of `camera`: a pose found in the crop, in the picture's pixels."""
        turn = self.matrix
        back = np.linalg.inv(turn[:, :2])
        return camera.moved(np.column_stack([back, -back @ turn[:, 2]]))

    def cut(
        self, image: NDArray[np.uint8], *, flipped: bool = False, border: Border = "black"
    ) -> NDArray[np.uint8]:
        """(size, size, C) what the crop shows of a picture (H, W, C), flipped left to right if asked. border:
        what lies beside the picture."""
        import cv2

        matrix = self.pixel_matrix()
        if flipped:
            matrix[0] = [0, 0, self.size - 1] - matrix[0]
        mode = {
            "black": cv2.BORDER_CONSTANT,
            "mirrored": cv2.BORDER_REFLECT_101,
            "repeated": cv2.BORDER_REPLICATE,
        }[border]
        size = (self.size, self.size)
        # a slight blur before making smaller would cost more than the aliasing of these zooms
        out = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mode)
        return np.asarray(out, np.uint8)


def fine_crop(uv: ArrayLike, size: int = FINE_SIZE, margin: float = FINE_MARGIN) -> SquareCrop:
    """FineNet's crop around a coarse face.

    uv (N, 2 or more) the projected vertices of the model's face region (`FaceModel.face_vertices`), px of the
    picture. The square is centred on their box and `margin` times its longer side. Raises ValueError for no
    points or points that are not finite.
    """
    points = np.asarray(uv, np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or not len(points):
        raise ValueError(f"uv has shape {points.shape}, expected (N, 2)")
    low, high = bounds(points[:, :2])
    side = float((high - low).max()) * margin
    if not (math.isfinite(side) and side > 0):
        raise ValueError("uv holds no finite box with an area")
    u, v = (low + high) / 2
    return SquareCrop(float(u), float(v), side, size)


def contrasts(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(2, S, S) how much brighter each pixel of a picture (S, S, 3) is than its surroundings, in tenths: the
    difference of logarithms to means over squares of `CONTRAST_SIZES`, bilinear between their middles."""
    import cv2

    size = picture.shape[0]
    mean = cv2.transform(picture.astype(np.float32), np.full((1, 3), 1 / 765, np.float32))
    light = np.asarray(cv2.log(mean + np.float32(0.05)), np.float32).reshape(size, size)
    out = np.empty((len(CONTRAST_SIZES), size, size), np.float32)
    for k, step in enumerate(CONTRAST_SIZES):
        small = cv2.resize(light, (size // step, size // step), interpolation=cv2.INTER_AREA)
        around = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
        np.multiply(light - around, np.float32(10), out=out[k])
    return out
