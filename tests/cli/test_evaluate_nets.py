"""`facerelief evaluate nets` as a user meets it: tables, JSON, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run_command
from labelled_states import Oracle, random_state, write_pairs_set

from facerelief.lab.evaluation.nets import report as nets_report
from facerelief.morphable import open_model


def run(*words: object, code: int = 0) -> Any:
    return run_command("evaluate", "nets", *words, code=code)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory) -> Path:
    return write_pairs_set(tmp_path_factory.mktemp("sets") / "pairs")


def test_the_command_measures_and_writes_json(data_set, tmp_path, monkeypatch):
    state = random_state(open_model(), 0)

    def runner(model: Any, nets: Any = None) -> Oracle:
        return Oracle([state] * 256)

    monkeypatch.setattr(nets_report, "CoarseRunner", runner)
    monkeypatch.setattr(nets_report, "TrackingRunner", runner)
    file = tmp_path / "found.json"
    result = run("--coarse", data_set, "--pairs", data_set, "--limit", 2, "--json", file)
    assert "CoarseNet, 2 samples of val" in result.stdout
    assert "ok" in result.stdout
    about = json.loads(file.read_text())
    assert about["nets"] == "shipped"
    assert about["coarse"]["split"] == about["pairs"]["split"] == "val"
    assert about["coarse"]["samples"] == 2
    printed = run("--pairs", data_set, "--limit", 1, "--json", "-").stdout
    assert json.loads(printed)["pairs"]["samples"] == 1


def test_wrong_input_ends_in_one_line(data_set, tmp_path):
    run(code=2)
    run("--pairs", data_set, "--split", "train", code=2)
    for arguments in (["--nets", tmp_path], ["--coarse", tmp_path], ["--fits", tmp_path]):
        given = arguments if "--nets" not in arguments else ["--coarse", data_set, *arguments]
        result = run(*given, code=1)
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        assert str(tmp_path) in line or "onnx" in line
