"""How hair, ears, neck and background follow a head: which points pull the warp, and where to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.synthesis.photo import PhotoFace
from facerelief.synthesis.warp import BackgroundWarp, WarpField
from facerelief.typed import Float32, Float64

_DIRECTIONS = 48


class Follower:
    """The background of one photo, ready to follow any motion of its head."""

    def __init__(self, photo: PhotoFace) -> None:
        self.photo = photo
        self._anchors, self._follow = self._anchor_vertices()
        self._outline_of_skull()
        self.warp = self._background_warp()

    def __call__(self, uvz: Float64, camera: WeakPerspective, normals: Float32) -> WarpField:
        """The warped picture's sources when the surface's vertices are seen at uvz (N + M, 3) by `camera`."""
        return self.warp(self.displacement(uvz, camera, normals))

    def displacement(self, uvz: Float64, camera: WeakPerspective, normals: Float32) -> Float64:
        """(P, 2) px by which the warp's points move."""
        moved = (uvz[self._anchors, :2] - self.photo.uvz[self._anchors, :2]) * self._follow[:, None]
        if not len(self._skull):
            return np.concatenate([moved, np.zeros_like(self._still)])
        # hair hides the skull's points at its outline: there the outline's motion counts, not the points'
        roll = camera.roll - self.photo.reconstruction.camera.roll
        spin = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        reach = (self._directions @ spin @ uvz[self._skull, :2].T).max(axis=1) - self._reach
        along = (self._outward @ spin * moved).sum(axis=1)
        leaving = np.clip((0.3 - normals[self._anchors, 2]) / 0.3, 0, 1)
        missing = self._outline * leaving * (reach[self._sector] - along)
        moved += missing[:, None] * (self._outward @ spin)
        return np.concatenate([moved, np.zeros_like(self._still)])

    def _anchor_vertices(self) -> tuple[NDArray[np.intp], Float64]:
        """Vertices that pull the background along, and how much (0..1) of their motion they pass on."""
        from scipy.spatial import KDTree

        r, surface = self.photo.reconstruction, self.photo.surface
        model = r.model
        n = model.n_vertices
        eyes = model.eyeballs
        # beyond the frame too: what is cut off still pulls
        shown = self._hidden_by_none()
        rim = surface.drawn & ~eyes & (surface.outline_mm < 12.0)
        # where the face hides its own far side, its contour is the end of it
        contour = (self.photo.face_end_mm[:n] < 6.0) & (self.photo.normals[:n, 2] < 0.45)
        rim |= surface.drawn & ~eyes & contour
        if not rim.any():  # a model all of skin: its silhouette
            rim = surface.drawn & (self.photo.normals[:n, 2] < 0.5)
        other = ~surface.drawn
        chosen = shown & (rim | other)
        near = np.flatnonzero(shown & surface.drawn & ~eyes)
        rest = np.flatnonzero(shown & other)
        if len(near) and len(rest):
            # behind the edge of the face (neck under the jaw): two motions in one place; the face's counts
            gap, place = KDTree(self.photo.uvz[near, :2]).query(self.photo.uvz[rest, :2])
            deep = self.photo.uvz[near[place], 2] - self.photo.uvz[rest, 2] > 10.0
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
        r = self.photo.reconstruction
        low, high = self.photo.uvz[:, :2].min(axis=0), self.photo.uvz[:, :2].max(axis=0)
        zoom = min(320.0 / float((high - low).max() + 1e-9), 4.0)
        camera = r.camera.in_crop(low[0] - 1 / zoom, low[1] - 1 / zoom, zoom)
        w, h = (int(x) for x in np.ceil((high - low) * zoom) + 2)
        uvz = camera.project(r.vertices.astype(np.float64))
        drawn = rasterize(uvz, r.model.triangles, h, w, cull_backfaces=True)
        return visible_vertices(
            uvz, r.model.triangles, drawn, self.photo.normals[: len(uvz)], tolerance_mm=2.0
        )

    def _outline_of_skull(self) -> None:
        """What the motion of the skull's outline is read from: its reach in 48 directions."""
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
            # vertices at the outline: they reach about as far out as any
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
            # shoulders stay: a line of points below the neck that do not move
            neck = self.photo.uvz[: r.model.n_vertices][r.model.regions["neck"]]
            y, s = float(neck[:, 1].max()) + 20.0 * r.camera.scale, r.camera.scale
            u = float(neck[:, 0].mean()) + np.arange(-160.0, 161.0, 10.0) * s
            self._still = np.column_stack([u, np.full(len(u), y)])
        height, width = r.image.shape[:2]
        return BackgroundWarp(np.concatenate([points, self._still]), height, width)
