"""Scores of single recipes; tests/lab/evaluation/protocols/test_presets.py holds the laws of all."""

from __future__ import annotations

import numpy as np
import pytest
from protocol_cases import aflw, size_of

from facerelief.lab.evaluation.protocols.predictions import FolderPredictions
from facerelief.lab.evaluation.protocols.presets import preset
from facerelief.lab.evaluation.protocols.runner import run_protocol


def test_aflw2000_on_points_made_by_hand(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    off = truth + np.array([0.0, 0.0, 3.0, 6.0])[:, None, None] * [1, 0]
    mine = tmp_path / "mine"
    mine.mkdir()
    for k, points in enumerate(off):
        np.savetxt(mine / f"image{k:05d}.txt", np.c_[points, np.zeros(68)])
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))
    rows, per_px = found.summary.rows, 100 / size_of(truth[0])
    assert rows["0-30"] == {"mean": pytest.approx(0), "std": pytest.approx(0), "pictures": 2}
    assert rows["30-60"]["mean"] == pytest.approx(3 * per_px)
    assert rows["60-90"]["mean"] == pytest.approx(6 * per_px)
    assert rows["all"]["mean"] == pytest.approx(3 * per_px)  # of three bins, not of four images
    # the second annotations lie elsewhere
    again = preset("aflw2000", "reannotated")
    other = run_protocol(again, data, FolderPredictions(mine, flat=True)).summary.rows
    assert other["0-30"]["mean"] == pytest.approx(2 * np.sqrt(2) * per_px)
    assert "reannotated" in again.about


def test_realy_refuses_landmarks_in_another_order(person, run, tmp_path):
    """83 points are more than 68, but they are not iBUG's."""
    mine = person.predict("realy-like", tmp_path / "mine")
    np.save(mine / "1.npy", person.eighty_three())
    found = run("realy-like", person.data("realy-like", tmp_path / "data"), mine)
    assert "83 landmarks" in found.refused["1"]


def test_another_topology_has_no_known_correspondence(person, run, tmp_path):
    data = person.data("true-error", tmp_path / "data")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "P1.obj").write_text("v 0 0 0\nv 90 0 0\nv 0 90 0\nf 1 2 3\n", "utf-8")
    (why,) = run("true-error", data, mine).refused.values()
    assert "3 vertices" in why
    assert "one topology" in why
