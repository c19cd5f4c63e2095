"""CoarseNet on held-out pictures, beside the mean face in the best pose and the detector's landmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import SquareCrop
from facerelief.inference.runners import Estimate, camera_from_landmarks
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.evaluation.metrics.face_errors import (
    YAW_NAMES,
    Bar,
    Float,
    Image,
    Labelled,
    Progress,
    box_crop,
    calibration,
    detected_marks,
    expression_groups,
    ibug68,
    label_state,
    landmark_errors,
    means,
    ratio,
    state_errors,
    true_face,
    yaw_bin,
)
from facerelief.morphable.model import FaceModel

NET, LOOKED, MEAN_FACE, DETECTOR = "net", "net, detected", "mean face", "detector"
METHODS = (NET, LOOKED, MEAN_FACE, DETECTOR)
"""The net on the label's box; the net from the detector's landmarks, as in use; the mean face in the pose
that the label's own landmarks give; the detector's landmarks."""

MOST_MM, MOST_SHARE, MOST_NME, MOST_YAW = 1.6, 0.70, 1.25, 3.0
"""Bars: mean visible-surface error, its share of the mean face's, landmark error over the detector's,
degrees."""


class CoarseLike(Protocol):
    """What is measured; `pipeline.nets.CoarseRunner` is one."""

    @property
    def size(self) -> int:
        """Side of the crop, px."""
        ...

    def __call__(self, image: Image, crop: SquareCrop) -> Estimate:
        """A face in a crop."""
        ...

    def look(self, image: Image, around: WeakPerspective) -> Estimate:
        """A face that is about there."""
        ...


Detect = Callable[[Image, NDArray[Any]], Float | None]
"""Landmarks (478, 2) or (68, 2), px, of the face in a box; see `nets.detected_marks`."""


@dataclass(frozen=True)
class CoarseRow:
    """Measures of one picture."""

    yaw: float
    """True, degrees."""
    groups: tuple[str, ...]
    """See `nets.expression_groups`."""
    errors: dict[str, dict[str, float]]
    """By method of `METHODS`, those that there are: `nets.state_errors`, of the detector landmarks alone."""
    stated_mm: float
    """What the net takes its error to be, on the label's box."""


def evaluate_coarse(
    model: FaceModel,
    net: CoarseLike,
    samples: Iterable[Labelled],
    detect: Detect = detected_marks,
    progress: Progress = lambda done: None,
) -> list[CoarseRow]:
    """Measure every picture; `coarse_report` sums up. Samples are of the kinds coarse, renders or pairs."""
    rows: list[CoarseRow] = []
    for done, sample in enumerate(samples, 1):
        rows.append(_measured(model, net, sample, detect))
        progress(done)
    return rows


def _measured(model: FaceModel, net: CoarseLike, sample: Labelled, detect: Detect) -> CoarseRow:
    labels = sample.labels
    crop = box_crop(labels["box"], net.size)
    truth = true_face(model, label_state(labels), crop)
    estimate = net(sample.image, crop)
    own = np.zeros(model.n_identity, np.float32), np.zeros(model.n_expression, np.float32)
    mean_face = FaceState(camera_from_landmarks(model, truth.marks), *own)
    errors = {
        NET: state_errors(model, truth, estimate.state),
        MEAN_FACE: state_errors(model, truth, mean_face),
    }
    found = detect(sample.image, labels["box"])
    if found is not None:
        looked = net.look(sample.image, camera_from_landmarks(model, found))
        errors[LOOKED] = state_errors(model, truth, looked.state)
        errors[DETECTOR] = landmark_errors(found if len(found) == 68 else ibug68(found), truth)
    return CoarseRow(
        math.degrees(truth.state.camera.yaw),
        expression_groups(model, truth.state.expression),
        errors,
        estimate.error_mm,
    )


def coarse_report(rows: Sequence[CoarseRow]) -> dict[str, Any]:
    """Means over all pictures, by yaw and by expression; calibration; bars. JSON-serialisable but for NaN."""
    by_yaw = {name: _part([row for row in rows if yaw_bin(row.yaw) == name]) for name in YAW_NAMES}
    names = dict.fromkeys(group for row in rows for group in row.groups)
    by_expression = {name: _part([row for row in rows if name in row.groups]) for name in sorted(names)}
    whole = _part(rows)
    return {
        "samples": len(rows),
        "all": whole,
        "by_yaw": by_yaw,
        "by_expression": by_expression,
        "calibration": calibration(
            np.array([row.stated_mm for row in rows]), np.array([row.errors[NET]["rms_mm"] for row in rows])
        ),
        "bars": [bar.document for bar in _bars(whole, by_yaw)],
    }


def _part(rows: Sequence[CoarseRow]) -> dict[str, Any]:
    """Means by method; of the net's landmark errors also the ratio to the detector's, on pictures in which
    that found the face."""
    out: dict[str, Any] = {"samples": len(rows)}
    for method in METHODS:
        members = [row.errors[method] for row in rows if method in row.errors]
        if members:
            out[method] = {"samples": len(members)} | means(members)
    both = [row.errors for row in rows if DETECTOR in row.errors]
    for method in (NET, LOOKED):
        for name in ("nme68", "nme51"):
            if both:
                own, other = (means([errors[m] for errors in both])[name] for m in (method, DETECTOR))
                out[method][f"{name}_over_detector"] = ratio(own, other)
    return out


def _bars(whole: dict[str, Any], by_yaw: dict[str, dict[str, Any]]) -> list[Bar]:
    bars: list[Bar] = []

    def of(part: dict[str, Any], method: str, name: str) -> float:
        return part.get(method, {}).get(name, float("nan"))

    for method in (NET, LOOKED):
        for name, what in (
            ("rigid_mm", "visible surface after pose (rigid)"),
            ("level_mm", "visible surface as posed"),
        ):
            own = of(whole, method, name)
            bars.append(Bar(f"{method}: {what}, mm", own, MOST_MM))
            bars.append(
                Bar(f"{method}: that over mean face", ratio(own, of(whole, MEAN_FACE, name)), MOST_SHARE)
            )
        bars.append(Bar(f"{method}: yaw, degrees", of(whole, method, "yaw"), MOST_YAW))
        for name, part in {"all": whole, **by_yaw}.items():
            if part["samples"]:
                share = of(part, method, "nme68_over_detector")
                bars.append(Bar(f"{method}: landmarks over detector's, yaw {name}", share, MOST_NME))
    return bars
