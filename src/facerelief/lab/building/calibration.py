"""Placement and spread of a detector's landmarks on the model, learned from photos.

A landmark set carried over from another mesh sits a little beside the points that the detector finds. Fitting
many photos with a weak prior and averaging the residuals measures the offset; the points are moved along the
surface, both sides alike, and the scatter left over becomes their `spread`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.closest import ClosestPoint
from facerelief.inverse.landmark_fit import LandmarkFitConfig, fit_landmarks, landmark_term
from facerelief.lab.building.surface import IBUG_MIRROR, mediapipe_mirror
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.typed import Float64

MAX_YAW = 0.35
"""Photos turned further (radians) do not count: their landmarks are too unsure."""
MIN_FACES = 20
"""Faces that must be left then."""


def calibrate_landmarks(
    model: FaceModel,
    observations: Sequence[NDArray[np.floating]],
    neutral: Sequence[NDArray[np.floating]],
    *,
    name: str = "mediapipe478",
    rounds: int = 3,
    gain: float = 0.8,
) -> FaceModel:
    """Move a landmark set to where the detector finds it, and measure its spread.

    Placement is learned on neutral faces with expressions switched off (else raised brows would pass for
    misplaced ones), spread on the others.

    Args:
        model: Face model with the set.
        observations: (L, 2) px landmarks of at least 50 faces.
        neutral: (L, 2) px landmarks of at least 30 neutral faces.
        name: Landmark set.
        rounds: Rounds of placement.
        gain: Share of the median offset that a round applies.

    Raises:
        ValueError: Too few faces, or too few that look ahead.
    """
    if len(observations) < 50 or len(neutral) < 30:
        raise ValueError(
            f"{len(neutral)} neutral and {len(observations)} other faces are too few to calibrate "
            "landmarks on; give at least 30 and 50"
        )
    stiff = LandmarkFitConfig(evidence=0.3, identity=0.7, expression=0.01)
    for _ in range(rounds):
        model = _moved(model, name, gain * np.median(_offsets(model, neutral, name, stiff), axis=0))
    offsets = _offsets(model, observations, name, LandmarkFitConfig(evidence=0.3))
    middle = np.median(offsets, axis=0)
    deviation = 1.4826 * np.median(np.abs(offsets - middle), axis=0)[:, :2]
    spread = np.sqrt((deviation**2 + middle[:, :2] ** 2).mean(axis=1))
    points = model.landmarks[name]
    even = np.clip(0.5 * (spread + spread[_mirror_of(model, name)]), 0.5, 8.0).astype(np.float32)
    return replace(model, landmarks={**model.landmarks, name: replace(points, spread=even)})


def _offsets(
    model: FaceModel, observations: Sequence[NDArray[np.floating]], name: str, config: LandmarkFitConfig
) -> Float64:
    """(faces, L, 3) residuals of detected and fitted landmarks, mm, turned back into model space."""
    out: list[Float64] = []
    for observed in observations:
        state = fit_landmarks(model, observed, name=name, config=config).state
        if abs(state.camera.yaw) > MAX_YAW:
            continue
        term = landmark_term(model, name, config)
        residual, _ = term.linearise(state, np.asarray(observed, float))
        camera = (
            np.stack([-residual[:, 0], residual[:, 1], np.zeros(len(residual))], axis=1) / state.camera.scale
        )
        out.append(camera @ state.camera.rotation)
    if len(out) < MIN_FACES:
        raise ValueError(
            f"only {len(out)} of {len(observations)} faces look ahead within {np.degrees(MAX_YAW):.0f} "
            f"degrees; give at least {MIN_FACES} that do"
        )
    return np.array(out)


def _moved(model: FaceModel, name: str, shift: Float64) -> FaceModel:
    points = model.landmarks[name]
    at = points.of(model.mean.astype(float))
    mirror = _mirror_of(model, name)
    target = at + 0.5 * (shift + shift[mirror] * [-1, 1, 1])
    eyeball = model.regions["eyeballs"]
    on_ball = eyeball[points.vertices[:, 0]]
    vertices, weights = points.vertices.copy(), points.weights.copy()
    skin = model.triangles[~eyeball[model.triangles].any(axis=1)]
    hit = ClosestPoint(model.mean, skin).query(target[~on_ball])
    vertices[~on_ball], weights[~on_ball] = skin[hit.triangle], hit.barycentric
    moved = SurfacePoints(vertices, weights.astype(np.float32))
    return replace(model, landmarks={**model.landmarks, name: moved})


def _mirror_of(model: FaceModel, name: str) -> NDArray[np.integer]:
    if name == "ibug68":
        return IBUG_MIRROR
    return mediapipe_mirror(model.landmarks[name].of(model.mean.astype(float)))
