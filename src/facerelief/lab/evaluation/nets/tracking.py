"""Tracking CoarseNet on held-out pairs, beside CoarseNet on the same crop and the state known before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facerelief.inference.crops import SquareCrop
from facerelief.inference.runners import CoarseRunner, TrackingRunner
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.metrics import face_errors
from facerelief.lab.evaluation.metrics.reports import INLINE, TARGETS, Target
from facerelief.morphable.model import FaceModel

TRACKING, COARSE, PREVIOUS = "tracking net", "CoarseNet", "previous"
METHODS = (TRACKING, COARSE, PREVIOUS)
OUTLIERS = (2.0, 3.0, 5.0, 8.0)
"""Changes of pose, standard deviations, above which pairs are counted: `TrackerConfig.outlier` is one."""


@dataclass(frozen=True)
class PairRow:
    """Measures of one image with one of its previous states."""

    frames: int
    """Frames by which the previous state is older; 0 where the track is lost."""
    blurred: bool
    errors: dict[str, dict[str, float]]
    """Method of `METHODS` -> `state_errors`, of states that all have the true identity."""
    stated_mm: float
    change: float
    """Largest change of pose that the tracking network gives, standard deviations of its training data."""


@dataclass(frozen=True)
class PairPart:
    """Means over some of the pairs."""

    samples: int
    methods: dict[str, dict[str, float]] = field(metadata=INLINE)
    """Method -> measure -> mean."""


@dataclass(frozen=True)
class PairReport:
    """Tracking CoarseNet on held-out pairs."""

    samples: int
    parts: dict[str, PairPart]
    """Pairs "followed" and "lost"; of the followed ones by age of the previous state, "sharp", "blurred"."""
    changes_above: dict[str, dict[str, float]]
    """Threshold of `OUTLIERS` -> "followed" and "lost" -> share of pairs whose pose changes by more."""
    calibration: face_errors.Calibration
    """Of the error that the network states, over all pairs."""
    targets: list[Target] = field(metadata=TARGETS)
    """Our own: following must beat a fresh look at the same crop, and no look at all."""


def evaluate_pairs(
    model: FaceModel,
    tracking: TrackingRunner,
    coarse: CoarseRunner,
    samples: Iterable[Sample],
    progress: face_errors.Progress = lambda done: None,
) -> list[PairRow]:
    """Measure every pair, each with one of its previous states in turn; `pair_report` gives the means."""
    return [
        _measured(model, tracking, coarse, sample, number % len(sample.labels["previous_camera"]))
        for number, sample in enumerate(face_errors.counted(samples, progress))
    ]


def _measured(
    model: FaceModel, tracking: TrackingRunner, coarse: CoarseRunner, sample: Sample, k: int
) -> PairRow:
    labels = sample.labels
    before = face_errors.label_state(labels, "previous_", k)
    crop = SquareCrop.of_corners(labels["previous_crop"][k], tracking.size, before.camera.roll)
    truth = face_errors.true_face(model, face_errors.label_state(labels), crop)
    vertices = model.shape(before.identity, before.expression)
    estimate, change = tracking(sample.image, before, vertices, crop)
    fresh = coarse(sample.image, replace(crop, size=coarse.size)).state
    own = truth.state.identity
    states = {TRACKING: estimate.state, COARSE: fresh, PREVIOUS: before}
    return PairRow(
        int(labels["previous_frames"][k]) if "previous_frames" in labels else 1,
        bool(labels["blur"][0] > 0) if "blur" in labels else False,
        # the tracking network does not estimate identity: all methods are given the true one
        {
            name: face_errors.state_errors(model, truth, replace(state, identity=own))
            for name, state in states.items()
        },
        estimate.error_mm,
        float(np.abs(change[-6:]).max()),
    )


def _parts(rows: Sequence[PairRow]) -> dict[str, list[PairRow]]:
    followed = [row for row in rows if row.frames]
    parts = {"followed": followed, "lost": [row for row in rows if not row.frames]}
    parts |= {
        f"{age} frames older": [row for row in followed if row.frames == age]
        for age in sorted({row.frames for row in followed})
    }
    sharp, blurred = ([row for row in followed if row.blurred == x] for x in (False, True))
    return parts | {"sharp": sharp, "blurred": blurred}


def pair_report(rows: Sequence[PairRow]) -> PairReport:
    """Means over all followed pairs, over lost ones, and by age and blur; calibration; targets."""
    parts = _parts(rows)
    table = {
        name: PairPart(len(found), {m: face_errors.means([row.errors[m] for row in found]) for m in METHODS})
        for name, found in parts.items()
        if found
    }
    whole = table["followed"].methods if parts["followed"] else {}
    own, fresh, kept = (whole.get(method, {}).get("level_mm", float("nan")) for method in METHODS)
    return PairReport(
        len(rows),
        table,
        {
            f"{limit:g}": {
                name: float(np.mean([row.change > limit for row in parts[name]]))
                for name in ("followed", "lost")
                if parts[name]
            }
            for limit in OUTLIERS
        },
        face_errors.calibration(
            np.array([row.stated_mm for row in rows]),
            np.array([row.errors[TRACKING]["rms_mm"] for row in rows]),
        ),
        [
            Target("as posed, over CoarseNet on the same crop", face_errors.ratio(own, fresh), at_most=1.0),
            Target("as posed, over the previous state", face_errors.ratio(own, kept), at_most=1.0),
        ],
    )
