"""The photometric term of inverse rendering: colour residuals of a model in an image, and their Jacobian.

E_con of Guo et al. (TPAMI 2019). The shading of a surface point uses the normal of its triangle, so the
derivative is exact (see `PhotometricTerm.linearise`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.inverse.image_level import ImageLevel
from facerelief.inverse.landmark_fit import POSE_UNKNOWNS, FaceState
from facerelief.inverse.light_prior import N_LIGHT
from facerelief.morphable.front import front_model
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import rasterize
from facerelief.rendering.spherical_harmonics import sh_basis, sh_basis_jacobian
from facerelief.typed import Bool, Float, Float32

LEAST_SEEN = 0.25
"""Share of a face that has to be bare skin for the rest of it to be left out."""


@dataclass(frozen=True, eq=False)
class Appearance:
    """Skin and light of one face."""

    albedo: Float32
    """(A,) coefficients in standard deviations."""
    light: Float32
    """(9, 3) spherical-harmonic coefficients; normals in camera space."""


@dataclass(frozen=True, eq=False)
class SurfaceSample:
    """Frozen visible surface points."""

    triangle: NDArray[np.int64]
    """(P,) ids of the model's triangles."""
    barycentric: Float32
    """(P, 3)"""


class PhotometricTerm:
    """Colour residuals of a model in an image. Prepared once per model (`photometric_term` caches it).

    Works on the front part of a model; ids of vertices and triangles are that part's.

    Unknowns: those of LandmarkTerm (pose, identity, expression), then albedo (A), then light (9 per channel,
    channel-major).
    """

    def __init__(self, model: FaceModel) -> None:
        self.model = model = front_model(model)
        face = model.face_vertices
        self.eligible: Bool = np.asarray(face[model.triangles].all(axis=1))
        self.size = POSE_UNKNOWNS + model.n_identity + model.n_expression
        # triangle corners' bases stacked would be large: vertices of the face only, renumbered
        used = np.flatnonzero(face)
        self.row_of_vertex = np.full(model.n_vertices, -1, np.int64)
        self.row_of_vertex[used] = np.arange(len(used))
        self._shapes: tuple[tuple[FaceState, Float32], ...] = ()
        nothing = np.zeros((0, 3), np.float32)
        self._skin: tuple[SurfaceSample | None, Float32, Float32] = (None, nothing, nothing)
        rows = [basis[used] for basis in (model.identity, model.expression)]
        self.face_basis: Float32 = np.concatenate(rows, axis=2, dtype=np.float32).reshape(3 * len(used), -1)

    def vertices(self, state: FaceState) -> Float32:
        """(N, 3) model space, mm; those of the last two states are kept, since a step needs them often."""
        for known, found in self._shapes:
            if known is state:
                return found
        found = self.model.shape(state.identity, state.expression)
        self._shapes = ((state, found), *self._shapes[:1])
        return found

    def sample(self, state: FaceState, level: ImageLevel, limit: int) -> SurfaceSample:
        """Visible surface points at pixel centres of the level, at most about `limit`, evenly spread."""
        camera = level.camera(state.camera)
        height, width = level.color.shape[:2]
        uvz = camera.project(self.vertices(state))
        fragments = rasterize(uvz, self.model.triangles, height, width, cull_backfaces=True)
        ids = fragments.triangle
        seen = (ids >= 0) & self.eligible[np.maximum(ids, 0)]
        # pixels at the image's frame would sample the border
        inside = np.zeros_like(seen)
        inside[level.inside] = True
        usable = seen & inside
        if level.bare is not None and (usable & level.bare).sum() > LEAST_SEEN * usable.sum():
            usable &= level.bare
        rows, columns = np.nonzero(usable)
        if len(rows) > limit:
            # a fixed low-discrepancy pattern: the same pixels each time
            order = np.argsort((rows * 0.7548776662 + columns * 0.5698402910) % 1.0, kind="stable")[:limit]
            rows, columns = rows[order], columns[order]
        return SurfaceSample(ids[rows, columns].astype(np.int64), fragments.barycentric[rows, columns])

    def linearise(
        self,
        state: FaceState,
        appearance: Appearance,
        level: ImageLevel,
        sample: SurfaceSample,
        *,
        shape: bool = True,
    ) -> tuple[Float, Float32]:
        """Residuals and their Jacobian.

        Args:
            state: Pose and shape.
            appearance: Skin and light.
            level: Image to compare with.
            sample: P surface points, which stay the same whatever the state.
            shape: Whether the Jacobian has columns for pose and shape.

        Returns:
            (P, 3) shaded albedo - photo, and (P, 3, unknowns) its Jacobian; without `shape` it covers albedo
            and light alone, (P, 3, A + 27).
        """
        geometry = _Geometry(self, state, level, sample)
        observed, gu, gv = geometry.observed(level)
        albedo, albedo_basis = self._albedo(appearance, sample)
        basis = sh_basis(geometry.normal).astype(np.float32)
        shading = basis @ appearance.light.astype(np.float32)
        residual = albedo * shading - observed
        p, a = len(residual), self.model.n_albedo
        tail = np.zeros((p, 3, a + N_LIGHT), np.float32)
        tail[:, :, :a] = albedo_basis * shading[:, :, None]
        for c in range(3):
            tail[:, c, a + 9 * c : a + 9 * c + 9] = albedo[:, c : c + 1] * basis
        if not shape:
            return residual, tail
        slope = np.einsum("pki,kc->pci", sh_basis_jacobian(geometry.normal), appearance.light)
        head = geometry.jacobian(level, gu, gv, (albedo[:, :, None] * slope).astype(np.float32))
        return residual, np.concatenate([head, tail], axis=2)

    def residual(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> Float:
        """(P, 3) shaded albedo - photo at the frozen surface points."""
        if not len(sample.triangle):
            return np.zeros((0, 3), np.float32)
        geometry = _Geometry(self, state, level, sample)
        observed, _, _ = geometry.observed(level, gradient=False)
        albedo, _ = self._albedo(appearance, sample)
        return albedo * (sh_basis(geometry.normal) @ appearance.light).astype(np.float32) - observed

    def _albedo(self, appearance: Appearance, sample: SurfaceSample) -> tuple[Float, Float32]:
        known, mean, basis = self._skin
        if known is not sample:
            corners = self.model.triangles[sample.triangle]
            weight = sample.barycentric[:, :, None]
            basis = (self.model.albedo[corners] * weight[..., None]).sum(axis=1)
            mean = (self.model.albedo_mean[corners] * weight).sum(axis=1)
            self._skin = (sample, mean, basis)
        return mean + basis @ appearance.albedo, basis


class _Geometry:
    """Positions and triangle normals of sampled points under a state, with derivatives."""

    def __init__(
        self, term: PhotometricTerm, state: FaceState, level: ImageLevel, sample: SurfaceSample
    ) -> None:
        self.term, self.sample = term, sample
        self.camera = level.camera(state.camera)
        self.rotation: Float32 = self.camera.rotation.astype(np.float32)
        self.corners = term.model.triangles[sample.triangle]
        vertices = term.vertices(state) @ self.rotation.T
        self.corner_points: Float32 = vertices[self.corners]
        self.point: Float32 = (self.corner_points * sample.barycentric[:, :, None]).sum(axis=1)
        edge1 = self.corner_points[:, 1] - self.corner_points[:, 0]
        edge2 = self.corner_points[:, 2] - self.corner_points[:, 0]
        cross = np.cross(edge1, edge2)
        self.length: Float32 = np.maximum(np.linalg.norm(cross, axis=1), 1e-9).astype(np.float32)
        self.normal: Float32 = (cross / self.length[:, None]).astype(np.float32)
        self.near = self.camera.magnification(self.point[:, 2])
        scale = self.camera.scale * self.near
        self.u = scale * self.point[:, 0] + self.camera.translation_u
        self.v = self.camera.translation_v - scale * self.point[:, 1]

    def observed(self, level: ImageLevel, *, gradient: bool = True) -> tuple[Float, Float, Float]:
        """(P, 3) the image at the points, and its derivatives.

        Bilinear, exactly: cv2.remap of OpenCV 4 rounds places to 1/32 px, which stalls small steps.
        """
        height, width = level.color.shape[:2]
        x, y = np.clip(self.u - 0.5, 0, width - 1.001), np.clip(self.v - 0.5, 0, height - 1.001)
        j, i = x.astype(np.int64), y.astype(np.int64)
        fx, fy = (x - j).astype(np.float32)[:, None], (y - i).astype(np.float32)[:, None]
        corner = i * width + j

        def at(values: Float32) -> Float:
            flat = values.reshape(-1, 3)
            upper = flat[corner] * (1 - fx) + flat[corner + 1] * fx
            lower = flat[corner + width] * (1 - fx) + flat[corner + width + 1] * fx
            return upper * (1 - fy) + lower * fy

        color = at(level.color)
        return (color, at(level.du), at(level.dv)) if gradient else (color, color, color)

    def jacobian(self, level: ImageLevel, gu: Float, gv: Float, slope: Float32) -> Float32:
        """(P, 3, 7 + K + E) derivative of the residual.

        The residual depends on the point through the image and on its triangle through the normal; both are
        linear in the three corners' camera-space positions, so first come the coefficients (P, 3 channels, 3
        corners, 3 axes).
        """
        from scipy import sparse

        s = (np.float32(self.camera.scale) * self.near)[:, None]
        x, y, z = (self.point[:, i : i + 1] for i in range(3))
        radial = -(gu * (s * x) - gv * (s * y))  # by the logarithm of the scale
        nearer = radial * self.near[:, None]
        toward = np.stack([-gu * s, gv * s, np.float32(self.camera.inverse_distance) * nearer], axis=2)
        # d normal = (I - n n^T) d cross / |cross|;  cross = e1 x e2,
        # so slope . d cross = d e1 . (e2 x w) + d e2 . (w x e1)
        w = slope - (slope * self.normal[:, None]).sum(axis=2, keepdims=True) * self.normal[:, None]
        w /= self.length[:, None, None]
        edge1 = (self.corner_points[:, 1] - self.corner_points[:, 0])[:, None]
        edge2 = (self.corner_points[:, 2] - self.corner_points[:, 0])[:, None]
        by1, by2 = np.cross(edge2, w), np.cross(w, edge1)
        weights = self.sample.barycentric[:, None, :, None] * toward[:, :, None, :]
        weights[:, :, 1] += by1
        weights[:, :, 2] += by2
        weights[:, :, 0] -= by1 + by2
        p = len(gu)
        out = np.empty((p, 3, self.term.size), np.float32)
        # pose: d corner = omega x corner, corner * dlog s (image only), translation, inverse distance
        moment = np.cross(self.corner_points[:, None], weights).sum(axis=2)
        out[:, :, :3] = moment
        out[:, :, 3] = radial
        out[:, :, 4] = -gu * np.float32(level.zoom)
        out[:, :, 5] = -gv * np.float32(level.zoom)
        out[:, :, 6] = np.float32(1e-3) * nearer * z
        in_model = weights @ self.rotation
        columns = (3 * self.term.row_of_vertex[self.corners][:, :, None] + np.arange(3)).reshape(p, 1, 9)
        columns = np.broadcast_to(columns, (p, 3, 9)).reshape(-1)
        matrix = sparse.csr_matrix(
            (in_model.reshape(-1), columns, np.arange(0, 27 * p + 1, 9)),
            shape=(3 * p, len(self.term.face_basis)),
        )
        out[:, :, 7:] = (matrix @ self.term.face_basis).reshape(p, 3, -1)
        return out


_TERMS: dict[int, tuple[FaceModel, PhotometricTerm]] = {}


def photometric_term(model: FaceModel) -> PhotometricTerm:
    """The prepared term of a model; the last four models are kept."""
    found = _TERMS.get(id(model))
    if found is None or found[0] is not model:
        while len(_TERMS) >= 4:
            _TERMS.pop(next(iter(_TERMS)))
        found = _TERMS[id(model)] = (model, PhotometricTerm(model))
    return found[1]
