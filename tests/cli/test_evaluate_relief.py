"""`facerelief evaluate relief`: options, errors of one line, and what is printed."""

from __future__ import annotations

import json
import shutil

import pytest

from facerelief.cli.app import main
from facerelief.examples import astronaut_path


def test_photos_are_measured_and_written(tmp_path, capsys):
    shutil.copy(astronaut_path(), tmp_path / f"one{astronaut_path().suffix}")
    (tmp_path / "old.txt").write_text("one\n")
    report, image = tmp_path / "relief.json", tmp_path / "sheet.png"
    words = ["evaluate", "relief", str(tmp_path), "--json", str(report), "--sheet", str(image)]
    assert main([*words, "--old", str(tmp_path / "old.txt")]) == 0
    printed = capsys.readouterr().out
    assert "shading explained" in printed
    made = json.loads(report.read_text())
    assert [group["group"] for group in made["groups"]][1] == "old"
    assert {"what", "value", "at_least", "met"} <= set(made["bars"][0])
    assert made["consistency"] is None
    assert image.stat().st_size > 10_000


def test_a_wrong_table_of_pairs_is_named(tmp_path, capsys):
    shutil.copy(astronaut_path(), tmp_path / "one.png")
    pairs = tmp_path / "pairs.csv"
    assert main(["evaluate", "relief", str(tmp_path), "--pairs", str(pairs)]) != 0
    assert "pairs.csv: no readable table of pairs" in capsys.readouterr().err
    pairs.write_text("person,file\na,b\n")
    assert main(["evaluate", "relief", str(tmp_path), "--pairs", str(pairs)]) != 0
    assert "lacks the columns other, likeness" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_folder_without_photos_is_named(tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", "relief", str(tmp_path / folder)]) != 0
    assert str(tmp_path / folder) in capsys.readouterr().err
