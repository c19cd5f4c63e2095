"""Folders of benchmarks and of predictions: what is found or missing, what our methods are run on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from facerelief.errors import NoFaceError
from facerelief.lab.evaluation.protocols.files import layouts
from facerelief.lab.evaluation.protocols.predictions import FolderPredictions, MethodPredictions
from facerelief.lab.evaluation.protocols.presets import preset
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.runner import run_protocol


def picture(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((40, 40, 3), 90, np.uint8))
    return file


def aflw(folder: Path, person) -> tuple[Path, np.ndarray]:
    """Four pictures in the arrays of the 3DDFA benchmark: two frontal, one at 45, one at 80 degrees."""
    flat = 100 + person.marks[:, :2] * [1, -1]
    truth = np.stack([flat + k for k in range(4)])
    (folder / "test.configs").mkdir(parents=True)
    np.save(folder / "test.configs/AFLW2000-3D.pts68.npy", truth.transpose(0, 2, 1))
    np.save(folder / "test.configs/AFLW2000-3D-Reannotated.pts68.npy", truth.transpose(0, 2, 1) + 2.0)
    np.save(folder / "test.configs/AFLW2000-3D.pose.npy", np.array([0.0, -20.0, 45.0, -80.0]))
    (folder / "AFLW2000-3D_crop.list").write_text("".join(f"image{k:05d}.jpg\n" for k in range(4)), "utf-8")
    return folder, truth


def size_of(truth: np.ndarray) -> float:
    return float(np.sqrt(np.prod(np.ptp(truth, axis=0))))


def test_aflw2000_on_points_made_by_hand(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    off = truth + np.array([0.0, 0.0, 3.0, 6.0])[:, None, None] * [1, 0]
    mine = tmp_path / "mine"
    mine.mkdir()
    for k, points in enumerate(off):
        np.savetxt(mine / f"image{k:05d}.txt", np.c_[points, np.zeros(68)])
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))
    rows, per_px = found.summary["rows"], 100 / size_of(truth[0])
    assert rows["0-30"] == {"mean": pytest.approx(0), "std": pytest.approx(0), "pictures": 2}
    assert rows["30-60"]["mean"] == pytest.approx(3 * per_px)
    assert rows["60-90"]["mean"] == pytest.approx(6 * per_px)
    assert rows["all"]["mean"] == pytest.approx(3 * per_px)  # of three bins, not of four pictures
    # the second annotations lie elsewhere
    again = preset("aflw2000", "reannotated")
    other = run_protocol(again, data, FolderPredictions(mine, flat=True)).summary["rows"]
    assert other["0-30"]["mean"] == pytest.approx(2 * np.sqrt(2) * per_px)
    assert "reannotated" in again.about


def test_aflw2000_in_one_array_and_upside_down(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "predictions.npy", truth.transpose(0, 2, 1))
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True))
    assert found.summary["rows"]["all"]["mean"] == pytest.approx(0)
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
    assert found.summary["rows"]["all"]["mean"] == pytest.approx(0)


def test_a_nameless_problem_of_geometry_ends_its_case_alone(person, tmp_path):
    def nothing(case):
        raise ValueError

    data, _ = aflw(tmp_path / "data", person)
    found = run_protocol(preset("aflw2000"), data, nothing)
    assert found.refused["image00001"] == "image00001: cannot be measured (ValueError)"


def test_aflw2000_in_its_own_files(person, tmp_path):
    from scipy.io import savemat

    points = np.vstack([100 + person.marks[:, :2].T, np.zeros((1, 68))])
    savemat(
        tmp_path / "image00002.mat",
        {"pt3d_68": points, "Pose_Para": np.array([[0.1, -0.7, 0, 0, 0, 0, 1.0]])},
    )
    picture(tmp_path / "image00002.jpg")
    (case,) = layouts.read_aflw2000(tmp_path)
    assert (case.name, case.images[0].name) == ("image00002", "image00002.jpg")
    assert case.yaw == pytest.approx(np.degrees(-0.7))
    assert np.allclose(case.points, points[:2].T)
    with pytest.raises(EvaluationError, match="Reannotated"):
        layouts.read_aflw2000(tmp_path, "reannotated")
    (tmp_path / "image00004.mat").write_bytes(b"MATLAB 5.0 MAT-file, or not")
    with pytest.raises(EvaluationError, match="image00004"):
        layouts.read_aflw2000(tmp_path)


def test_realy_tells_frontal_from_side(person, tmp_path):
    data = person.data("realy-like", tmp_path)
    assert [(c.name, c.group) for c in layouts.read_realy(data)] == [("1", "frontal")]
    for name in ("1", "1_2", "1_10", "9"):  # there is no scan 9
        picture(data / "images" / f"{name}.png")
    cases = layouts.read_realy(data)
    assert [(c.name, c.group, len(c.images)) for c in cases] == [
        ("1", "frontal", 1),
        ("1_2", "side", 1),
        ("1_10", "side", 1),
    ]
    (data / "metrical_scale.txt").write_text("", "utf-8")
    with pytest.raises(EvaluationError, match="none for scan 1"):
        layouts.read_realy(data)


def test_bu3dfe_groups_are_expressions(person, tmp_path):
    data = person.data("bu3dfe-rmse", tmp_path)
    picture(data / "F0001/F0001_NE00WH_F2D.png")
    (case,) = layouts.read_bu3dfe(data)
    assert (case.name, case.group, case.subject, len(case.images)) == ("F0001_NE00WH", "NE", "F0001", 1)


def test_micc_takes_five_frames_of_each_setting(person, tmp_path):
    data = person.data("micc-deep3d", tmp_path)
    for k in range(9):
        picture(data / f"subject_01/PTZ-Indoor/frame{k:04d}.png")
    cases = {c.group: c for c in layouts.read_micc(data)}
    assert set(cases) == set(layouts.MICC_SETTINGS)
    assert [f.stem[-1] for f in cases["PTZ-Indoor"].images] == list("02468")
    assert cases["PTZ-Indoor"].scans[0].landmarks.suffix == ".ljson"


def test_realy_refuses_landmarks_in_another_order(person, run, tmp_path):
    """83 points are more than 68, but they are not iBUG's."""
    mine = person.predict("realy-like", tmp_path / "mine")
    np.save(mine / "1.npy", person.eighty_three())
    found = run("realy-like", person.data("realy-like", tmp_path / "data"), mine)
    assert "83 landmarks" in found.refused["1"]


READERS = ["now", "micc-deep3d", "realy-like", "bu3dfe-rmse", "aflw2000", "true-error"]


@pytest.mark.parametrize("name", READERS)
def test_folders_that_are_no_benchmark(name, tmp_path):
    read = preset(name).read
    with pytest.raises(EvaluationError, match="no such folder"):
        read(tmp_path / "none")
    with pytest.raises(EvaluationError, match="an empty folder"):
        read(tmp_path)
    (tmp_path / "readme.md").write_text("hello", "utf-8")
    with pytest.raises(EvaluationError, match=r"not laid out as|nothing to score") as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


# ---------------------------------------------------------------- predictions


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


def test_another_topology_has_no_known_correspondence(person, run, tmp_path):
    data = person.data("true-error", tmp_path / "data")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "P1.obj").write_text("v 0 0 0\nv 90 0 0\nv 0 90 0\nf 1 2 3\n", "utf-8")
    (why,) = run("true-error", data, mine).refused.values()
    assert "3 vertices" in why
    assert "one topology" in why


def test_scans_without_landmarks_or_with_others(person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    mine = person.predict("now", tmp_path / "mine")
    file = data / "scans_lmks_onlypp/P1/s.pp"
    np.savetxt(file.with_suffix(".txt"), person.marks[[48, 36, 33, 54, 39, 45, 42]])
    kept = file.read_text("utf-8")
    file.unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "order" in why or "mirror" in why
    file.with_suffix(".txt").unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "the scan has no landmarks" in why
    file.write_text(kept, "utf-8")
    next((data / "scans").rglob("*.obj")).unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "cannot be read" in why or "not a known mesh" in why


# ---------------------------------------------------------------- our own methods


class FakeModel:
    """Only what predictions ask of a model."""

    def __init__(self, person) -> None:
        self.triangles = person.triangles
        near = np.linalg.norm(person.vertices[None] - person.marks[:, None], axis=2).argmin(axis=1)
        self.landmarks = {"ibug68": SimpleNamespace(of=lambda v: v[near])}


def face(person, shift: float = 0.0, at: float = 0.0) -> SimpleNamespace:
    neutral = (person.vertices + [shift, 0, 0]).astype(np.float32)
    flat = (100 + at + person.marks[:, :2] * [1, -1]).astype(np.float32)
    return SimpleNamespace(
        model=FakeModel(person), neutral=neutral, vertices=neutral + 5, landmarks68_px=flat
    )


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
    assert all("picture is not there" in why for why in found.missing.values())
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


def test_cases_are_spread_evenly(person, tmp_path):
    data, truth = aflw(tmp_path / "data", person)
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "predictions.npy", truth)
    found = run_protocol(preset("aflw2000"), data, FolderPredictions(mine, flat=True), limit=2)
    assert [s.case.name for s in found.scores] == ["image00000", "image00002"]
