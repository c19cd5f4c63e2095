"""Relief of one face on another: wrinkles move through the surface of the model both are fitted with.

Guo et al. (TPAMI 2019) make FineNet's training data this way. What they leave open is decided here:

- Correspondence: an atlas, the average face unrolled on a cylinder about the head's axis. A source's relief
  is kept there as height along the normal, mm, so that neither face's pose changes how deep a wrinkle is.
- Where: plain skin alone. Eyes, lips, brows and nostrils have shapes of their own, which belong to the model
  or to the person; there, at the face's outline, and where either face turns away, weights fall to 0 over
  some mm.
- Image: the photo times new by old shading, so that pores, hairs and shine stay the photo's own. What is not
  changed is the photo itself, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.patch import DepthPatch
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inference.crops import SquareCrop, fine_crop
from facerelief.inverse.detail import DetailConfig, SkinSurface, brow_share, skin_surface
from facerelief.inverse.relief import SKIN_DETAIL
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import rotate_light, shade
from facerelief.rendering.rasterizer import Fragments, interpolate, rasterize
from facerelief.synthesis.matte import head_matte
from facerelief.synthesis.surface import face_surface
from facerelief.typed import Bool, Float32, Float64

BAND_SIGMAS = (1.5, 4.0)
"""px of a 256 px crop: Gaussians between the three bands of relief."""
BROADEST = 10.0
"""px of a 256 px crop: relief broader than this Gaussian is the coarse shape's business, and stays where it
is."""
FACING = 0.3
"""z of the normal below which relief is neither taken nor given."""
_FACING_FULL = 0.55
_TEXEL_MM = 0.5
_RADIUS_MM = 80.0
_AXIS_MM = -60.0
"""z of the cylinder's axis on the average face."""
_FLOOR = 0.25
"""Shading is not taken for darker than this share of the face's mean."""
_LEAST = 0.45
"""New shading is not less than this share of the old, nor the old of the new."""
_STRONGEST = 1.8
"""Under a new light relief changes smooth shading at most so many times."""
_PORES, _TREND = 0.8, 16.0
"""px of a 256 px crop: what is finer or broader than these Gaussians stays in the photo under any light."""
_COLOUR = 0.6
"""Share of what is no shading by its colour that is taken out all the same: one photo cannot tell surely."""
_SHADING, _NOISE = 0.06, 0.008
"""Deviations, as shares of the colour, of unexplained shading and of the picture's noise."""
_HEIGHT_STEP = 1 / 2000
"""mm: heights in the atlas are whole numbers of this."""
_STEEPEST = 1.0
"""Slope (mm per mm) that relief hardly exceeds: steps are glasses and hair rather than wrinkles."""


@dataclass(frozen=True, eq=False)
class FaceMap:
    """The average face of a model, unrolled: which texel is which point of the surface."""

    places: Float32
    """(N, 2) column and row of each vertex in the atlas, texels, centres at + 0.5."""
    fragments: Fragments
    """(h, w) triangles of the model drawn in the atlas."""
    plain: Float32
    """(N,) 0..1 plain skin, where relief may be taken from and put."""
    triangles: NDArray[np.int32]
    front: Bool
    """(h, w) plain skin that the average face shows from the front."""
    bridge: Float32
    """(r, c, 2) places in the atlas across the nose between the eyes, rows half a mm apart from above to
    below; (0, 0, 2) for a model without landmarks there."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the atlas."""
        height, width = self.fragments.triangle.shape
        return height, width


_KNOWN: WeakKeyDictionary[FaceModel, FaceMap] = WeakKeyDictionary()


def face_map(model: FaceModel) -> FaceMap:
    """The atlas of a model; made once for each model."""
    if model not in _KNOWN:
        _KNOWN[model] = _unroll(model)
    return _KNOWN[model]


def _unroll(model: FaceModel) -> FaceMap:
    shown = model.face_vertices
    x, y, z = model.mean.astype(np.float64).T
    depth = z - _AXIS_MM - (z[shown].max() - 51.0)  # heads lie otherwise in other models
    around = _RADIUS_MM * np.arctan2(x, depth)
    low = np.array([around[shown].min(), -y[shown].max()]) - 2.0
    high = np.array([around[shown].max(), -y[shown].min()]) + 2.0
    places = (np.column_stack([around, -y]) - low) / _TEXEL_MM
    width, height = (int(n) for n in np.ceil((high - low) / _TEXEL_MM))
    kept = shown[model.triangles].all(axis=1)
    triangles = np.ascontiguousarray(model.triangles[kept])
    fragments = rasterize(
        np.column_stack([places, np.hypot(x, depth)]), triangles, height, width, cull_backfaces=True
    )
    plain = plain_skin(model)
    facing = vertex_normals(model.mean, model.triangles)[:, 2]
    across = interpolate(fragments, triangles, np.column_stack([plain, facing > _FACING_FULL]))
    return FaceMap(
        places.astype(np.float32),
        fragments,
        plain,
        triangles,
        np.asarray((across > 0.5).all(axis=2)),
        _bridge(model, places).astype(np.float32),
    )


def _bridge(model: FaceModel, places: Float64) -> Float64:
    """(r, c, 2) see `FaceMap.bridge`."""
    from scipy.interpolate import griddata

    if "ibug68" not in model.landmarks:
        return np.zeros((0, 0, 2))
    marks = model.landmarks["ibug68"].of(model.mean)
    corners, tip = marks[[39, 42]].mean(axis=0), marks[30]
    above, below = corners[1] + 16.0, corners[1] + 0.6 * (tip[1] - corners[1])
    grid = np.stack(np.meshgrid(np.arange(-5.0, 5.1), np.arange(above, below, -0.5)), axis=-1)
    near = model.face_vertices & (np.abs(model.mean[:, 0]) < 20) & (np.abs(model.mean[:, 1] - above) < 60)
    found = griddata(model.mean[near, :2], places[near], grid.reshape(-1, 2), method="linear")
    found = np.asarray(found).reshape(grid.shape)
    return found if np.isfinite(found).all() else np.zeros((0, 0, 2))


def plain_skin(model: FaceModel) -> Float32:
    """(N,) 1 on plain skin of the face, falling to 0 toward eyes, lips, brows, nostrils and the outline."""
    surface = face_surface(model)
    out = _ramp(surface.outline_mm, 5.0, 15.0) * model.face_vertices
    for name, begin, end in (("eyeballs", 4.0, 9.0), ("lips", 1.0, 6.0), ("brows", 3.0, 8.0)):
        out = out * _ramp(_distance(model, model.region(name)), begin, end)
    out *= 1 - np.clip(2 * brow_share(model), 0, 1)
    out *= _ramp(_distance(model, (surface.openness < 0.75) & model.face_vertices), 1.0, 4.0)
    return out.astype(np.float32)


def _distance(model: FaceModel, part: Bool) -> Float64:
    """(N,) mm from each vertex to the nearest one of a part, on the average face."""
    from scipy.spatial import KDTree

    if not part.any():
        return np.full(model.n_vertices, np.inf)
    return np.asarray(KDTree(model.mean[part]).query(model.mean)[0])


def _ramp(x: Any, begin: float, end: float) -> Any:
    """0 up to `begin`, 1 from `end` on, smooth between."""
    t = np.clip((np.minimum(x, 1e6) - begin) / (end - begin), 0, 1)
    return t * t * (3 - 2 * t)


def relief_bands(relief: Float32, sigmas: tuple[float, ...] = BAND_SIGMAS) -> Float32:
    """(B + 1, h, w) a relief (h, w) split by Gaussians of `sigmas` px, finest band first; their sum is the
    relief."""
    import cv2

    bands: list[Float32] = []
    rest = np.asarray(relief, np.float32)
    for sigma in sigmas:
        smooth = np.asarray(cv2.GaussianBlur(rest, (0, 0), sigma))
        bands.append(rest - smooth)
        rest = smooth
    return np.stack([*bands, rest])


def face_width(model: FaceModel, identity: ArrayLike) -> float:
    """mm, breadth of a person's neutral face region: what relief is scaled by between persons."""
    neutral = model.shape(identity)
    return float(np.ptp(neutral[model.face_vertices, 0]))


@dataclass(frozen=True, eq=False)
class MappedRelief:
    """A face's relief in the atlas."""

    height: NDArray[np.int16]
    """(h, w) along the normal, in 1/2000 mm."""
    weight: NDArray[np.uint8]
    """(h, w) 0..255 how far it is to be believed."""
    width: float
    """`face_width` of the source, mm."""
    bridge_step: float = 0.0
    """See `ReliefPhoto.bridge_step`."""

    def at(self, place: Float32) -> tuple[Float32, Float32]:
        """Height in mm (S, S) and weight 0..1 (S, S) at places (S, S, 2) in the atlas, bilinear."""
        import cv2

        def look(x: NDArray[Any]) -> Float32:
            column, row = place[:, :, 0] - np.float32(0.5), place[:, :, 1] - np.float32(0.5)
            found = cv2.remap(x, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            return np.asarray(found, np.float32)

        height = look(self.height.astype(np.float32))
        return height * np.float32(_HEIGHT_STEP), look(self.weight) * np.float32(1 / 255)


class ReliefPhoto:
    """A photo's face and relief, ready to be cut out, changed, and taken from."""

    def __init__(
        self,
        model: FaceModel,
        image: NDArray[np.uint8],
        camera: WeakPerspective,
        identity: ArrayLike,
        expression: ArrayLike,
        albedo: ArrayLike,
        light: ArrayLike,
        relief: DepthPatch,
    ) -> None:
        """Prepare.

        image (H, W, 3); identity (K,), expression (E,), albedo (A,), light (9, 3) of its fit; relief:
        displacement of the model's depth, mm along camera z, on the photo's pixels, NaN off the face, as
        `find_detail` found it.
        """
        self.model, self.image, self.camera = model, image, camera
        self.light = np.asarray(light, np.float64)
        self.vertices = model.shape(identity, expression)
        self.skin: Float32 = np.clip(model.skin(albedo), 0.02, DetailConfig().brightest)
        """(N, 3) the fit's albedo."""
        self.width = face_width(model, identity)
        self.uvz: Float64 = camera.project(self.vertices.astype(np.float64)).astype(np.float64)
        self.crop = fine_crop(self.uvz[model.face_vertices])
        self.left, self.top = relief.left, relief.top
        height, width = relief.depth.shape
        drawn = skin_surface(model, self.uvz - [relief.left, relief.top, 0], camera.scale, height, width)
        own = np.where(drawn.mask, drawn.depth + np.nan_to_num(relief.depth) - drawn.base, 0)
        self.own: Float32 = own.astype(np.float32)
        """(h, w) displacement of the rounded coarse depth, mm along camera z; 0 off the mask."""
        self._drawn = drawn

    def mapped(self) -> MappedRelief:
        """The relief in the atlas: where plain skin is seen, faces the viewer, and looks as skin does."""
        import cv2

        known = face_map(self.model)
        drawn = self._drawn
        unit = self.crop.side / self.crop.size
        inside = drawn.mask.astype(np.float32)
        broad = np.asarray(cv2.GaussianBlur(self.own, (0, 0), BROADEST * unit))
        broad /= np.maximum(np.asarray(cv2.GaussianBlur(inside, (0, 0), BROADEST * unit)), np.float32(1e-3))
        relief = (self.own - broad) * inside
        normals = _normals(drawn, self.camera.scale)
        height = relief * np.maximum(normals[:, :, 2], np.float32(FACING)) * inside
        margin = cv2.distanceTransform(np.pad(drawn.mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        believed = _facing(normals) * np.clip(np.asarray(margin) / (6 * unit) - 0.5, 0, 1)
        believed *= self._like_skin(relief)
        # who hides whom was settled by the drawing: a texel's point must be the one drawn there
        local = self.uvz - [self.left, self.top, 0]
        place = interpolate(known.fragments, known.triangles, local.astype(np.float32))
        column, row = (np.ascontiguousarray(place[:, :, k] - np.float32(0.5)) for k in (0, 1))

        def look(x: Float32) -> Float32:
            found = cv2.remap(
                x.astype(np.float32), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
            )
            return np.asarray(found)

        behind = look(np.nan_to_num(drawn.depth, nan=1e3)) - place[:, :, 2]
        plain = interpolate(known.fragments, known.triangles, known.plain)
        weight = look(believed) * plain * (behind < 3.0) * known.fragments.mask
        coded = np.clip(np.rint(look(height) / _HEIGHT_STEP), -32767, 32767)
        return MappedRelief(
            coded.astype(np.int16),
            np.rint(255 * np.clip(weight, 0, 1)).astype(np.uint8),
            self.width,
            self.bridge_step(),
        )

    def bridge_step(self) -> float:
        """How sharply the picture changes down the bridge of the nose: logarithm of brightness per mm, at the
        strongest place. Below 0.17 on bare noses, above 0.24 with glasses; 0 for a model without a bridge."""
        import cv2

        known = face_map(self.model)
        if not known.bridge.size:
            return 0.0
        place = interpolate(known.fragments, known.triangles, self.uvz.astype(np.float32))

        def look(x: NDArray[Any], at: Float32) -> Float32:
            column, row = (np.ascontiguousarray(at[:, :, k] - np.float32(0.5)) for k in (0, 1))
            return np.asarray(cv2.remap(x, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

        uv = look(np.ascontiguousarray(place[:, :, :2]), known.bridge)
        low = np.clip(np.floor(uv.min(axis=(0, 1))).astype(int) - 4, 0, None)
        high = np.ceil(uv.max(axis=(0, 1))).astype(int) + 5
        part = self.image[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            return 0.0
        grey = cv2.GaussianBlur(part.astype(np.float32).mean(axis=2), (0, 0), 0.5 * self.camera.scale)
        profile = np.median(np.log(look(np.asarray(grey), uv - low.astype(np.float32)) + 8), axis=1)
        return float(np.abs(np.gradient(profile)).max() / 0.5)

    def _like_skin(self, relief: Float32) -> Float32:
        """(h, w) 1, falling to 0 where the picture is far from smooth skin: hair, beards, glasses, shine."""
        import cv2

        height, width = relief.shape
        part = self.image[self.top : self.top + height, self.left : self.left + width]
        unit = self.camera.scale
        inside = self._drawn.mask.astype(np.float32)
        shading = shade(_normals(self._drawn, self.camera.scale), self.light).mean(axis=2)
        grey = part.astype(np.float32).mean(axis=2) / 255
        ratio = np.log((grey + 0.03) / (np.maximum(shading, 0.1) + 0.03)).astype(np.float32) * inside
        level = float(np.median(ratio[self._drawn.mask])) if self._drawn.mask.any() else 0.0
        size = (max(round(width / 2), 1), max(round(height / 2), 1))

        def mean(x: Float32, sigma: float) -> Float32:
            small = cv2.resize(np.ascontiguousarray(x, np.float32), size, interpolation=cv2.INTER_AREA)
            return np.asarray(cv2.GaussianBlur(small, (0, 0), max(sigma * unit / 2, 0.5)))

        near = np.maximum(mean(inside, 3.0), np.float32(1e-3))
        dark = mean(np.minimum(ratio - level, 0) * inside, 3.0) / near  # hair over 6 mm, not a line
        slope = np.hypot(cv2.Sobel(relief, cv2.CV_32F, 1, 0), cv2.Sobel(relief, cv2.CV_32F, 0, 1)) / 8 * unit
        steep = np.sqrt(mean(np.square(slope), 2.0) / np.maximum(mean(inside, 2.0), np.float32(1e-3)))
        good = np.clip((0.45 + dark) / 0.2, 0, 1) * np.clip((_STEEPEST - steep) / (0.4 * _STEEPEST), 0, 1)
        low = np.asarray(cv2.GaussianBlur(np.asarray(cv2.erode(good, np.ones((3, 3)))), (0, 0), 0.75 * unit))
        return np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR))

    def view(self, crop: SquareCrop) -> ReliefView:
        """The face in a crop of the photo."""
        return ReliefView(self, crop)

    @cached_property
    def _smoothed(self) -> tuple[NDArray[np.uint8], Float32, int, int]:
        """The photo's part around the face and the relief, blurred as far as the usual crop is smaller, and
        the part's corner."""
        import cv2

        reach = 0.75 * self.crop.side
        height, width = self.image.shape[:2]
        left, right = (int(np.clip(self.crop.centre_u + d, 0, width)) for d in (-reach, reach))
        top, bottom = (int(np.clip(self.crop.centre_v + d, 0, height)) for d in (-reach, reach))
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        part = np.ascontiguousarray(self.image[top:bottom, left:right])
        own = self.own
        if self.crop.zoom < 1:
            # as much as brings a pixel of the picture to one of the crop
            sigma = 0.45 * np.sqrt(1 / self.crop.zoom**2 - 1)
            part = np.asarray(cv2.GaussianBlur(part, (0, 0), sigma), np.uint8)
            own = np.asarray(cv2.GaussianBlur(own, (0, 0), sigma), np.float32)
        return part, own, left, top

    @cached_property
    def _matte(self) -> tuple[NDArray[np.uint8], int, int]:
        """(h, w) 0..255 what is head in the photo's part around the face, and the part's corner."""
        part, _, left, top = self._smoothed
        zoom = 96.0 / max(part.shape[:2])
        h, w = max(round(part.shape[0] * zoom), 8), max(round(part.shape[1] * zoom), 8)
        uvz = (self.uvz - [left, top, 0]) * [w / part.shape[1], h / part.shape[0], 1.0]
        drawn = rasterize(uvz, self.model.triangles, h, w)
        loose = self.model.region("neck", "ears")
        loose = np.asarray(loose & ~face_surface(self.model).drawn)[self.model.triangles].any(axis=1)
        loose = np.asarray(loose)
        head = np.where(drawn.mask, np.where(loose[np.maximum(drawn.triangle, 0)], 1, 2), 0)
        box = (0, 0, part.shape[1], part.shape[0])
        return head_matte(part, head.astype(np.uint8), box, self.camera.scale), left, top


def _normals(drawn: SkinSurface, scale: float) -> Float32:
    """(h, w, 3) of the surface without facets; 0 off it."""
    return np.nan_to_num(normals_from_depth(drawn.base, scale))


def _facing(normals: Float32) -> Float32:
    """(h, w) 0..1 how far skin with these normals is turned to the viewer."""
    return _ramp(normals[:, :, 2], FACING, _FACING_FULL).astype(np.float32)


class ReliefView:
    """One crop of a photo: its pixels, its coarse face, its relief; and the same face with other relief."""

    def __init__(self, photo: ReliefPhoto, crop: SquareCrop) -> None:
        import cv2

        self.photo, self.crop = photo, crop
        self.camera = crop.camera(photo.camera)
        size, model = crop.size, photo.model
        self.uvz: Float64 = self.camera.project(photo.vertices.astype(np.float64)).astype(np.float64)
        part, own, left, top = photo._smoothed
        self.image: NDArray[np.uint8] = np.asarray(
            cv2.warpAffine(
                part,
                crop.pixel_matrix(left, top),
                (size, size),
                flags=cv2.INTER_LINEAR if crop.zoom < 1 else cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )
        """(S, S, 3) the photo's own pixels; beyond its border the border's are repeated."""
        drawn = skin_surface(model, self.uvz, self.camera.scale, size, size)
        self.depth, self.normals = drawn.base, _normals(drawn, self.camera.scale)
        """(S, S) mm along camera z of the coarse face without its facets, NaN off skin and eyes; (S, S, 3)
        its normals."""
        height, width = photo.image.shape[:2]
        self.mask: Bool = drawn.mask & self._within(0.5, width - 0.5, height - 0.5)
        """(S, S) skin that faces the viewer, without eyes and the mouth's opening, inside the picture."""
        found = cv2.warpAffine(own, crop.pixel_matrix(photo.left, photo.top), (size, size))
        self.own: Float32 = np.asarray(found) * self.mask
        """(S, S) the photo's own relief: displacement of `depth`, mm along camera z; 0 off the mask."""
        known = face_map(model)
        attributes = np.column_stack([known.places, known.plain, photo.skin])
        across = interpolate(drawn.fragments, model.triangles, attributes)
        self.place: Float32 = np.ascontiguousarray(across[:, :, :2])
        """(S, S, 2) place in the atlas."""
        self.albedo: Float32 = across[:, :, 3:]
        """(S, S, 3) the fit's smooth albedo."""
        border = np.asarray(cv2.distanceTransform(np.pad(self.mask.astype(np.uint8), 1), cv2.DIST_L2, 3))
        self.inside: Float32 = _ramp(border[1:-1, 1:-1], 1.0, 7.0).astype(np.float32)
        """(S, S) 0 at the mask's border and beyond, 1 some px inside."""
        self.free: Float32 = (across[:, :, 2] * _facing(self.normals) * self.inside).astype(np.float32)
        """(S, S) 0..1 where relief may be put: plain skin that is turned to the viewer."""
        self.light = (
            photo.light
            if not crop.angle
            else rotate_light(photo.light, matrix_from_euler(0.0, 0.0, crop.angle))
        )
        """(9, 3) the photo's light as seen in the crop."""

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
        """This face's relief with a source's added: displacement (S, S) of `depth`, mm along camera z.

        gains (3,): of the source's bands, finest first; own (3,): of the face's own, on plain skin. Lengths
        are scaled by the faces' widths.
        """
        unit = self.crop.size / 256.0
        sigmas = tuple(s * unit for s in BAND_SIGMAS)
        out = self.own
        lost = 1 - np.asarray(own, np.float32)
        if lost.any():
            out = out - self.free * np.tensordot(lost, relief_bands(self.own, sigmas), axes=1)
        if source is not None:
            height, believed = source.at(self.place)
            weight = self.free * believed
            facing = np.maximum(self.normals[:, :, 2], np.float32(FACING))
            whole = height * np.float32(self.photo.width / source.width) / facing * weight
            gained = np.tensordot(np.asarray(gains, np.float32), relief_bands(whole, sigmas), axes=1)
            # blurring spreads a band beyond the weights' border, where nothing may come
            out = out + gained * np.clip(8 * weight, 0, 1)
        return (out * self.mask).astype(np.float32)

    def relit(self, displacement: Float32, light: ArrayLike | None = None) -> NDArray[np.uint8]:
        """(S, S, 3) the photo as it looks with another relief (S, S), mm along camera z, and light (9, 3).

        Within the mask each pixel is multiplied by new over old shading. A new light reaches the rest of the
        head too, smoothly. With the own relief and light the photo's own pixels come back.
        """
        if light is None and np.array_equal(displacement, self.own):
            return self.image.copy()
        factor = self._factor(displacement, self.light if light is None else np.asarray(light, np.float64))
        if light is None:
            factor = 1 + self.inside[:, :, None] * (factor - 1)
        else:
            factor = self._whole_head(np.asarray(light, np.float64), factor)
        out = self.image * factor
        return np.clip(out + np.float32(0.5), 0, 255).astype(np.uint8)

    def least(self, light: Float64) -> Float32:
        """(3,) darkest shading of this face by a light (9, 3)."""
        mean = np.maximum(shade(self._some_normals, light), 0).mean(axis=0)
        return np.maximum(_FLOOR * mean, 1e-4).astype(np.float32)

    @cached_property
    def _some_normals(self) -> Float32:
        """(K, 3) of skin here and there; one toward the viewer where there is none."""
        some = self.normals[self.mask][::7]
        return some if len(some) else np.array([[0, 0, 1]], np.float32)

    def _factor(self, displacement: Float32, light: Float64) -> Float32:
        """(S, S, 3) new over old shading; 1 off the mask."""

        def shading(d: Float32, lamp: Float64) -> Float32:
            normals = np.nan_to_num(normals_from_depth(self.depth + d, self.camera.scale))
            return np.maximum(shade(normals, lamp), self.least(lamp)).astype(np.float32)

        if not self.mask.any():
            return np.ones((*self.mask.shape, 3), np.float32)
        old = shading(self.own, self.light)
        out = shading(displacement, light) / old
        if light is not self.light:
            out *= self._unexplained(old)
        return np.where(self.mask[:, :, None], np.clip(out, _LEAST, 1 / _LEAST), np.float32(1))

    def _unexplained(self, shading: Float32) -> Float32:
        """(S, S, 3) factors that take out what makes plain skin differ from the fit's albedo under the old
        light, within a band of widths.

        Relief that is found is less than relief that is there, so the old light's wrinkles remain in the
        photo over its shading. Under another light they would look painted on, and the label has none there.
        Half of what colour tells to be blotches and freckles (`relief.SKIN_DETAIL`) stays.
        shading (S, S, 3): of the own relief by the old light.
        """
        import cv2

        unit = self.crop.size / 256.0
        seen = self.image * np.float32(1 / 255) + np.float32(0.02)
        ratio = np.log(seen / (self.albedo * shading + np.float32(0.02)))
        weight = self.free + np.float32(0.02) * self.mask

        def mean(x: Float32, sigma: float) -> Float32:
            both = np.dstack([x * weight[:, :, None], weight])
            factor = max(int(sigma * unit / 3), 1)
            if factor > 1:
                small = (-(-both.shape[1] // factor), -(-both.shape[0] // factor))
                both = cv2.resize(both, small, interpolation=cv2.INTER_AREA)
            both = np.asarray(cv2.GaussianBlur(both, (0, 0), sigma * unit / factor))
            out = both[:, :, :3] / np.maximum(both[:, :, 3:], np.float32(1e-4))
            return out if factor == 1 else np.asarray(cv2.resize(out, x.shape[1::-1]))

        # moles and hair are no shading
        left = mean(np.clip(ratio - mean(ratio, _TREND), -0.4, 0.4), _PORES)
        covariance = np.asarray(SKIN_DETAIL) + np.eye(3) * _NOISE**2
        share = np.linalg.solve(covariance + _SHADING**2, np.full(3, _SHADING**2)).astype(np.float32)
        grey = (left @ share)[:, :, None]
        left = grey + np.float32(_COLOUR) * (left - grey)
        return np.exp(-self.free[:, :, None] * left)

    def _whole_head(self, light: Float64, factor: Float32) -> Float32:
        """(S, S, 3) factors for face, hair, ears and neck; 1 on the background."""
        import cv2

        photo, size, small = self.photo, self.crop.size, 64
        zoom = small / size
        normals = vertex_normals(self.camera.to_camera(photo.vertices), photo.model.triangles)
        old = np.maximum(shade(normals, self.light), self.least(self.light))
        new = np.maximum(shade(normals, light), self.least(light))
        drawn = rasterize(
            self.uvz * [zoom, zoom, 1], photo.model.triangles, small, small, cull_backfaces=True
        )
        change = np.column_stack([new / old, np.ones(len(old))])
        both = interpolate(drawn, photo.model.triangles, change)
        unit = self.camera.scale * zoom
        spread = np.asarray(cv2.GaussianBlur(both, (0, 0), max(4.0 * unit, 0.7)))
        spread = spread + np.float32(0.02) * np.asarray(cv2.GaussianBlur(both, (0, 0), 18.0 * unit))
        mean = both[:, :, :3].sum(axis=(0, 1)) / max(float(both[:, :, 3].sum()), 1.0)
        smooth = (spread[:, :, :3] + 1e-5 * mean) / (spread[:, :, 3:] + 1e-5)
        smooth = np.asarray(cv2.resize(smooth.astype(np.float32), (size, size)))
        matte, left, top = photo._matte
        head = cv2.warpAffine(
            matte, self.crop.pixel_matrix(left, top), (size, size), borderMode=cv2.BORDER_REPLICATE
        )
        # relief changes shading less than that; brows and lids would, by their errors
        factor = smooth * np.clip(factor / smooth, np.float32(1 / _STRONGEST), np.float32(_STRONGEST))
        share = np.maximum(np.asarray(head, np.float32) / 255, self.inside)[:, :, None]
        outside = 1 + share * (smooth - 1)
        return outside + self.inside[:, :, None] * (factor - outside)
