# ruff: noqa: E402 - torch is asked for before what needs it
"""`facerelief train`: what it refuses, and the way from a data set to an ONNX file."""

from __future__ import annotations

import json

import pytest
from command_line import run_command

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

import facerelief
from facerelief.lab.datasets.manifest import RECIPE

TINY = ["--size", "48", "--width", "0.125", "--batch", "4", "--readers", "0", "--precision", "32-true"]


def run(*words: object):
    return run_command("train", *words, code=None)


def test_from_a_data_set_to_a_file(face_set_of, tmp_path):
    pytest.importorskip("onnxscript")
    data = face_set_of(facerelief.open_model(), tmp_path / "set", "renders", 6, 2)
    told = run("coarse", "--data", data, "-o", tmp_path / "run", "--steps", 2, *TINY)
    assert told.exit_code == 0, told.output
    assert "2 steps; on 2 val samples" in told.output
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["step"] == 2
    again = run("coarse", "--data", data, "-o", tmp_path / "run", "--steps", 2, *TINY)
    assert again.exit_code == 1
    assert "give --resume" in again.output
    told = run("export", tmp_path / "run", "-o", tmp_path / "net.onnx")
    assert told.exit_code == 0, told.output
    assert "coarse net after 2 steps" in told.output
    assert run("export", tmp_path / "run", "-o", tmp_path / "net.onnx").exit_code == 1


def test_a_tracking_net_has_width_and_size_of_the_net_it_starts_from(face_set_of, tmp_path):
    data = face_set_of(facerelief.open_model(), tmp_path / "set", "pairs", 6, 2)
    assert run("coarse", "--data", data, "-o", tmp_path / "first", "--steps", 1, *TINY).exit_code == 0
    started = ("tracking", "--data", data, "-o", tmp_path / "run", "--steps", 1, "--from", tmp_path / "first")
    assert run(*started, *TINY[4:]).exit_code == 0
    net = json.loads((tmp_path / "run" / "config.json").read_text())["task"]["coarse"]
    assert (net["size"], net["width"]) == (48, 0.125)


def test_bad_input_ends_in_one_line(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / RECIPE).write_text(json.dumps({"kind": "fine"}))
    wrong = run("coarse", "--data", tmp_path / "set", "-o", tmp_path / "run", *TINY)
    assert wrong.exit_code == 1
    assert "error: " in wrong.output
    assert "holds fine" in wrong.output
    missing = run("fine", "--data", tmp_path / "none", "-o", tmp_path / "other")
    assert missing.exit_code == 1
    assert "give the folder of a data set" in missing.output
    assert run("export", tmp_path / "run", "-o", tmp_path / "net.txt").exit_code == 2
    assert run("export", tmp_path / "run", "-o", tmp_path / "net.onnx").exit_code == 1
    assert run("coarse", "-o", tmp_path / "run").exit_code == 2
    assert run("fine", "--data", tmp_path, "-o", tmp_path / "x", "--size", 100).exit_code == 2
