"""Motion of hair, ears, neck and background with a head: the points that drive the warp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.synthesis.photo import PhotoFace
from facerelief.synthesis.warp import BackgroundWarp, WarpField
from facerelief.typed import Float32, Float64

_DIRECTIONS = 48


class BackgroundMotion:
    """The background of one photo, prepared for any motion of its head.

    Args:
        photo: The prepared face of the photo.
    """

    def __init__(self, photo: PhotoFace) -> None:
        self.photo = photo
        self._anchors, self._follow = self._anchor_vertices()
        self._outline_of_skull()
        self.warp = self._background_warp()

    def __call__(self, uvz: Float64, camera: WeakPerspective, normals: Float32) -> WarpField:
        """Sources of the warped image; arguments as for `displacement`."""
        return self.warp(self.displacement(uvz, camera, normals))

    def displacement(self, uvz: Float64, camera: WeakPerspective, normals: Float32) -> Float64:
        """Motion of the warp's points.

        Args:
            uvz: (N + M, 3) the surface's vertices in the new view, px, px, mm.
            camera: Camera of the new view.
            normals: (N + M, 3) in its space.

        Returns:
            (P, 2) px.
        """
        moved = (uvz[self._anchors, :2] - self.photo.uvz[self._anchors, :2]) * self._follow[:, None]
        if not len(self._skull):
            return np.concatenate([moved, np.zeros_like(self._still)])
        # hair hides the skull: its outline moves the background, not its vertices
        roll = camera.roll - self.photo.reconstruction.camera.roll
        spin = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        reach = (self._directions @ spin @ uvz[self._skull, :2].T).max(axis=1) - self._reach
        along = (self._outward @ spin * moved).sum(axis=1)
        leaving = np.clip((0.3 - normals[self._anchors, 2]) / 0.3, 0, 1)
        missing = self._outline * leaving * (reach[self._sector] - along)
        moved += missing[:, None] * (self._outward @ spin)
        return np.concatenate([moved, np.zeros_like(self._still)])

    def _anchor_vertices(self) -> tuple[NDArray[np.intp], Float64]:
        """Vertices (P,) that move the background, and the share (P,) of their motion that it follows."""
        from scipy.spatial import KDTree

        r, surface = self.photo.reconstruction, self.photo.surface
        model = r.model
        n = model.n_vertices
        eyes = model.eyeballs | surface.inner
        # also beyond the image's border
        shown = self._unoccluded()
        rim = surface.rendered & ~eyes & (surface.outline_mm < 12.0)
        # where the face hides its far side, its contour is its outline
        contour = (self.photo.face_end_mm[:n] < 6.0) & (self.photo.normals[:n, 2] < 0.45)
        rim |= surface.rendered & ~eyes & contour
        if not rim.any():  # a model of skin alone: its silhouette
            rim = surface.rendered & (self.photo.normals[:n, 2] < 0.5)
        other = ~surface.rendered & ~model.region("lashes")
        chosen = shown & (rim | other)
        near = np.flatnonzero(shown & surface.rendered & ~eyes)
        rest = np.flatnonzero(shown & other)
        if len(near) and len(rest):
            # behind the edge of the face (neck under the jaw) two motions meet: the face's is used
            gap, place = KDTree(self.photo.uvz[near, :2]).query(self.photo.uvz[rest, :2])
            deep = self.photo.uvz[near[place], 2] - self.photo.uvz[rest, 2] > 10.0
            chosen[rest[deep & (gap < 12.0 * r.camera.scale)]] = False
        follow = np.ones(n)
        if "neck" in model.regions:
            neck = model.regions["neck"] & ~surface.rendered
            y = model.mean[:, 1]
            if neck.any():
                low = float(y[neck].min())
                t = np.clip((y - low) / max(float(np.ptp(y[neck])), 1e-6), 0, 1)
                follow = np.where(neck, t * t * (3 - 2 * t), 1.0)
        ids = np.flatnonzero(chosen)
        return ids, follow[ids]

    def _unoccluded(self) -> NDArray[np.bool_]:
        """(N,) not occluded in the camera's view, inside or outside the frame."""
        r = self.photo.reconstruction
        camera, _, h, w = self.photo.whole_view(320.0)
        uvz = camera.project(r.vertices.astype(np.float64))
        rendered = rasterize(uvz, r.model.triangles, h, w, cull_backfaces=True)
        return visible_vertices(
            uvz, r.model.triangles, rendered, self.photo.normals[: len(uvz)], tolerance_mm=2.0
        )

    def _outline_of_skull(self) -> None:
        """Prepare the motion of the skull's outline: its extent in 48 directions."""
        model = self.photo.reconstruction.model
        skull = model.region("scalp")
        if skull.any():
            skull |= model.face_vertices & (model.mean[:, 1] > np.percentile(model.mean[skull, 1], 25))
        self._skull = np.flatnonzero(skull)
        angle = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
        self._directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        normal = self.photo.normals[self._anchors].astype(np.float64)
        outward = normal[:, :2] * [1, -1]  # v is down
        self._outward = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        self._sector = (
            np.rint(np.arctan2(self._outward[:, 1], self._outward[:, 0]) / (2 * np.pi / _DIRECTIONS)).astype(
                int
            )
            % _DIRECTIONS
        )
        self._reach = np.zeros(_DIRECTIONS)
        self._outline = np.zeros(len(self._anchors))
        if len(self._skull):
            self._reach = (self._directions @ self.photo.uvz[self._skull, :2].T).max(axis=1)
            # vertices at the outline: their extent is nearly the largest
            short = self._reach[self._sector] - (self.photo.uvz[self._anchors, :2] * self._outward).sum(
                axis=1
            )
            near = np.clip(1.5 - short / (8.0 * self.photo.reconstruction.camera.scale), 0, 1)
            self._outline = near * np.clip((0.6 - normal[:, 2]) / 0.3, 0, 1) * skull[self._anchors]

    def _background_warp(self) -> BackgroundWarp:
        r = self.photo.reconstruction
        points = self.photo.uvz[self._anchors, :2]
        self._still = np.zeros((0, 2))
        if "neck" in r.model.regions:
            # a line of still points below the neck holds the shoulders
            neck = self.photo.uvz[: r.model.n_vertices][r.model.regions["neck"]]
            y, s = float(neck[:, 1].max()) + 20.0 * r.camera.scale, r.camera.scale
            u = float(neck[:, 0].mean()) + np.arange(-160.0, 161.0, 10.0) * s
            self._still = np.column_stack([u, np.full(len(u), y)])
        height, width = r.image.shape[:2]
        return BackgroundWarp(np.concatenate([points, self._still]), height, width)
