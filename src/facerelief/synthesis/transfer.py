"""Relief of one face on another: wrinkles are transferred through the face model of both.

Guo et al. (TPAMI 2019) make FineNet's training data this way. The paper leaves open:

- Correspondence: an atlas (`face_map`). A source's relief is kept there as height along the normal, mm, so
  that the pose of neither face changes the depth of a wrinkle.
- Region: plain skin alone. Eyes, lips, brows and nostrils have shapes of their own, which belong to the model
  or the identity: there, at the face's outline, and where either face turns away, weights fall to 0 over
  some mm.
- Image: the photo times new by old shading, so that pores, hairs and specular highlights stay the photo's
  own. Unchanged parts are the photo's own pixels.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inference.crops import SquareCrop
from facerelief.inverse.detail import skin_surface
from facerelief.inverse.relief_config import SKIN_DETAIL
from facerelief.rendering.lighting import rotate_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.face_map import FACING, face_map, facing, ramp
from facerelief.synthesis.relief_photo import MappedRelief, ReliefPhoto, smooth_normals
from facerelief.typed import Bool, Float, Float32, Float64, Image

BAND_SIGMAS = (1.5, 4.0)
"""px of a 256 px crop: Gaussians between the three bands of relief."""
_FLOOR = 0.25
"""Least shading, as a share of the face's mean."""
_LEAST = 0.45
"""Least ratio of new to old shading, and of old to new."""
_STRONGEST = 1.8
"""Largest factor by which relief changes smooth shading under a new light."""
_PORES, _TREND = 0.8, 16.0
"""px of a 256 px crop: structure finer or broader than these Gaussians stays in the photo under any light."""
_COLOUR = 0.6
"""Share of colour differences unlike shading that is removed too, since one photo does not determine them."""
_SHADING, _NOISE = 0.06, 0.008
"""Standard deviations, as shares of the colour, of unexplained shading and of image noise."""


class ReliefView:
    """One crop of a photo: pixels, coarse face and relief, and the same face with another relief.

    Args:
        photo: The prepared photo.
        crop: Square of it; S is the crop's size, px.
    """

    def __init__(self, photo: ReliefPhoto, crop: SquareCrop) -> None:
        import cv2

        self.photo, self.crop = photo, crop
        self.camera = crop.camera(photo.camera)
        size, model = crop.size, photo.model
        self.uvz: Float64 = self.camera.project(photo.vertices.astype(np.float64)).astype(np.float64)
        part, own, left, top = photo.smoothed
        self.image: Image = np.asarray(
            cv2.warpAffine(
                part,
                crop.pixel_matrix(left, top),
                (size, size),
                flags=cv2.INTER_LINEAR if crop.zoom < 1 else cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )
        """(S, S, 3) the photo's own pixels; the border is repeated beyond it."""
        surface = skin_surface(model, self.uvz, self.camera.scale, size, size)
        self.depth, self.normals = surface.base, smooth_normals(surface, self.camera.scale)
        """(S, S) mm along camera z of the coarse face without facets, NaN off skin and eyes; its normals
        (S, S, 3) in camera space."""
        height, width = photo.image.shape[:2]
        self.mask: Bool = surface.mask & self._within(0.5, width - 0.5, height - 0.5)
        """(S, S) skin that faces the viewer, without eyes and the mouth's opening, inside the photo."""
        found = cv2.warpAffine(own, crop.pixel_matrix(photo.left, photo.top), (size, size))
        self.own: Float32 = np.asarray(found, np.float32) * self.mask
        """(S, S) the photo's own relief: displacement of `depth`, mm along camera z; 0 off the mask."""
        known = face_map(model)
        attributes = np.column_stack([known.places, known.plain, photo.skin])
        across = interpolate(surface.fragments, model.triangles, attributes)
        self.place: Float32 = np.ascontiguousarray(across[:, :, :2])
        """(S, S, 2) place in the atlas."""
        self.albedo: Float32 = across[:, :, 3:]
        """(S, S, 3) smooth albedo of the fit."""
        border = np.asarray(cv2.distanceTransform(np.pad(self.mask.astype(np.uint8), 1), cv2.DIST_L2, 3))
        self.inside: Float32 = ramp(border[1:-1, 1:-1], 1.0, 7.0).astype(np.float32)
        """(S, S) 0 at the mask's border and beyond, 1 some px inside."""
        self.free: Float32 = (across[:, :, 2] * facing(self.normals) * self.inside).astype(np.float32)
        """(S, S) 0..1 weight of transferred relief: plain skin that faces the viewer."""
        self.light: Float = (
            photo.light
            if not crop.angle
            else rotate_light(photo.light, matrix_from_euler(0.0, 0.0, crop.angle))
        )
        """(9, 3) the photo's light in the camera space of the crop."""

    def _within(self, low: float, right: float, bottom: float) -> Bool:
        size = self.crop.size
        corners = np.array([[0.5, 0.5], [size - 0.5, 0.5], [0.5, size - 0.5], [size - 0.5, size - 0.5]])
        turn = self.crop.matrix
        back = np.linalg.inv(turn[:, :2])
        u, v = ((corners - turn[:, 2]) @ back.T).T
        if u.min() >= low and v.min() >= low and u.max() <= right and v.max() <= bottom:
            return np.ones((size, size), bool)
        grid = np.arange(size) + 0.5
        points = np.stack(np.meshgrid(grid, grid), axis=-1) - turn[:, 2]
        u, v = np.moveaxis(points @ back.T, -1, 0)
        return (u >= low) & (v >= low) & (u <= right) & (v <= bottom)

    def moved(
        self,
        source: MappedRelief | None,
        gains: ArrayLike = (1.0, 1.0, 1.0),
        own: ArrayLike = (1.0, 1.0, 1.0),
    ) -> Float32:
        """This face's relief with that of a source added; lengths scale with the widths of the faces.

        Args:
            source: Relief in the atlas, or None for the face's own alone.
            gains: (3,) of the source's bands, finest first.
            own: (3,) of the face's own bands, on plain skin.

        Returns:
            (S, S) displacement of `depth`, mm along camera z.
        """
        unit = self.crop.size / 256.0
        sigmas = tuple(s * unit for s in BAND_SIGMAS)
        out = self.own
        lost = 1 - np.asarray(own, np.float32)
        if lost.any():
            out = out - self.free * np.tensordot(lost, relief_bands(self.own, sigmas), axes=1)
        if source is not None:
            height, trust = source.at(self.place)
            weight = self.free * trust
            slant = np.maximum(self.normals[:, :, 2], np.float32(FACING))
            whole = height * np.float32(self.photo.width / source.width) / slant * weight
            gained = np.tensordot(np.asarray(gains, np.float32), relief_bands(whole, sigmas), axes=1)
            # blurred bands reach beyond the weights' border, where no relief is allowed
            out = out + gained * np.clip(8 * weight, 0, 1)
        return (out * self.mask).astype(np.float32)

    def relit(self, displacement: Float32, light: ArrayLike | None = None, *, clean: bool = False) -> Image:
        """The photo with another relief and light.

        Within the mask each pixel is multiplied by new over old shading. A new light changes the rest of the
        head too, smoothly. With the own relief and no light the result is the photo's own pixels.

        Args:
            displacement: (S, S) of `depth`, mm along camera z.
            light: (9, 3) in the camera space of the crop; the photo's own unless given.
            clean: Take all fine shading out of the photo that its own relief does not explain, whatever the
                light; else most of it, and only under a new light.

        Returns:
            (S, S, 3) uint8 RGB.
        """
        if light is None and not clean and np.array_equal(displacement, self.own):
            return self.image.copy()
        given = None if light is None else np.asarray(light, np.float64)
        lamp = self.light if given is None else given
        return self.multiplied(self._factor(displacement, lamp, clean), given)

    def multiplied(self, factor: Float, light: Float64 | None = None) -> Image:
        """The photo times factors.

        Args:
            factor: (S, S, 3) inside the mask, where they hold but for its border.
            light: (9, 3) a new light that they stem from, which changes the rest of the head too.

        Returns:
            (S, S, 3) uint8 RGB.
        """
        if light is None:
            factor = 1 + self.inside[:, :, None] * (factor - 1)
        else:
            factor = self._whole_head(light, factor)
        out = self.image * factor
        return np.clip(out + np.float32(0.5), 0, 255).astype(np.uint8)

    def least(self, light: Float) -> Float32:
        """(3,) least shading of this face by a light (9, 3)."""
        mean = np.maximum(shade(self._some_normals, light), 0).mean(axis=0)
        return np.maximum(_FLOOR * mean, 1e-4).astype(np.float32)

    @cached_property
    def _some_normals(self) -> Float32:
        """(K, 3) normals of every 7th skin pixel; one toward the viewer where there is no skin."""
        some = self.normals[self.mask][::7]
        return some if len(some) else np.array([[0, 0, 1]], np.float32)

    def _factor(self, displacement: Float32, light: Float, clean: bool) -> Float32:
        """(S, S, 3) new over old shading; 1 off the mask."""

        def shading(d: Float32, lamp: Float) -> Float32:
            normals = np.nan_to_num(normals_from_depth(self.depth + d, self.camera.scale))
            return np.maximum(shade(normals, lamp), self.least(lamp)).astype(np.float32)

        if not self.mask.any():
            return np.ones((*self.mask.shape, 3), np.float32)
        old = shading(self.own, self.light)
        out = shading(displacement, light) / old
        if clean or light is not self.light:
            out *= self.unexplained(old, whole=clean)
        return np.where(self.mask[:, :, None], np.clip(out, _LEAST, 1 / _LEAST), np.float32(1))

    def unexplained(self, shading: Float32, *, whole: bool = False) -> Float32:
        """(S, S, 3) factors that remove, within a band of widths, the difference between plain skin and the
        fit's albedo under the old light.

        Estimated relief is less than true relief, so the photo over its shading still has wrinkles under the
        old light, which the label lacks and which are wrong under another light. A share of
        colour differences that are blotches and freckles (`relief.SKIN_DETAIL`) stays; with `whole` only
        what has no brightness. shading: (S, S, 3) of the own relief by the old light.
        """
        import cv2

        unit = self.crop.size / 256.0
        seen = self.image * np.float32(1 / 255) + np.float32(0.02)
        ratio = np.log(seen / (self.albedo * shading + np.float32(0.02)))
        weight = self.free + np.float32(0.02) * self.mask

        def mean(x: Float, sigma: float) -> Float:
            both = np.dstack([x * weight[:, :, None], weight])
            factor = max(int(sigma * unit / 3), 1)
            if factor > 1:
                small = (-(-both.shape[1] // factor), -(-both.shape[0] // factor))
                both = cv2.resize(both, small, interpolation=cv2.INTER_AREA)
            both = np.asarray(cv2.GaussianBlur(both, (0, 0), sigma * unit / factor), np.float32)
            out = both[:, :, :3] / np.maximum(both[:, :, 3:], np.float32(1e-4))
            return out if factor == 1 else np.asarray(cv2.resize(out, x.shape[1::-1]), np.float32)

        # clipped, since moles and hair are not shading
        left = mean(np.clip(ratio - mean(ratio, _TREND), -0.4, 0.4), _PORES)
        covariance = np.asarray(SKIN_DETAIL) + np.eye(3) * _NOISE**2
        share = np.linalg.solve(covariance + _SHADING**2, np.full(3, _SHADING**2)).astype(np.float32)
        grey = (left.mean(axis=2) if whole else left @ share)[:, :, None]
        left = grey + np.float32(_COLOUR) * (left - grey)
        return np.exp(-self.free[:, :, None] * left)

    def _whole_head(self, light: Float64, factor: Float) -> Float:
        """(S, S, 3) factors for face, hair, ears and neck by a light (9, 3); 1 on the background.

        factor: (S, S, 3) of the face.
        """
        import cv2

        photo, size, small = self.photo, self.crop.size, 64
        zoom = small / size
        normals = vertex_normals(self.camera.to_camera(photo.vertices), photo.model.triangles)
        old = np.maximum(shade(normals, self.light), self.least(self.light))
        new = np.maximum(shade(normals, light), self.least(light))
        rendered = rasterize(
            self.uvz * [zoom, zoom, 1], photo.model.triangles, small, small, cull_backfaces=True
        )
        change = np.column_stack([new / old, np.ones(len(old))])
        both = interpolate(rendered, photo.model.triangles, change)
        unit = self.camera.scale * zoom
        spread = np.asarray(cv2.GaussianBlur(both, (0, 0), max(4.0 * unit, 0.7)))
        spread = spread + np.float32(0.02) * np.asarray(cv2.GaussianBlur(both, (0, 0), 18.0 * unit))
        mean = both[:, :, :3].sum(axis=(0, 1)) / max(float(both[:, :, 3].sum()), 1.0)
        smooth = (spread[:, :, :3] + 1e-5 * mean) / (spread[:, :, 3:] + 1e-5)
        smooth = np.asarray(cv2.resize(smooth.astype(np.float32), (size, size)), np.float32)
        matte, left, top = photo.matte
        head = cv2.warpAffine(
            matte, self.crop.pixel_matrix(left, top), (size, size), borderMode=cv2.BORDER_REPLICATE
        )
        # larger changes are errors at brows and lids, not relief
        factor = smooth * np.clip(factor / smooth, np.float32(1 / _STRONGEST), np.float32(_STRONGEST))
        share = np.maximum(np.asarray(head, np.float32) / 255, self.inside)[:, :, None]
        outside = 1 + share * (smooth - 1)
        return outside + self.inside[:, :, None] * (factor - outside)


def relief_bands(relief: Float, sigmas: tuple[float, ...] = BAND_SIGMAS) -> Float32:
    """Bands (B + 1, h, w) of a relief (h, w), split by Gaussians of `sigmas` px, finest first; they add up to
    the relief."""
    import cv2

    bands: list[Float32] = []
    rest = np.asarray(relief, np.float32)
    for sigma in sigmas:
        smooth = np.asarray(cv2.GaussianBlur(rest, (0, 0), sigma), np.float32)
        bands.append(rest - smooth)
        rest = smooth
    return np.stack([*bands, rest])
