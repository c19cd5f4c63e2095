"""A photo with another pose, expression and light.

A reconstruction maps each pixel of the face to a point of the surface. A variation moves the points; each new
pixel takes its colour from its point's place in the photo, times the ratio of new to old shading. So pores,
hairs and shadows, which the model does not hold, move along. Points that are hidden in the photo
get their colour from the completed texture, without the photo's light. Hair, ears, neck and background follow
by a smooth warp (`follow.BackgroundMotion`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.detail import coarse_depth
from facerelief.rendering.lighting import fold_light
from facerelief.rendering.rasterizer import rasterize
from facerelief.synthesis.follow import BackgroundMotion
from facerelief.synthesis.photo import Box, PhotoFace, image_box
from facerelief.synthesis.relight import Gain, HeadLight
from facerelief.synthesis.vocabulary import EditError, expression_changes, named_light
from facerelief.typed import Bool, Float, Float32, Float64, Image

if TYPE_CHECKING:  # imports OpenCV
    from facerelief.face.reconstruction import Reconstruction

NEAREST_MM = 200.0
"""Least distance of the camera."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """A variation of a photo and its parameters."""

    image: Image
    """(H, W, 3) RGB."""
    coverage: Float32
    """(H, W) share of the rendered face in each pixel, 0..1."""
    camera: WeakPerspective
    expression: Float32
    """(E,) as `Reconstruction.expression`."""
    light: Float32
    """(9, 3) as `Reconstruction.light`."""
    vertices: Float32
    """(N, 3) model space, mm."""


@dataclass(frozen=True, eq=False)
class _View:
    """The rendered surface with another camera, expression and light."""

    camera: WeakPerspective
    shape: Float32
    """(N, 3) the model's vertices, mm."""
    uvz: Float64
    """(N + M, 3) px, mm."""
    normals: Float32
    """(N + M, 3) camera space."""
    light: Float32
    floor: Float64
    """(3,) least shading."""


@dataclass(frozen=True, eq=False)
class _FaceLayer:
    """The rendered face over a box of the image."""

    box: Box
    photo: Image
    """(h, w, 3) the photo's colour of each point."""
    keep: Float32
    """(h, w) share of the photo in the face's colour, 0..1."""
    alpha: Float32
    """(h, w) share of the face in the image, 0..1."""
    gain: Float32
    """(h, w, 3) new by old shading."""
    fill: Float32
    """(h, w, 3) lit colour of points hidden in the photo, in [0, 1]."""

    def over(self, background: Image, gain: Gain | None) -> Image:
        """(h, w, 3) the face over its part of the background (H, W, 3) lit by `gain`."""
        from facerelief.synthesis import _kernels

        lit = np.zeros((0, 0, 3), np.float32) if gain is None else gain.window(self.box)
        out = np.empty_like(self.photo)
        left, top, right, bottom = self.box
        behind = np.ascontiguousarray(background[top:bottom, left:right])
        _kernels.blend(self.photo, self.keep, self.alpha, self.gain, self.fill, behind, lit, out)
        return out


class Editor:
    """The face of a photo, prepared for many variations.

    Preparation takes some tenths of a second, `render` some milliseconds for a small photo.

    Args:
        reconstruction: The face.
        texture_size: Side of the texture for skin hidden in the photo, px; as fine as the photo unless given.
        relief: Share of the relief's slopes in changes of light, 0 to 1. One photo does not separate wrinkles
            from marks on the skin; a mark taken for a slope would be visible under another light.
    """

    def __init__(
        self, reconstruction: Reconstruction, *, texture_size: int | None = None, relief: float = 0.35
    ) -> None:
        self.reconstruction = reconstruction
        self.photo = PhotoFace(reconstruction, texture_size, relief)
        self._motion = BackgroundMotion(self.photo)
        self._head_light = HeadLight(self.photo)

    def camera(
        self,
        *,
        yaw: float | None = None,
        pitch: float | None = None,
        roll: float | None = None,
        turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
        distance: float | None = None,
    ) -> WeakPerspective:
        """The photo's camera with the head turned about the middle of its ears, which stays in place.

        Args:
            yaw, pitch, roll: Radians, absolute; the photo's unless given.
            turn: (pitch, yaw, roll) in radians, added.
            distance: Of the camera from the head's origin, mm, infinite for weak perspective; the photo's
                unless given. The face keeps place and size.

        Raises:
            EditError: An angle is not finite, or the distance is less than `NEAREST_MM`.
        """
        old = self.reconstruction.camera
        angles = [
            (now if wanted is None else wanted) + more
            for now, wanted, more in zip((old.pitch, old.yaw, old.roll), (pitch, yaw, roll), turn)
        ]
        if not np.isfinite(angles).all():
            raise EditError(f"angles are {angles}, expected finite numbers")
        if distance is not None and not distance >= NEAREST_MM:
            raise EditError(f"distance is {distance:g} mm, expected at least {NEAREST_MM:g}")
        if distance is not None:
            old = self._from(distance)
        if angles == [old.pitch, old.yaw, old.roll]:
            return old
        model = self.reconstruction.model
        ears = model.regions.get("ears")
        pivot = self.reconstruction.neutral[slice(None) if ears is None or not ears.any() else ears]
        centre = ((pivot.min(axis=0) + pivot.max(axis=0)) / 2).astype(np.float64)
        new = replace(old, pitch=angles[0], yaw=angles[1], roll=angles[2])
        shift = old.project(centre) - new.project(centre)
        return replace(
            new,
            translation_u=old.translation_u + float(shift[0]),
            translation_v=old.translation_v + float(shift[1]),
        )

    def _from(self, distance: float) -> WeakPerspective:
        """The photo's camera at another distance, mm: the face's middle keeps its place and its scale."""
        r = self.reconstruction
        old, middle = r.camera, np.median(r.vertices[r.model.face_vertices].astype(np.float64), axis=0)
        new = replace(old, inverse_distance=1.0 / distance)
        depth = old.to_camera(middle)[2]
        new = replace(new, scale=float(old.scale * old.magnification(depth) / new.magnification(depth)))
        u, v = (old.project(middle) - new.project(middle))[:2].tolist()
        return replace(new, translation_u=old.translation_u + u, translation_v=old.translation_v + v)

    def light(self, name: str, camera: WeakPerspective | None = None) -> Float32:
        """(9, 3) the light `name` (see `named_light`), as bright on the face as the photo's own."""
        r = self.reconstruction
        turned = self.photo.normals[self.photo.front]
        if camera is not None:
            turned = turned @ (camera.rotation @ r.camera.rotation.T).T
        return named_light(name, r.light, turned[turned[:, 2] > 0.1])

    def render(
        self,
        camera: WeakPerspective | None = None,
        expression: ArrayLike | None = None,
        light: ArrayLike | None = None,
        *,
        background: bool = True,
    ) -> Rendering:
        """Render the photo with another camera, expression and light, each the photo's own unless given.

        Args:
            camera: Camera in the photo's pixels.
            expression: (E,) weights.
            light: (9, 3) in the space of the new camera.
            background: Keep pixels off the face; else they are black.

        Raises:
            EditError: Wrong shapes, or numbers that are not finite.
        """
        r = self.reconstruction
        camera = camera or r.camera
        weights = r.expression if expression is None else np.asarray(expression, np.float32).reshape(-1)
        if weights.shape != r.expression.shape:
            raise EditError(f"expression has {len(weights)} weights, expected {len(r.expression)}")
        lit = r.light if light is None else np.asarray(light, np.float32)
        if lit.shape != (9, 3) or not np.isfinite(lit).all() or not np.isfinite(weights).all():
            raise EditError(f"light has shape {lit.shape}, expected finite (9, 3), and finite weights")
        view = self._view(camera, weights, lit)

        image, coverage = np.zeros_like(r.image), np.zeros(r.image.shape[:2], np.float32)
        maps, gain = None, None
        if background:
            maps = self._motion(view.uvz, camera, view.normals).maps()
            # beyond top and bottom the last row is repeated: mirrored, a cut head would appear twice
            np.clip(maps[1], 0, len(image) - 1, out=maps[1])
            image = _look_up(r.image, *maps)
            if not np.array_equal(lit, r.light):
                gain = self._head_light(view.uvz, view.normals, lit, view.floor, maps)
        layer = self._face_layer(view, maps)
        face = None if layer is None else layer.over(image, gain)
        if gain is not None:
            gain.apply(image)
        if layer is not None and face is not None:
            left, top, right, bottom = layer.box
            image[top:bottom, left:right] = face
            coverage[top:bottom, left:right] = layer.alpha
        return Rendering(image, coverage, camera, weights, lit, view.shape)

    def _view(self, camera: WeakPerspective, weights: Float32, light: Float32) -> _View:
        photo = self.photo
        shape = photo.shape(weights)
        vertices = photo.surface.extended(shape)
        uvz: Float64 = camera.project(vertices.astype(np.float64)).astype(np.float64)
        normals = photo.camera_normals(camera, vertices)
        return _View(camera, shape, uvz, normals, light, photo.least_shading(normals, light))

    def _face_layer(self, view: _View, maps: tuple[Float32, Float32] | None) -> _FaceLayer | None:
        """The rendered face over its part of the image; maps: sources of the background."""
        from facerelief.synthesis import _kernels

        r, photo, surface = self.reconstruction, self.photo, self.photo.surface
        n = len(view.shape)
        rendered = np.append(surface.rendered, np.ones(len(view.uvz) - n, bool))
        box = image_box(view.uvz[rendered], 2.0, r.image)
        left, top, right, bottom = box
        size = bottom - top, right - left
        if min(size) < 1:
            return None
        fragments = rasterize(view.uvz - [left, top, 0], surface.triangles, *size, cull_backfaces=True)
        share = np.empty(len(view.uvz))
        _kernels.photo_share(
            photo.area, photo.areas(view.uvz), photo.normals, view.normals, photo.seen, share
        )
        same, shown = photo.mouth_share(view.shape)
        share[n:] = shown
        share[:n][surface.in_mouth] = np.maximum(same, shown * photo.seen[:n][surface.in_mouth])
        plane = (*size, 3)
        out = _kernels.PixelMaps(
            x=np.zeros(size, np.float32),
            y=np.zeros(size, np.float32),
            keep=np.empty(size, np.float32),
            alpha=np.empty(size, np.float32),
            gain=np.zeros(plane, np.float32),
            fill=np.zeros(plane, np.float32),
        )
        _kernels.surface_maps(
            _kernels.PhotoArrays(
                uv=photo.uvz,
                normals=photo.normals,
                share=share,
                lit=photo.lit,
                inset=photo.inset,
                light=fold_light(r.light),
                floor=photo.floor,
                relief=photo.relief,
                relief_left=photo.relief_left,
                relief_top=photo.relief_top,
            ),
            _kernels.ViewArrays(
                triangle=fragments.triangle,
                barycentric=fragments.barycentric,
                triangles=surface.triangles,
                normals=view.normals,
                light=fold_light(view.light),
                floor=view.floor,
                turn=view.camera.rotation @ r.camera.rotation.T,
            ),
            _kernels.FillArrays(
                texture=photo.texture,
                texture_uv=photo.texture_uv,
                texture_triangles=surface.uv_triangles,
                colors=photo.colors,
                mouth=surface.mouth(view.shape),
                first_mouth=surface.first_mouth,
            ),
            out,
        )
        face_x, face_y, alpha = out.x, out.y, out.alpha
        if maps is not None:
            # towards its outline the face takes the sources of the warp: no seam, no double contour
            x, y = (part[top:bottom, left:right] for part in maps)
            face_x, face_y = x + (face_x - x) * alpha, y + (face_y - y) * alpha
        alpha *= _soft_mask(fragments.mask, view.camera.scale)
        return _FaceLayer(box, _look_up(r.image, face_x, face_y), out.keep, alpha, out.gain, out.fill)

    def edit(
        self,
        *,
        yaw: float | None = None,
        pitch: float | None = None,
        roll: float | None = None,
        turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
        expression: Mapping[str, float] | None = None,
        neutral: bool = False,
        light: str | ArrayLike | None = None,
        background: bool = True,
        distance: float | None = None,
    ) -> Reconstruction:
        """As the function `edit`, for the prepared photo."""
        r = self.reconstruction
        weights = np.zeros_like(r.expression) if neutral else r.expression.copy()
        for index, weight in expression_changes(r.model, expression or {}).items():
            weights[index] = weight
        camera = self.camera(yaw=yaw, pitch=pitch, roll=roll, turn=turn, distance=distance)
        lit = self.light(light, camera) if isinstance(light, str) else light
        made = self.render(camera, weights, lit, background=background)
        uv = made.camera.project(made.vertices[self.photo.surface.rendered])[:, :2]
        (left, top), (right, bottom) = uv.min(axis=0).tolist(), uv.max(axis=0).tolist()
        result = replace(
            r,
            image=made.image,
            camera=made.camera,
            expression=made.expression,
            light=made.light,
            box=(left, top, right, bottom),
            fine=None,
            skin=None,
            source_sha256="",
            residuals=None,
        )
        return replace(result, coarse=coarse_depth(r.model, made.vertices, made.camera, r.image.shape))


def _look_up(image: Image, x: Float, y: Float) -> Image:
    """The image (H, W, 3) at float32 columns x and rows y (h, w), bicubic."""
    import cv2

    out = cv2.remap(image, x, y, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8)


def _soft_mask(mask: Bool, scale: float) -> Float32:
    """(h, w) 1 inside a mask, fading to 0 at its edge; the border of the image is no edge."""
    import cv2

    reach = max(round(0.6 * scale), 1)
    size = 2 * reach + 1
    blurred = cv2.blur(mask.astype(np.float32), (size, size), borderType=cv2.BORDER_REPLICATE)
    mean = np.asarray(blurred, np.float32)
    return np.clip(2 * mean - 1, 0, 1) * mask


def edit(
    reconstruction: Reconstruction,
    *,
    yaw: float | None = None,
    pitch: float | None = None,
    roll: float | None = None,
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    expression: Mapping[str, float] | None = None,
    neutral: bool = False,
    light: str | ArrayLike | None = None,
    background: bool = True,
    distance: float | None = None,
) -> Reconstruction:
    """The photo with another pose, expression or light, as a reconstruction of the new image.

    Camera, expression, light and coarse depth of the result are those of the edit, so that it can be saved or
    edited again. For many variations of one photo use an `Editor`.

    Args:
        reconstruction: The face of the photo.
        yaw, pitch, roll: Radians, absolute; the photo's unless given.
        turn: (pitch, yaw, roll) in radians, added.
        expression: Weights by name, of the model's expressions or of the names in `synthesis.EXPRESSIONS`;
            the other weights stay.
        neutral: Remove the photo's expression first.
        light: A name of `synthesis.LIGHTS`, rotate:DEG, or coefficients (9, 3).
        background: Keep pixels off the face; else they are black.
        distance: Of the camera from the head's origin, mm, infinite for weak perspective; the photo's unless
            given. The face keeps place and size.

    Returns:
        The new face; its `image` (H, W, 3) uint8 is the edited photo.

    Raises:
        EditError: An unknown name, or a number out of range.
    """
    return Editor(reconstruction).edit(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        turn=turn,
        expression=expression,
        neutral=neutral,
        light=light,
        distance=distance,
        background=background,
    )
