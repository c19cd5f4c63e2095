"""Tracking CoarseNet on held-out pairs, beside CoarseNet on the same crop and the state known before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from facerelief.inference.crops import SquareCrop
from facerelief.inference.runners import Estimate
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.evaluation.metrics.face_errors import (
    Bar,
    Float,
    Image,
    Labelled,
    Progress,
    calibration,
    label_state,
    means,
    ratio,
    state_errors,
    true_face,
)
from facerelief.morphable.model import FaceModel

TRACKING, COARSE, PREVIOUS = "tracking net", "CoarseNet", "previous"
METHODS = (TRACKING, COARSE, PREVIOUS)
OUTLIERS = (2.0, 3.0, 5.0, 8.0)
"""Changes of pose, standard deviations, above which pairs are counted: `TrackerConfig.outlier` is one."""


class CoarseLike(Protocol):
    """`pipeline.nets.CoarseRunner` is one."""

    @property
    def size(self) -> int:
        """Side of the crop, px."""
        ...

    def __call__(self, image: Image, crop: SquareCrop) -> Estimate:
        """A face in a crop."""
        ...


class TrackingLike(Protocol):
    """What is measured; `pipeline.nets.TrackingRunner` is one."""

    @property
    def size(self) -> int:
        """Side of the crop, px."""
        ...

    def __call__(
        self, image: Image, before: FaceState, vertices: Float, crop: SquareCrop
    ) -> tuple[Estimate, Float]:
        """The state of a face that was seen before, and its change."""
        ...


@dataclass(frozen=True)
class PairRow:
    """Measures of one picture with one of its previous states."""

    frames: int
    """How many frames older the previous state is; 0 where the track is lost."""
    blurred: bool
    errors: dict[str, dict[str, float]]
    """By method of `METHODS`: `nets.state_errors`, of states that all have the true identity."""
    stated_mm: float
    change: float
    """Largest change of pose that the tracking net says, standard deviations of its training data."""


def evaluate_pairs(
    model: FaceModel,
    tracking: TrackingLike,
    coarse: CoarseLike,
    samples: Iterable[Labelled],
    progress: Progress = lambda done: None,
) -> list[PairRow]:
    """Measure every pair, each with one of its previous states in turn; `pair_report` sums up."""
    rows: list[PairRow] = []
    for done, sample in enumerate(samples, 1):
        k = (done - 1) % len(sample.labels["previous_camera"])
        rows.append(_measured(model, tracking, coarse, sample, k))
        progress(done)
    return rows


def _measured(
    model: FaceModel, tracking: TrackingLike, coarse: CoarseLike, sample: Labelled, k: int
) -> PairRow:
    labels = sample.labels
    before = label_state(labels, "previous_", k)
    left, top, right, bottom = (float(x) for x in labels["previous_crop"][k])
    crop = SquareCrop((left + right) / 2, (top + bottom) / 2, right - left, tracking.size)
    truth = true_face(model, label_state(labels), crop)
    vertices = model.shape(before.identity, before.expression)
    estimate, change = tracking(sample.image, before, vertices, crop)
    fresh = coarse(sample.image, replace(crop, size=coarse.size)).state
    own = truth.state.identity
    states = {TRACKING: estimate.state, COARSE: fresh, PREVIOUS: before}
    return PairRow(
        int(labels["previous_frames"][k]) if "previous_frames" in labels else 1,
        bool(labels["blur"][0] > 0) if "blur" in labels else False,
        # the tracking net says nothing of identity: with the true one all are measured alike
        {name: state_errors(model, truth, replace(state, identity=own)) for name, state in states.items()},
        estimate.error_mm,
        float(np.abs(change[-6:]).max()),
    )


def pair_report(rows: Sequence[PairRow]) -> dict[str, Any]:
    """Means of all that was followed, of lost tracks, and by age and blur; calibration over all; how often
    changes are large; JSON-serialisable but for NaN.

    The bars are our own: following must beat a fresh look at the same crop, and no look at all.
    """
    followed = [row for row in rows if row.frames]
    parts = {"followed": followed, "lost": [row for row in rows if not row.frames]}
    parts |= {
        f"{age} frames older": [row for row in followed if row.frames == age]
        for age in sorted({row.frames for row in followed})
    }
    parts |= {"sharp": [r for r in followed if not r.blurred], "blurred": [r for r in followed if r.blurred]}
    table = {name: _part(members) for name, members in parts.items() if members}
    own, fresh, kept = (_of(table, "followed", method, "level_mm") for method in METHODS)
    bars = [
        Bar("as posed, over CoarseNet on the same crop", ratio(own, fresh), 1.0),
        Bar("as posed, over the previous state", ratio(own, kept), 1.0),
    ]
    stated = np.array([row.stated_mm for row in rows])
    true = np.array([row.errors[TRACKING]["rms_mm"] for row in rows])
    return {
        "samples": len(rows),
        "parts": table,
        "changes_above": {
            f"{limit:g}": {
                name: float(np.mean([row.change > limit for row in parts[name]]))
                for name in ("followed", "lost")
                if parts[name]
            }
            for limit in OUTLIERS
        },
        "calibration": calibration(stated, true),
        "bars": [bar.document for bar in bars],
    }


def _part(rows: Sequence[PairRow]) -> dict[str, Any]:
    found = {method: means([row.errors[method] for row in rows]) for method in METHODS}
    return {"samples": len(rows), **found}


def _of(table: dict[str, Any], part: str, method: str, name: str) -> float:
    return table.get(part, {}).get(method, {}).get(name, float("nan"))
