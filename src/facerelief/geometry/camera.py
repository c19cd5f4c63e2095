"""The one camera type: weak perspective (scaled orthography), or perspective aimed at the face.

Convention: model and camera space are right-handed millimetres, x to the image's right, y up, z toward the
viewer. Image space is pixels, origin top-left, y down, pixel (i, j) covering [j, j+1) x [i, i+1). With
(x, y, z) = R p:

    u = s w x + t_u        v = t_v - s w y        w = 1 / (1 - k z)        R = R_z(roll) R_y(yaw) R_x(pitch)

so yaw > 0 turns the face to the image's right, pitch > 0 makes it look down, roll > 0 tilts it
counter-clockwise as seen. k is the inverse of the distance from the camera to the model's origin; with k = 0,
the default, w = 1: weak perspective. The optical axis passes through the model's origin, so a crop, a turn
and a zoom of the image are those of the camera whatever k is, and angles are relative to the ray to the
face. A camera whose axis passes elsewhere differs by a stretch of 1 / cos of the angle between both, which is
left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.normals import floating
from facerelief.geometry.rotation import euler_from_matrix, matrix_from_euler
from facerelief.typed import Float


@dataclass(frozen=True)
class WeakPerspective:
    """Pose of a face in an image: angles in radians, translation in px, scale in px/mm at the origin."""

    pitch: float
    yaw: float
    roll: float
    translation_u: float
    translation_v: float
    scale: float
    inverse_distance: float = 0.0
    """1/mm, from the camera to the model's origin; 0 for weak perspective."""

    @classmethod
    def from_vector(cls, pose: ArrayLike, inverse_distance: float = 0.0) -> WeakPerspective:
        """From (pitch, yaw, roll, t_u, t_v, s)."""
        pitch, yaw, roll, tu, tv, s = (float(x) for x in np.asarray(pose, dtype=float).reshape(6))
        return cls(pitch, yaw, roll, tu, tv, s, float(inverse_distance))

    @classmethod
    def from_matrix(
        cls, rotation: ArrayLike, translation: ArrayLike, scale: float, inverse_distance: float = 0.0
    ) -> WeakPerspective:
        """From a (3, 3) rotation, (2,) translation in px, scale in px/mm and inverse distance in 1/mm."""
        pitch, yaw, roll = euler_from_matrix(np.asarray(rotation, dtype=float))
        tu, tv = (float(x) for x in np.asarray(translation, dtype=float).reshape(2))
        return cls(pitch, yaw, roll, tu, tv, float(scale), float(inverse_distance))

    @property
    def vector(self) -> NDArray[np.float64]:
        """(6,) pose vector (pitch, yaw, roll, t_u, t_v, s); the inverse distance is not part of it."""
        return np.array([self.pitch, self.yaw, self.roll, self.translation_u, self.translation_v, self.scale])

    def moved(self, similarity: ArrayLike) -> WeakPerspective:
        """The camera of the image after a similarity (2, 3), px to px, without mirroring.

        This is exact: a turned, scaled and shifted image is that of another camera aimed at the face.
        """
        matrix = np.asarray(similarity, np.float64)
        turn = matrix[:, :2]
        zoom = float(np.sqrt(abs(np.linalg.det(turn))))
        angle = float(np.arctan2(turn[0, 1], turn[0, 0]))
        u, v = turn @ [self.translation_u, self.translation_v] + matrix[:, 2]
        roll = (self.roll + angle + np.pi) % (2 * np.pi) - np.pi
        return replace(
            self, roll=float(roll), translation_u=float(u), translation_v=float(v), scale=self.scale * zoom
        )

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) rotation from model to camera space."""
        return matrix_from_euler(self.pitch, self.yaw, self.roll)

    def to_camera(self, points: ArrayLike) -> Float:
        """(..., 3) model points, mm -> (..., 3) rotated to camera space, mm."""
        p = floating(points)
        return p @ self.rotation.T.astype(p.dtype)

    def magnification(self, depth: ArrayLike) -> Float:
        """(...) 1 / (1 - k z) for depths z (...), mm along camera z; NaN for points behind the camera.

        The scale at a depth, px/mm, is `scale` times this.
        """
        z = floating(depth)
        if not self.inverse_distance:
            return np.ones_like(z)
        away = 1.0 - self.inverse_distance * z
        return (1.0 / np.where(away > 1e-3, away, np.nan)).astype(z.dtype)

    @property
    def focal_length_px(self) -> float:
        """Focal length, px: scale times distance; infinite for weak perspective."""
        return self.scale / self.inverse_distance if self.inverse_distance else float("inf")

    def project(self, points: ArrayLike) -> Float:
        """(..., 3) model points, mm -> (..., 3) of (u px, v px, z mm); larger z is nearer.

        u and v of points behind the camera are NaN.
        """
        q = self.to_camera(points)
        uv = self.image_points(q)
        return np.stack([uv[..., 0], uv[..., 1], q[..., 2]], axis=-1).astype(q.dtype)

    def image_points(self, points: Float) -> Float:
        """(..., 3) points in camera space, mm -> (..., 2) u and v, px."""
        scale = self.scale
        if self.inverse_distance:
            scale = scale * self.magnification(points[..., 2])
        u = scale * points[..., 0] + self.translation_u
        v = self.translation_v - scale * points[..., 1]
        return np.stack([u, v], axis=-1)

    def derivatives(self, points: Float) -> tuple[Float, Float]:
        """Derivatives of `image_points` at points (..., 3).

        Returns:
            (..., 2, 3) by the point, px/mm, and (..., 2) by the inverse distance, px mm.
        """
        x, y, z = np.moveaxis(points, -1, 0)
        near = self.magnification(z)
        scale = self.scale * near
        outward = np.stack([x, -y], axis=-1) * (scale * near)[..., None]  # by k z
        by_point = np.zeros((*points.shape[:-1], 2, 3), points.dtype)
        by_point[..., 0, 0], by_point[..., 1, 1] = scale, -scale
        by_point[..., 2] = self.inverse_distance * outward
        return by_point, outward * z[..., None]

    def unproject(self, uvz: ArrayLike) -> Float:
        """Inverse of `project`: (..., 3) of (u px, v px, z mm) -> (..., 3) model points, mm."""
        q = floating(uvz)
        width = (1.0 - self.inverse_distance * q[..., 2]) / self.scale
        x = (q[..., 0] - self.translation_u) * width
        y = (self.translation_v - q[..., 1]) * width
        camera = np.stack([x, y, q[..., 2]], axis=-1).astype(q.dtype)
        return camera @ self.rotation.astype(q.dtype)

    def in_crop(self, left: float, top: float, zoom: float) -> WeakPerspective:
        """The same pose in a crop with corner (left, top) px, magnified by `zoom`."""
        return replace(
            self,
            translation_u=(self.translation_u - left) * zoom,
            translation_v=(self.translation_v - top) * zoom,
            scale=self.scale * zoom,
        )
