"""The coarse inverse rendering of one face: landmarks, then pixels. Detail follows in `detail`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from facerelief.inverse.dense_fit import DenseFitConfig, DensePoints, dense_term, fit_dense
from facerelief.inverse.detail import DetailConfig
from facerelief.inverse.landmark_fit import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkTerm,
    fit_landmarks,
    landmark_term,
)
from facerelief.inverse.lips import mouth_open
from facerelief.inverse.photometric import PhotometricConfig, PhotometricFit, fit_photometric
from facerelief.inverse.photometric_term import Appearance
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Float32, Float64, Image


@dataclass(frozen=True)
class FitConfig:
    """Configuration of all stages."""

    landmarks: LandmarkFitConfig = field(default_factory=LandmarkFitConfig)
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    detail: DetailConfig = field(default_factory=DetailConfig)
    dense: DenseFitConfig = field(default_factory=DenseFitConfig)
    """Weights of the landmark net's points, where they are given."""
    closed_lips: bool = True
    """Whether lips that touch on the photo touch in the result."""


@dataclass(frozen=True, eq=False)
class InverseFit:
    """Both stages' results."""

    landmarks: LandmarkFit
    photometric: PhotometricFit
    timings_ms: dict[str, float]

    @property
    def state(self) -> FaceState:
        return self.photometric.state

    @property
    def appearance(self) -> Appearance:
        return self.photometric.appearance

    @property
    def spread_mm(self) -> float:
        """Distance of stage 1's landmarks to the detected ones, robust root mean square, mm.

        It measures how well the model can show them at all; stage 2 trades them for colours.
        """
        return self.landmarks.rms_px / self.landmarks.state.camera.scale


def landmark_set(count: int) -> str:
    """Name of the landmark set that `count` detected points belong to."""
    return {478: "mediapipe478", 468: "mediapipe478", 68: "ibug68"}.get(count, f"{count} points")


def landmarks_for(model: FaceModel, landmarks: ArrayLike) -> tuple[Float64, str]:
    """Landmarks as a model knows them, and the name of their set.

    Args:
        model: Face model.
        landmarks: (478, 2) MediaPipe (468 without the irises, which become NaN) or (68, 2) iBUG, px.

    Returns:
        (L, 2) px; for a model without MediaPipe points the 68 that lie among the 478.
    """
    observed = np.asarray(landmarks, np.float64)
    name = landmark_set(len(observed))
    if len(observed) == 468:
        observed = np.concatenate([observed, np.full((10, 2), np.nan)])
    if name not in model.landmarks and name == "mediapipe478" and "ibug68" in model.landmarks:
        observed, name = observed[list(IBUG68_AMONG_MEDIAPIPE)], "ibug68"
    return observed, name


def fit_face(
    model: FaceModel,
    image: Image,
    box: tuple[float, float, float, float],
    landmarks: Float,
    config: FitConfig | None = None,
    dense: DensePoints | None = None,
    focal_length_px: float | None = None,
    bare_skin: Float32 | None = None,
) -> InverseFit:
    """Fit a model to one face of an image.

    Args:
        model: Face model; without MediaPipe points it is fitted to the 68 that lie among the 478.
        image: (H, W, 3) uint8 RGB.
        box: (left, top, right, bottom) px.
        landmarks: (478, 2) MediaPipe (468 without the irises) or (68, 2) iBUG, px.
        config: Weights and schedules of both stages.
        dense: Points of the landmark net, if stage 1 is to use them.
        focal_length_px: Of the camera, px of the image, where it is known.
        bare_skin: (H, W) share of bare skin in [0, 1], of the skin net.

    Raises:
        ModelError: The model has neither landmark set.
    """
    config = config or FitConfig()
    observed, name = landmarks_for(model, landmarks)
    started = time.perf_counter()
    first = fit_landmarks(
        model, observed, name=name, config=config.landmarks, focal_length_px=focal_length_px
    )
    if dense is not None:
        first = fit_dense(
            model,
            dense,
            first.state,
            observed,
            name=name,
            config=config.dense,
            focal_length_px=focal_length_px,
        )
    between = time.perf_counter()
    marks, points = marks_for(model, landmarks, dense, first.state.camera.scale, config)
    second = fit_photometric(
        model,
        image,
        box,
        points,
        first,
        config=config.photometric,
        marks=marks,
        focal_length_px=focal_length_px,
        bare_skin=bare_skin,
    )
    second = settled(model, image, landmarks, second, config)
    ended = time.perf_counter()
    timings = {"fit_landmarks": 1e3 * (between - started), "fit_photometric": 1e3 * (ended - between)}
    return InverseFit(first, second, timings)


def marks_for(
    model: FaceModel, landmarks: ArrayLike, dense: DensePoints | None, scale: float, config: FitConfig
) -> tuple[LandmarkTerm, Float64]:
    """The term that holds a photometric fit, and its observed points (L, 2) px.

    Args:
        model: Face model.
        landmarks: Detected landmarks, as for `landmarks_for`.
        dense: Points of the landmark net, which count instead of the detector's.
        scale: Size of the face, px/mm.
        config: Weights.
    """
    if dense is not None:
        return dense_term(model, dense, scale, config.dense), np.asarray(dense.points, np.float64)
    observed, name = landmarks_for(model, landmarks)
    return landmark_term(model, name, config.landmarks), observed


def settled(
    model: FaceModel, image: Image, landmarks: Float, fit: PhotometricFit, config: FitConfig
) -> PhotometricFit:
    """The fit with lids as far shut as the detected ones, and lips that touch where the photo's do."""
    observed, name = landmarks_for(model, landmarks)
    if not np.isfinite(observed).all(axis=1).any():
        return fit
    term = landmark_term(model, name, config.landmarks)
    state = term.with_lids(fit.state, observed)
    if config.closed_lips and not mouth_open(image, np.asarray(landmarks, np.float64)):
        state = term.with_closed_lips(state)
    return replace(fit, state=state)
