"""Runs of a protocol: one bad case ends nothing, cases are spread."""

from __future__ import annotations

import numpy as np
from protocol_cases import aflw

from facerelief.lab.evaluation.protocols.predictions import FolderPredictions
from facerelief.lab.evaluation.protocols.presets import preset
from facerelief.lab.evaluation.protocols.runner import run_protocol


def test_a_nameless_problem_of_geometry_ends_its_case_alone(person, tmp_path):
    def nothing(case):
        raise ValueError

    data, _ = aflw(tmp_path / "data", person)
    found = run_protocol(preset("aflw2000"), data, nothing)
    assert found.refused["image00001"] == "image00001: cannot be measured (ValueError)"


def test_a_mesh_that_is_no_manifold_is_measured_with_a_warning(person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    triangles = person.triangles
    person.triangles = np.vstack([triangles, [[*triangles[0, :2], 500]]]).astype(np.int32)
    try:
        mine = person.predict("now", tmp_path / "mine")
    finally:
        person.triangles = triangles
    found = run("now", data, mine)
    assert len(found.scores) == 1
    assert any("not a manifold: 1 edge belongs" in w for w in found.warnings)


def test_points_without_triangles_are_refused(person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    mine = person.predict("now", tmp_path / "mine", ply=False)
    file = next(mine.rglob("*.obj"))
    file.write_text("".join(line + "\n" for line in file.read_text().splitlines() if line[0] == "v"), "utf-8")
    (why,) = run("now", data, mine).refused.values()
    assert "without triangles" in why


def test_cases_are_spread_evenly(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "predictions.npy", truth)
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True), limit=2)
    assert [s.case.name for s in found.scores] == ["image00000", "image00002"]
