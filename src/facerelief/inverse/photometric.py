"""Stage 2 of inverse rendering: light, albedo and shape from the face's pixels.

The energy is that of Guo et al. (TPAMI 2019): E = w_c E_con + w_l E_lan + w_r E_reg, colours in [0, 1],
landmark distances over the face box's side. First light and albedo alone by linear least squares, then damped
Gauss-Newton (Levenberg-Marquardt) on all unknowns over an image pyramid. The set of visible surface points is
frozen during each outer step. E_con itself is in `photometric_term`, E_lan in `landmark_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.expression_prior import expression_precision
from facerelief.inverse.identity_prior import SIZE_DEVIATION, identity_precision
from facerelief.inverse.image_level import ImageLevel, image_level
from facerelief.inverse.landmark_fit import (
    POSE_UNKNOWNS,
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkTerm,
    landmark_term,
)
from facerelief.inverse.light_prior import N_LIGHT, LightPrior
from facerelief.inverse.photometric_term import Appearance, SurfaceSample, photometric_term
from facerelief.inverse.solver import DAMPING, damped_steps
from facerelief.morphable.model import FaceModel
from facerelief.runtime.threads import single_thread
from facerelief.typed import Bool, Float, Float32, Float64, Image

FEWEST_POINTS = 100
"""Fewer visible surface points than this end the descent on a level."""


@dataclass(frozen=True)
class PhotometricConfig:
    """Weights and schedule of the photometric fit."""

    photometric: float = 1.0
    """w_c, weight of the mean squared colour difference (colours in [0, 1])."""
    landmarks: float = 3.0
    """w_l, weight of the mean squared landmark distance over the face box's side. The paper's is taken to be
    10; with 478 landmarks weighed by their spread, and with `drift` to hold them, less gave better shapes."""
    regularisation: float = 3e-5
    """w_r, weight of the sum of squared coefficients in standard deviations."""
    identity_deviation: float = 1.3
    """Standard deviation assumed for identity coefficients: more lets shapes leave the mean face further. On
    rendered heads of known shape more is better still; on photos, two shapes of one subject then differ more
    relative to those of two subjects."""
    size_deviation: float = SIZE_DEVIATION
    """Standard deviation assumed for the face's relative size."""
    expression_deviation: float = 0.60
    """Standard deviation assumed for a smile's weights; other units follow `RELATIVE_DEVIATIONS`."""
    light: LightPrior = field(default_factory=LightPrior)
    """Expected light; its squared Mahalanobis distance counts as the squared coefficients do."""
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
    """Largest landmark residual at the end, as a multiple of stage 1's. Detectors move their points toward an
    average face: held at 1.15, shapes were farther from rendered truth and differed less between subjects."""


@dataclass(frozen=True, eq=False)
class PhotometricFit:
    """Result of stage 2. Residuals are robust root mean square colour differences, colours in [0, 1]."""

    state: FaceState
    appearance: Appearance
    residual_before: float
    """With stage 1's shape and pose and the best light and albedo for them; 0 where no pixel can be seen."""
    residual_after: float
    landmark_rms_px: float
    terms: dict[str, float] = field(default_factory=dict[str, float])
    """E_con, E_lan, E_reg at the end, weighted, for checking their balance."""


def fit_appearance(
    model: FaceModel,
    image: Image,
    state: FaceState,
    config: PhotometricConfig | None = None,
    face_px: int = 128,
) -> tuple[Appearance, float]:
    """Light and albedo of a face of known shape and pose.

    Args:
        model: Face model of the state.
        image: (H, W, 3) uint8 RGB.
        state: Pose and shape, in px of the image.
        config: Weights and schedule.
        face_px: Side of the face at which colours are compared, px.

    Returns:
        Light and albedo, and the robust root mean square colour difference that they leave; 0 where nothing
        can be seen.
    """
    config = config or PhotometricConfig()
    solver = _AppearanceSolver(model, config)
    vertices = solver.term.vertices(state)
    uv = state.camera.project(vertices[solver.term.model.face_vertices])[:, :2]
    (left, top), (right, bottom) = uv.min(axis=0).tolist(), uv.max(axis=0).tolist()
    try:
        level = image_level(image, (left, top, right, bottom), face_px)
    except ValueError:  # outside the image
        return solver.expected(), 0.0
    with single_thread(scipy=False):
        found = solver.relight(state, solver.expected(), level)
        sample = solver.term.sample(state, level, config.points)
        return found, solver.robust_rms(state, found, level, sample)


def fit_photometric(
    model: FaceModel,
    image: Image,
    box: tuple[float, float, float, float],
    observed: Float,
    start: LandmarkFit,
    *,
    name: str = "mediapipe478",
    config: PhotometricConfig | None = None,
    landmark_config: LandmarkFitConfig | None = None,
    marks: LandmarkTerm | None = None,
    focal_length_px: float | None = None,
    bare_skin: Float32 | None = None,
) -> PhotometricFit:
    """Refine a landmark fit on the image.

    If the landmarks drift beyond `config.drift` of their stage-1 residual, the result is moved back toward
    the start until they do not.

    Args:
        model: Face model of the start.
        image: (H, W, 3) uint8 RGB.
        box: (left, top, right, bottom) of the face, px.
        observed: (L, 2) landmarks of the set `name`, px; NaN where missing.
        start: Stage 1's result.
        name: Landmark set of the model.
        config: Weights and schedule.
        landmark_config: Weights of the landmark term.
        marks: Term of the observed points, in place of the set `name`.
        focal_length_px: Of the camera, px of the image, where it is known.
        bare_skin: (H, W) share of bare skin in [0, 1]; colours of other pixels do not count.

    Raises:
        ValueError: The box has no size or lies outside the image.
    """
    config = config or PhotometricConfig()
    marks = marks or landmark_term(model, name, landmark_config or LandmarkFitConfig())
    solver = PhotoSolver(model, image, box, observed, start, marks, config, focal_length_px, bare_skin)
    with single_thread():
        return solver.run()


class _AppearanceSolver:
    """Light and albedo for a shape that stays as it is."""

    def __init__(self, model: FaceModel, config: PhotometricConfig) -> None:
        self.model, self.config = model, config
        self.term = photometric_term(model)
        self.precision: Float64 = config.regularisation * _blocks(
            np.eye(model.n_albedo), config.light.precision()
        )
        """Of the unknowns, the light's last."""
        self.rest_light = config.light.mean()

    def expected(self) -> Appearance:
        """Skin and light before anything is seen."""
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
            light = appearance.light.T.reshape(-1) - self.rest_light
            away = np.concatenate([appearance.albedo, light], dtype=np.float64)
            self._add_prior(hessian, gradient, away)
            step = -np.linalg.solve(hessian, gradient)
            appearance = self._repaint(appearance, step)
        return appearance

    def _repaint(self, appearance: Appearance, step: Float) -> Appearance:
        """Albedo and light after a step (A + 27,)."""
        a = self.model.n_albedo
        return Appearance(
            np.clip(appearance.albedo + step[:a], -5, 5).astype(np.float32),
            (appearance.light + step[a:].reshape(3, 9).T).astype(np.float32),
        )

    def _normal_equations(self, residual: Float, jacobian: Float32) -> tuple[Float64, Float64]:
        """Matrix and gradient of the robustly weighted mean squared colour difference."""
        weight = self._robust(residual) * np.float32(self.config.photometric / max(len(residual), 1))
        root = np.sqrt(weight)
        a = (jacobian * root[:, None, None]).reshape(-1, jacobian.shape[2])
        b = (residual * root[:, None]).reshape(-1)
        return (a.T @ a).astype(np.float64), (a.T @ b).astype(np.float64)

    def _robust(self, residual: Float) -> Float32:
        """(P,) Geman-McClure weights of residuals (P, 3)."""
        squared = (residual * residual).mean(axis=1) / self.config.robust**2
        return (1.0 / (1.0 + squared) ** 2).astype(np.float32)

    def _add_prior(self, hessian: Float64, gradient: Float64, away: Float64) -> None:
        """Add the prior of the last n unknowns; `away` (n,) is their distance from the expected values."""
        precision = self.precision[-len(away) :, -len(away) :]
        gradient += precision @ away
        hessian += precision

    def robust_rms(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> float:
        """Root of the mean Geman-McClure cost, in colour units."""
        residual = self.term.residual(state, appearance, level, sample)
        return float(self.config.robust * np.sqrt(self._color_cost(residual)))

    def _color_cost(self, residual: Float) -> float:
        """Mean Geman-McClure cost in units of `robust` squared; its weight is the one of `_robust`."""
        squared = (residual * residual).mean(axis=1) / self.config.robust**2
        return float((squared / (1 + squared)).mean()) if len(squared) else 0.0


class PhotoSolver(_AppearanceSolver):
    """Light, albedo, pose and shape of one photo.

    Unknowns, in this order: those of `LandmarkTerm`, albedo (A), light (27).
    """

    def __init__(
        self,
        model: FaceModel,
        image: Image,
        box: tuple[float, float, float, float],
        observed: Float,
        start: LandmarkFit,
        marks: LandmarkTerm,
        config: PhotometricConfig,
        focal_length_px: float | None = None,
        bare_skin: Float32 | None = None,
    ) -> None:
        super().__init__(model, config)
        self.start = start
        self.marks = marks
        points = np.asarray(observed, np.float64)
        self.usable: Bool = np.asarray(np.isfinite(points).all(axis=1))
        self.observed = self.marks.filled(start.state, points, self.usable)
        self.side = max(box[2] - box[0], box[3] - box[1])
        sides = [s for s in config.levels if s <= 1.2 * self.side] or [config.levels[0]]
        self.levels = [image_level(image, box, s, bare_skin) for s in sides]
        identity = identity_precision(model, config.identity_deviation, config.size_deviation)
        expression = expression_precision(model, config.expression_deviation)
        shape = [config.regularisation * part for part in (identity, expression)]
        pose = np.zeros((POSE_UNKNOWNS, POSE_UNKNOWNS))
        self.precision = _blocks(pose, *shape, self.precision)
        self.expected_distance, precision = marks.config.distance.of(
            start.state.camera.scale, focal_length_px
        )
        self.precision[6, 6] = config.regularisation * precision
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
            # never return something worse than the start
            state, appearance, after, sample = self.start.state, first, before, reference
        terms = self.energy_terms(state, appearance, finest, sample)
        return PhotometricFit(state, appearance, before, after, self.landmark_rms(state), terms)

    def descend(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, steps: int
    ) -> tuple[FaceState, Appearance]:
        """Levenberg-Marquardt steps on one level."""
        damping = DAMPING
        for _ in range(steps):
            sample = self.term.sample(state, level, self.config.points)
            if len(sample.triangle) < FEWEST_POINTS:
                return state, appearance
            hessian, gradient = self.quadratic(state, appearance, level, sample)
            values = self.values(state, appearance)
            energy = self.energy(state, appearance, level, sample)
            for step, after in damped_steps(hessian, gradient, values, self.low, self.high, damping):
                trial = self.moved(state, appearance, step)
                if self.energy(*trial, level, sample) < energy:
                    (state, appearance), damping = trial, after
                    break
            else:
                break
            drifted = self.landmark_rms(state) > self.limit
            self.insistence = self.insistence * 2.0 if drifted else max(1.0, self.insistence / 2.0)
        return state, appearance

    def moved(self, state: FaceState, appearance: Appearance, step: Float64) -> tuple[FaceState, Appearance]:
        """State and appearance after a step of all unknowns."""
        size = self.term.size
        return self.marks.moved(state, step[:size]), self._repaint(appearance, step[size:])

    def quadratic(
        self, state: FaceState, appearance: Appearance, level: ImageLevel, sample: SurfaceSample
    ) -> tuple[Float64, Float64]:
        """Gauss-Newton matrix and gradient of half the `energy`, by all unknowns."""
        residual, jacobian = self.term.linearise(state, appearance, level, sample)
        hessian, gradient = self._normal_equations(residual, jacobian)
        self._add_landmarks(state, hessian, gradient)
        self._add_prior(hessian, gradient, self.values(state, appearance) - self._rest())
        return hessian, gradient

    def values(self, state: FaceState, appearance: Appearance) -> Float64:
        """Present values of the unknowns; those of the pose are steps from the present one, 0."""
        light = appearance.light.T.reshape(-1)
        return np.concatenate([self.marks.values(state), appearance.albedo, light], dtype=np.float64)

    def _rest(self) -> Float64:
        rest = np.zeros(len(self.precision))
        rest[-N_LIGHT:] = self.rest_light
        rest[6] = self.expected_distance
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
        away = self.values(state, appearance) - self._rest()
        prior = away @ self.precision @ away
        return {"photometric": color, "landmarks": marks, "regularisation": float(prior)}

    def landmark_rms(self, state: FaceState) -> float:
        """Root of the weighted mean square landmark distance, px."""
        residual, _ = self.marks.linearise(state, self.observed)
        # the stage-1 weights, so that the two residuals are comparable
        first, _ = self.marks.linearise(self.start.state, self.observed)
        weight = self.marks.robust_weights(first, self.start.state.camera.scale) * self.usable
        return float(np.sqrt((weight * (residual**2).sum(axis=1)).sum() / weight.sum()))

    def hold_landmarks(
        self, state: FaceState, appearance: Appearance, level: ImageLevel
    ) -> tuple[FaceState, Appearance]:
        """Move the result back toward stage 1 as far as the landmarks demand."""
        if self.landmark_rms(state) <= self.limit:
            return state, appearance
        near, far = 0.0, 1.0
        for _ in range(6):
            middle = 0.5 * (near + far)
            inside = self.landmark_rms(_between(self.start.state, state, middle)) <= self.limit
            near, far = (middle, far) if inside else (near, middle)
        held = _between(self.start.state, state, near)
        return held, self.relight(held, appearance, level, rounds=2)


def _blocks(*parts: Float64) -> Float64:
    """Block-diagonal matrix of square parts."""
    out = np.zeros((sum(map(len, parts)),) * 2)
    at = 0
    for part in parts:
        out[at : at + len(part), at : at + len(part)] = part
        at += len(part)
    return out


def _between(a: FaceState, b: FaceState, share: float) -> FaceState:
    """A state `share` of the way from a to b (angles are close, so pose vectors mix)."""
    first, second = a.camera.vector, b.camera.vector
    turn = np.zeros(6)
    turn[:3] = (second[:3] - first[:3] + np.pi) % (2 * np.pi) - np.pi
    turn[3:] = second[3:] - first[3:]
    inverse_distance = (1 - share) * a.camera.inverse_distance + share * b.camera.inverse_distance
    return FaceState(
        WeakPerspective.from_vector(first + share * turn, inverse_distance),
        (a.identity + share * (b.identity - a.identity)).astype(np.float32),
        (a.expression + share * (b.expression - a.expression)).astype(np.float32),
    )
