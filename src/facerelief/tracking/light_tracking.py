"""Light on a followed face: measured in each frame on points of plain skin whose albedo is known.

Spherical-harmonic light is linear in its coefficients (Ramamoorthi & Hanrahan 2001), so each frame costs one
least-squares solve with 9 unknowns per channel. The same points show whether the skin has changed: their
brightness is correlated with a running reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.photometric_term import Appearance
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import LUMA
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.typed import Bool, Float32, Image

_POINTS = 350
"""Approximate number of skin points at which light is measured."""
_LEAST_POINTS = 40
"""With fewer visible points light is not measured and the face not confirmed."""
_HOLD = 0.02
"""Weight of the previous light, as a share of the measurements' mean weight."""
_FORGETTING = 0.05
"""Share of each frame in the reference brightness."""


class LightTracker:
    """Albedo, light and reference brightness of one followed face.

    Args:
        model: Face model; its plain skin is measured.
        ncc_drop: The skin has changed when its correlation with the reference falls by more than this.
    """

    def __init__(self, model: FaceModel, ncc_drop: float) -> None:
        self.model, self.ncc_drop = model, ncc_drop
        self._corners = model.triangles[_skin_triangles(model)]
        self._appearance: Appearance | None = None
        self._skin: Float32 | None = None
        """(P, 3) albedo at the points."""
        self._reference: Float32 | None = None
        """(P,) reference brightness of the points, NaN until visible for the first time."""
        self.likeness = 1.0
        """Running correlation of the points' brightness with the reference."""

    @property
    def appearance(self) -> Appearance | None:
        """Albedo of the face and light of the last frame; None before `start`."""
        return self._appearance

    def start(self, appearance: Appearance) -> None:
        """Begin with the albedo of a face, which stays fixed, and its first light."""
        self._appearance = appearance
        self._skin = self.model.skin(appearance.albedo)[self._corners].mean(axis=1).astype(np.float32)

    def forget_reference(self) -> None:
        """Take the next frame's brightness as the reference; the likeness stays."""
        self._reference = None

    def measure(self, image: Image, vertices: Float32, camera: WeakPerspective) -> tuple[Float32, bool]:
        """Light of a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            vertices: (N, 3) model space, mm.
            camera: Camera of the frame.

        Returns:
            Light (9, 3) that explains the skin best, held near the last one; and True if the skin is
            unchanged. With too few visible points the light is the last one and the skin counts as changed.
        """
        assert self._appearance is not None
        assert self._skin is not None
        corners = vertices[self._corners]
        turned = corners @ camera.rotation.T.astype(np.float32)
        normal = np.cross(turned[:, 1] - turned[:, 0], turned[:, 2] - turned[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        uv = camera.project(corners.mean(axis=1))[:, :2]
        column, row = np.floor(uv).astype(int).T
        height, width = image.shape[:2]
        seen = (normal[:, 2] > 0.35) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        light = self._appearance.light
        if np.count_nonzero(seen) < _LEAST_POINTS:
            return light, False
        color = image[row[seen], column[seen]] / np.float32(255)
        same = self._unchanged(np.asarray(color @ LUMA, np.float32), seen)
        basis = sh_basis(normal[seen]).astype(np.float32)
        shaded = basis.T[None] * self._skin[seen].T[:, None]  # (3, 9, P)
        gram = shaded @ shaded.transpose(0, 2, 1)
        hold = _HOLD / 9 * np.trace(gram, axis1=1, axis2=2)[:, None]
        target = (shaded @ color.T[:, :, None])[:, :, 0] + hold * light.T
        out = np.linalg.solve(gram + hold[:, :, None] * np.eye(9), target[:, :, None])[:, :, 0]
        out = out.T.astype(np.float32)
        self._appearance = Appearance(self._appearance.albedo, out)
        return out, same

    def _unchanged(self, brightness: Float32, seen: Bool) -> bool:
        """Compare the visible points' brightness (Q,) with the reference, which then follows it slowly."""
        now = np.full(len(seen), np.nan, np.float32)
        now[seen] = brightness
        if self._reference is None:
            self._reference, self.likeness = now, 1.0
            return True
        both = seen & np.isfinite(self._reference)
        if np.count_nonzero(both) < _LEAST_POINTS:
            return False
        a, b = now[both] - now[both].mean(), self._reference[both] - self._reference[both].mean()
        ncc = float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-9))
        if ncc < self.likeness - self.ncc_drop:
            return False
        self.likeness += 0.1 * (ncc - self.likeness)
        held = np.where(np.isfinite(self._reference), self._reference, now)
        fresh = np.where(seen, now, held)
        self._reference = held + np.float32(_FORGETTING) * (fresh - held)
        return True


def _skin_triangles(model: FaceModel) -> NDArray[np.intp]:
    """(P,) triangles of plain skin, spread over the face."""
    plain = model.face_vertices & ~model.region("lips", "eyes", "brows", "eyeballs")
    whole = np.flatnonzero(plain[model.triangles].all(axis=1))
    return whole[:: max(1, len(whole) // _POINTS)]
