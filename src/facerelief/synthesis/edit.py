"""A photo with another pose, expression and light.

A reconstruction tells which point of the face each pixel shows. A variation moves the points; each new pixel
looks up where the photo shows its point, takes the pixel from there, and changes its brightness by the ratio
of new to old shading. So every pore, hair and shadow that the model does not know travels along. What the
photo does not show comes from the face's completed texture, freed from the photo's light. Hair, ears, neck
and background follow by a smooth warp (`warp.BackgroundWarp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.detail import coarse_depth
from facerelief.rendering.lighting import fold_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize, visible_vertices
from facerelief.rendering.texture import complete_texture, sample_texture
from facerelief.synthesis.matte import head_matte
from facerelief.synthesis.surface import face_surface
from facerelief.synthesis.vocabulary import EditError, expression_changes, named_light
from facerelief.synthesis.warp import BackgroundWarp

if TYPE_CHECKING:  # that room reads pictures, which takes OpenCV
    from facerelief.pipeline.result import Reconstruction

# NumPy's annotations widen float32 in mixed arithmetic: these names say what arrays hold, unchecked
Float32 = NDArray[Any]
Float64 = NDArray[Any]
Image = NDArray[Any]

_FLOOR = 0.25
"""Shading is not taken for darker than this share of the face's mean: shadows hold no colour to brighten."""
_HAIR_MM = 60.0
"""Hair is looked for this far around the model's head."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """A variation of a photo, with what is true of it."""

    image: Image
    """(H, W, 3) RGB."""
    coverage: Float32
    """(H, W) share of each pixel that the drawn face has, 0..1."""
    camera: WeakPerspective
    expression: Float32
    """(E,) as `Reconstruction.expression`."""
    light: Float32
    """(9, 3) as `Reconstruction.light`."""
    vertices: Float32
    """(N, 3) model space, mm."""


class Editor:
    """One photo's face, prepared: makes variation after variation quickly.

    Making it costs some tenths of a second; `render` some milliseconds for a small photo.
    """

    def __init__(self, reconstruction: Reconstruction, *, texture_size: int | None = None) -> None:
        """Prepare.

        texture_size: side of the texture that unseen skin comes from, px; by default as fine as the photo.
        """
        r = reconstruction
        self.reconstruction = r
        self.surface = surface = face_surface(r.model)
        n = r.model.n_vertices
        # the sheet of the mouth has vertices of its own, so its triangles only join the model's
        self._all_triangles = np.concatenate([r.model.triangles, surface.triangles[surface.first_mouth :]])
        self._vertices = surface.extended(r.vertices)
        self._uvz: Float64 = r.camera.project(self._vertices.astype(np.float64)).astype(np.float64)
        self._normals = self._camera_normals(r.camera, self._vertices)
        self._area = self._areas(self._uvz)
        front = surface.drawn & (self._normals[:n, 2] > 0.3)
        self._front = np.flatnonzero(front if front.any() else surface.drawn)
        self._visible = self._visible_in_photo()
        self._seen = self._trusted()
        self._floor = self._least_shading(self._normals, r.light)
        self._relief, self._relief_left, self._relief_top = self._relief_normals()
        self._colors = np.zeros((len(self._vertices), 3), np.float32)
        self._colors[:n] = np.clip(r.model.skin(r.albedo if len(r.albedo) else None), 0, 1)
        self._texture, self._texture_uv = self._albedo_texture(texture_size)
        self._anchors, self._follow = self._anchor_vertices()
        self._outline_of_skull()
        self._warp = self._background_warp()

    # ------------------------------------------------------------ preparation

    def _camera_normals(self, camera: WeakPerspective, vertices: Float32) -> Float32:
        """(N + M, 3) float32, camera space."""
        seen = camera.to_camera(vertices.astype(np.float32))
        return vertex_normals(seen, self._all_triangles).astype(np.float32)

    def _areas(self, uvz: Float64) -> Float64:
        from facerelief.synthesis import _kernels

        out = np.empty(len(uvz))
        _kernels.projected_areas(uvz, self.surface.triangles, out)
        return out

    def _least_shading(self, normals: Float32, light: ArrayLike) -> Float64:
        """(3,) what shading is at least: a share of the face's mean, so twice the light gives twice that."""
        mean = np.maximum(shade(normals[self._front], light), 0).mean(axis=0)
        return np.maximum(_FLOOR * mean, 1e-6).astype(np.float64)

    def _visible_in_photo(self) -> NDArray[np.bool_]:
        """(N + M,) not hidden by another part of the head, facing the viewer, and inside the picture."""
        r = self.reconstruction
        low, high = self._uvz[:, :2].min(axis=0), self._uvz[:, :2].max(axis=0)
        zoom = min(640.0 / float((high - low).max() + 1e-9), 4.0)
        camera = r.camera.in_crop(low[0] - 1 / zoom, low[1] - 1 / zoom, zoom)
        w, h = (int(x) for x in np.ceil((high - low) * zoom) + 2)
        uvz = camera.project(self._vertices.astype(np.float64))
        drawn = rasterize(uvz, self._all_triangles, h, w, cull_backfaces=True)
        visible = visible_vertices(uvz, self._all_triangles, drawn, self._normals, tolerance_mm=1.0)
        self._edge_mm = _distance_to_edges(drawn.depth, uvz) / (zoom * r.camera.scale)
        height, width = r.image.shape[:2]
        u, v = self._uvz[:, 0], self._uvz[:, 1]
        return visible & (u > 0.5) & (v > 0.5) & (u < width - 0.5) & (v < height - 0.5)

    def _trusted(self) -> Float32:
        """(N + M,) 0..1 how surely the photo shows a vertex: 0 where hidden, rising over a few mm beside."""
        r, surface = self.reconstruction, self.surface
        n = r.model.n_vertices
        a, b = surface.neighbours
        seen = self._visible[:n].astype(np.float64)
        eyes = r.model.regions.get("eyeballs", np.zeros(n, bool))
        # lids hide the rim of an eye: there the eye's own pixels are nearer than any made-up ones
        near = seen.copy()
        np.maximum.at(near, a, seen[b])
        edge = surface.drawn & ~eyes
        least = seen.copy()
        np.minimum.at(least, a, seen[b])
        value = np.where(edge, least, near)
        degree = np.maximum(np.bincount(a, minlength=n), 1)
        for _ in range(2):
            value = np.where(eyes, value, 0.5 * value + 0.5 * np.bincount(a, value[b], minlength=n) / degree)
        self._hidden = np.clip(1 - 3 * value, 0, 1)
        facing = np.clip((self._normals[:n, 2] - 0.08) / 0.22, 0, 1)
        out = np.ones(len(self._vertices), np.float32)
        # at an edge a fit that is a little off shows what lies behind
        margin = np.clip((self._edge_mm[:n] - 0.5) / 2.5, 0, 1)
        out[:n] = value * np.where(eyes, 1.0, facing * margin)
        if len(surface.upper):
            # the mouth's inside is seen between the lips
            gap = np.clip((surface.lip_gap(r.vertices) - 1.5) / 2.0, 0, 1)
            rows = len(self._vertices) - n
            out[n:] = np.repeat(gap, rows // len(gap))
        return out

    def _relief_normals(self) -> tuple[Float32, int, int]:
        """(h, w, 3) what fine normals add to smooth ones, and the patch's corner; empty without relief."""
        r = self.reconstruction
        if r.fine is None:
            return np.zeros((0, 0, 3), np.float32), 0, 0
        fine = r.fine
        normals = normals_from_depth(fine.depth, r.camera.scale)
        drawn = rasterize(
            self._uvz - [fine.left, fine.top, 0],
            self.surface.triangles,
            *fine.depth.shape,
            cull_backfaces=True,
        )
        smooth = interpolate(drawn, self.surface.triangles, self._normals)
        smooth /= np.maximum(np.linalg.norm(smooth, axis=2, keepdims=True), 1e-6)
        good = drawn.mask & np.isfinite(normals).all(axis=2) & (normals[:, :, 2] > 0.2)
        out = np.where(good[:, :, None], normals - smooth, 0).astype(np.float32)
        return np.ascontiguousarray(out), fine.left, fine.top

    def _albedo_texture(self, size: int | None) -> tuple[Float32, Float64]:
        """The completed texture (S, S, 3) of the face without the photo's light, and uv in its texels."""
        r, model = self.reconstruction, self.reconstruction.model
        if not len(self.surface.uv_triangles):
            return np.zeros((0, 0, 3), np.float32), np.zeros((0, 2))
        face = self._uvz[: model.n_vertices][self.surface.drawn]
        if size is None:
            extent = float(np.ptp(face[:, :2], axis=0).max())
            size = int(np.clip(2 ** np.ceil(np.log2(max(extent, 1.0) * 1.3)), 256, 1024))
        albedo, left, top = self._photo_albedo()
        none = np.zeros(model.n_vertices, bool)
        eyes = model.regions.get("eyeballs", none)[model.triangles].all(axis=1)
        loose = model.regions.get("ears", none) | (model.regions.get("neck", none) & ~model.face_vertices)
        loose = loose[model.triangles].any(axis=1)

        def part(kept: Any) -> Mesh:
            return Mesh(r.vertices, model.triangles[kept], uv=model.uv, uv_triangles=model.uv_triangles[kept])

        # halved: an albedo above 1 (a highlight) is not cut off
        half, camera = np.float32(0.5), r.camera.in_crop(left, top, 1.0)
        base = self._colors[: model.n_vertices] * half
        sampled, weight = sample_texture(albedo * half, part(~loose), camera, size, margin_mm=4.0)
        texture = complete_texture(sampled, weight, part(~eyes & ~loose), model.symmetry, base)
        uv = np.column_stack([model.uv[:, 0], 1 - model.uv[:, 1]]).astype(np.float64) * size
        if eyes.any():
            flat = np.column_stack([uv, np.zeros(len(uv))])
            drawn = rasterize(flat, model.uv_triangles[eyes], size, size)
            own = interpolate(drawn, model.triangles[eyes], base)
            share = (np.clip(weight / 0.5, 0, 1) * drawn.mask)[:, :, None]
            texture = np.where(drawn.mask[:, :, None], own + (sampled - own) * share, texture)
        return np.ascontiguousarray(texture / half, np.float32), uv

    def _photo_albedo(self) -> tuple[Float32, int, int]:
        """(h, w, 3) the photo divided by its shading around the face, and the corner of that part.

        Not `Reconstruction.skin`, which is blended with the model's colours: beside the photo's own pixels
        that would show a seam.
        """
        r = self.reconstruction
        height, width = r.image.shape[:2]
        low = np.floor(self._uvz[:, :2].min(axis=0)).astype(int) - 2
        high = np.ceil(self._uvz[:, :2].max(axis=0)).astype(int) + 2
        left, top = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
        right, bottom = int(np.clip(high[0], left + 1, width)), int(np.clip(high[1], top + 1, height))
        drawn = rasterize(
            self._uvz - [left, top, 0], self._all_triangles, bottom - top, right - left, cull_backfaces=True
        )
        normals = interpolate(drawn, self._all_triangles, self._normals)
        if len(self._relief):
            h, w = self._relief.shape[:2]
            y0, x0 = max(self._relief_top - top, 0), max(self._relief_left - left, 0)
            sy, sx = max(top - self._relief_top, 0), max(left - self._relief_left, 0)
            part = self._relief[sy : sy + bottom - top - y0, sx : sx + right - left - x0]
            h, w = part.shape[:2]
            normals[y0 : y0 + h, x0 : x0 + w] += part
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
        shading = np.maximum(shade(normals, r.light), self._floor).astype(np.float32)
        photo = r.image[top:bottom, left:right].astype(np.float32) / np.float32(255)
        out = photo / shading
        return out, left, top

    def _anchor_vertices(self) -> tuple[NDArray[np.intp], Float64]:
        """Vertices that pull the background along, and how much (0..1) of their motion they pass on."""
        from scipy.spatial import KDTree

        r, surface = self.reconstruction, self.surface
        model = r.model
        n = model.n_vertices
        none = np.zeros(n, bool)
        eyes = model.regions.get("eyeballs", none)
        # beyond the frame too: what is cut off still pulls
        shown = self._hidden_by_none()
        rim = surface.drawn & ~eyes & (surface.outline_mm < 12.0)
        if not rim.any():  # a model all of skin: its silhouette
            rim = surface.drawn & (self._normals[:n, 2] < 0.5)
        other = ~surface.drawn
        chosen = shown & (rim | other)
        near = np.flatnonzero(shown & surface.drawn & ~eyes)
        rest = np.flatnonzero(shown & other)
        if len(near) and len(rest):
            # behind the edge of the face (neck under the jaw): two motions in one place; the face's counts
            gap, place = KDTree(self._uvz[near, :2]).query(self._uvz[rest, :2])
            deep = self._uvz[near[place], 2] - self._uvz[rest, 2] > 10.0
            chosen[rest[deep & (gap < 12.0 * r.camera.scale)]] = False
        follow = np.ones(n)
        if "neck" in model.regions:
            neck = model.regions["neck"] & ~surface.drawn
            y = model.mean[:, 1]
            if neck.any():
                low = float(y[neck].min())
                t = np.clip((y - low) / max(float(np.ptp(y[neck])), 1e-6), 0, 1)
                follow = np.where(neck, t * t * (3 - 2 * t), 1.0)
        ids = np.flatnonzero(chosen)
        return ids, follow[ids]

    def _hidden_by_none(self) -> NDArray[np.bool_]:
        """(N,) seen by the camera, whether or not the frame cuts it off."""
        r = self.reconstruction
        low, high = self._uvz[:, :2].min(axis=0), self._uvz[:, :2].max(axis=0)
        zoom = min(320.0 / float((high - low).max() + 1e-9), 4.0)
        camera = r.camera.in_crop(low[0] - 1 / zoom, low[1] - 1 / zoom, zoom)
        w, h = (int(x) for x in np.ceil((high - low) * zoom) + 2)
        uvz = camera.project(r.vertices.astype(np.float64))
        drawn = rasterize(uvz, r.model.triangles, h, w, cull_backfaces=True)
        return visible_vertices(uvz, r.model.triangles, drawn, self._normals[: len(uvz)], tolerance_mm=2.0)

    def _background_warp(self) -> BackgroundWarp:
        r = self.reconstruction
        points = self._uvz[self._anchors, :2]
        self._still = np.zeros((0, 2))
        if "neck" in r.model.regions:
            # shoulders stay: a line of points below the neck that do not move
            neck = self._uvz[: r.model.n_vertices][r.model.regions["neck"]]
            y, s = float(neck[:, 1].max()) + 20.0 * r.camera.scale, r.camera.scale
            u = float(neck[:, 0].mean()) + np.arange(-160.0, 161.0, 10.0) * s
            self._still = np.column_stack([u, np.full(len(u), y)])
        height, width = r.image.shape[:2]
        return BackgroundWarp(np.concatenate([points, self._still]), height, width)

    # ------------------------------------------------------------ variations

    def camera(
        self,
        *,
        yaw: float | None = None,
        pitch: float | None = None,
        roll: float | None = None,
        turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> WeakPerspective:
        """The photo's camera with the head turned about the middle of its ears, which stays where it was.

        yaw, pitch, roll: radians, absolute; those left out stay. turn: (pitch, yaw, roll) to be added.
        """
        old = self.reconstruction.camera
        angles = [
            (now if wanted is None else wanted) + more
            for now, wanted, more in zip((old.pitch, old.yaw, old.roll), (pitch, yaw, roll), turn)
        ]
        if not np.isfinite(angles).all():
            raise EditError(f"angles are {angles}, expected finite numbers")
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

    def light(self, name: str, camera: WeakPerspective | None = None) -> Float32:
        """(9, 3) the light called `name`, as bright on the face as the photo's own; see `LIGHTS`."""
        r = self.reconstruction
        turned = self._normals[self._front]
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
        """The photo under another camera, expression (E,) and light (9, 3); what is None stays.

        The camera's frame is the photo's. Without `background`, pixels off the face are black.
        """
        import cv2

        from facerelief.synthesis import _kernels

        r, surface = self.reconstruction, self.surface
        camera = camera or r.camera
        weights = r.expression if expression is None else np.asarray(expression, np.float32).reshape(-1)
        if weights.shape != r.expression.shape:
            raise EditError(f"expression has {len(weights)} weights, expected {len(r.expression)}")
        lit = r.light if light is None else np.asarray(light, np.float32)
        if lit.shape != (9, 3) or not np.isfinite(lit).all() or not np.isfinite(weights).all():
            raise EditError(f"light has shape {lit.shape}, expected finite (9, 3), and finite weights")
        shape = self._shape(weights)
        vertices = surface.extended(shape)
        uvz: Float64 = camera.project(vertices.astype(np.float64)).astype(np.float64)
        normals = self._camera_normals(camera, vertices)
        share = np.empty(len(vertices))
        _kernels.photo_share(self._area, self._areas(uvz), self._normals, normals, self._seen, share)
        gap = self._mouth_share(shape)
        share[len(shape) :] = np.repeat(gap, (len(vertices) - len(shape)) // max(len(gap), 1))
        inset = surface.inset.astype(np.float64)
        # an outline that the photo hides has nothing around it to fade into
        n = len(shape)
        inset[:n] = np.where(surface.drawn, np.maximum(inset[:n], self._hidden), 0)

        height, width = r.image.shape[:2]
        image = np.zeros_like(r.image)
        coverage = np.zeros((height, width), np.float32)
        whole: tuple[Float32, Float32] | None = None
        if background:
            whole = self._warp(self._displacement(uvz, camera, normals)).maps()
            image = np.asarray(
                cv2.remap(r.image, *whole, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            )
        same_light = bool(np.array_equal(lit, r.light))
        unlit = np.zeros((0, 0, 3), np.float32)
        floor = self._least_shading(normals, lit)
        halo, box = unlit, (0, 0, 0, 0)
        if whole is not None and not same_light:
            halo, box = self._halo(uvz, normals, lit, floor)
            matte = cv2.remap(
                self._matte, *whole, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            part = np.asarray(matte)[box[1] : box[3], box[0] : box[2]]
            _kernels.fade_gain(halo, part)

        drawn_uv = uvz[np.flatnonzero(np.append(surface.drawn, np.ones(len(vertices) - n, bool)))]
        low, high = np.floor(drawn_uv.min(axis=0)[:2]) - 2, np.ceil(drawn_uv.max(axis=0)[:2]) + 2
        left, top = (int(x) for x in np.clip(low, 0, [width, height]))
        right, bottom = (int(x) for x in np.clip(high, [left, top], [width, height]))
        if right > left and bottom > top:
            window = slice(top, bottom), slice(left, right)
            fragments = rasterize(
                uvz - [left, top, 0], surface.triangles, bottom - top, right - left, cull_backfaces=True
            )
            size = fragments.triangle.shape
            if whole is None:
                grid = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
                maps = [np.asarray(g, np.float32) for g in grid]
            else:
                maps = [whole[0][window].copy(), whole[1][window].copy()]
            face_x, face_y = np.zeros(size, np.float32), np.zeros(size, np.float32)
            keep, alpha = np.empty(size, np.float32), np.empty(size, np.float32)
            gain, fill = np.zeros((*size, 3), np.float32), np.zeros((*size, 3), np.float32)
            _kernels.surface_maps(
                fragments.triangle,
                fragments.barycentric,
                surface.triangles,
                self._uvz,
                self._normals,
                normals,
                share,
                inset,
                fold_light(r.light),
                fold_light(lit),
                self._floor,
                floor,
                self._relief,
                self._relief_left,
                self._relief_top,
                camera.rotation @ r.camera.rotation.T,
                self._texture,
                self._texture_uv,
                surface.uv_triangles,
                self._colors,
                surface.mouth(shape),
                surface.first_mouth,
                face_x,
                face_y,
                keep,
                alpha,
                gain,
                fill,
            )
            # towards its outline the face is looked up where the warp looks: no seam, and nothing twice
            maps[0] += (face_x - maps[0]) * alpha
            maps[1] += (face_y - maps[1]) * alpha
            face = np.asarray(
                cv2.remap(r.image, *maps, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            )
            alpha *= _soft_mask(fragments.mask, camera.scale)
            coverage[window] = alpha
            back_gain = unlit
            if len(halo):
                back_gain = _window(halo, box, (left, top, right, bottom))
            out = np.empty((*size, 3), np.uint8)
            behind = np.ascontiguousarray(image[window])
            _kernels.blend(face, keep, alpha, gain, fill, behind, back_gain, out)
        else:
            out, window = None, (slice(0, 0), slice(0, 0))
        if len(halo):
            area = image[box[1] : box[3], box[0] : box[2]]
            area[:] = np.clip(area * halo + np.float32(0.5), 0, 255).astype(np.uint8)
        if out is not None:
            image[window] = out
        return Rendering(image, coverage, camera, weights, lit, shape)

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
    ) -> Reconstruction:
        """As the function `edit`, for the photo prepared."""
        r = self.reconstruction
        weights = np.zeros_like(r.expression) if neutral else r.expression.copy()
        for index, weight in expression_changes(r.model, expression or {}).items():
            weights[index] = weight
        camera = self.camera(yaw=yaw, pitch=pitch, roll=roll, turn=turn)
        lit = self.light(light, camera) if isinstance(light, str) else light
        made = self.render(camera, weights, lit, background=background)
        uv = made.camera.project(made.vertices[self.surface.drawn])[:, :2]
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

    def _shape(self, weights: Float32) -> Float32:
        r = self.reconstruction
        changed = np.flatnonzero(weights != r.expression)
        if not len(changed):
            return r.vertices
        return r.vertices + r.model.expression[:, :, changed] @ (weights - r.expression)[changed]

    def _mouth_share(self, shape: Float32) -> Float64:
        """(K,) how much of the mouth's inside is the photo's: where that was open, and about as wide."""
        if not len(self.surface.upper):
            return np.zeros(0)
        old, new = self.surface.lip_gap(self.reconstruction.vertices), self.surface.lip_gap(shape)
        ratio = old / np.maximum(new, 0.5)
        seen = np.clip((old - 1.5) / 2.0, 0, 1)
        same = np.clip((ratio - 0.8) / 0.15, 0, 1)
        wide = np.clip((ratio - 0.4) / 0.25, 0, 1)
        return np.maximum(seen * wide, same).astype(np.float64)

    def _displacement(self, uvz: Float64, camera: WeakPerspective, normals: Float32) -> Float64:
        """(P, 2) px by which the warp's points move."""
        moved = (uvz[self._anchors, :2] - self._uvz[self._anchors, :2]) * self._follow[:, None]
        if not len(self._skull):
            return np.concatenate([moved, np.zeros_like(self._still)])
        # hair hides the skull's points at its outline: there the outline's motion counts, not the points'
        roll = camera.roll - self.reconstruction.camera.roll
        spin = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        reach = (uvz[self._skull, :2] @ (self._directions @ spin).T).max(axis=0) - self._reach
        along = (self._outward @ spin * moved).sum(axis=1)
        leaving = np.clip((0.3 - normals[self._anchors, 2]) / 0.3, 0, 1)
        missing = self._outline * leaving * (reach[self._sector] - along)
        moved += missing[:, None] * (self._outward @ spin)
        return np.concatenate([moved, np.zeros_like(self._still)])

    def _outline_of_skull(self) -> None:
        """What the motion of the skull's outline is read from: its reach in 48 directions."""
        model = self.reconstruction.model
        n = model.n_vertices
        none = np.zeros(n, bool)
        skull = model.regions.get("scalp", none).copy()
        if skull.any():
            skull |= model.face_vertices & (model.mean[:, 1] > np.percentile(model.mean[skull, 1], 25))
        self._skull = np.flatnonzero(skull)
        angle = np.arange(48) * (2 * np.pi / 48)
        self._directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        normal = self._normals[self._anchors].astype(np.float64)
        outward = normal[:, :2] * [1, -1]  # v is down
        self._outward = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        self._sector = (
            np.rint(np.arctan2(self._outward[:, 1], self._outward[:, 0]) / (2 * np.pi / 48)).astype(int) % 48
        )
        self._reach = np.zeros(48)
        self._outline = np.zeros(len(self._anchors))
        if len(self._skull):
            self._reach = (self._uvz[self._skull, :2] @ self._directions.T).max(axis=0)
            # vertices at the outline: they reach about as far out as any
            short = self._reach[self._sector] - (self._uvz[self._anchors, :2] * self._outward).sum(axis=1)
            near = np.clip(1.5 - short / (8.0 * self.reconstruction.camera.scale), 0, 1)
            self._outline = near * np.clip((0.6 - normal[:, 2]) / 0.3, 0, 1) * skull[self._anchors]

    def _halo(
        self, uvz: Float64, normals: Float32, light: ArrayLike, floor: Float64
    ) -> tuple[Float32, tuple[int, int, int, int]]:
        """How a new light changes the head: (h, w, 3) factors over a box of the picture around it.

        Coarse and smooth: hair and neck are lit like the model's scalp and neck.
        """
        import cv2

        r = self.reconstruction
        n = r.model.n_vertices
        box = self._head_box(uvz)
        left, top, right, bottom = box
        if right - left < 2 or bottom - top < 2:
            return np.zeros((0, 0, 3), np.float32), (0, 0, 0, 0)
        old = np.maximum(shade(self._normals[:n], r.light), self._floor)
        new = np.maximum(shade(normals[:n], light), floor)
        change = (new / old).astype(np.float32)
        zoom = 80.0 / max(right - left, bottom - top)
        w, h = max(round((right - left) * zoom), 2), max(round((bottom - top) * zoom), 2)
        scale = np.array([w / (right - left), h / (bottom - top), 1.0])
        drawn = rasterize((uvz[:n] - [left, top, 0]) * scale, r.model.triangles, h, w, cull_backfaces=True)
        mask = drawn.mask.astype(np.float32)
        both = np.dstack([interpolate(drawn, r.model.triangles, change), mask])
        mm = r.camera.scale * zoom
        # near the head as at its edge; farther off, where only hair is, more and more like its mean
        spread = np.full_like(both, 1e-6)
        for sigma, weight in ((5.0, 1.0), (20.0, 0.02)):
            spread += weight * np.asarray(cv2.GaussianBlur(both, (0, 0), max(sigma * mm, 0.7)))
        spread[:, :, :3] += 1e-6 * (both[:, :, :3].sum(axis=(0, 1)) / max(float(mask.sum()), 1.0) - 1)
        factor = np.ascontiguousarray(spread[:, :, :3] / spread[:, :, 3:])
        return np.asarray(
            cv2.resize(factor, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        ), box

    def _head_box(self, uvz: Float64) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the picture's part that head and hair may lie in."""
        r = self.reconstruction
        height, width = r.image.shape[:2]
        reach = _HAIR_MM * r.camera.scale
        n = r.model.n_vertices
        low, high = uvz[:n, :2].min(axis=0) - reach, uvz[:n, :2].max(axis=0) + reach
        left, top = (int(x) for x in np.clip(np.floor(low), 0, [width, height]))
        right, bottom = (int(x) for x in np.clip(np.ceil(high), [left, top], [width, height]))
        return left, top, right, bottom

    @cached_property
    def _matte(self) -> Image:
        """(H, W) how much of the photo's pixels is head or hair; only new lights need it."""
        r = self.reconstruction
        box = self._head_box(self._uvz)
        left, top, right, bottom = box
        if right - left < 8 or bottom - top < 8:
            return np.zeros(r.image.shape[:2], np.uint8)
        zoom = min(200.0 / max(right - left, bottom - top), 1.0)
        w, h = max(round((right - left) * zoom), 2), max(round((bottom - top) * zoom), 2)
        uvz = (self._uvz - [left, top, 0]) * [w / (right - left), h / (bottom - top), 1.0]
        drawn = rasterize(uvz[: r.model.n_vertices], r.model.triangles, h, w)
        # collars hide the neck, hair the ears
        none = np.zeros(r.model.n_vertices, bool)
        loose = (r.model.regions.get("neck", none) | r.model.regions.get("ears", none)) & ~self.surface.drawn
        firm = np.logical_not(loose[r.model.triangles].any(axis=1))
        head = np.where(drawn.mask, np.where(firm[np.maximum(drawn.triangle, 0)], 2, 1), 0).astype(np.uint8)
        return head_matte(r.image, head, box, r.camera.scale)


def _window(halo: Float32, box: tuple[int, int, int, int], wanted: tuple[int, int, int, int]) -> Float32:
    """The part of a halo over another box; 1 where that is larger."""
    left, top, right, bottom = wanted
    out = np.ones((bottom - top, right - left, 3), np.float32)
    x0, y0, x1, y1 = max(left, box[0]), max(top, box[1]), min(right, box[2]), min(bottom, box[3])
    if x0 < x1 and y0 < y1:
        part = halo[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
        out[y0 - top : y1 - top, x0 - left : x1 - left] = part
    return out


def _distance_to_edges(depth: Float32, uvz: Float64, jump_mm: float = 8.0) -> Float64:
    """(N,) px from each point to where a drawing ends or its depth jumps."""
    import cv2

    far = np.where(np.isfinite(depth), depth, np.float32(-1e3))
    near = np.asarray(cv2.dilate(far, np.ones((3, 3), np.uint8)))
    low = np.asarray(cv2.erode(far, np.ones((3, 3), np.uint8)))
    flat = ((near - low < jump_mm) & np.isfinite(depth)).astype(np.uint8)
    distance = np.asarray(cv2.distanceTransform(np.pad(flat, 1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    row = np.clip(uvz[:, 1].astype(int), 0, len(depth) - 1)
    column = np.clip(uvz[:, 0].astype(int), 0, depth.shape[1] - 1)
    return distance[row, column].astype(np.float64)


def _soft_mask(mask: NDArray[np.bool_], scale: float) -> Float32:
    """(h, w) 1 inside, fading to 0 at the edge of what was drawn; the picture's border is no edge."""
    import cv2

    reach = max(round(0.6 * scale), 1)
    size = 2 * reach + 1
    mean = np.asarray(cv2.blur(mask.astype(np.float32), (size, size), borderType=cv2.BORDER_REPLICATE))
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
) -> Reconstruction:
    """The photo with another pose, expression or light, as a reconstruction of the new picture.

    Its `image` (H, W, 3) uint8 is the picture; camera, expression, light and coarse depth are those of the
    edit, so that it can be saved or edited again. For many variations of one photo make an `Editor`.

    Args:
        reconstruction: of the photo.
        yaw, pitch, roll: radians, absolute; those left out stay as in the photo.
        turn: (pitch, yaw, roll) in radians, added.
        expression: weights by name, of the model's expressions or of the friendly names in
            `synthesis.EXPRESSIONS`; they replace those weights and leave the others.
        neutral: take the photo's expression away first.
        light: a name of `synthesis.LIGHTS`, rotate:DEG, or coefficients (9, 3).
        background: keep what is not the face; black without.

    Raises:
        EditError: an unknown name, or a number out of range.
    """
    return Editor(reconstruction).edit(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        turn=turn,
        expression=expression,
        neutral=neutral,
        light=light,
        background=background,
    )
