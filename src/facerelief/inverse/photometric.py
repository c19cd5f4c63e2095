"""Stage 2 of inverse rendering: light, albedo and shape from the face's pixels.

The energy is that of Guo et al. (TPAMI 2019): E = w_c E_con + w_l E_lan + w_r E_reg, colours in [0, 1],
landmark distances over the face box's side. First light and albedo alone by linear least squares, then damped
Gauss-Newton (Levenberg-Marquardt) on all unknowns over an image pyramid. The set of visible surface points is
frozen during each outer step.

A surface point's shading uses the normal of its triangle, so its derivative is exact (see
`PhotometricTerm.linearise`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.landmark_fit import FaceState, LandmarkFit, LandmarkFitConfig, landmark_term
from facerelief.inverse.light_prior import N_LIGHT, LightPrior
from facerelief.inverse.solver import bounded_step
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import rasterize
from facerelief.rendering.spherical_harmonics import sh_basis, sh_basis_jacobian
from facerelief.runtime.threads import single_thread
from facerelief.typed import Float32, Float64


@dataclass(frozen=True)
class PhotometricConfig:
    """Weights and schedule of the photometric fit."""

    photometric: float = 1.0
    """w_c, weight of the mean squared colour difference (colours in [0, 1])."""
    landmarks: float = 3.0
    """w_l, weight of the mean squared landmark distance over the face box's side. The paper's is taken to be
    10; with 478 landmarks weighed by their spread, and with `drift` to hold them, 1 gave the better
    shapes."""
    regularisation: float = 3e-5
    """w_r, weight of the sum of squared coefficients in standard deviations."""
    identity_deviation: float = 1.3
    """What counts as one standard deviation of an identity coefficient: more lets shapes leave the mean face
    further. On drawn heads of known shape more is better still; on photos two shapes of one person then
    differ more beside those of two persons."""
    expression_deviation: float = 0.60
    """What counts as one standard deviation of a blendshape weight."""
    light: LightPrior = field(default_factory=LightPrior)
    """What light is expected; its squared distance counts as the coefficients' does."""
    levels: tuple[int, ...] = (64, 128, 256)
    """Face sides in px of the pyramid's levels, coarse to fine; those larger than the photo's face are left
    out."""
    steps: tuple[int, ...] = (5, 5, 6)
    """Gauss-Newton steps per level."""
    points: int = 4000
    """Surface points used per level at most."""
    robust: float = 0.12
    """Colour residuals beyond this lose influence (Geman-McClure)."""
    drift: float = 3.0
    """Landmarks may end at most this factor beyond their stage-1 residual. Detectors move their points toward
    an average face: held at 1.15, shapes were farther from drawn truth and less a person's own on photos."""


@dataclass(frozen=True, eq=False)
class Appearance:
    """Albedo coefficients (A,) in standard deviations and light (9, 3), normal in camera space."""

    albedo: Float32
    light: Float32


@dataclass(frozen=True, eq=False)
class PhotometricFit:
    """Result of stage 2. Residuals are robust root mean square colour differences on the same pixels'
    measure."""

    state: FaceState
    appearance: Appearance
    residual_before: float
    """With stage 1's shape and pose and the best light and albedo for them; 0 where no pixel can be seen."""
    residual_after: float
    landmark_rms_px: float
    terms: dict[str, float] = field(default_factory=dict[str, float])
    """E_con, E_lan, E_reg at the end, weighted, for checking their balance."""


@dataclass(frozen=True, eq=False)
class ImageLevel:
    """One pyramid level: picture and its derivatives, and how its px relate to the photo's."""

    color: Float32
    """(h, w, 3) in [0, 1]."""
    du: Float32
    """(h, w, 3) derivative toward the right, per px of this level."""
    dv: Float32
    """(h, w, 3) derivative downward."""
    left: float
    top: float
    zoom: float
    inside: tuple[slice, slice]
    """Rows and columns whose derivatives know only the photo, not its border or the level's."""

    def camera(self, camera: WeakPerspective) -> WeakPerspective:
        return camera.in_crop(self.left, self.top, self.zoom)


def image_level(image: NDArray[np.uint8], box: tuple[float, float, float, float], face_px: int) -> ImageLevel:
    """The surroundings of a face box resampled so that the box's longer side has `face_px` pixels.

    Faces smaller than that stay as they are. Raises ValueError for a box of no size or outside the picture.
    """
    import cv2

    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    if not (right > max(left, 0) and bottom > max(top, 0) and left < image.shape[1] and top < image.shape[0]):
        raise ValueError(
            f"face box {box} does not meet the picture of {image.shape[1]} x {image.shape[0]} px"
        )
    zoom = min(face_px / side, 1.0)
    margin = 0.35 * side
    x0, y0 = left - margin, top - margin
    width = int(np.ceil((right - left + 2 * margin) * zoom))
    height = int(np.ceil((bottom - top + 2 * margin) * zoom))
    # smooth before sampling more coarsely; the source window is cut first, so a large photo costs no more
    xa, ya = max(int(x0) - 2, 0), max(int(y0) - 2, 0)
    xb = min(int(x0 + width / zoom) + 3, image.shape[1])
    yb = min(int(y0 + height / zoom) + 3, image.shape[0])
    window = image[ya:yb, xa:xb].astype(np.float32) / 255.0
    sigma = 0.45 / zoom
    if sigma > 0.6:
        window = cv2.GaussianBlur(window, (0, 0), sigma)
    # pixel centres sit at +0.5: level px (j + .5) / zoom + x0 = photo px
    matrix = np.array([[zoom, 0, (xa - x0 + 0.5) * zoom - 0.5], [0, zoom, (ya - y0 + 0.5) * zoom - 0.5]])
    color = cv2.warpAffine(
        window, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    kernel = np.array([[-0.5, 0.0, 0.5]], np.float32)
    du = cv2.filter2D(color, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    dv = cv2.filter2D(color, -1, kernel.T, borderType=cv2.BORDER_REPLICATE)
    rows = _within(y0, image.shape[0], zoom, height)
    columns = _within(x0, image.shape[1], zoom, width)
    return ImageLevel(color, du, dv, x0, y0, zoom, (rows, columns))


def _within(start: float, length: int, zoom: float, size: int) -> slice:
    """Pixels of a level that lie at least one of its pixels inside the photo and the level."""
    first = max(int(np.ceil(-start * zoom)), 0) + 1
    last = min(int(np.floor((length - start) * zoom)), size) - 1
    return slice(first, max(last, first))


@dataclass(frozen=True, eq=False)
class SurfaceSample:
    """Frozen visible surface points: triangle ids (P,) into the term's triangles, barycentric (P, 3)."""

    triangle: NDArray[np.int64]
    barycentric: Float32


class PhotometricTerm:
    """Colour residuals of a model in a picture. Prepared once per model (`photometric_term` caches it).

    Unknowns: those of LandmarkTerm (rotation vector, log scale, translation, identity, expression), then
    albedo (A), then light (9 per channel, channel-major).
    """

    def __init__(self, model: FaceModel) -> None:
        self.model = model
        face = model.face_vertices
        self.all_triangles = model.triangles
        used: NDArray[np.bool_] = np.asarray(face[model.triangles].all(axis=1))
        self.eligible = used
        self.size = 6 + model.n_identity + model.n_expression
        # triangle corners' bases stacked would be large: vertices of the face only, renumbered
        self.vertex_of = np.flatnonzero(face)
        self.number = np.full(model.n_vertices, -1, np.int64)
        self.number[self.vertex_of] = np.arange(len(self.vertex_of))
        self._shapes: tuple[tuple[FaceState, Float32], ...] = ()
        nothing = np.zeros((0, 3), np.float32)
        self._skin: tuple[SurfaceSample | None, Float32, Float32] = (None, nothing, nothing)
        rows = [basis[self.vertex_of] for basis in (model.identity, model.expression)]
        self.face_basis: Float32 = np.concatenate(rows, axis=2, dtype=np.float32).reshape(
            3 * len(self.vertex_of), -1
        )

    def vertices(self, state: FaceState) -> Float32:
        """(N, 3) model space, mm. A step asks for the same state's several times: the last two are kept."""
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
        fragments = rasterize(uvz, self.all_triangles, height, width, cull_backfaces=True)
        ids = fragments.triangle
        seen = (ids >= 0) & self.eligible[np.maximum(ids, 0)]
        # pixels at the picture's frame would sample the border
        inside = np.zeros_like(seen)
        inside[level.inside] = True
        rows, columns = np.nonzero(seen & inside)
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
    ) -> tuple[Float32, Float32]:
        """Residuals (P, 3) = shaded albedo - photo, and their Jacobian (P, 3, unknowns).

        With `shape` False the Jacobian covers albedo and light alone (P, 3, A + 27).
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
    ) -> Float32:
        """(P, 3) shaded albedo - photo at the frozen surface points."""
        if not len(sample.triangle):
            return np.zeros((0, 3), np.float32)
        geometry = _Geometry(self, state, level, sample)
        observed, _, _ = geometry.observed(level, gradient=False)
        albedo, _ = self._albedo(appearance, sample)
        return albedo * (sh_basis(geometry.normal) @ appearance.light).astype(np.float32) - observed

    def _albedo(self, appearance: Appearance, sample: SurfaceSample) -> tuple[Float32, Float32]:
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
        self.u = self.camera.scale * self.point[:, 0] + self.camera.translation_u
        self.v = self.camera.translation_v - self.camera.scale * self.point[:, 1]

    def observed(self, level: ImageLevel, *, gradient: bool = True) -> tuple[Float32, Float32, Float32]:
        """(P, 3) the picture at the points, and its derivatives.

        Bilinear, exactly: cv2.remap of OpenCV 4 rounds places to 1/32 px, which stalls small steps.
        """
        height, width = level.color.shape[:2]
        x, y = np.clip(self.u - 0.5, 0, width - 1.001), np.clip(self.v - 0.5, 0, height - 1.001)
        j, i = x.astype(np.int64), y.astype(np.int64)
        fx, fy = (x - j).astype(np.float32)[:, None], (y - i).astype(np.float32)[:, None]
        corner = i * width + j

        def at(picture: Float32) -> Float32:
            flat = picture.reshape(-1, 3)
            upper = flat[corner] * (1 - fx) + flat[corner + 1] * fx
            return upper * (1 - fy) + (flat[corner + width] * (1 - fx) + flat[corner + width + 1] * fx) * fy

        color = at(level.color)
        return (color, at(level.du), at(level.dv)) if gradient else (color, color, color)

    def jacobian(self, level: ImageLevel, gu: Float32, gv: Float32, slope: Float32) -> Float32:
        """(P, 3, 6 + K + E) derivative of the residual.

        The residual depends on the point through the picture and on its triangle through the normal; both are
        linear in the three corners' camera-space positions, so first come the coefficients (P, 3 channels, 3
        corners, 3 axes).
        """
        from scipy import sparse

        s = np.float32(self.camera.scale)
        toward = np.stack([-gu * s, gv * s, np.zeros_like(gu)], axis=2)
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
        # pose: d corner = omega x corner, corner * dlog s (picture only), translation
        moment = np.cross(self.corner_points[:, None], weights).sum(axis=2)
        out[:, :, :3] = moment
        out[:, :, 3] = -(gu * (s * self.point[:, :1]) - gv * (s * self.point[:, 1:2]))
        out[:, :, 4] = -gu * np.float32(level.zoom)
        out[:, :, 5] = -gv * np.float32(level.zoom)
        in_model = weights @ self.rotation
        columns = (3 * self.term.number[self.corners][:, :, None] + np.arange(3)).reshape(p, 1, 9)
        columns = np.broadcast_to(columns, (p, 3, 9)).reshape(-1)
        matrix = sparse.csr_matrix(
            (in_model.reshape(-1), columns, np.arange(0, 27 * p + 1, 9)),
            shape=(3 * p, len(self.term.face_basis)),
        )
        out[:, :, 6:] = (matrix @ self.term.face_basis).reshape(p, 3, -1)
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


def fit_appearance(
    model: FaceModel,
    image: NDArray[np.uint8],
    state: FaceState,
    config: PhotometricConfig | None = None,
    face_px: int = 128,
) -> tuple[Appearance, float]:
    """Light and albedo of a face whose shape and pose are known, and how much of the picture they leave.

    image (H, W, 3) uint8 RGB; face_px: side of the face at which colours are compared. Returns the robust
    root mean square colour difference beside them, 0 where nothing can be seen.
    """
    config = config or PhotometricConfig()
    solver = _AppearanceSolver(model, config)
    vertices = solver.term.vertices(state)
    uv = state.camera.project(vertices[model.face_vertices])[:, :2]
    (left, top), (right, bottom) = uv.min(axis=0).tolist(), uv.max(axis=0).tolist()
    try:
        level = image_level(image, (left, top, right, bottom), face_px)
    except ValueError:  # outside the picture
        return solver.expected(), 0.0
    with single_thread(scipy=False):
        found = solver.relight(state, solver.expected(), level)
        sample = solver.term.sample(state, level, config.points)
        return found, solver.robust_rms(state, found, level, sample)


def fit_photometric(
    model: FaceModel,
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    observed: NDArray[np.floating],
    start: LandmarkFit,
    *,
    name: str = "mediapipe478",
    config: PhotometricConfig | None = None,
    landmark_config: LandmarkFitConfig | None = None,
) -> PhotometricFit:
    """Refine a landmark fit on the picture.

    image (H, W, 3) uint8 RGB; box of the face in px; observed (L, 2) px landmarks of the set `name`. If the
    landmarks drift beyond `config.drift` of their stage-1 residual, the result is drawn back toward the start
    until they do not.
    """
    config = config or PhotometricConfig()
    solver = _Solver(model, image, box, observed, start, name, config, landmark_config or LandmarkFitConfig())
    with single_thread():
        return solver.run()


class _AppearanceSolver:
    """Light and albedo for a shape that stays as it is."""

    def __init__(self, model: FaceModel, config: PhotometricConfig) -> None:
        self.model, self.config = model, config
        self.term = photometric_term(model)
        self.precision = config.regularisation * np.concatenate([np.ones(model.n_albedo), np.zeros(N_LIGHT)])
        """Of the unknowns, the light's last; light has a matrix of its own."""
        self.light_precision = config.regularisation * config.light.precision()
        self.rest_light = config.light.mean()

    def expected(self) -> Appearance:
        """What skin and light are before anything is seen."""
        light = self.rest_light.reshape(3, 9).T.astype(np.float32)
        return Appearance(np.zeros(self.model.n_albedo, np.float32), light)

    def relight(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, rounds: int = 4
    ) -> Appearance:
        """Best light and albedo for a fixed shape, by a few linear solves."""
        sample = self.term.sample(state, level, self.config.points)
        for _ in range(rounds if len(sample.triangle) else 0):
            residual, jacobian = self.term.linearise(state, appearance, level, sample, shape=False)
            hessian, gradient = self._normal_equations(residual, jacobian)
            away = np.concatenate([appearance.albedo, appearance.light.T.reshape(-1) - self.rest_light])
            self._add_prior(hessian, gradient, away)
            step = -np.linalg.solve(hessian, gradient)
            appearance = self._repaint(appearance, step)
        return appearance

    def _repaint(self, appearance: Appearance, step: Float64) -> Appearance:
        a = self.model.n_albedo
        return Appearance(
            np.clip(appearance.albedo + step[:a], -5, 5).astype(np.float32),
            (appearance.light + step[a:].reshape(3, 9).T).astype(np.float32),
        )

    def _normal_equations(self, residual: Float32, jacobian: Float32) -> tuple[Float64, Float64]:
        """Of the robustly weighted mean squared colour difference."""
        weight = self._robust(residual) * np.float32(self.config.photometric / max(len(residual), 1))
        root = np.sqrt(weight)
        a = (jacobian * root[:, None, None]).reshape(-1, jacobian.shape[2])
        b = (residual * root[:, None]).reshape(-1)
        return (a.T @ a).astype(np.float64), (a.T @ b).astype(np.float64)

    def _robust(self, residual: Float32) -> Float32:
        squared = (residual * residual).mean(axis=1) / self.config.robust**2
        return (1.0 / (1.0 + squared) ** 2).astype(np.float32)

    def _add_prior(self, hessian: Float64, gradient: Float64, away: Float64) -> None:
        """Of the last unknowns, as many as given: `away` (n,) is their distance from what is expected."""
        precision = self.precision[-len(away) :]
        gradient += precision * away
        hessian[np.diag_indices_from(hessian)] += precision
        gradient[-N_LIGHT:] += self.light_precision @ away[-N_LIGHT:]
        hessian[-N_LIGHT:, -N_LIGHT:] += self.light_precision

    def robust_rms(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> float:
        """Root of the mean Geman-McClure cost, in colour units."""
        residual = self.term.residual(state, appearance, level, sample)
        return float(self.config.robust * np.sqrt(self._color_cost(residual)))

    def _color_cost(self, residual: Float32) -> float:
        """Mean Geman-McClure cost in units of `robust` squared; its weight is the one of `_robust`."""
        squared = (residual * residual).mean(axis=1) / self.config.robust**2
        return float((squared / (1 + squared)).mean()) if len(squared) else 0.0


class _Solver(_AppearanceSolver):
    def __init__(
        self,
        model: FaceModel,
        image: NDArray[np.uint8],
        box: tuple[float, float, float, float],
        observed: NDArray[np.floating],
        start: LandmarkFit,
        name: str,
        config: PhotometricConfig,
        landmark_config: LandmarkFitConfig,
    ) -> None:
        super().__init__(model, config)
        self.start = start
        self.marks = landmark_term(model, name, landmark_config)
        points = np.asarray(observed, np.float64)
        self.usable: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
        self.observed = self.marks.filled(start.state, points, self.usable)
        self.side = max(box[2] - box[0], box[3] - box[1])
        sides = [s for s in config.levels if s <= 1.2 * self.side] or [config.levels[0]]
        self.levels = [image_level(image, box, s) for s in sides]
        deviation = config.expression_deviation if model.expression_kind == "blendshape" else 1.0
        coefficients = np.concatenate(
            [
                np.full(model.n_identity, 1 / config.identity_deviation**2),
                np.full(model.n_expression, 1 / deviation**2),
                np.ones(model.n_albedo),
            ]
        )
        self.precision = config.regularisation * np.concatenate(
            [np.zeros(6), coefficients, np.zeros(N_LIGHT)]
        )
        # grows while landmarks drift too far, so that shape and pixels can agree under the constraint
        self.insistence = 1.0
        low, high = self.marks.coefficient_bounds()
        free = np.full(model.n_albedo + N_LIGHT, np.inf)
        self.low, self.high = np.concatenate([low, -free]), np.concatenate([high, free])

    def run(self) -> PhotometricFit:
        state = self.start.state
        self.limit = self.config.drift * self.landmark_rms(state)
        finest = self.levels[-1]
        appearance = self.relight(state, self.expected(), finest)
        reference = self.term.sample(state, finest, self.config.points)
        before = self.robust_rms(state, appearance, finest, reference)
        first = appearance
        for level, steps in zip(self.levels, self.config.steps[-len(self.levels) :]):
            state, appearance = self.descend(state, appearance, level, steps)
        state, appearance = self.hold_landmarks(state, appearance, finest)
        sample = self.term.sample(state, finest, self.config.points)
        after = self.robust_rms(state, appearance, finest, sample)
        if not after <= before:
            # never hand out something worse than what came in
            state, appearance, after, sample = self.start.state, first, before, reference
        terms = self.energy_terms(state, appearance, finest, sample)
        return PhotometricFit(state, appearance, before, after, self.landmark_rms(state), terms)

    def descend(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, steps: int
    ) -> tuple[FaceState, Appearance]:
        damping = 1e-3
        for _ in range(steps):
            sample = self.term.sample(state, level, self.config.points)
            if len(sample.triangle) < 100:
                return state, appearance
            hessian, gradient = self.quadratic(state, appearance, level, sample)
            values = self._values(state, appearance)
            energy = self.energy(state, appearance, level, sample)
            for _ in range(4):
                damped = hessian.copy()
                damped[np.diag_indices_from(damped)] *= 1.0 + damping
                step = bounded_step(damped, gradient, values, self.low, self.high)
                size = self.term.size
                trial = self.marks.moved(state, step[:size]), self._repaint(appearance, step[size:])
                if self.energy(*trial, level, sample) < energy:
                    state, appearance = trial
                    damping = max(damping / 5, 1e-5)
                    break
                damping *= 10
            else:
                break
            drifted = self.landmark_rms(state) > self.limit
            self.insistence = self.insistence * 2.0 if drifted else max(1.0, self.insistence / 2.0)
        return state, appearance

    def quadratic(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> tuple[Float64, Float64]:
        """Gauss-Newton matrix and gradient of half the `energy`, by all unknowns."""
        residual, jacobian = self.term.linearise(state, appearance, level, sample)
        hessian, gradient = self._normal_equations(residual, jacobian)
        self._add_landmarks(state, hessian, gradient)
        self._add_prior(hessian, gradient, self._values(state, appearance) - self._rest())
        return hessian, gradient

    def _values(self, state: FaceState, appearance: Appearance) -> Float64:
        return np.concatenate(
            [np.zeros(6), state.coefficients, appearance.albedo, appearance.light.T.reshape(-1)]
        ).astype(np.float64)

    def _rest(self) -> Float64:
        rest = np.zeros(len(self.precision))
        rest[-N_LIGHT:] = self.rest_light
        return rest

    def _landmark_cost(self, residual: Float64) -> tuple[Float64, Float64]:
        """(L,) Geman-McClure cost of each landmark in E_lan, and (L,) its weight per px^2 of squared
        distance.

        Over the box side squared; the weights sum to w_l for perfect landmarks. Distances count less along
        the outline, as in `LandmarkTerm.whitened`. Spreads are in px at stage 1's scale, or growing would
        pay.
        """
        trust = self.usable / self.marks.spread**2
        share = self.insistence * self.config.landmarks * trust / trust.sum() / self.side**2
        beyond = (self.marks.spread * self.start.state.camera.scale * self.marks.config.robust) ** 2
        squared = self.marks.squared_distance(residual, self.observed)
        relative = squared / beyond
        return share * squared / (1.0 + relative), share / (1.0 + relative) ** 2

    def _add_landmarks(self, state: FaceState, hessian: Float64, gradient: Float64) -> None:
        residual, jacobian = self.marks.linearise(state, self.observed)
        _, weight = self._landmark_cost(residual)
        b, a = self.marks.whitened(residual, jacobian, self.observed, weight)
        size = self.term.size
        hessian[:size, :size] += a.T @ a
        gradient[:size] += a.T @ b

    def energy(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> float:
        return sum(self.energy_terms(state, appearance, level, sample).values())

    def energy_terms(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> dict[str, float]:
        residual = self.term.residual(state, appearance, level, sample)
        color = self.config.photometric * 3 * self.config.robust**2 * self._color_cost(residual)
        offset, _ = self.marks.linearise(state, self.observed)
        marks = float(self._landmark_cost(offset)[0].sum())
        away = self._values(state, appearance) - self._rest()
        prior = self.precision @ away**2 + away[-N_LIGHT:] @ self.light_precision @ away[-N_LIGHT:]
        return {"photometric": color, "landmarks": marks, "regularisation": float(prior)}

    def landmark_rms(self, state: FaceState) -> float:
        residual, _ = self.marks.linearise(state, self.observed)
        # the stage-1 weights, so that the two residuals are comparable
        first, _ = self.marks.linearise(self.start.state, self.observed)
        weight = self.marks.robust_weights(first, self.start.state.camera.scale) * self.usable
        return float(np.sqrt((weight * (residual**2).sum(axis=1)).sum() / weight.sum()))

    def hold_landmarks(
        self, state: FaceState, appearance: Appearance, level: ImageLevel
    ) -> tuple[FaceState, Appearance]:
        """Draw the result back toward stage 1 as far as the landmarks demand."""
        if self.landmark_rms(state) <= self.limit:
            return state, appearance
        near, far = 0.0, 1.0
        for _ in range(6):
            middle = 0.5 * (near + far)
            inside = self.landmark_rms(_between(self.start.state, state, middle)) <= self.limit
            near, far = (middle, far) if inside else (near, middle)
        held = _between(self.start.state, state, near)
        return held, self.relight(held, appearance, level, rounds=2)


def _between(a: FaceState, b: FaceState, share: float) -> FaceState:
    """A state `share` of the way from a to b (angles are close, so pose vectors mix)."""
    first, second = a.camera.vector, b.camera.vector
    turn = np.zeros(6)
    turn[:3] = (second[:3] - first[:3] + np.pi) % (2 * np.pi) - np.pi
    turn[3:] = second[3:] - first[3:]
    return FaceState(
        WeakPerspective.from_vector(first + share * turn),
        (a.identity + share * (b.identity - a.identity)).astype(np.float32),
        (a.expression + share * (b.expression - a.expression)).astype(np.float32),
    )
