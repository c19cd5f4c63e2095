"""CoarseNet's report: an oracle meets every target, a wrong network none."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from labelled_states import Oracle

from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.metrics.face_errors import label_state
from facerelief.lab.evaluation.nets.coarse import (
    DETECTOR,
    LOOKED,
    MEAN_FACE,
    NET,
    coarse_report,
    evaluate_coarse,
)
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE


class TestCoarse:
    def detect(self, samples: list[Sample], model: Any, by: float) -> Any:
        def found(image: Any, box: Any) -> Any:
            state = label_state(samples[int(image[0, 0, 0])].labels)
            shape = model.shape(state.identity, state.expression)
            marks = np.full((478, 2), np.nan)
            points = model.landmarks["ibug68"].of(state.camera.project(shape))[:, :2]
            marks[list(IBUG68_AMONG_MEDIAPIPE)] = points + [by, 0]
            return SimpleNamespace(landmarks=marks)

        return found

    def test_an_oracle_meets_every_target(self, toy_model, states, samples):
        done: list[int] = []
        rows = evaluate_coarse(
            toy_model, Oracle(states), samples, self.detect(samples, toy_model, 1.0), done.append
        )
        report = coarse_report(rows)
        assert done == [1, 2, 3, 4]
        assert (
            report.samples == report.whole.mean(NET, "samples") == report.whole.mean(DETECTOR, "samples") == 4
        )
        for method in (NET, LOOKED):
            assert report.whole.mean(method, "rigid_mm") < 1e-3
            assert report.whole.mean(method, "nme68_over_detector") < 1e-2
        assert report.whole.mean(MEAN_FACE, "rigid_mm") > 0.3
        assert all(target.met for target in report.targets)
        assert sum(part.samples for part in report.by_yaw.values()) == 4

    def test_a_wrong_net_misses_them(self, toy_model, states, samples):
        def wrong(state: FaceState) -> FaceState:
            camera = replace(state.camera, yaw=state.camera.yaw + math.radians(20))
            return FaceState(camera, state.identity + 6, state.expression)

        rows = evaluate_coarse(
            toy_model, Oracle(states, wrong), samples, self.detect(samples, toy_model, 0.1)
        )
        report = coarse_report(rows)
        assert not any(target.met for target in report.targets)
        assert report.whole.mean(NET, "yaw") == pytest.approx(20, abs=1e-3)

    def test_faces_that_the_detector_misses_are_told_apart(self, toy_model, states, samples):
        rows = evaluate_coarse(toy_model, Oracle(states), samples, lambda image, box: None)
        report = coarse_report(rows)
        assert DETECTOR not in report.whole.methods
        assert LOOKED not in report.whole.methods
        assert {target.met for target in report.targets} == {True, None}
