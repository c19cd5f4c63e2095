"""CoarseNet on held-out images, beside the mean face in the best pose and the detector's landmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.detection import DetectedFace
from facerelief.inference.runners import CoarseRunner, camera_from_landmarks
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.metrics import face_errors
from facerelief.lab.evaluation.metrics.reports import INLINE, TARGETS, Target
from facerelief.morphable.model import FaceModel
from facerelief.typed import Image

NET, LOOKED, MEAN_FACE, DETECTOR = "net", "net, detected", "mean face", "detector"
METHODS = (NET, LOOKED, MEAN_FACE, DETECTOR)
"""The network on the label's box; the network from the detector's landmarks, as in use; the mean face in the
pose of the label's own landmarks; the detector's landmarks."""

MOST_MM, MOST_SHARE, MOST_NME, MOST_YAW = 1.6, 0.70, 1.25, 3.0
"""Targets: mean visible-surface error, its share of the mean face's, landmark error over the detector's,
degrees."""


Detect = Callable[[Image, NDArray[Any]], DetectedFace | None]
"""The face in a box (left, top, right, bottom), px; see `face_in`."""


@dataclass(frozen=True)
class CoarseRow:
    """Measures of one image."""

    yaw: float
    """True, degrees."""
    groups: tuple[str, ...]
    """See `expression_groups`."""
    errors: dict[str, dict[str, float]]
    """Method of `METHODS` -> `state_errors`; of the detector, where it finds the face, landmark errors."""
    stated_mm: float
    """The error that the network states, on the label's box."""


@dataclass(frozen=True)
class CoarsePart:
    """Means over some of the samples."""

    samples: int
    methods: dict[str, dict[str, float]] = field(metadata=INLINE)
    """Method -> measure -> mean, with the number of samples; of the network's landmark errors also the ratio
    to the detector's."""

    def mean(self, method: str, measure: str) -> float:
        """NaN where it was not measured."""
        return self.methods.get(method, {}).get(measure, float("nan"))


@dataclass(frozen=True)
class CoarseReport:
    """CoarseNet on held-out samples."""

    samples: int
    whole: CoarsePart = field(metadata={"key": "all"})
    by_yaw: dict[str, CoarsePart]
    by_expression: dict[str, CoarsePart]
    calibration: face_errors.Calibration
    """Of the error that the network states."""
    targets: list[Target] = field(metadata=TARGETS)


def evaluate_coarse(
    model: FaceModel,
    net: CoarseRunner,
    samples: Iterable[Sample],
    detect: Detect = face_errors.face_in,
    progress: face_errors.Progress = lambda done: None,
) -> list[CoarseRow]:
    """Measure every sample, of the kinds coarse, renders or pairs; `coarse_report` gives the means."""
    return [_measured(model, net, sample, detect) for sample in face_errors.counted(samples, progress)]


def _measured(model: FaceModel, net: CoarseRunner, sample: Sample, detect: Detect) -> CoarseRow:
    labels = sample.labels
    state = face_errors.label_state(labels)
    crop = face_errors.face_crop(model, state, net.size)
    truth = face_errors.true_face(model, state, crop)
    estimate = net(sample.image, crop)
    own = np.zeros(model.n_identity, np.float32), np.zeros(model.n_expression, np.float32)
    mean_face = FaceState(camera_from_landmarks(model, truth.marks), *own)
    errors = {
        NET: face_errors.state_errors(model, truth, estimate.state),
        MEAN_FACE: face_errors.state_errors(model, truth, mean_face),
    }
    found = detect(sample.image, labels["box"])
    if found is not None:
        looked = net.estimate(sample.image, camera_from_landmarks(model, found.landmarks))
        errors[LOOKED] = face_errors.state_errors(model, truth, looked.state)
        errors[DETECTOR] = face_errors.landmark_errors(face_errors.ibug68(found.landmarks), truth)
    return CoarseRow(
        math.degrees(truth.state.camera.yaw),
        face_errors.expression_groups(model, truth.state.expression),
        errors,
        estimate.error_mm,
    )


def coarse_report(rows: Sequence[CoarseRow]) -> CoarseReport:
    """Means over all samples, by yaw and by expression; calibration; targets."""
    by_yaw = {
        name: _part([row for row in rows if face_errors.yaw_bin(row.yaw) == name])
        for name in face_errors.YAW_NAMES
    }
    names = dict.fromkeys(group for row in rows for group in row.groups)
    whole = _part(rows)
    return CoarseReport(
        len(rows),
        whole,
        by_yaw,
        {name: _part([row for row in rows if name in row.groups]) for name in sorted(names)},
        face_errors.calibration(
            np.array([row.stated_mm for row in rows]), np.array([row.errors[NET]["rms_mm"] for row in rows])
        ),
        _targets(whole, by_yaw),
    )


def _part(rows: Sequence[CoarseRow]) -> CoarsePart:
    methods: dict[str, dict[str, float]] = {}
    for method in METHODS:
        members = [row.errors[method] for row in rows if method in row.errors]
        if members:
            methods[method] = {"samples": len(members)} | face_errors.means(members)
    both = [row.errors for row in rows if DETECTOR in row.errors]
    for method in (NET, LOOKED):
        for name in ("nme68", "nme51"):
            if both:
                own, other = (
                    face_errors.means([errors[m] for errors in both])[name] for m in (method, DETECTOR)
                )
                methods[method][f"{name}_over_detector"] = face_errors.ratio(own, other)
    return CoarsePart(len(rows), methods)


def _targets(whole: CoarsePart, by_yaw: dict[str, CoarsePart]) -> list[Target]:
    targets: list[Target] = []
    for method in (NET, LOOKED):
        for name, what in (
            ("rigid_mm", "visible surface after pose (rigid)"),
            ("level_mm", "visible surface as posed"),
        ):
            own = whole.mean(method, name)
            share = face_errors.ratio(own, whole.mean(MEAN_FACE, name))
            targets.append(Target(f"{method}: {what}, mm", own, at_most=MOST_MM))
            targets.append(Target(f"{method}: that over mean face", share, at_most=MOST_SHARE))
        targets.append(Target(f"{method}: yaw, degrees", whole.mean(method, "yaw"), at_most=MOST_YAW))
        for name, part in {"all": whole, **by_yaw}.items():
            if part.samples:
                share = part.mean(method, "nme68_over_detector")
                what = f"{method}: landmarks over detector's, yaw {name}"
                targets.append(Target(what, share, at_most=MOST_NME))
    return targets
