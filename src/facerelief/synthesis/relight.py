"""A new light on parts that are not rendered: hair, ears and neck, but not the background."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from facerelief.morphable.front import solid_triangles
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.matte import head_matte
from facerelief.synthesis.photo import Box, PhotoFace, image_box
from facerelief.typed import Float32, Float64, Image

_HAIR_MM = 60.0
"""Margin around the model's head in which hair is searched."""


@dataclass(frozen=True, eq=False)
class Gain:
    """Factors by which a new light changes a box of the image."""

    factor: Float32
    """(h, w, 3)."""
    box: Box

    def apply(self, image: Image) -> None:
        """Multiply an image (H, W, 3), in place."""
        left, top, right, bottom = self.box
        area = image[top:bottom, left:right]
        area[:] = np.clip(area * self.factor + np.float32(0.5), 0, 255).astype(np.uint8)

    def window(self, wanted: Box) -> Float32:
        """(h, w, 3) the factors over another box; 1 outside their own."""
        left, top, right, bottom = wanted
        out = np.ones((bottom - top, right - left, 3), np.float32)
        x0, y0 = max(left, self.box[0]), max(top, self.box[1])
        x1, y1 = min(right, self.box[2]), min(bottom, self.box[3])
        if x0 < x1 and y0 < y1:
            part = self.factor[y0 - self.box[1] : y1 - self.box[1], x0 - self.box[0] : x1 - self.box[0]]
            out[y0 - top : y1 - top, x0 - left : x1 - left] = part
        return out


class HeadLight:
    """The head of a photo, prepared for any light."""

    def __init__(self, photo: PhotoFace) -> None:
        self.photo = photo

    def __call__(
        self,
        uvz: Float64,
        normals: Float32,
        light: ArrayLike,
        floor: Float64,
        maps: tuple[Float32, Float32],
    ) -> Gain | None:
        """Change of the head by a new light, coarse and smooth: hair is lit like the model's scalp.

        Args:
            uvz: (N + M, 3) the surface's vertices in the new view, px, px, mm.
            normals: (N + M, 3) in the new camera's space.
            light: (9, 3) the new light.
            floor: (3,) least shading.
            maps: Columns and rows (H, W) of the photo from which the new image takes its pixels.

        Returns:
            The factors, or None where no head is in the image.
        """
        import cv2

        from facerelief.synthesis import _kernels

        r = self.photo.reconstruction
        n = r.model.n_vertices
        box = image_box(uvz[:n], _HAIR_MM * r.camera.scale, r.image)
        left, top, right, bottom = box
        if right - left < 2 or bottom - top < 2:
            return None
        old = np.maximum(shade(self.photo.normals[:n], r.light), self.photo.floor)
        new = np.maximum(shade(normals[:n], light), floor)
        change = (new / old).astype(np.float32)
        zoom = 80.0 / max(right - left, bottom - top)
        w, h = max(round((right - left) * zoom), 2), max(round((bottom - top) * zoom), 2)
        scale = np.array([w / (right - left), h / (bottom - top), 1.0])
        solid, _ = solid_triangles(r.model)
        rendered = rasterize((uvz[:n] - [left, top, 0]) * scale, solid, h, w, cull_backfaces=True)
        mask = rendered.mask.astype(np.float32)
        both = np.dstack([interpolate(rendered, solid, change), mask])
        mm = r.camera.scale * zoom
        # near the head its edge decides; farther away, where there is only hair, its mean
        spread = np.full_like(both, 1e-6)
        for sigma, weight in ((5.0, 1.0), (20.0, 0.02)):
            spread += weight * np.asarray(cv2.GaussianBlur(both, (0, 0), max(sigma * mm, 0.7)))
        spread[:, :, :3] += 1e-6 * (both[:, :, :3].sum(axis=(0, 1)) / max(float(mask.sum()), 1.0) - 1)
        factor = np.ascontiguousarray(spread[:, :, :3] / spread[:, :, 3:])
        # hair is rough: its sides differ less in brightness than those of the smooth scalp
        mean = factor.mean(axis=(0, 1))
        factor = mean * np.clip(1 + 0.75 * (factor / mean - 1), 0.5, 1.6)
        dense = cv2.resize(
            factor.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
        )
        gain = Gain(np.asarray(dense), box)
        x, y = (part[top:bottom, left:right] for part in maps)
        matte = cv2.remap(self.matte, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        _kernels.fade_gain(gain.factor, np.asarray(matte))
        return gain

    @cached_property
    def matte(self) -> Image:
        """(H, W) 0..255, share of head or hair in the photo's pixels."""
        r = self.photo.reconstruction
        box = image_box(self.photo.uvz[: r.model.n_vertices], _HAIR_MM * r.camera.scale, r.image)
        left, top, right, bottom = box
        if right - left < 8 or bottom - top < 8:
            return np.zeros(r.image.shape[:2], np.uint8)
        zoom = min(200.0 / max(right - left, bottom - top), 1.0)
        w, h = max(round((right - left) * zoom), 2), max(round((bottom - top) * zoom), 2)
        uvz = (self.photo.uvz - [left, top, 0]) * [w / (right - left), h / (bottom - top), 1.0]
        rendered = rasterize(uvz[: r.model.n_vertices], r.model.triangles, h, w)
        # collars may hide the neck, hair the ears
        loose = (r.model.region("neck", "ears")) & ~self.photo.surface.rendered
        firm = np.logical_not(loose[r.model.triangles].any(axis=1))
        head = np.where(rendered.mask, np.where(firm[np.maximum(rendered.triangle, 0)], 2, 1), 0).astype(
            np.uint8
        )
        return head_matte(r.image, head, box, r.camera.scale)
