"""Square crops of an image, the input of the networks in training and inference.

In use every crop is turned by the face's roll, so that networks see upright faces however the image lies;
its angle takes part in `SquareCrop.matrix`, and poses and maps come back to the image by it. Training crops
add random turns of some degrees, the errors of the roll that is known beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.boxes import bounds
from facerelief.geometry.camera import WeakPerspective
from facerelief.typed import Float, Float32, Float64, Image

COARSE_SIZE = 224
"""Side of the crop of CoarseNet and Tracking CoarseNet, px (Guo et al., TPAMI 2019)."""
COARSE_MARGIN = 1.25
"""Side of that crop over the longer side of the face's box."""
FINE_SIZE = 256
"""Side of FineNet's crop, px (Guo et al., TPAMI 2019)."""
FINE_MARGIN = 1.15
"""Side of that crop over the longer side of the face's box."""
CONTRAST_SIZES = (4, 16)
"""Sides of the squares whose means `contrasts` subtracts, px."""
Border = Literal["black", "mirrored", "repeated"]


@dataclass(frozen=True)
class SquareCrop:
    """A square of an image, resampled to `size` px a side.

    Convention: a point (u, v) of the image lies in the crop at zoom * T(angle) ((u, v) - centre) + size / 2,
    where T turns counter-clockwise as seen; pixel centres sit at + 0.5 in both.
    """

    centre_u: float
    """px of the image"""
    centre_v: float
    side: float
    """px of the image"""
    size: int = FINE_SIZE
    """px of the crop"""
    angle: float = 0.0
    """The crop shows the image turned counter-clockwise by this, radians."""

    @classmethod
    def of_corners(cls, corners: ArrayLike, size: int, roll: float = 0.0) -> SquareCrop:
        """From (left, top, right, bottom) of a square, px, turned about its centre to show upright a face of
        this roll."""
        left, top, right, bottom = np.asarray(corners, np.float64).tolist()
        return cls((left + right) / 2, (top + bottom) / 2, right - left, size, -roll)

    def jittered(self, rng: np.random.Generator, shift: float, zoom: float, roll: float) -> SquareCrop:
        """The crop moved by up to `shift` of its side, larger or smaller by up to about a share of `zoom`,
        turned by up to `roll` degrees, either way."""
        u, v = rng.uniform(-shift, shift, size=2) * self.side
        side = self.side * math.exp(rng.uniform(-zoom, zoom))
        angle = self.angle + math.radians(rng.uniform(-roll, roll))
        return SquareCrop(self.centre_u + float(u), self.centre_v + float(v), side, self.size, angle)

    @property
    def corners(self) -> Float64:
        """(4,) left, top, right, bottom of the square before it is turned about its centre, px."""
        u, v, half = self.centre_u, self.centre_v, self.side / 2
        return np.array([u - half, v - half, u + half, v + half])

    @property
    def zoom(self) -> float:
        """px of the crop per px of the image."""
        return self.size / self.side

    @property
    def matrix(self) -> Float64:
        """(2, 3) from points (u, v) of the image, px, to points of the crop, px."""
        c, s = self.zoom * math.cos(self.angle), self.zoom * math.sin(self.angle)
        turn = np.array([[c, s], [-s, c]])  # v is down
        shift = self.size / 2 - turn @ [self.centre_u, self.centre_v]
        return np.column_stack([turn, shift])

    def pixel_matrix(self, left: int = 0, top: int = 0) -> Float64:
        """`matrix` between array indices (column, row); (left, top): corner of a part of the image."""
        out = self.matrix
        out[:, 2] += out[:, :2] @ [left + 0.5, top + 0.5] - 0.5
        return out

    def camera(self, camera: WeakPerspective) -> WeakPerspective:
        """The pose `camera`, in px of the image, in px of the crop."""
        return camera.moved(self.matrix)

    def outer_camera(self, camera: WeakPerspective) -> WeakPerspective:
        """Inverse of `camera`: a pose in px of the crop, in px of the image."""
        turn = self.matrix
        back = np.linalg.inv(turn[:, :2])
        return camera.moved(np.column_stack([back, -back @ turn[:, 2]]))

    def surroundings(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the part of an image around the crop, px, for blurs; never empty."""
        reach = 0.75 * self.side
        left, right = (int(np.clip(self.centre_u + d, 0, width)) for d in (-reach, reach))
        top, bottom = (int(np.clip(self.centre_v + d, 0, height)) for d in (-reach, reach))
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        return min(left, width - 1), min(top, height - 1), right, bottom

    def cut(self, image: Image, *, flipped: bool = False, border: Border = "black") -> Image:
        """Cut the crop, bilinearly.

        Args:
            image: (H, W, C).
            flipped: Mirror the crop left to right.
            border: Colours beyond the image.

        Returns:
            (size, size, C).
        """
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
        # at these zooms aliasing costs less than a blur beforehand would
        out = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mode)
        return np.asarray(out, np.uint8)


def square_crop(uv: ArrayLike, size: int, margin: float, roll: float = 0.0) -> SquareCrop:
    """The square about the box of points, turned so that a face of this roll is upright in it.

    Args:
        uv: (N, 2 or more) points, px of the image: usually the projected face region
            (`FaceModel.face_vertices`).
        size: Side of the crop, px.
        margin: Side of the square over the longer side of the box, whose sides are those of the square.
        roll: Of the face in the image, radians, as in `WeakPerspective`.

    Raises:
        ValueError: No points, points that are not finite, or a box without a size.
    """
    points = np.asarray(uv, np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or not len(points):
        raise ValueError(f"uv has shape {points.shape}, expected (N, 2)")
    c, s = math.cos(roll), math.sin(roll)
    turn = np.array([[c, -s], [s, c]])  # clockwise by the roll; v is down
    low, high = bounds(points[:, :2] @ turn.T)
    side = float((high - low).max()) * margin
    if not (math.isfinite(side) and side > 0 and math.isfinite(roll)):
        raise ValueError("uv holds no finite box with an area")
    u, v = (low + high) / 2 @ turn
    return SquareCrop(float(u), float(v), side, size, -roll)


def fine_crop(
    uv: ArrayLike, size: int = FINE_SIZE, margin: float = FINE_MARGIN, roll: float = 0.0
) -> SquareCrop:
    """FineNet's `square_crop` about `uv`, the projected face region."""
    return square_crop(uv, size, margin, roll)


def coarse_crop(uv: ArrayLike, size: int = COARSE_SIZE, roll: float = 0.0) -> SquareCrop:
    """CoarseNet's `square_crop` about `uv`, the projected face region."""
    return square_crop(uv, size, COARSE_MARGIN, roll)


def tracking_crop(
    vertices: ArrayLike, shown: ArrayLike, camera: WeakPerspective, size: int = COARSE_SIZE
) -> SquareCrop:
    """Tracking CoarseNet's crop: that of CoarseNet about the previous frame's face, turned by its roll.

    Args:
        vertices: (N, 3) of the previous frame, model space, mm.
        shown: (N,) bool, the face region (`FaceModel.face_vertices`).
        camera: Pose of the previous frame.
        size: Side of the crop, px.

    Raises:
        ValueError: No vertex is shown.
    """
    points = np.asarray(vertices)[np.asarray(shown, np.bool_)]
    if not len(points):
        raise ValueError("no vertex is shown, expected a face")
    return coarse_crop(camera.project(points), size, camera.roll)


def face_width(box: Float, scale: float) -> float:
    """Width of a face as input of FineNet, mm.

    Args:
        box: (left, top, right, bottom) of the projected face region, px.
        scale: Scale of the camera, px/mm.

    Returns:
        The longer side of the box over the scale: that of a profile is its height.
    """
    return float(max(box[2] - box[0], box[3] - box[1])) / scale


def contrasts(image: Image) -> Float32:
    """Brightness of pixels relative to their surroundings, an input of FineNet.

    Args:
        image: (S, S, 3) RGB; S a multiple of `CONTRAST_SIZES`.

    Returns:
        (2, S, S) ten times the difference of the logarithm of brightness from its mean over squares of
        `CONTRAST_SIZES` px, interpolated bilinearly between their centres.
    """
    import cv2

    size = image.shape[0]
    mean = cv2.transform(image.astype(np.float32), np.full((1, 3), 1 / 765, np.float32))
    light = np.asarray(cv2.log(mean + np.float32(0.05)), np.float32).reshape(size, size)
    out = np.empty((len(CONTRAST_SIZES), size, size), np.float32)
    for k, step in enumerate(CONTRAST_SIZES):
        small = cv2.resize(light, (size // step, size // step), interpolation=cv2.INTER_AREA)
        around = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
        np.multiply(light - around, np.float32(10), out=out[k])
    return out
