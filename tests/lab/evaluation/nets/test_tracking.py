"""Tracking CoarseNet's report: an oracle beats what was known before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from labelled_states import Oracle

from facerelief.lab.evaluation.nets.tracking import COARSE, PREVIOUS, TRACKING, evaluate_pairs, pair_report


class TestPairs:
    def test_an_oracle_beats_what_was_known(self, toy_model, states, samples):
        rows = evaluate_pairs(toy_model, Oracle(states), Oracle(states), samples)
        assert [row.frames for row in rows] == [2, 0, 2, 0]
        report = pair_report(rows)
        assert {"followed", "lost", "2 frames older", "sharp"} == set(report.parts)
        followed = report.parts["followed"].methods
        scale = states[0].camera.scale
        assert followed[TRACKING]["level_mm"] < 1e-3
        assert followed[COARSE]["level_mm"] < 1e-3
        assert followed[PREVIOUS]["level_mm"] == pytest.approx(3.0 / scale, rel=1e-3)
        assert report.parts["lost"].methods[PREVIOUS]["level_mm"] == pytest.approx(12.0 / scale, rel=1e-3)
        assert report.changes_above["2"] == {"followed": 0.0, "lost": 0.0}
        assert report.targets[1].met

    def test_identity_is_the_true_one_in_all(self, toy_model, states, samples):
        other = Oracle(states, lambda s: replace(s, identity=s.identity + 5))
        report = pair_report(evaluate_pairs(toy_model, other, other, samples))
        for method in (TRACKING, COARSE, PREVIOUS):
            assert report.parts["followed"].methods[method]["surface_mm"] < 1e-3
