"""Stage 1 of inverse rendering: pose, identity and expression from detected landmarks.

Damped Gauss-Newton on the landmark term of Guo et al.'s energy (E_lan + E_reg), with robust weights, a spread
per landmark, expression bounds by an active set, and outline landmarks that slide along their contour rows as
the head turns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facerelief.errors import ModelError
from facerelief.geometry.alignment import rotation_from_vector, solve_weak_perspective
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inverse.distance_prior import DistancePrior
from facerelief.inverse.expression_prior import expression_precision
from facerelief.inverse.eye_openings import LIP_SLACK, OPEN, SHUT, blinks_of, opening_of
from facerelief.inverse.identity_prior import SIZE_DEVIATION, identity_precision
from facerelief.inverse.solver import bounded_step
from facerelief.morphable.arkit import LIP_PARTING_UNITS
from facerelief.morphable.landmark_sets import CLOSED_OUTLINES, INNER_LIPS, OUTLINES
from facerelief.morphable.model import FaceModel
from facerelief.runtime.threads import single_thread
from facerelief.typed import Bool, Float, Float32, Float64

POSE_UNKNOWNS = 7
"""Unknowns of the pose, first of all: a rotation vector applied after the present rotation (3, radians), log
scale (1), translation (2, px), inverse distance (1, in 1/m: of the order of 1 as the others)."""


@dataclass(frozen=True)
class LandmarkFitConfig:
    """Weights of landmarks against the model's statistics."""

    iterations: int = 9
    """Gauss-Newton steps."""
    default_spread_mm: float = 1.8
    """Error of a landmark whose spread the model does not know."""
    evidence: float = 0.05
    """Neighbouring landmarks err together: each counts as this many independent ones."""
    robust: float = 4.0
    """Residuals beyond this many spreads lose influence (Geman-McClure)."""
    identity: float = 0.45
    """Standard deviation allowed to identity coefficients; less keeps closer to the mean face."""
    expression: float = 0.50
    """Typical weight of a smile's units; the others follow `RELATIVE_DEVIATIONS`."""
    size: float = SIZE_DEVIATION
    """Standard deviation allowed to the face's relative size."""
    along_outline: float = 0.2
    """Weight of an outline landmark's error along the outline, beside 1 across it."""
    slide_from: float = 0.15
    """Yaw in radians from which far outline landmarks slide to the silhouette."""
    distance: DistancePrior = field(default_factory=DistancePrior)
    """Expected distance of the camera."""


@dataclass(frozen=True, eq=False)
class FaceState:
    """Pose and shape of a face, in the units of FaceModel and WeakPerspective."""

    camera: WeakPerspective
    identity: Float32
    """(K,) standard deviations."""
    expression: Float32
    """(E,) weights."""

    @property
    def coefficients(self) -> Float32:
        """(K + E,) identity, then expression."""
        return np.concatenate([self.identity, self.expression])


@dataclass(frozen=True, eq=False)
class LandmarkFit:
    """A state, and the distances of its landmarks to the detected ones."""

    state: FaceState
    residual_px: Float32
    """(L,) distance of each landmark."""
    rms_px: float
    """Root of the robustly weighted mean square distance, px."""


class LandmarkTerm:
    """Residuals and derivatives of a model's landmarks in an image.

    Prepared once per model and landmark set (`landmark_term` caches it). Unknowns, in this order: those of
    the pose (`POSE_UNKNOWNS`), identity (K), expression (E).
    """

    def __init__(self, model: FaceModel, name: str, config: LandmarkFitConfig) -> None:
        if name not in model.landmarks:
            known = ", ".join(model.landmarks) or "none"
            raise ModelError(
                f"model {model.name!r} has no landmarks {name!r} (it has {known}): it cannot be fitted"
            )
        points = model.landmarks[name]
        self.config = config
        self.n_identity, self.n_expression = model.n_identity, model.n_expression
        self.bounds = model.expression_bounds
        self.mean: Float32 = points.of(model.mean).astype(np.float32)
        self.basis: Float32 = np.concatenate(
            [points.of(model.identity), points.of(model.expression)], axis=2, dtype=np.float32
        )
        changes = [(c.unit, c.of(points)) for c in model.correctives]
        self.correctives = [(u, at := np.flatnonzero(c.any(axis=(1, 2))), c[at]) for u, c in changes]
        spread = (
            points.spread if points.spread is not None else np.full(len(points), config.default_spread_mm)
        )
        self.spread: Float64 = np.asarray(spread, dtype=np.float64)
        contour = model.contours.get(name)
        if contour is None or not len(contour.landmarks):
            self.sliding = np.zeros(0, np.int64)
            self.row_mean = np.zeros((0, 1, 3), np.float32)
            self.row_basis = np.zeros((0, 1, 3, self.basis.shape[2]), np.float32)
        else:
            self.sliding = contour.landmarks.astype(np.int64)
            self.row_mean = model.mean[contour.candidates]
            self.row_basis = np.concatenate(
                [model.identity[contour.candidates], model.expression[contour.candidates]],
                axis=3,
                dtype=np.float32,
            )
        chain = np.array(OUTLINES.get(name, ()), np.int64)
        chain = chain[chain < len(points)]
        self.outline = chain
        self.outline_before, self.outline_after = np.roll(chain, 1), np.roll(chain, -1)
        if len(chain) and name not in CLOSED_OUTLINES:
            self.outline_before[0], self.outline_after[-1] = chain[0], chain[-1]
        shape = POSE_UNKNOWNS + self.n_identity
        self.prior: Float64 = np.zeros((shape + self.n_expression,) * 2)
        """Precision of the unknowns; pose is free, the distance's prior is not in it."""
        self.prior[POSE_UNKNOWNS:shape, POSE_UNKNOWNS:shape] = identity_precision(
            model, config.identity, config.size
        )
        self.prior[shape:, shape:] = expression_precision(model, config.expression)
        self.name, self.blinks = name, blinks_of(model, name)
        known = list(model.expression_names)
        others = [known.index(unit) for unit in LIP_PARTING_UNITS if unit in known]
        self.parting = (known.index("mouthClose"), known.index("jawOpen"), others) if len(others) > 3 else ()
        """Indices of mouthClose, jawOpen, and the other units that part the lips; empty without them."""

    def start(self, observed: Float64, usable: Bool, points: Float | None = None) -> FaceState:
        """The mean face in its best weak-perspective pose; the sides of the outline count little.

        Args:
            observed: (L, 2) landmarks, px.
            usable: (L,) those that are there.
            points: (L, 3) landmarks of another face in place of the mean's, model space, mm.
        """
        points = self.mean if points is None else points
        weight = 1.0 / self.spread**2
        weight[self.sliding] *= 0.05
        camera = solve_weak_perspective(points[usable], observed[usable], weight[usable])
        return FaceState(camera, np.zeros(self.n_identity, np.float32), self._shut(observed))

    def _shut(self, observed: Float64) -> Float32:
        """(E,) initial expression: blinks as far as the observed lids are nearer than an open eye's.

        A shut eye's lids lie many spreads from an open one's: a fit that begins with open eyes takes them for
        outliers, and ends with open eyes.
        """
        weights = np.zeros(self.n_expression, np.float32)
        for blink, lids, corners in self.blinks:
            seen, open_, shut = (
                opening_of(points, lids, corners)
                for points in (observed, self.mean, self.mean + self.basis[:, :, self.n_identity + blink])
            )
            if np.isfinite(seen) and shut < open_:
                weights[blink] = np.clip((OPEN * open_ - seen) / (OPEN * open_ - shut), 0.0, 1.0)
        return weights

    def with_lids(self, state: FaceState, observed: Float64) -> FaceState:
        """The state with eyes as far shut as the observed ones (L, 2) px are; it never opens them.

        Creases and brows outvote the few landmarks of a lid, so a fit leaves shut eyes half open.
        """
        expression = state.expression.copy()
        rotation = state.camera.rotation.astype(np.float32)
        corrected, basis = self._corrected(state)
        points = corrected @ rotation.T
        for blink, lids, corners in self.blinks:
            seen = opening_of(observed, lids, corners)
            way = basis[:, :, self.n_identity + blink] @ rotation.T
            start = float(expression[blink])
            shares = np.linspace(0.0, max(1.0 - start, 0.0), 33)
            openings = np.array([opening_of(points + t * way, lids, corners) for t in shares])
            wanted = SHUT * seen
            if not np.isfinite(wanted) or wanted >= openings[0]:
                continue
            expression[blink] = np.float32(start + shares[int(np.argmin(np.abs(openings - wanted)))])
        return replace(state, expression=expression)

    def _corrected(self, state: FaceState) -> tuple[Float, Float32]:
        """(L, 3) landmarks and (L, 3, K + E) their derivatives, with the model's correctives."""
        points = self.mean + self.basis @ state.coefficients
        if not self.correctives:
            return points, self.basis
        basis = self.basis.copy()
        for unit, at, change in self.correctives:
            weight, moved = state.expression[unit], change @ state.identity
            points[at] += weight * moved
            basis[at, :, self.n_identity + unit] += moved
            basis[at, :, : self.n_identity] += weight * change
        return points, basis

    def with_closed_lips(self, state: FaceState) -> FaceState:
        """The state with lips that touch, for photos on which they do; it never parts them.

        First mouthClose grows up to jawOpen, then all units that part the lips shrink.
        """
        lips = INNER_LIPS.get(self.name)
        if lips is None or not self.parting:
            return state

        def opening(expression: Float32) -> float:
            points, _ = self._corrected(replace(state, expression=expression))
            return opening_of(state.camera.to_camera(points), *lips)

        (close, jaw, others), start = self.parting, state.expression
        gap, best = max(float(start[jaw] - start[close]), 0.0), start
        wanted, least = opening_of(self.mean, *lips) + LIP_SLACK, np.inf
        for step in np.linspace(0.0, 2.0, 41):
            expression = start.copy()
            expression[close] += np.float32(min(step, 1.0) * gap)
            expression[[*others, jaw, close]] *= np.float32(1.0 - max(step - 1.0, 0.0))
            if (apart := opening(expression)) < least:
                best, least = expression, apart
            if least <= wanted:
                break
        return replace(state, expression=best)

    def surface(self, state: FaceState) -> tuple[Float, Float32]:
        """(L, 3) landmarks, model space, mm, and their (L, 3, K + E) basis; outline landmarks have slid."""
        coefficients = state.coefficients
        points, basis = self._corrected(state)
        yaw = state.camera.yaw
        if not len(self.sliding) or abs(yaw) < self.config.slide_from:
            return points, basis
        # yaw > 0 hides the person's left, x > 0
        hidden = np.sign(points[self.sliding, 0]) == np.sign(yaw)
        rows = self.row_mean[hidden] + self.row_basis[hidden] @ coefficients
        # sideways of the face, however the image is rolled
        sideways = matrix_from_euler(state.camera.pitch, yaw, 0.0)[0]
        outward = np.sign(yaw) * (rows @ sideways.astype(np.float32))
        best = outward.argmax(axis=1)
        pick = np.arange(len(best))
        basis = basis.copy()
        at = self.sliding[hidden]
        points[at] = rows[pick, best]
        basis[at] = self.row_basis[hidden][pick, best]
        return points, basis

    def project(self, state: FaceState) -> Float32:
        """(L, 2) landmarks in the image, px."""
        return state.camera.project(self.surface(state)[0])[:, :2].astype(np.float32)

    def filled(self, state: FaceState, observed: Float64, usable: Bool) -> Float64:
        """(L, 2) the observed landmarks, missing ones where the state has them: their neighbours on the
        outline need them for the outline's direction."""
        return np.where(usable[:, None], observed, self.project(state))

    def linearise(self, state: FaceState, observed: Float64) -> tuple[Float64, Float32]:
        """Residuals (L, 2) px = projected - observed, and their Jacobian (L, 2, unknowns)."""
        points, basis = self.surface(state)
        camera = state.camera
        rotation = camera.rotation.astype(np.float32)
        q = points @ rotation.T
        by_point, by_inverse_distance = camera.derivatives(q)
        place = camera.image_points(q)
        jacobian = np.empty((len(points), 2, POSE_UNKNOWNS + basis.shape[2]), np.float32)
        jacobian[:, :, :3] = np.cross(q[:, None], by_point)
        jacobian[:, :, 3] = place - [camera.translation_u, camera.translation_v]
        jacobian[:, :, 4:6] = np.eye(2)
        jacobian[:, :, 6] = 1e-3 * by_inverse_distance
        np.matmul((by_point @ rotation).astype(np.float32), basis, out=jacobian[:, :, POSE_UNKNOWNS:])
        return place - observed, jacobian

    def whitened(
        self, residual: Float64, jacobian: Float32, observed: Float64, weight: Float64
    ) -> tuple[Float64, Float32]:
        """Weighted rows (2 L,) and (2 L, unknowns) of the least squares.

        weight (L,) per px^2. Outline landmarks count less along the outline than across it.
        """
        metric = np.sqrt(weight)[:, None, None] * self._metric(observed)
        rows = np.einsum("lij,ljk->lik", metric.astype(np.float32), jacobian)
        return np.einsum("lij,lj->li", metric, residual).reshape(-1), rows.reshape(-1, jacobian.shape[2])

    def squared_distance(self, residual: Float64, observed: Float64) -> Float64:
        """(L,) px^2 between projected and observed landmarks, counting less along the outline than across."""
        return (np.einsum("lij,lj->li", self._metric(observed), residual) ** 2).sum(axis=1)

    def _metric(self, observed: Float64) -> Float64:
        """(L, 2, 2) symmetric matrices: 1, but root of `along_outline` along the outline."""
        metric = np.tile(np.eye(2), (len(observed), 1, 1))
        tangent = observed[self.outline_after] - observed[self.outline_before]
        tangent = tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
        less = np.sqrt(self.config.along_outline) - 1.0
        metric[self.outline] += less * tangent[:, :, None] * tangent[:, None, :]
        return metric

    def robust_weights(self, residual: Float64, scale: float, widen: float = 1.0) -> Float64:
        """(L,) weights per px^2: spread, shared evidence, and Geman-McClure for outliers."""
        relative = np.linalg.norm(residual, axis=1) / (self.spread * scale)
        robust = 1.0 / (1.0 + (relative / (widen * self.config.robust)) ** 2) ** 2
        return self.config.evidence * robust / (self.spread * scale) ** 2

    def moved(self, state: FaceState, step: Float) -> FaceState:
        """The state after a step in the unknowns."""
        camera = state.camera
        rotation = rotation_from_vector(step[:3]) @ camera.rotation
        scale = camera.scale * float(np.exp(np.clip(step[3], -0.5, 0.5)))
        translation = np.array([camera.translation_u, camera.translation_v]) + step[4:6]
        inverse_distance = camera.inverse_distance + 1e-3 * float(step[6])
        coefficients = state.coefficients + step[POSE_UNKNOWNS:]
        k = self.n_identity
        return FaceState(
            WeakPerspective.from_matrix(rotation, translation, scale, inverse_distance),
            coefficients[:k].astype(np.float32),
            np.clip(coefficients[k:], *self.bounds).astype(np.float32),
        )

    def coefficient_bounds(self) -> tuple[Float64, Float64]:
        """Lower and upper limits of all unknowns' values; of the pose only the distance has any."""
        free = np.full(POSE_UNKNOWNS + self.n_identity, np.inf)
        low = np.concatenate([-free, np.full(self.n_expression, self.bounds[0])])
        high = np.concatenate([free, np.full(self.n_expression, self.bounds[1])])
        low[6], high[6] = 0.0, 1.0 / self.config.distance.nearest_m if self.config.distance.deviation else 0.0
        return low, high

    def values(self, state: FaceState) -> Float64:
        """(unknowns,) what the limits and priors of the unknowns refer to: 0 where they are changes."""
        pose = np.zeros(POSE_UNKNOWNS)
        pose[6] = 1e3 * state.camera.inverse_distance
        return np.concatenate([pose, state.coefficients], dtype=np.float64)


@functools.lru_cache(maxsize=8)
def landmark_term(model: FaceModel, name: str, config: LandmarkFitConfig) -> LandmarkTerm:
    """The prepared term of a model; models are compared by identity."""
    return LandmarkTerm(model, name, config)


def fit_landmarks(
    model: FaceModel,
    observed: Float,
    *,
    name: str = "mediapipe478",
    config: LandmarkFitConfig | None = None,
    start: FaceState | None = None,
    focal_length_px: float | None = None,
) -> LandmarkFit:
    """Fit pose, identity and expression to landmarks.

    Args:
        model: Face model.
        observed: (L, 2) px in the landmark set `name`; points that are not finite are left out.
        name: Landmark set of the model.
        config: Weights.
        start: State to begin with; by default the mean face in its best pose.
        focal_length_px: Of the camera, px of the image, where it is known.

    Raises:
        ModelError: The model lacks that set.
        ValueError: Other shapes, or fewer than 6 usable points.
    """
    config = config or LandmarkFitConfig()
    term = landmark_term(model, name, config)
    points, usable = _usable(term, observed)
    with single_thread():
        state = start or term.start(points, usable)
        part = MarkPart(term, term.filled(state, points, usable), usable)
        return descend_marks([part], state, 16.0, 3, focal_length_px)


def fit_pose(
    model: FaceModel,
    observed: Float,
    identity: Float,
    expression: Float,
    *,
    name: str = "mediapipe478",
    config: LandmarkFitConfig | None = None,
) -> LandmarkFit:
    """Fit the weak-perspective pose alone; as in `fit_landmarks`, outline landmarks slide and outliers count
    little.

    Args:
        model: Face model.
        observed: (L, 2) px, NaN where there is none.
        identity: (K,) standard deviations.
        expression: (E,) weights.
        name: Landmark set of the model.
        config: Weights.

    Raises:
        ModelError: The model lacks that set.
        ValueError: Other shapes, or fewer than 6 usable points.
    """
    config = config or LandmarkFitConfig()
    term = landmark_term(model, name, config)
    points, usable = _usable(term, observed)
    shape = FaceState(
        WeakPerspective(0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        np.asarray(identity, np.float32),
        np.asarray(expression, np.float32),
    )
    with single_thread():
        camera = term.start(points, usable, term.mean + term.basis @ shape.coefficients).camera
        state = replace(shape, camera=camera)
        filled = term.filled(state, points, usable)
        nothing = np.zeros(len(shape.coefficients))
        for round_ in range(config.iterations):
            residual, jacobian = term.linearise(state, filled)
            widen = max(1.0, 16.0 / 2.0**round_)
            weight = term.robust_weights(residual, state.camera.scale, widen) * usable
            b, a = term.whitened(residual, jacobian[..., :6], filled, weight)
            step = np.linalg.solve((a.T @ a).astype(np.float64), -(a.T.astype(np.float64) @ b))
            state = term.moved(state, np.concatenate([step, [0.0], nothing]))
        return _measured(term, state, filled, usable)


def _usable(term: LandmarkTerm, observed: Float) -> tuple[Float64, Bool]:
    """(L, 2) landmarks and (L,) a mask of those that are there. Raises ValueError for too few."""
    points = np.asarray(observed, dtype=np.float64)
    if points.shape != (len(term.mean), 2):
        raise ValueError(f"landmarks have shape {points.shape}, expected {(len(term.mean), 2)}")
    usable: Bool = np.asarray(np.isfinite(points).all(axis=1))
    if usable.sum() < 6:
        raise ValueError(f"only {int(usable.sum())} usable landmarks, at least 6 are needed")
    return points, usable


@dataclass(frozen=True, eq=False)
class MarkPart:
    """A term, its points (L, 2) px without holes (`filled`), the (L,) that were observed, their weight."""

    term: LandmarkTerm
    observed: Float64
    usable: Bool
    share: float = 1.0


def descend_marks(
    parts: Sequence[MarkPart], state: FaceState, widen: float, short: int, focal_length_px: float | None
) -> LandmarkFit:
    """Damped Gauss-Newton on terms of one model; prior, bounds, steps and residuals are the first one's.

    The robust limit begins `widen` times as wide, since an open mouth is no outlier, and halves each round;
    the first `short` steps are short in shape, so that pose settles first.
    """
    first = parts[0].term
    low, high = first.coefficient_bounds()
    for round_ in range(first.config.iterations):
        values = first.values(state)
        hessian, gradient = first.prior.copy(), first.prior @ values
        expected, precision = first.config.distance.of(state.camera.scale, focal_length_px)
        gradient[6] += precision * (values[6] - expected)
        hessian[6, 6] += precision
        limit = max(1.0, widen / 2.0**round_)
        for part in parts:
            residual, jacobian = part.term.linearise(state, part.observed)
            weight = part.share * part.term.robust_weights(residual, state.camera.scale, limit) * part.usable
            b, a = part.term.whitened(residual, jacobian, part.observed, weight)
            hessian += a.T @ a
            gradient += a.T.astype(np.float64) @ b
        damping = 10.0 ** (1 - round_) if round_ < short else 0.0
        shape = np.arange(POSE_UNKNOWNS, len(values))
        hessian[shape, shape] += damping
        state = first.moved(state, bounded_step(hessian, gradient, values, low, high))
    return _measured(first, state, parts[0].observed, parts[0].usable)


def landmark_residual(
    model: FaceModel,
    observed: Float,
    state: FaceState,
    *,
    name: str = "mediapipe478",
    config: LandmarkFitConfig | None = None,
) -> LandmarkFit:
    """Distances of a state's landmarks to observed ones (L, 2), px, NaN where there is none."""
    term = landmark_term(model, name, config or LandmarkFitConfig())
    points = np.asarray(observed, np.float64)
    usable: Bool = np.asarray(np.isfinite(points).all(axis=1))
    return _measured(term, state, term.filled(state, points, usable), usable)


def _measured(term: LandmarkTerm, state: FaceState, filled: Float64, usable: Bool) -> LandmarkFit:
    residual, _ = term.linearise(state, filled)
    distance = np.where(usable, np.linalg.norm(residual, axis=1), np.nan)
    weight = term.robust_weights(residual, state.camera.scale) * usable
    rms = float(np.sqrt((weight * np.nan_to_num(distance) ** 2).sum() / max(weight.sum(), 1e-12)))
    return LandmarkFit(state, distance.astype(np.float32), rms)
