"""Relief of a photo's face, mapped to the atlas as heights along the normal with weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.patch import DepthPatch
from facerelief.inference.crops import fine_crop
from facerelief.inverse.detail import DetailConfig, SkinSurface, skin_surface
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.face_map import FACING, face_map, facing
from facerelief.synthesis.matte import head_matte
from facerelief.synthesis.surface import face_surface
from facerelief.typed import Bool, Float, Float32, Float64, Image

_BROADEST = 10.0
"""px of a 256 px crop: relief broader than this Gaussian is coarse shape and not mapped."""
_HEIGHT_STEP = 1 / 2000
"""Unit of heights in the atlas, mm."""
_STEEPEST = 1.0
"""Largest slope of relief, mm per mm: steeper steps are glasses and hair rather than wrinkles."""


@dataclass(frozen=True, eq=False)
class MappedRelief:
    """Relief of a face in the atlas."""

    height: NDArray[np.int16]
    """(h, w) along the normal, 1/2000 mm."""
    weight: NDArray[np.uint8]
    """(h, w) 0..255, weight of the height."""
    width: float
    """`neutral_width` of the source, mm."""
    bridge_step: float = 0.0
    """As `ReliefPhoto.bridge_step`."""

    def at(self, place: Float32) -> tuple[Float32, Float32]:
        """Height (S, S), mm, and weight (S, S), 0..1, at places (S, S, 2) in the atlas, bilinear."""
        height = _sampled(self.height.astype(np.float32), place)
        return height * np.float32(_HEIGHT_STEP), _sampled(self.weight, place) * np.float32(1 / 255)


class ReliefPhoto:
    """Face and relief of a photo, prepared to be mapped to the atlas and cropped (`transfer.ReliefView`).

    Args:
        model: The face model of the fit.
        image: (H, W, 3) uint8 RGB.
        camera: Camera of the fit.
        identity, expression, albedo, light: (K,), (E,), (A,) and (9, 3) of the fit.
        relief: Displacement of the model's depth, mm along camera z, on the photo's pixels, NaN off the face,
            from `find_detail`.
    """

    def __init__(
        self,
        model: FaceModel,
        image: Image,
        camera: WeakPerspective,
        identity: ArrayLike,
        expression: ArrayLike,
        albedo: ArrayLike,
        light: ArrayLike,
        relief: DepthPatch,
    ) -> None:
        self.model, self.image, self.camera = model, image, camera
        self.light = np.asarray(light, np.float64)
        self.vertices = model.shape(identity, expression)
        self.skin: Float32 = np.clip(model.skin(albedo), 0.02, DetailConfig().brightest)
        """(N, 3) albedo of the fit."""
        self.width = neutral_width(model, identity)
        self.uvz: Float64 = camera.project(self.vertices.astype(np.float64)).astype(np.float64)
        self.crop = fine_crop(self.uvz[model.face_vertices], roll=camera.roll)
        self.left, self.top = relief.left, relief.top
        height, width = relief.depth.shape
        surface = skin_surface(model, self.uvz - [relief.left, relief.top, 0], camera.scale, height, width)
        own = np.where(surface.mask, surface.depth + np.nan_to_num(relief.depth) - surface.base, 0)
        self.own: Float32 = own.astype(np.float32)
        """(h, w) displacement of the rounded coarse depth, mm along camera z; 0 off the mask."""
        self._surface = surface

    def mapped(self) -> MappedRelief:
        """Map the relief of plain skin that is visible and faces the viewer to the atlas."""
        import cv2

        known = face_map(self.model)
        surface = self._surface
        unit = self.crop.side / self.crop.size
        inside = surface.mask.astype(np.float32)
        broad = np.asarray(cv2.GaussianBlur(self.own, (0, 0), _BROADEST * unit))
        broad /= np.maximum(np.asarray(cv2.GaussianBlur(inside, (0, 0), _BROADEST * unit)), np.float32(1e-3))
        relief = (self.own - broad) * inside
        normals = smooth_normals(surface, self.camera.scale)
        height = relief * np.maximum(normals[:, :, 2], np.float32(FACING)) * inside
        margin = cv2.distanceTransform(np.pad(surface.mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        trust = facing(normals) * np.clip(np.asarray(margin) / (6 * unit) - 0.5, 0, 1)
        trust *= self._skin_likeness(relief)
        # a texel's point is occluded unless it is the one visible at its pixel
        local = self.uvz - [self.left, self.top, 0]
        place = interpolate(known.fragments, known.triangles, local.astype(np.float32))
        behind = _sampled(np.nan_to_num(surface.depth, nan=1e3), place) - place[:, :, 2]
        plain = interpolate(known.fragments, known.triangles, known.plain)
        weight = _sampled(trust.astype(np.float32), place) * plain * (behind < 3.0) * known.fragments.mask
        coded = np.clip(np.rint(_sampled(height.astype(np.float32), place) / _HEIGHT_STEP), -32767, 32767)
        return MappedRelief(
            coded.astype(np.int16),
            np.rint(255 * np.clip(weight, 0, 1)).astype(np.uint8),
            self.width,
            self.bridge_step(),
        )

    def bridge_step(self) -> float:
        """Largest change of log brightness per mm down the bridge of the nose: below 0.17 without glasses,
        above 0.24 with; 0 for a model without landmarks there."""
        import cv2

        known = face_map(self.model)
        if not known.bridge.size:
            return 0.0
        place = interpolate(known.fragments, known.triangles, self.uvz.astype(np.float32))
        uv = _sampled(np.ascontiguousarray(place[:, :, :2]), known.bridge, repeat=True)
        low = np.clip(np.floor(uv.min(axis=(0, 1))).astype(int) - 4, 0, None)
        high = np.ceil(uv.max(axis=(0, 1))).astype(int) + 5
        part = self.image[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            return 0.0
        grey = cv2.GaussianBlur(part.astype(np.float32).mean(axis=2), (0, 0), 0.5 * self.camera.scale)
        brightness = _sampled(np.asarray(grey), uv - low.astype(np.float32), repeat=True)
        profile = np.median(np.log(brightness + 8), axis=1)
        return float(np.abs(np.gradient(profile)).max() / 0.5)

    def _skin_likeness(self, relief: Float) -> NDArray[Any]:
        """(h, w) 1, falling to 0 where the image is unlike smooth skin: hair, beards, glasses, highlights."""
        import cv2

        height, width = relief.shape
        part = self.image[self.top : self.top + height, self.left : self.left + width]
        unit = self.camera.scale
        inside = self._surface.mask.astype(np.float32)
        shading = shade(smooth_normals(self._surface, self.camera.scale), self.light).mean(axis=2)
        grey = part.astype(np.float32).mean(axis=2) / 255
        ratio = np.log((grey + 0.03) / (np.maximum(shading, 0.1) + 0.03)).astype(np.float32) * inside
        level = float(np.median(ratio[self._surface.mask])) if self._surface.mask.any() else 0.0
        size = (max(round(width / 2), 1), max(round(height / 2), 1))

        def mean(x: Float32, sigma: float) -> Float32:
            small = cv2.resize(np.ascontiguousarray(x, np.float32), size, interpolation=cv2.INTER_AREA)
            return np.asarray(cv2.GaussianBlur(small, (0, 0), max(sigma * unit / 2, 0.5)), np.float32)

        near = np.maximum(mean(inside, 3.0), np.float32(1e-3))
        dark = mean(np.minimum(ratio - level, 0) * inside, 3.0) / near  # hair wider than 6 mm, not a wrinkle
        slope = np.hypot(cv2.Sobel(relief, cv2.CV_32F, 1, 0), cv2.Sobel(relief, cv2.CV_32F, 0, 1)) / 8 * unit
        steep = np.sqrt(mean(np.square(slope), 2.0) / np.maximum(mean(inside, 2.0), np.float32(1e-3)))
        good = np.clip((0.45 + dark) / 0.2, 0, 1) * np.clip((_STEEPEST - steep) / (0.4 * _STEEPEST), 0, 1)
        low = np.asarray(cv2.GaussianBlur(np.asarray(cv2.erode(good, np.ones((3, 3)))), (0, 0), 0.75 * unit))
        return np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR))

    @cached_property
    def smoothed(self) -> tuple[Image, Float32, int, int]:
        """Part of the photo around the face and the relief, both blurred for the scale of the usual crop, and
        left and top of the part, px."""
        import cv2

        left, top, right, bottom = self.crop.surroundings(*self.image.shape[:2])
        part = np.ascontiguousarray(self.image[top:bottom, left:right])
        own = self.own
        if self.crop.zoom < 1:
            # from the footprint of an image pixel to that of a crop pixel
            sigma = 0.45 * np.sqrt(1 / self.crop.zoom**2 - 1)
            part = np.asarray(cv2.GaussianBlur(part, (0, 0), sigma), np.uint8)
            own = np.asarray(cv2.GaussianBlur(own, (0, 0), sigma), np.float32)
        return part, own, left, top

    @cached_property
    def matte(self) -> tuple[Image, int, int]:
        """Head matte (h, w) 0..255 of the photo's part around the face, and left and top of the part, px."""
        part, _, left, top = self.smoothed
        zoom = 96.0 / max(part.shape[:2])
        h, w = max(round(part.shape[0] * zoom), 8), max(round(part.shape[1] * zoom), 8)
        uvz = (self.uvz - [left, top, 0]) * [w / part.shape[1], h / part.shape[0], 1.0]
        rendered = rasterize(uvz, self.model.triangles, h, w)
        loose: Bool = self.model.region("neck", "ears") & ~face_surface(self.model).rendered
        loose = np.asarray(loose[self.model.triangles].any(axis=1))
        head = np.where(rendered.mask, np.where(loose[np.maximum(rendered.triangle, 0)], 1, 2), 0)
        box = (0, 0, part.shape[1], part.shape[0])
        return head_matte(part, head.astype(np.uint8), box, self.camera.scale), left, top


def smooth_normals(surface: SkinSurface, scale: float) -> Float32:
    """(h, w, 3) camera space, of the surface without facets; 0 off it. scale: px/mm."""
    return np.nan_to_num(normals_from_depth(surface.base, scale))


def neutral_width(model: FaceModel, identity: ArrayLike) -> float:
    """Width of the neutral face region, mm: relief scales with it between identities (K,)."""
    neutral = model.shape(identity)
    return float(np.ptp(neutral[model.face_vertices, 0]))


def _sampled(values: NDArray[Any], place: Float32, *, repeat: bool = False) -> Float32:
    """Values (h, w[, C]) at places (r, c, 2 or more) px, bilinear; off the array 0 or its border."""
    import cv2

    column, row = (np.ascontiguousarray(place[:, :, k] - np.float32(0.5)) for k in (0, 1))
    border = cv2.BORDER_REPLICATE if repeat else cv2.BORDER_CONSTANT
    return np.asarray(cv2.remap(values, column, row, cv2.INTER_LINEAR, borderMode=border), np.float32)
