"""All methods on the same labelled images: errors of shape, landmarks and pose (docs/comparison.md)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.geometry.alignment import procrustes
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.compare.methods import MEAN_FACE, METHODS, Face, Method
from facerelief.lab.evaluation.metrics import face_errors
from facerelief.lab.evaluation.metrics.intervals import Interval, SubjectBootstrap, below_percent
from facerelief.lab.evaluation.metrics.reports import IF_KNOWN, IMAGES, INLINE, SUBJECTS
from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool, Float, Image

CROP = 224
"""Side, px, of the crop in which vertices count as seen: CoarseNet's."""
MEASURES = ("rigid_mm", "level_mm", "neutral_mm", "nme68", "nme51", "yaw", "pitch")


@dataclass(frozen=True)
class ImageRow:
    """One labelled image, measured with every method."""

    subject: str
    """The family: subjects that are never divided between training and test."""
    source: str
    """The photo it was made of."""
    yaw: float
    """True, degrees."""
    groups: tuple[str, ...]
    """See `expression_groups`."""
    errors: dict[str, dict[str, float]]
    """Method -> `MEASURES`."""
    ms: dict[str, float]
    """Method -> time from the detected face to the shape."""


Detect = Callable[[Image, NDArray[Any]], Face | None]
"""The face of an image in a labelled box (left, top, right, bottom), px, or None; see `face_in`."""


@dataclass(frozen=True)
class ComparedImages:
    """Rows of labelled images, and the images that were left out."""

    rows: list[ImageRow] = field(default_factory=list[ImageRow])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Sample -> reason: no face found, or a method that failed. Left out for all methods."""


def compare_images(
    model: FaceModel,
    methods: Mapping[str, Method],
    samples: Iterable[Sample],
    detect: Detect = face_errors.face_in,
    progress: face_errors.Progress = lambda done: None,
) -> ComparedImages:
    """Run every method on every labelled image, from one detected face, and measure it against the label."""
    out = ComparedImages()
    for sample in face_errors.counted(samples, progress):
        found = _measured(model, methods, sample, detect)
        if isinstance(found, ImageRow):
            out.rows.append(found)
        else:
            out.left_out[sample.key] = found
    return out


def _measured(
    model: FaceModel, methods: Mapping[str, Method], sample: Sample, detect: Detect
) -> ImageRow | str:
    """The row, or the reason why there is none."""
    labels = sample.labels
    face = detect(sample.image, labels["box"])
    if face is None:
        return "the detector finds no such face"
    state = face_errors.label_state(labels)
    truth = face_errors.true_face(model, state, face_errors.face_crop(model, state, CROP))
    try:
        states, ms = run_methods(methods, sample.image, face)
    except (FacereliefError, ValueError) as error:
        return str(error)
    errors: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        all_ = face_errors.state_errors(model, truth, state)
        all_["neutral_mm"] = neutral_error(model, state.identity, truth.state.identity)
        errors[name] = {measure: all_[measure] for measure in MEASURES}
    about = sample.about
    return ImageRow(
        str(about.get("family") or about.get("person") or about.get("source")),
        str(about.get("source", "")),
        math.degrees(truth.state.camera.yaw),
        face_errors.expression_groups(model, truth.state.expression),
        errors,
        ms,
    )


def run_methods(
    methods: Mapping[str, Method], image: Image, face: Face
) -> tuple[dict[str, FaceState], dict[str, float]]:
    """States and times in ms of every method on a face of an image (H, W, 3).

    Raises:
        FacereliefError: A method failed, or gave numbers that are not finite.
        ValueError: Likewise.
    """
    states: dict[str, FaceState] = {}
    ms: dict[str, float] = {}
    for name, method in methods.items():
        started = time.perf_counter()
        state = method(image, face)
        ms[name] = 1e3 * (time.perf_counter() - started)
        if not (np.isfinite(state.coefficients).all() and np.isfinite(state.camera.vector).all()):
            raise FacereliefError(f"{METHODS.get(name, name)}: numbers that are not finite")
        states[name] = state
    return states, ms


def neutral_error(model: FaceModel, found: Float, true: Float) -> float:
    """Mean distance, mm, between the neutral shapes of two identities (K,).

    Over corresponding vertices of the whole face, seen or not, after the best rigid motion.
    """
    face = model.face_vertices
    return rigid_distance(model.shape(found)[face], model.shape(true)[face])


def rigid_distance(own: Float, other: Float) -> float:
    """Mean distance of corresponding points (N, 3) after the least-squares rigid motion (Umeyama)."""
    own, other = own.astype(np.float64), other.astype(np.float64)
    moved = procrustes(own, other, with_scale=False).apply(own)
    return float(np.linalg.norm(moved - other, axis=1).mean())


@dataclass(frozen=True)
class ImagePart:
    """One method on some of the images."""

    images: int = field(metadata=IMAGES)
    subjects: int = field(metadata=SUBJECTS)
    measures: dict[str, Interval] = field(metadata=INLINE)
    """`MEASURES` -> mean."""


@dataclass(frozen=True)
class WholePart(ImagePart):
    """One method on all images."""

    below_mean_face: Interval | None = field(metadata=IF_KNOWN)
    """Per cent by which the mean rigid_mm is below the mean face's, on the same draws."""
    median_rigid_mm: float
    p90_rigid_mm: float
    median_ms: float


@dataclass(frozen=True)
class ImageMethod:
    """One method, on all images and by yaw and expression."""

    whole: WholePart = field(metadata={"key": "all"})
    by_yaw: dict[str, ImagePart]
    by_expression: dict[str, ImagePart]


@dataclass(frozen=True)
class ImageReport:
    """All methods on labelled images."""

    images: int = field(metadata=IMAGES)
    subjects: int = field(metadata=SUBJECTS)
    methods: dict[str, ImageMethod]


def methods_of(found: Mapping[str, Any] | None) -> list[str]:
    """The methods that a row or a report has, in the order of tables."""
    return [name for name in METHODS if name in (found or {})]


def image_report(rows: Sequence[ImageRow], seed: int = 0) -> ImageReport:
    """Means with intervals by method."""
    boot = SubjectBootstrap([row.subject for row in rows], seed)
    bins = np.array([face_errors.yaw_bin(row.yaw) for row in rows])
    groups = sorted({group for row in rows for group in row.groups})
    out: dict[str, ImageMethod] = {}
    names = methods_of(rows[0].errors if rows else None)
    for name in names:
        values = {measure: np.array([row.errors[name][measure] for row in rows]) for measure in MEASURES}

        def part(where: Bool, values: dict[str, Float] = values) -> ImagePart:
            cells = {measure: boot.mean(found, where) for measure, found in values.items()}
            return ImagePart(int(where.sum()), boot.subjects(where), cells)

        below = None
        if MEAN_FACE in names:
            floor = np.array([row.errors[MEAN_FACE]["rigid_mm"] for row in rows])
            below = below_percent(boot.ratio(values["rigid_mm"], floor))
        middle, high = np.nanpercentile(values["rigid_mm"], (50, 90)).tolist()
        spent = float(np.median([row.ms[name] for row in rows]))
        every = part(np.ones(len(rows), np.bool_))
        out[name] = ImageMethod(
            WholePart(every.images, every.subjects, every.measures, below, middle, high, spent),
            {x: part(bins == x) for x in face_errors.YAW_NAMES if (bins == x).any()},
            {x: part(np.array([x in row.groups for row in rows])) for x in groups},
        )
    return ImageReport(len(rows), boot.subjects(), out)
