"""Stage 1 from dense points: pose, identity and expression from many vertices with an uncertainty each.

Wood et al. (ECCV 2022) fit a face model to the points of a net (`inference.landmark_net`), each weighted by
the inverse of the variance that the net states. Here the detector's landmarks may count too: they come from
photos, the dense points from renders.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field, replace

import numpy as np

from facerelief.inverse.landmark_fit import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkTerm,
    MarkPart,
    descend_marks,
    landmark_term,
)
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.runtime.threads import single_thread
from facerelief.typed import Bool, Float, Float64, Int32

_NAME = "dense"


@dataclass(frozen=True, eq=False)
class DensePoints:
    """Vertices of a face model as found in an image."""

    vertices: Int32
    """(N,) vertex ids."""
    points: Float64
    """(N, 2) px of the image."""
    sigma: Float64
    """(N,) standard deviation of each coordinate, px of the image."""


@dataclass(frozen=True)
class DenseFitConfig:
    """Weights of dense points against the model's statistics."""

    model: LandmarkFitConfig = field(
        default_factory=lambda: LandmarkFitConfig(identity=1.0, evidence=0.1, robust=5.0)
    )
    """Deviations of the coefficients; evidence and robustness of the dense points."""
    least_mm: float = 0.6
    """Added to each point's deviation, in squares: what the net does not know of photos."""
    detected: float = 0.3
    """Weight of the detector's landmarks beside the dense points, relative to their usual one."""


def fit_dense(
    model: FaceModel,
    dense: DensePoints,
    start: FaceState,
    detected: Float | None = None,
    *,
    name: str = "mediapipe478",
    config: DenseFitConfig | None = None,
    focal_length_px: float | None = None,
) -> LandmarkFit:
    """Fit pose, identity and expression to dense points.

    Args:
        model: Face model that the points belong to.
        dense: The points.
        start: State to begin with, as of `fit_landmarks`.
        detected: (L, 2) px in the landmark set `name`, NaN where there is none; None to do without.
        name: Landmark set of the model.
        config: Weights.
        focal_length_px: Of the camera, px of the image, where it is known.

    Returns:
        The state, the distance of each dense point in px, and their robust root mean square.

    Raises:
        ValueError: Points of another shape.
    """
    config = config or DenseFitConfig()
    points = np.asarray(dense.points, np.float64)
    if points.shape != (len(dense.vertices), 2) or len(dense.sigma) != len(points):
        raise ValueError(f"dense points have shape {points.shape}, expected ({len(dense.vertices)}, 2)")
    term = dense_term(model, dense, start.camera.scale, config)
    parts = [MarkPart(term, points, np.ones(len(points), bool))]
    if detected is not None and config.detected > 0:
        marks = np.asarray(detected, np.float64)
        own = landmark_term(model, name, LandmarkFitConfig())
        usable: Bool = np.asarray(np.isfinite(marks).all(axis=1))
        parts.append(MarkPart(own, own.filled(start, marks, usable), usable, config.detected))
    with single_thread():
        return descend_marks(parts, start, 8.0, 2, focal_length_px)


def dense_term(
    model: FaceModel, dense: DensePoints, scale: float, config: DenseFitConfig | None = None
) -> LandmarkTerm:
    """The term of dense points, with the spread that the net states for each.

    Args:
        model: Face model that the points belong to.
        dense: The points.
        scale: Size of the face, px/mm.
        config: Weights.
    """
    config = config or DenseFitConfig()
    term = copy.copy(_dense_term(model, np.asarray(dense.vertices, np.int32).tobytes(), config.model))
    term.spread = np.hypot(np.asarray(dense.sigma) / scale, config.least_mm)
    return term


@functools.lru_cache(maxsize=8)
def _dense_term(model: FaceModel, vertices: bytes, config: LandmarkFitConfig) -> LandmarkTerm:
    """The prepared term of a model's vertices; models are compared by identity."""
    marks = SurfacePoints.at_vertices(np.frombuffer(vertices, np.int32))
    own = replace(model, landmarks={_NAME: marks}, contours={})
    return LandmarkTerm(own, _NAME, config)
