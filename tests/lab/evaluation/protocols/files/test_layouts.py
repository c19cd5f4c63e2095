"""Folders of benchmarks: cases, groups and images, or one line about what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from protocol_cases import picture

from facerelief.lab.evaluation.protocols.files import layouts
from facerelief.lab.evaluation.protocols.presets import preset
from facerelief.lab.evaluation.protocols.problems import EvaluationError

READERS = ["now", "micc-deep3d", "realy-like", "bu3dfe-rmse", "aflw2000", "true-error"]


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


def test_scans_without_landmarks_or_with_others(person, run, tmp_path):
    data = person.data("now", tmp_path / "data")
    mine = person.predict("now", tmp_path / "mine")
    file = data / "scans_lmks_onlypp/P1/s.pp"
    np.savetxt(file.with_suffix(".txt"), person.marks[[48, 36, 33, 54, 39, 45, 42]])
    kept = file.read_text("utf-8")
    file.unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "the 7 landmarks do not lie like those of a face; check their order" in why
    file.with_suffix(".txt").unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "the scan has no landmarks" in why
    file.write_text(kept, "utf-8")
    next((data / "scans").rglob("*.obj")).unlink()
    (why,) = run("now", data, mine).refused.values()
    assert "cannot be read" in why or "not a known mesh" in why
