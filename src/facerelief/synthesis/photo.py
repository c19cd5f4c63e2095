"""The face of a photo prepared for edits: the costly part, done once per photo.

Prepared are, for each vertex of the rendered surface (`surface.FaceSurface`), its place in the photo and the
trust in it; for each pixel of the photo fine minus smooth normals; the completed texture without the photo's
light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import camera_normals
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.morphable.front import solid_triangles
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import interpolate, rasterize, visible_vertices
from facerelief.rendering.texture import complete_texture, paint_islands, sample_texture
from facerelief.synthesis.surface import face_surface
from facerelief.typed import Float, Float32, Float64, Image

if TYPE_CHECKING:  # imports OpenCV
    from facerelief.face.reconstruction import Reconstruction


Box = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of the image, px."""

_FLOOR = 0.25
"""Least shading, as a share of the face's mean: deep shadows have no colour to brighten."""
_MOUTH_FRONT = 2.0
"""Share of the direction to the viewer, against 1 of their own, in normals of the mouth's inside."""
_REDDER = (0.12, 0.27)
"""Difference of log red by green, photo minus model, in the mouth at which trust begins to fall, and is 0."""
_STEEP = 0.35
"""Approximately the largest turn of a normal by relief, radians."""


class PhotoFace:
    """A photo's face, prepared for lookups from any other pose; arguments as for `edit.Editor`."""

    def __init__(self, reconstruction: Reconstruction, texture_size: int | None, relief: float) -> None:
        r = reconstruction
        self.reconstruction = r
        self.surface = surface = face_surface(r.model)
        n = r.model.n_vertices
        # the mouth's lining has vertices of its own: its triangles follow the model's
        solid, _ = solid_triangles(r.model)
        self.all_triangles = np.concatenate([solid, surface.triangles[surface.first_mouth :]])
        self.vertices = surface.extended(r.vertices)
        self.uvz: Float64 = r.camera.project(self.vertices.astype(np.float64)).astype(np.float64)
        self.normals = self.camera_normals(r.camera, self.vertices)
        self.area = self.areas(self.uvz)
        front = surface.rendered & ~surface.inner & (self.normals[:n, 2] > 0.3)
        self.front = np.flatnonzero(front if front.any() else surface.rendered)
        self.visible = self._visible_in_photo()
        self.floor = self.least_shading(self.normals, r.light)
        self.relief, self.relief_left, self.relief_top = self._relief_normals(relief)
        self.colors = np.zeros((len(self.vertices), 3), np.float32)
        self.colors[:n] = np.clip(r.model.skin(r.albedo), 0, 1)
        self.albedo = self._photo_albedo()
        self.skin_seen = self._skin_seen()
        self.lit = np.ones(len(self.vertices))
        self.lit[:n] = self.skin_seen
        self.seen = self._trusted()
        self.inset = surface.inset.astype(np.float64)
        # a hidden outline has no surroundings to blend with
        self.inset[:n] = np.where(surface.rendered, np.maximum(self.inset[:n], self.hidden), 0)
        self.texture, self.texture_uv = self._albedo_texture(texture_size)

    def camera_normals(self, camera: WeakPerspective, vertices: Float32) -> Float32:
        """(N + M, 3) float32, camera space."""
        seen = camera.to_camera(vertices.astype(np.float32))
        normals = vertex_normals(seen, self.all_triangles).astype(np.float32)
        if self.surface.in_mouth.any():
            # light enters a mouth from the front alone
            turned = normals[: len(self.surface.in_mouth)]
            inside = turned[self.surface.in_mouth] + np.array([0, 0, _MOUTH_FRONT], np.float32)
            turned[self.surface.in_mouth] = inside / np.linalg.norm(inside, axis=1, keepdims=True)
        return normals

    def areas(self, uvz: Float64) -> Float64:
        """(N + M,) area, px^2, of the triangles around each vertex that face the viewer; uvz: (N + M, 3)."""
        from facerelief.synthesis import _kernels

        out = np.empty(len(uvz))
        _kernels.projected_areas(uvz, self.surface.triangles, out)
        return out

    def least_shading(self, normals: Float32, light: ArrayLike) -> Float64:
        """(3,) least shading by a light (9, 3): a share of the face's mean; proportional to the light."""
        mean = np.maximum(shade(normals[self.front], light), 0).mean(axis=0)
        return np.maximum(_FLOOR * mean, 1e-6).astype(np.float64)

    def shape(self, weights: Float32) -> Float32:
        """(N, 3) the photo's shape with other expression weights (E,), model space, mm."""
        r = self.reconstruction
        change = weights - r.expression
        if not change.any():
            return r.vertices
        with np.errstate(invalid="ignore"):  # some BLAS builds raise the flag on finite operands
            moved = np.asarray(r.vertices + (change @ self.surface.motions).reshape(-1, 3), np.float32)
        r.model.correct(moved, r.identity, change)
        return moved

    def mouth_share(self, shape: Float32) -> tuple[float, float]:
        """Share of the photo in the inside of the mouth, and in the parts of it that the photo shows;
        both are 1 if the mouth of the shape (N, 3) is open about as wide as the photo's."""
        surface = self.surface
        if not len(surface.lips[0]):
            return 0.0, 0.0
        old, new = surface.lip_gap(self.reconstruction.vertices), surface.lip_gap(shape)
        ratio = (float(old.mean()) + 0.5) / (float(new.mean()) + 0.5)
        seen = np.clip((float(old.max()) - 1.5) / 2.0, 0, 1)
        same, wide = np.clip((ratio - 0.8) / 0.15, 0, 1), np.clip((ratio - 0.4) / 0.25, 0, 1)
        return float(same), float(max(seen * wide, same))

    def whole_view(self, size: float) -> tuple[WeakPerspective, float, int, int]:
        """The photo's pose in an image of the whole surface, also beyond the photo's border.

        Args:
            size: Longer side of the image, px, about.

        Returns:
            Camera, px of the image per px of the photo (at most 4), height and width.
        """
        low, high = self.uvz[:, :2].min(axis=0), self.uvz[:, :2].max(axis=0)
        zoom = min(size / float((high - low).max() + 1e-9), 4.0)
        camera = self.reconstruction.camera.in_crop(low[0] - 1 / zoom, low[1] - 1 / zoom, zoom)
        w, h = (int(x) for x in np.ceil((high - low) * zoom) + 2)
        return camera, zoom, h, w

    def _visible_in_photo(self) -> NDArray[np.bool_]:
        """(N + M,) not hidden by another part of the head, facing the viewer, and inside the image."""
        r = self.reconstruction
        camera, zoom, h, w = self.whole_view(640.0)
        uvz = camera.project(self.vertices.astype(np.float64))
        rendered = rasterize(uvz, self.all_triangles, h, w, cull_backfaces=True)
        visible = visible_vertices(uvz, self.all_triangles, rendered, self.normals, tolerance_mm=1.0)
        unit = zoom * r.camera.scale
        self.edge_mm = _distance_to_edges(rendered.depth, uvz, 8.0) / unit
        self.end_mm = _distance_to_edges(rendered.depth, uvz, np.inf) / unit
        solid, _ = solid_triangles(r.model)
        face = np.append(self.surface.rendered[solid].all(axis=1), True)
        face = face[np.minimum(rendered.triangle, len(face) - 1)] & rendered.mask
        alone = np.where(face, rendered.depth, np.float32(np.nan))
        self.face_end_mm = _distance_to_edges(alone, uvz, np.inf) / unit
        height, width = r.image.shape[:2]
        u, v = self.uvz[:, 0], self.uvz[:, 1]
        return visible & (u > 0.5) & (v > 0.5) & (u < width - 0.5) & (v < height - 0.5)

    def _skin_seen(self) -> Float64:
        """(N,) 0..1: 0 for vertices near the face's edges where the photo is much brighter than skin.

        There the fit is inexact and shows a bright background; dark pixels may be hair and stay.
        """
        r, surface = self.reconstruction, self.surface
        n = r.model.n_vertices
        albedo, left, top = self.albedo
        column = np.clip((self.uvz[:n, 0] - left).astype(int), 0, albedo.shape[1] - 1)
        row = np.clip((self.uvz[:n, 1] - top).astype(int), 0, albedo.shape[0] - 1)
        ratio = np.log((albedo[row, column] + 0.02) / (self.colors[:n] + 0.02)).astype(np.float64)
        eyes = r.model.eyeballs
        skin = self.visible[:n] & surface.rendered & ~eyes & ~surface.inner
        inner = skin & (self.normals[:n, 2] > 0.7)
        out = np.ones(n)
        if np.count_nonzero(inner) < 50:
            return out
        middle = np.median(ratio[inner], axis=0)
        outer = skin & ((self.end_mm[:n] < 10) | (surface.outline_mm < 20))
        # the photo itself must be bright too: division by little light brightens everything
        column, row = np.clip(column + left, 0, r.image.shape[1] - 1), np.clip(row + top, 0, len(r.image) - 1)
        photo = r.image[row, column].astype(np.float64).min(axis=1)
        bright = outer & ((ratio - middle).min(axis=1) > 0.3) & (photo > 1.15 * np.median(photo[inner]))
        a, b = surface.neighbours
        wide = bright.astype(np.float64)
        for _ in range(2):
            now = wide.copy()
            np.maximum.at(now, a, 0.75 * wide[b])
            wide = now
        out[skin] = 1 - np.clip(1.6 * wide[skin], 0, 1)
        return out

    def _mouth_seen(self) -> Float64:
        """(N,) 1, falling to 0 for vertices in the mouth where the photo is redder than the model: there an
        inexact fit shows lips on teeth."""
        out = np.ones(len(self.skin_seen))
        inside = np.flatnonzero(self.surface.in_mouth)
        if len(inside):
            albedo, left, top = self.albedo
            column = np.clip((self.uvz[inside, 0] - left).astype(int), 0, albedo.shape[1] - 1)
            row = np.clip((self.uvz[inside, 1] - top).astype(int), 0, albedo.shape[0] - 1)
            photo, model = (np.log(x[:, :2] + 0.02) for x in (albedo[row, column], self.colors[inside]))
            redder = (photo[:, 0] - photo[:, 1]) - (model[:, 0] - model[:, 1])
            least, most = _REDDER
            out[inside] = 1 - np.clip((redder - least) / (most - least), 0, 1)
        return out

    def _trusted(self) -> Float32:
        """(N + M,) 0..1 trust in the photo at each vertex: 0 where hidden, rising over some mm beside it."""
        r, surface = self.reconstruction, self.surface
        n = r.model.n_vertices
        a, b = surface.neighbours
        seen = self.visible[:n].astype(np.float64)
        eyes = r.model.eyeballs
        # at the rim of an eye, hidden by lids, pixels of the eye are better than completed ones
        near = seen.copy()
        np.maximum.at(near, a, seen[b])
        edge = surface.rendered & ~eyes & ~surface.inner
        least = seen.copy()
        np.minimum.at(least, a, seen[b])
        value = np.where(edge, least, near)
        degree = np.maximum(np.bincount(a, minlength=n), 1)
        for _ in range(2):
            value = np.where(eyes, value, 0.5 * value + 0.5 * np.bincount(a, value[b], minlength=n) / degree)
        value *= self.skin_seen * self._mouth_seen()
        self.hidden = np.clip(1 - 3 * value, 0, 1)
        facing = np.clip((self.normals[:n, 2] - 0.08) / 0.22, 0, 1)
        out = np.ones(len(self.vertices), np.float32)
        # at an edge an inexact fit shows the background
        margin = np.clip((self.edge_mm[:n] - 0.5) / 2.5, 0, 1)
        out[:n] = value * np.where(eyes, 1.0, facing * margin)
        return out

    def _relief_normals(self, share: float) -> tuple[Float32, int, int]:
        """(h, w, 3) fine minus smooth normals, times `share`, and left and top; empty without relief."""
        r = self.reconstruction
        if r.fine is None:
            return np.zeros((0, 0, 3), np.float32), 0, 0
        fine = r.fine
        normals = camera_normals(fine.depth, r.camera, fine.left, fine.top)
        rendered = rasterize(
            self.uvz - [fine.left, fine.top, 0],
            self.surface.triangles,
            *fine.depth.shape,
            cull_backfaces=True,
        )
        smooth = interpolate(rendered, self.surface.triangles, self.normals)
        smooth /= np.maximum(np.linalg.norm(smooth, axis=2, keepdims=True), 1e-6)
        good = rendered.mask & np.isfinite(normals).all(axis=2) & (normals[:, :, 2] > 0.2)
        out = np.where(good[:, :, None], normals - smooth, 0).astype(np.float32)
        # steep steps are more often edges (lids, lips, nostrils) than wrinkles
        steep = np.linalg.norm(out, axis=2, keepdims=True)
        out *= share / np.maximum(1.0, steep / _STEEP)
        return np.ascontiguousarray(out), fine.left, fine.top

    def _albedo_texture(self, size: int | None) -> tuple[Float32, Float64]:
        """Completed texture (S, S, 3) of the face without the photo's light, and the model's uv in texels."""
        r, model = self.reconstruction, self.reconstruction.model
        if not len(self.surface.uv_triangles):
            return np.zeros((0, 0, 3), np.float32), np.zeros((0, 2))
        face = self.uvz[: model.n_vertices][self.surface.rendered]
        if size is None:
            extent = float(np.ptp(face[:, :2], axis=0).max())
            size = int(np.clip(2 ** np.ceil(np.log2(max(extent, 1.0) * 1.3)), 256, 1024))
        albedo, left, top = self.albedo
        eyes = model.eyeballs[model.triangles].all(axis=1)
        loose = model.region("ears") | (model.region("neck") & ~model.face_vertices)
        loose = loose[model.triangles].any(axis=1)
        inner = np.asarray(self.surface.inner[model.triangles].any(axis=1))

        def part(kept: Any) -> Mesh:
            return Mesh(r.vertices, model.triangles[kept], uv=model.uv, uv_triangles=model.uv_triangles[kept])

        # halved, so that an albedo above 1 (a highlight) is not clipped
        half, camera = np.float32(0.5), r.camera.in_crop(left, top, 1.0)
        base = self.colors[: model.n_vertices] * half
        sampled, weight = sample_texture(albedo * half, part(~loose & ~inner), camera, size, margin_mm=4.0)
        uv = np.column_stack([model.uv[:, 0], 1 - model.uv[:, 1]]).astype(np.float64) * size
        flat = np.column_stack([uv, np.zeros(len(uv))])
        islands = rasterize(flat, model.uv_triangles, size, size)
        trust = self.skin_seen * ~self.surface.near_openings
        weight *= interpolate(islands, model.triangles, trust.astype(np.float32))
        texture = complete_texture(sampled, weight, part(~eyes & ~loose & ~inner), model.symmetry, base)
        # hidden parts are mostly deep and dark: nostrils, the inner lips
        dark = interpolate(islands, model.triangles, 1 - self.surface.openness)
        texture *= (1 - dark * np.clip(1 - 2 * weight, 0, 1))[:, :, None]
        if inner.any():
            open_base = base * self.surface.openness[:, None]
            paint_islands(texture, part(np.ones(len(inner), bool)), inner, open_base)
        if eyes.any():
            rendered = rasterize(flat, model.uv_triangles[eyes], size, size)
            own = interpolate(rendered, model.triangles[eyes], base)
            share = (np.clip(weight / 0.5, 0, 1) * rendered.mask)[:, :, None]
            texture = np.where(rendered.mask[:, :, None], own + (sampled - own) * share, texture)
        return np.ascontiguousarray(texture / half, np.float32), uv

    def _photo_albedo(self) -> tuple[Float32, int, int]:
        """(h, w, 3) the photo divided by its shading around the face, and left and top of that part.

        `Reconstruction.skin` is blended with the model's colours, which would show a seam beside the photo's
        own pixels.
        """
        r = self.reconstruction
        left, top, right, bottom = image_box(self.uvz, 2.0, r.image)
        if right <= left or bottom <= top:
            return np.ones((1, 1, 3), np.float32), 0, 0
        rendered = rasterize(
            self.uvz - [left, top, 0], self.all_triangles, bottom - top, right - left, cull_backfaces=True
        )
        normals = interpolate(rendered, self.all_triangles, self.normals)
        if len(self.relief):
            h, w = self.relief.shape[:2]
            y0, x0 = max(self.relief_top - top, 0), max(self.relief_left - left, 0)
            sy, sx = max(top - self.relief_top, 0), max(left - self.relief_left, 0)
            part = self.relief[sy : sy + bottom - top - y0, sx : sx + right - left - x0]
            h, w = part.shape[:2]
            normals[y0 : y0 + h, x0 : x0 + w] += part
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
        shading = np.maximum(shade(normals, r.light), self.floor).astype(np.float32)
        photo = r.image[top:bottom, left:right].astype(np.float32) / np.float32(255)
        out = photo / shading
        return out, left, top


def _distance_to_edges(depth: Float32, uvz: Float, jump_mm: float) -> Float64:
    """(N,) px from each point to the nearest edge of a depth map (h, w), or jump of `jump_mm`."""
    import cv2

    far = np.where(np.isfinite(depth), depth, np.float32(-1e3))
    near = np.asarray(cv2.dilate(far, np.ones((3, 3), np.uint8)))
    low = np.asarray(cv2.erode(far, np.ones((3, 3), np.uint8)))
    flat = ((near - low < jump_mm) & np.isfinite(depth)).astype(np.uint8)
    distance = np.asarray(cv2.distanceTransform(np.pad(flat, 1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    row = np.clip(uvz[:, 1].astype(int), 0, len(depth) - 1)
    column = np.clip(uvz[:, 0].astype(int), 0, depth.shape[1] - 1)
    return distance[row, column].astype(np.float64)


def image_box(uv: Float64, margin: float, image: Image) -> Box:
    """The part of an image around points (N, 2 or more) px with a margin, px; empty if they lie outside."""
    height, width = image.shape[:2]
    # one reduction per column is several times faster
    low = np.floor([uv[:, 0].min() - margin, uv[:, 1].min() - margin])
    high = np.ceil([uv[:, 0].max() + margin, uv[:, 1].max() + margin])
    left, top = (int(x) for x in np.clip(low, 0, [width, height]))
    right, bottom = (int(x) for x in np.clip(high, [left, top], [width, height]))
    return left, top, right, bottom
