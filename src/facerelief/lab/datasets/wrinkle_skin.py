"""Skin of a photo on which relief is drawn: its own fine shading taken out, heights laid on it and shaded.

Tested by tests/lab/datasets/test_wrinkles.py.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from facerelief.geometry.depth import normals_from_depth
from facerelief.inverse.detail import brow_share, skin_surface
from facerelief.inverse.relief_config import ReliefConfig
from facerelief.inverse.trust import skin_trust
from facerelief.lab.datasets.wrinkle_lines import TEXEL, anatomy
from facerelief.lab.datasets.wrinkle_marks import Marks, noise
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import interpolate
from facerelief.synthesis.face_map import FACING, TEXEL_MM, distance_mm, face_map, facing, ramp
from facerelief.synthesis.surface import face_surface
from facerelief.synthesis.transfer import ReliefView
from facerelief.typed import Bool, Float, Float32, Float64, Image

_FINER = 2
"""Heights and shading are computed on a grid this many times finer than the image."""
_HOLES_MM = 5.0
"""Spots of hair, shine and marks in the photo below this size are bridged by wrinkles."""
_TRUSTED = (0.15, 0.5)
"""Masks of trust of the photo between which wrinkles fade out: its hair, glasses and beard get none."""
_CAVITIES_MM = ((0.6, 0.3), (1.5, 0.45), (3.5, 0.25))
"""Deviations of Gaussians over which furrows are shaded by their walls, with weights."""
_LEAST = 0.3
"""Least ratio of new to old shading, and of old to new."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Relief drawn on a view, and its image before any confounder."""

    displacement: Float32
    """(S, S) mm along camera z; 0 off the mask."""
    factor: Float32
    """(S, S, 3) new over old colour of the skin."""
    cover: Float32
    """(S, S) 0..1 of marks."""
    normals: Float32
    """(S, S, 3) of the wrinkled surface, unit length; 0 off it."""


class SkinBase:
    """A view of a photo, prepared for drawn relief."""

    def __init__(self, view: ReliefView) -> None:
        self.view = view

    @functools.cached_property
    def shading(self) -> Float32:
        """(S, S, 3) of the smooth coarse face by the photo's light."""
        view = self.view
        return np.maximum(shade(view.normals, view.light), view.least(view.light)).astype(np.float32)

    @functools.cached_property
    def cleaning(self) -> Float32:
        """(S, S, 3) factors that take the photo's own fine shading out of plain skin."""
        return self.view.unexplained(self.shading, whole=True)

    @functools.cached_property
    def trust(self) -> Float32:
        """(S, S) mask of trust of the photo itself."""
        view = self.view
        seen = view.image * np.float32(1 / 255) + np.float32(0.02)
        ratio = np.log(seen / (view.albedo * self.shading + np.float32(0.02)))
        ratio = np.where(view.mask[..., None], ratio, 0).astype(np.float32)
        prior = view.mask.astype(np.float32)
        return skin_trust(ratio, prior, view.mask, float(view.camera.scale), ReliefConfig())

    @functools.cached_property
    def skin(self) -> Float32:
        """(S, S) 0..1 where wrinkles may be: not on the photo's hair, glasses and beard."""
        import cv2

        scale = float(self.view.camera.scale)
        size = 2 * round(0.5 * _HOLES_MM * scale) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        whole = cv2.morphologyEx(ramp(self.trust, *_TRUSTED).astype(np.float32), cv2.MORPH_CLOSE, disc)
        return np.asarray(cv2.GaussianBlur(whole, (0, 0), 1.2 * scale), np.float32)

    @property
    def bare(self) -> float:
        """Share of the plain skin that is bare: its mean mask of trust, holes bridged."""
        total = float(self.view.free.sum())
        return float((self.skin * self.view.free).sum()) / total if total > 0 else 0.0

    @property
    def roughness(self) -> float:
        """Root mean square of the photo's own fine shading on bare plain skin, as a logarithm."""
        import cv2

        weight = self.view.free * self.skin
        grey = np.log(np.maximum(self.cleaning, 1e-3)).mean(axis=2)
        grey = grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), 3.0 * self.view.crop.size / 256))
        return float(np.sqrt((grey * grey * weight).sum() / max(float(weight.sum()), 1.0)))

    @functools.cached_property
    def known(self) -> Float32:
        """(S, S) 0..1 weight of drawn truth: less near lids, lips and nostrils."""
        return np.asarray(self._plainness[..., 0] * facing(self.view.normals) * self.view.inside, np.float32)

    @property
    def without_brows(self) -> Float32:
        """(S, S) 0..1, 0 in the brows."""
        return np.asarray(1 - np.clip(2 * self._plainness[..., 1], 0, 1), np.float32)

    @functools.cached_property
    def _plainness(self) -> Float32:
        """(S, S, 2) bare skin and share of brows."""
        model = self.view.photo.model
        return self._across(np.column_stack([bare_skin(model), brow_share(model)]), 1)[2]

    def _across(self, attributes: Float32, finer: int) -> tuple[Float32, Bool, Float32, float]:
        """Depth and mask of the coarse face on a grid `finer` times finer, attributes of its vertices there,
        and its scale, px/mm."""
        view = self.view
        size = view.crop.size * finer
        uvz = view.uvz * [finer, finer, 1]
        scale = float(view.camera.scale) * finer
        surface = skin_surface(view.photo.model, uvz, scale, size, size)
        across = interpolate(surface.fragments, view.photo.model.triangles, attributes)
        return surface.base, surface.mask, across, scale

    def drawn(self, height: Float32, light: Float64 | None, occlusion: float, marks: Marks | None) -> Drawn:
        """Lay heights on the face and shade them.

        Args:
            height: (h, w) mm along the normal, in the atlas, `wrinkle_lines.TEXEL` a texel.
            light: (9, 3) a new light; None for the photo's.
            occlusion: Strength of the darkening in furrows.
            marks: Of the skin, in the atlas.
        """
        import cv2

        view = self.view
        model = view.photo.model
        attributes = np.column_stack([face_map(model).places, bare_skin(model)])
        depth, mask, across, scale = self._across(attributes, _FINER)
        place = across[..., :2] * np.float32(TEXEL_MM / TEXEL) - np.float32(0.5)
        column, row = (np.ascontiguousarray(place[..., k]) for k in (0, 1))
        normals = np.nan_to_num(normals_from_depth(depth, scale))
        skin, inside = (
            np.asarray(cv2.resize(x, mask.shape[::-1], interpolation=cv2.INTER_LINEAR))
            for x in (self.skin, view.inside)
        )
        weight = across[..., 2] * facing(normals) * skin * inside
        own: Float32 = np.asarray(cv2.remap(height, column, row, cv2.INTER_LINEAR) * weight, np.float32)
        displacement = own / np.maximum(normals[..., 2], np.float32(FACING)) * mask
        lamp = view.light if light is None else light
        wrinkled = np.nan_to_num(normals_from_depth(depth + displacement, scale))
        new, old = (
            np.maximum(shade(n, x), view.least(x)) for n, x in ((wrinkled, lamp), (normals, view.light))
        )
        smooth = old if light is None else np.maximum(shade(normals, lamp), view.least(lamp))
        factor = np.clip(new / smooth, _LEAST, 1 / _LEAST)
        factor = factor * (smooth / old) * _occluded(own, scale, occlusion, self._albedo)
        cover = np.zeros(mask.shape, np.float32)
        if marks is not None:
            log_rgb = cv2.remap(marks.log_rgb, column, row, cv2.INTER_LINEAR)
            factor = factor * np.exp(np.asarray(log_rgb) * (skin * inside)[..., None])
            cover = np.asarray(cv2.remap(marks.cover, column, row, cv2.INTER_LINEAR))
        factor = np.where(mask[..., None], factor, 1)
        maps = (displacement, factor, cover, wrinkled)
        pooled: list[Float32] = [np.asarray(_pooled(np.asarray(x, np.float32)), np.float32) for x in maps]
        length = np.maximum(np.linalg.norm(pooled[3], axis=2, keepdims=True), 1e-6)
        if view.crop.zoom > 1:  # as sharp as the photo is
            sigma = 0.45 * math.sqrt(view.crop.zoom**2 - 1)
            pooled[1] = np.asarray(cv2.GaussianBlur(pooled[1], (0, 0), sigma), np.float32)
        return Drawn(pooled[0] * view.mask, pooled[1], pooled[2], np.asarray(pooled[3] / length, np.float32))

    @property
    def _albedo(self) -> Float64:
        """(3,) mean colour of the skin."""
        view = self.view
        return view.albedo[view.mask].mean(axis=0) if view.mask.any() else np.full(3, 0.5)


def _pooled(x: Float) -> Float:
    h, w = x.shape[0] // _FINER, x.shape[1] // _FINER
    return x.reshape(h, _FINER, w, _FINER, *x.shape[2:]).mean(axis=(1, 3))


def _occluded(height: Float32, scale: float, strength: float, albedo: Float64) -> Float32:
    """(h, w, 3) factors of furrows that their walls shade; light between the walls makes them redder.

    height: (h, w) mm; scale: px/mm; albedo: (3,).
    """
    import cv2

    depth = np.zeros_like(height)
    for sigma, weight in _CAVITIES_MM:
        around = np.asarray(cv2.GaussianBlur(height, (0, 0), sigma * scale), np.float32)
        depth += np.float32(weight / sigma) * np.maximum(around - height, 0)
    bounced = (1 - 0.6 * np.clip(albedo, 0, 1)).astype(np.float32)
    return np.exp(-np.float32(strength) * np.minimum(depth, 0.8)[..., None] * bounced)


def shining(
    image: Image, view: ReliefView, normals: Float32, rng: np.random.Generator
) -> tuple[Image, Float32]:
    """An image (S, S, 3) with shine on its wrinkled skin (normals (S, S, 3)), and (S, S) 0..1, where it
    hides the skin."""
    way = np.array([rng.normal(0, 0.35), abs(rng.normal(0.25, 0.25)), 1.0])
    way /= np.linalg.norm(way)
    lobe = np.maximum(normals @ way.astype(np.float32), 0) ** np.float32(np.exp(rng.uniform(2.3, 4.2)))
    unit = view.crop.size / 256
    oily = np.clip(0.7 + 0.4 * noise(lobe.shape, rng.uniform(6, 16) * unit, rng), 0, 1.3)
    grain = np.clip(1 + rng.uniform(0, 0.25) * noise(lobe.shape, 0.8 * unit, rng), 0.3, 2)
    shine = np.float32(rng.uniform(0.05, 0.32)) * lobe * oily * grain * view.inside
    out = image + (255 - image.astype(np.float32)) * shine[..., None]
    return np.clip(out + 0.5, 0, 255).astype(np.uint8), ramp(shine, 0.08, 0.3).astype(np.float32)


_BARE: WeakKeyDictionary[FaceModel, Float32] = WeakKeyDictionary()


def bare_skin(model: FaceModel) -> Float32:
    """(N,) 1 on skin that may be wrinkled, falling to 0 toward eyes, lips, nostrils and outline; cached."""
    if model not in _BARE:
        surface = face_surface(model)
        out = ramp(surface.outline_mm, 3.0, 11.0) * model.face_vertices
        for name, begin, end in (("eyeballs", 2.0, 5.5), ("lips", 0.2, 1.8)):
            out = out * ramp(distance_mm(model, model.region(name)), begin, end)
        hollow = (surface.openness < 0.75) & model.face_vertices
        out = out * ramp(distance_mm(model, hollow), 0.5, 2.5)
        _BARE[model] = out.astype(np.float32)
    return _BARE[model]


def skin_texture(model: FaceModel, age: float, pores: float, rng: np.random.Generator) -> Float32:
    """(h, w) mm in the atlas: pores, and the unevenness of slack skin and of a tense chin.

    Args:
        model: Face model.
        age: 0 young to 1 old.
        pores: Deviation of the pores' heights, mm.
        rng: Random numbers.
    """
    place = anatomy(model)
    a, b = place.grid()
    mm = 1 / TEXEL
    fine = noise(place.shape, rng.uniform(0.28, 0.5) * mm, rng)
    pits = np.minimum(fine, 0.6)
    where = 0.6 + 0.4 * np.exp(-np.square(a / 26) - np.square((b + 34) / 22))
    out = np.float32(pores) * pits * where.astype(np.float32)
    uneven = rng.uniform(0.0, 0.05) * (0.2 + age)
    out += np.float32(uneven) * noise(place.shape, rng.uniform(1.6, 4.0) * mm, rng)
    chin = np.exp(-np.square(a / 15) - np.square((b - place.marks[57, 1] + 17) / 9))
    dimples = rng.uniform(0.0, 0.18) * (rng.random() < 0.15 + 0.3 * age)
    bumps = noise(place.shape, rng.uniform(1.1, 1.8) * mm, rng)
    return out + (np.float32(dimples) * bumps * chin).astype(np.float32)
