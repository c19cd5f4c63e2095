"""`facerelief dataset info|show|verify`."""

import json
import shutil

from command_line import run_command as run

from facerelief.io.images import read_image


def test_info_show_and_verify(whole, tmp_path):
    text = run("dataset", "info", whole).stdout
    for part in ("toy, 120 samples", "licence a", "yaw, deg", "landmarks68 68x3", "left out: a/p040"):
        assert part in text
    facts = json.loads(run("dataset", "info", whole, "--json", "-", "--split", "val").stdout)
    assert facts["looked_at"] == facts["splits"]["val"]["samples"]
    for name in ("sheet.jpg", "sheet.png"):
        run("dataset", "show", whole, "-o", tmp_path / name, "--count", 6, "--group", "a")
        assert read_image(tmp_path / name).shape == (192, 6 * 192, 3)
    run("dataset", "show", whole, "-o", tmp_path / "sheet.gif", code=2)
    assert "whole, 120 samples" in run("dataset", "verify", whole).stdout


def test_verify_tells_every_problem_and_fails(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "train-000000.tar").unlink()
    (out / "val-000000.tar").write_bytes(b"")
    result = run("dataset", "verify", out, code=1)
    assert {line.partition(":")[0] for line in result.stdout.splitlines()} == {
        "train-000000.tar",
        "val-000000.tar",
    }
    assert "problems in" in result.stderr


def test_folders_that_are_none_are_told_in_one_line(tmp_path):
    for command in (("info",), ("verify",), ("show", "-o", tmp_path / "x.jpg")):
        (line,) = run("dataset", *command, tmp_path, code=1).stderr.splitlines()
        assert line.startswith(f"error: {tmp_path / 'recipe.json'}: cannot be read")
