"""Several photos of one subject: one identity and albedo, a pose, expression and light for each photo.

The energies of `photometric` are added, the prior of what the photos share counts once, and damped
Gauss-Newton solves for all unknowns together. A photo adds its own rows alone, so the cost is linear in
their number but for one dense solve. Photos of somebody else are found before, by the shapes that each photo
gives by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from facerelief.inverse.dense_fit import DensePoints
from facerelief.inverse.fit import FitConfig, InverseFit, fit_face, landmarks_for, marks_for, settled
from facerelief.inverse.image_level import ImageLevel
from facerelief.inverse.landmark_fit import FaceState, LandmarkFitConfig, fit_landmarks
from facerelief.inverse.light_prior import N_LIGHT
from facerelief.inverse.photometric import PhotoSolver
from facerelief.inverse.photometric_term import Appearance, SurfaceSample
from facerelief.inverse.solver import DAMPING, damped_steps
from facerelief.morphable.model import FaceModel
from facerelief.morphable.shape_distance import shape_distance
from facerelief.runtime.threads import single_thread
from facerelief.typed import Bool, Float, Float32, Float64, Image


@dataclass(frozen=True, eq=False)
class SubjectPhoto:
    """A face in one photo."""

    image: Image
    """(H, W, 3) uint8 RGB."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom, px."""
    landmarks: Float
    """(478, 2) MediaPipe or (68, 2) iBUG, px."""
    dense: DensePoints | None = None
    """Points of the landmark net."""
    focal_length_px: float | None = None
    """Of the camera, px of the image, where it is known."""
    bare_skin: Float32 | None = None
    """(H, W) share of bare skin in [0, 1], of the skin net."""


@dataclass(frozen=True)
class SubjectConfig:
    """Configuration of a fit to several photos."""

    fit: FitConfig = field(default_factory=FitConfig)
    """Of each photo by itself, and of the weights of all together."""
    steps: int = 5
    """Gauss-Newton steps on each level."""
    levels: int = 2
    """Finest levels of the pyramid that are used."""
    other_mm: float = 2.0
    """Two photos whose shapes are farther apart (root mean square over the face) show two subjects. Of pairs
    of one subject from different days 3 % are, of pairs of two subjects 40 %: faces that are alike cannot be
    told apart."""


@dataclass(frozen=True, eq=False)
class SubjectFit:
    """One subject in several photos."""

    identity: Float32
    """(K,) standard deviations."""
    albedo: Float32
    """(A,) standard deviations."""
    fits: tuple[InverseFit | None, ...]
    """One for each photo, with the shared identity and albedo; None for a photo of somebody else."""
    distance_mm: Float32
    """(n,) distance of each photo's own shape from the mean of the subject's others; 0 for one photo."""


def fit_subject(
    model: FaceModel,
    photos: Sequence[SubjectPhoto],
    config: SubjectConfig | None = None,
    alone: Sequence[InverseFit] | None = None,
) -> SubjectFit:
    """Fit one identity and albedo to several photos of a subject.

    Args:
        model: Face model.
        photos: One or more; the same photo twice counts twice.
        config: Weights and schedules.
        alone: Fit of each photo by itself (`fit_face`), where it exists already.

    Raises:
        ModelError: The model has no landmarks that the detector finds.
        ValueError: No photo is given.
    """
    if not photos:
        raise ValueError("no photos; expected at least one")
    config = config or SubjectConfig()
    if alone is None:
        alone = [
            fit_face(model, p.image, p.box, p.landmarks, config.fit, p.dense, p.focal_length_px, p.bare_skin)
            for p in photos
        ]
    evidence = [identity_evidence(model, p.landmarks, fit) for p, fit in zip(photos, alone)]
    same, distance = same_subject(model, evidence, config.other_mm)
    chosen = [int(i) for i in np.flatnonzero(same)]
    fits: list[InverseFit | None] = [None] * len(photos)
    if len(chosen) == 1:
        fits[chosen[0]] = alone[chosen[0]]
    else:
        members = [photos[i] for i in chosen]
        with single_thread():
            together = _JointSolver(model, members, [alone[i] for i in chosen], config).run()
        for i, fit in zip(chosen, together):
            fits[i] = fit
    first = next(fit for fit in fits if fit is not None)
    return SubjectFit(first.state.identity, first.appearance.albedo, tuple(fits), distance)


def same_subject(model: FaceModel, identities: Sequence[Float], other_mm: float) -> tuple[Bool, Float32]:
    """Photos of one subject among photos of possibly several.

    Photos are left out one by one, the one farthest from the mean of the others first, while it is farther
    than the threshold. Of two photos the first stays.

    Args:
        model: Face model.
        identities: (K,) of each photo by itself.
        other_mm: Distance of two photos' shapes beyond which they show two subjects, mm. The mean of several
            has smaller errors: there the threshold is lower accordingly.

    Returns:
        (n,) photos of the subject, and (n,) the distance of each from the mean of the subject's others, mm.
    """
    values = np.stack([np.asarray(identity, np.float64) for identity in identities])
    same = np.ones(len(values), bool)
    while True:
        distance = np.array([_from_others(model, values, same, k) for k in range(len(values))], np.float32)
        worst = int(np.argmax(np.where(same, distance, -1.0)))
        others = max(int(same.sum()) - 1, 1)
        if same.sum() < 2 or distance[worst] <= other_mm * np.sqrt(0.5 * (1 + 1 / others)):
            return same, distance
        if same.sum() == 2:  # neither is more likely the subject
            worst = int(np.flatnonzero(same)[1])
        same[worst] = False


def _from_others(model: FaceModel, values: Float64, same: Bool, k: int) -> float:
    others = same.copy()
    others[k] = False
    return shape_distance(model, values[k], values[others].mean(axis=0)) if others.any() else 0.0


def identity_evidence(model: FaceModel, landmarks: Float, fit: InverseFit) -> Float:
    """(K,) identity by which subjects are told apart: halfway between pixels and landmarks with a weak prior.

    The errors of the two are nearly independent.

    Args:
        model: Face model.
        landmarks: (478, 2) MediaPipe or (68, 2) iBUG, px.
        fit: Fit of the photo by itself.
    """
    observed, name = landmarks_for(model, landmarks)
    loose = LandmarkFitConfig(identity=1.0)
    return 0.5 * (fit.state.identity + fit_landmarks(model, observed, name=name, config=loose).state.identity)


@dataclass(frozen=True, eq=False)
class _Variables:
    """Present values of all unknowns."""

    states: tuple[FaceState, ...]
    appearances: tuple[Appearance, ...]


class _JointSolver:
    """Damped Gauss-Newton over the photos of one subject.

    Unknowns, in this order: identity (K), albedo (A), then of each photo pose, expression and light.
    """

    def __init__(
        self,
        model: FaceModel,
        photos: Sequence[SubjectPhoto],
        alone: Sequence[InverseFit],
        config: SubjectConfig,
    ) -> None:
        self.model, self.photos, self.alone, self.config = model, photos, alone, config
        fit = config.fit
        self.solvers: list[PhotoSolver] = []
        for photo, first in zip(photos, alone):
            scale = first.landmarks.state.camera.scale
            marks, points = marks_for(model, photo.landmarks, photo.dense, scale, fit)
            solver = PhotoSolver(
                model,
                photo.image,
                photo.box,
                points,
                first.landmarks,
                marks,
                fit.photometric,
                photo.focal_length_px,
            )
            self.solvers.append(solver)
        k, e, a = model.n_identity, model.n_expression, model.n_albedo
        size = self.solvers[0].term.size
        pose = size - k - e
        own = pose + e + N_LIGHT
        self.shared = np.r_[pose : pose + k, size : size + a]
        """Places of identity and albedo among a photo's unknowns."""
        self.places: list[NDArray[np.int64]] = []
        for i in range(len(photos)):
            place = np.empty(size + a + N_LIGHT, np.int64)
            place[self.shared] = np.arange(k + a)
            first_own = k + a + i * own
            place[:pose] = first_own + np.arange(pose)
            place[pose + k : size] = first_own + pose + np.arange(e)
            place[size + a :] = first_own + pose + e + np.arange(N_LIGHT)
            self.places.append(place)
        self.size = k + a + len(photos) * own

    def run(self) -> list[InverseFit]:
        identity = np.mean([fit.state.identity for fit in self.alone], axis=0).astype(np.float32)
        albedo = np.mean([fit.appearance.albedo for fit in self.alone], axis=0).astype(np.float32)
        now = _Variables(
            tuple(replace(fit.state, identity=identity) for fit in self.alone),
            tuple(replace(fit.appearance, albedo=albedo) for fit in self.alone),
        )
        for back in range(self.config.levels, 0, -1):
            now = self._descend(now, back)
        return [self._finished(i, now.states[i], now.appearances[i]) for i in range(len(self.photos))]

    def _descend(self, now: _Variables, back: int) -> _Variables:
        """Steps on the level that is the `back`-th from the finest; photos without it use their coarsest."""
        damping = DAMPING
        levels = [solver.levels[max(len(solver.levels) - back, 0)] for solver in self.solvers]
        points = self.config.fit.photometric.points
        for _ in range(self.config.steps):
            samples = [
                solver.term.sample(state, level, points)
                for solver, state, level in zip(self.solvers, now.states, levels)
            ]
            hessian, gradient, values, low, high = self._system(now, levels, samples)
            energy = self._energy(now, levels, samples)
            for step, after in damped_steps(hessian, gradient, values, low, high, damping):
                trial = self._moved(now, step)
                if self._energy(trial, levels, samples) < energy:
                    now, damping = trial, after
                    break
            else:
                break
        return now

    def _system(
        self, now: _Variables, levels: Sequence[ImageLevel], samples: Sequence[SurfaceSample]
    ) -> tuple[Float64, Float64, Float64, Float64, Float64]:
        """Matrix, gradient, values and ranges of all unknowns."""
        hessian, gradient = np.zeros((self.size, self.size)), np.zeros(self.size)
        values, low, high = np.zeros(self.size), np.zeros(self.size), np.zeros(self.size)
        for solver, place, state, appearance, level, sample in zip(
            self.solvers, self.places, now.states, now.appearances, levels, samples
        ):
            part, slope = solver.quadratic(state, appearance, level, sample)
            hessian[np.ix_(place, place)] += part
            gradient[place] += slope
            values[place] = solver.values(state, appearance)
            low[place], high[place] = solver.low, solver.high
        again = len(self.solvers) - 1
        solver, shared = self.solvers[0], self.shared
        prior = solver.precision[np.ix_(shared, shared)]
        at = np.arange(len(shared))
        hessian[np.ix_(at, at)] -= again * prior
        gradient[at] -= again * (prior @ values[at])
        return hessian, gradient, values, low, high

    def _energy(
        self, now: _Variables, levels: Sequence[ImageLevel], samples: Sequence[SurfaceSample]
    ) -> float:
        total = sum(
            solver.energy(state, appearance, level, sample)
            for solver, state, appearance, level, sample in zip(
                self.solvers, now.states, now.appearances, levels, samples
            )
        )
        shared = np.concatenate([now.states[0].identity, now.appearances[0].albedo]).astype(np.float64)
        prior = self.solvers[0].precision[np.ix_(self.shared, self.shared)]
        return total - (len(self.solvers) - 1) * float(shared @ prior @ shared)

    def _moved(self, now: _Variables, step: Float64) -> _Variables:
        pairs = [
            solver.moved(state, appearance, step[place])
            for solver, place, state, appearance in zip(
                self.solvers, self.places, now.states, now.appearances
            )
        ]
        return _Variables(tuple(s for s, _ in pairs), tuple(a for _, a in pairs))

    def _finished(self, i: int, state: FaceState, appearance: Appearance) -> InverseFit:
        """The fit of one photo, with lids and lips as the photo has them."""
        solver, alone, photo = self.solvers[i], self.alone[i], self.photos[i]
        level = solver.levels[-1]
        sample = solver.term.sample(state, level, self.config.fit.photometric.points)
        last = replace(
            alone.photometric,
            state=state,
            appearance=appearance,
            residual_after=solver.robust_rms(state, appearance, level, sample),
            landmark_rms_px=solver.landmark_rms(state),
            terms=solver.energy_terms(state, appearance, level, sample),
        )
        return replace(
            alone, photometric=settled(self.model, photo.image, photo.landmarks, last, self.config.fit)
        )
