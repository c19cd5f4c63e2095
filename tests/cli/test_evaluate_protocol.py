"""`facerelief evaluate protocol` as a user meets it: tables, JSON, a line for what is wrong, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run_command

import facerelief
from facerelief.geometry import Mesh
from facerelief.io.obj import write_obj


def run(*words: object, code: int = 0) -> Any:
    return run_command("evaluate", "protocol", *words, code=code)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Two true shapes, and predictions of both: one exact but moved, one 2 % too large."""
    root = tmp_path_factory.mktemp("sets")
    model = facerelief.open_model()
    front = model.regions["narrow_face"]
    kept = model.triangles[front[model.triangles].all(axis=1)]
    ids, flat = np.unique(kept, return_inverse=True)
    v, t = model.mean[ids], flat.reshape(-1, 3).astype(np.int32)
    for name in ("data", "mine"):
        (root / name).mkdir()
    for name in ("a", "b"):
        write_obj(root / "data" / f"{name}.obj", Mesh(v, t))
    write_obj(root / "mine/a.obj", Mesh(v + np.float32(7), t))
    write_obj(root / "mine/b.obj", Mesh(v * np.float32(1.02), t))
    return root / "data", root / "mine"


def test_list():
    lines = run("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "now",
        "now-metrical",
        "micc-deep3d",
        "micc-genova",
        "realy-like",
        "bu3dfe-rmse",
        "aflw2000",
        "true-error",
    ]


def test_json(folders, tmp_path):
    data, mine = folders
    about = json.loads(run("true-error", "--data", data, "--predictions", mine, "--json", "-").stdout)
    assert (about["preset"], about["unit"], about["cases"], about["scored"]) == ("true-error", "mm", 2, 2)
    assert about["each"]["a"]["mean"] < 1e-3 < 0.5 < about["each"]["b"]["mean"]
    assert about["rows"]["all: mean"]["mean"] == pytest.approx(about["each"]["b"]["mean"] / 2, abs=1e-3)
    assert about["rows"]["all: mean_with_scale"]["mean"] < 1e-3
    file = tmp_path / "out.json"
    shown = run("true-error", "--data", data, "--predictions", mine, "--json", file).stdout
    assert "2 of 2 cases scored" in shown
    assert json.loads(file.read_text("utf-8"))["each"] == about["each"]


def test_missing_predictions_are_listed_and_counted(folders, tmp_path):
    data, mine = folders
    part = tmp_path / "part"
    part.mkdir()
    (part / "a.obj").write_bytes((mine / "a.obj").read_bytes())
    result = run("true-error", "--data", data, "--predictions", part, code=1)
    assert "1 of 2 cases have no prediction" in result.stderr
    assert f"missing: {part / 'b'}: no prediction" in result.stderr
    assert "1 of 2 cases scored" in result.stdout
    run("true-error", "--data", data, "--predictions", part, "--allow-missing")


def test_what_cannot_be_measured_is_told_and_the_rest_scored(folders, tmp_path):
    data, mine = folders
    part = tmp_path / "part"
    part.mkdir()
    (part / "a.obj").write_bytes((mine / "a.obj").read_bytes())
    (part / "b.obj").write_text("v 0 0 nan\n", "utf-8")
    result = run("true-error", "--data", data, "--predictions", part, "--allow-missing", code=1)
    assert "1 of 2 cases could not be measured" in result.stderr
    assert "refused: " in result.stderr
    assert "1 of 2 cases scored" in result.stdout


def test_wrong_units_ask(folders, tmp_path):
    data, mine = folders
    small = tmp_path / "small"
    small.mkdir()
    for name in ("a", "b"):
        from facerelief.io.meshes import read_mesh

        mesh = read_mesh(mine / f"{name}.obj")
        write_obj(small / f"{name}.obj", Mesh(mesh.vertices / 10, mesh.triangles))
    result = run("true-error", "--data", data, "--predictions", small, code=1)
    assert "give --unit cm if it is" in result.stderr
    assert "0 of 2 cases scored" in result.stdout
    run("true-error", "--data", data, "--predictions", small, "--unit", "cm")


def test_empty_folders(folders, tmp_path):
    data, mine = folders
    assert "no predictions in it" in run("now", "--data", data, "--predictions", tmp_path, code=1).stderr
    assert "an empty folder" in run("now", "--data", tmp_path, "--predictions", mine, code=1).stderr
    assert "not laid out as NoW" in run("now", "--data", data, "--predictions", mine, code=1).stderr


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("now",),
        ("now", "--data", "."),
        ("now", "--data", ".", "--predictions", ".", "--method", "net"),
        ("now", "--data", ".", "--predictions", ".", "--unit", "inch"),
    ],
)
def test_wrong_use(args):
    run(*args, code=2)


def test_unknown_presets_and_methods(folders):
    data, mine = folders
    assert "no such preset" in run("nope", "--data", data, "--predictions", mine, code=1).stderr
    assert "--method magic" in run("now", "--data", data, "--method", "magic", code=1).stderr
    told = run("aflw2000", "--data", data, "--predictions", mine, "--annotations", "x", code=1).stderr
    assert "original or reannotated" in told
