"""Landmark files and orders: the same points, or one line about what is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from facerelief.lab.evaluation.protocols.files.landmark_files import (
    IBUG_SEVEN,
    Landmarks,
    landmarks_beside,
    read_landmarks,
    shared,
)
from facerelief.lab.evaluation.protocols.problems import EvaluationError


def text(file: Path, content: str) -> Path:
    file.write_text(content, "utf-8")
    return file


POINTS = np.round(np.random.default_rng(0).normal(size=(7, 3)) * 40, 3)


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


def landmark_file(folder: Path, suffix: str) -> Path:
    file = folder / f"a{suffix}"
    if suffix == ".npy":
        np.save(file, POINTS)
    elif suffix == ".pkl":
        file.write_bytes(pickle.dumps(POINTS.tolist()))
    elif suffix == ".json":
        file.write_text(json.dumps({"landmarks": POINTS.tolist()}), "utf-8")
    elif suffix == ".ljson":
        file.write_text(json.dumps({"groups": {"A": {"landmarks": {"points": POINTS.tolist()}}}}), "utf-8")
    elif suffix == ".pp":
        rows = [f'<point y="{y}" x="{x}" z="{z}" name="p"/>' for x, y, z in POINTS]
        skipped = '<point x="9" y="9" z="9" active="0" name="no"/>'
        file.write_text(f"<PickedPoints>{skipped}{''.join(rows)}</PickedPoints>", "utf-8")
    else:
        first = "{k} " if suffix == ".bnd" else ""
        comma = "," if suffix == ".csv" else " "
        file.write_text(
            "".join(first.format(k=k) + comma.join(map(str, p)) + "\n" for k, p in enumerate(POINTS))
        )
    return file


@pytest.mark.parametrize("suffix", [".npy", ".pkl", ".json", ".ljson", ".pp", ".txt", ".csv", ".bnd"])
def test_landmark_files_say_the_same(tmp_path, suffix):
    file = landmark_file(tmp_path, suffix)
    assert np.allclose(read_landmarks(file, 2.0).points, 2 * POINTS)
    assert landmarks_beside(tmp_path / "a.obj") == file


def test_transposed_arrays_and_face_json(tmp_path):
    np.save(tmp_path / "a.npy", np.repeat(POINTS[:1], 68, axis=0).T)
    assert len(read_landmarks(tmp_path / "a.npy")) == 68
    text(tmp_path / "face.json", json.dumps({"schema": 1, "landmarks68_mm": np.ones((68, 3)).tolist()}))
    assert len(read_landmarks(tmp_path / "face.json")) == 68


def test_pickles_that_run_things_are_refused(tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "b.npy", np.array([Bomb()], object), allow_pickle=True)
    for name in ("a.pkl", "b.npy"):
        with pytest.raises(EvaluationError, match="refused"):
            read_landmarks(tmp_path / name)
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "1 2 3\n4 5\n", "different lengths"),
        ("a.txt", "", "no readable landmarks"),
        ("a.txt", "a b c\n", "no readable landmarks"),
        ("a.txt", "1 2 3\n" * 6, "6 landmarks; expected 5, 7, 51, 68, 83 or 85"),
        ("a.txt", "1 2\n" * 7, "three coordinates"),
        ("a.txt", "1 2 nan\n" * 7, "not finite"),
        ("a.json", "{", "no readable landmarks"),
        ("a.json", '{"a": 1}', 'no "landmarks"'),
        ("a.pp", "<PickedPoints/>", "no readable landmarks"),
    ],
)
def test_damaged_landmarks_end_in_one_line(tmp_path, name, content, told):
    with pytest.raises(EvaluationError, match=told) as caught:
        read_landmarks(text(tmp_path / name, content))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_orders_name_the_same_points(person):
    marks = person.marks
    full = Landmarks(marks, "a")
    seven = Landmarks(marks[list(IBUG_SEVEN)], "b")
    inner = Landmarks(marks[17:], "c")
    eyes = [(marks[36] + marks[39]) / 2, (marks[42] + marks[45]) / 2]
    five = Landmarks(np.array([*eyes, marks[30], marks[48], marks[54]]), "d")
    assert np.allclose(full.seven, seven.points)
    assert np.allclose(inner.seven, seven.points)
    for other in (seven, inner, five):
        mine, theirs = shared(full, other)
        assert len(mine) >= 5
        assert np.allclose(mine, theirs)
    assert len(shared(full, full)[0]) == 68
    with pytest.raises(EvaluationError, match="needs the 7"):
        _ = five.seven
