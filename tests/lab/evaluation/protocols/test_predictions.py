"""Predictions of other systems and of our own methods."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from protocol_cases import aflw, face, picture, size_of

from facerelief.errors import NoFaceError
from facerelief.lab.evaluation.protocols.predictions import FolderPredictions, MethodPredictions
from facerelief.lab.evaluation.protocols.presets import preset
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.runner import run_protocol


def test_aflw2000_in_one_array_and_upside_down(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "predictions.npy", truth.transpose(0, 2, 1))
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))
    assert found.summary.rows["all"]["mean"] == pytest.approx(0)
    np.save(mine / "predictions.npy", truth * [1, -1])
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))
    assert len(found.refused) == 4
    assert all("mirror" in why for why in found.refused.values())
    np.save(mine / "predictions.npy", truth[:3])
    with pytest.raises(EvaluationError, match=r"expected \(4, 2 or 3, 68\)"):
        run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))


def test_a_prediction_that_is_not_finite_spoils_no_other(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    mine = tmp_path / "mine"
    mine.mkdir()
    truth[1, 5] = np.nan
    np.save(mine / "predictions.npy", truth)
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))
    assert list(found.refused) == ["image00001"]
    assert "not finite" in found.refused["image00001"]
    assert found.summary.rows["all"]["mean"] == pytest.approx(0)


def test_empty_and_absent_predictions(tmp_path):
    with pytest.raises(EvaluationError, match="no such folder"):
        FolderPredictions(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    with pytest.raises(EvaluationError, match="no predictions in it"):
        FolderPredictions(tmp_path)
    with pytest.raises(EvaluationError, match="--unit inch"):
        FolderPredictions(tmp_path, "inch")


def test_a_prediction_without_landmarks(person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    mine = person.predict("now", tmp_path / "mine")
    next(mine.rglob("*.npy")).unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "without landmarks" in why
    assert "IMG_1.npy" in why
    assert "\n" not in why


@pytest.mark.parametrize("rows", ["ids", "barycentric"])
def test_one_list_of_keypoints_serves_all_meshes(rows, person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    mine = person.predict("now", tmp_path / "mine")
    next(mine.rglob("*.npy")).unlink()
    seven = person.marks[[36, 39, 42, 45, 33, 48, 54]]
    near = np.linalg.norm(person.vertices[None] - seven[:, None], axis=2).argmin(axis=1)
    if rows == "ids":
        content = near.tolist()
    else:
        first = [int(np.flatnonzero((person.triangles == i).any(axis=1))[0]) for i in near]
        content = [[t, *(person.triangles[t] == i)[:2].astype(float).tolist()] for t, i in zip(first, near)]
    (mine / "keypoints.json").write_text(json.dumps(content), "utf-8")
    found = run("now", data, mine)
    assert not found.refused
    assert found.scores[0].values["mean"] < 0.02
    (mine / "keypoints.json").write_text(json.dumps([10**9] * 7), "utf-8")
    (why,) = run("now", data, mine).refused.values()
    assert "outside 0.." in why


def test_names_may_be_flat(person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    mine = person.predict("now", tmp_path / "mine")
    for file in [f for f in mine.rglob("*") if f.is_file()]:
        file.rename(mine / f"P1_multiview_neutral_{file.name}")
    assert len(run("now", data, mine).scores) == 1


def test_our_method_is_averaged_over_pictures(person, tmp_path):
    data = person.data("micc-deep3d", tmp_path)
    shifts = {"frame0.png": -1.0, "frame1.png": 1.0}
    for name in shifts:
        picture(data / "subject_01/Indoor-Cooperative" / name)
    source = MethodPredictions("x", neutral=True, reconstruct=lambda f: [face(person, shifts[f.name])])
    found = run_protocol(preset("micc-deep3d"), data, source)
    assert [s.case.group for s in found.scores] == ["Indoor-Cooperative"]
    assert found.scores[0].values["rmse"] < 0.02
    assert len(found.missing) == 2
    assert all("image is not there" in why for why in found.missing.values())
    mesh = source(found.scores[0].case).mesh
    assert np.allclose(mesh.vertices, person.vertices, atol=1e-4)
    posed = MethodPredictions("x", neutral=False, reconstruct=lambda f: [face(person)])
    assert np.allclose(posed(found.scores[0].case).mesh.vertices, person.vertices + 5, atol=1e-4)


def test_a_picture_without_a_face_is_missing(person, tmp_path):
    data = person.data("now", tmp_path)
    picture(data / "iphone_pictures/P1/multiview_neutral/IMG_1.jpg")

    def nobody(file: Path):
        raise NoFaceError(f"{file}: no face found")

    found = run_protocol(preset("now"), data, MethodPredictions("x", neutral=True, reconstruct=nobody))
    assert "no face found" in next(iter(found.missing.values()))


def test_of_several_faces_the_annotated_one_is_scored(person, tmp_path):
    data, _ = aflw(tmp_path, person)
    for k in range(4):
        picture(data / f"image{k:05d}.jpg")
    source = MethodPredictions(
        "x", neutral=False, flat=True, reconstruct=lambda f: [face(person, at=300), face(person)]
    )
    found = run_protocol(preset("aflw2000"), data, source, limit=1)
    # the annotations count pixels from 1, half a pixel from our own
    assert found.scores[0].values["nme"] == pytest.approx(
        100 * np.sqrt(0.5) / size_of(person.marks[:, :2]), rel=1e-3
    )


def test_unknown_methods_are_told():
    with pytest.raises(EvaluationError, match="--method magic"):
        MethodPredictions("magic", neutral=True)
