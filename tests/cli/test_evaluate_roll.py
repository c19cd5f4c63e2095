"""The command turns what it is given; the measurement itself is tested in the lab."""

from __future__ import annotations

import json

import pytest

from facerelief.cli import app, evaluate_roll
from facerelief.lab.evaluation.photos.rolls import Turn, roll_report


@pytest.fixture
def asked(monkeypatch) -> dict[str, object]:
    seen: dict[str, object] = {}

    def evaluate(photos, angles, model, config, **how):
        seen.update(photos=photos, angles=angles, method=config.method)
        turns = [("a.jpg", Turn(angle, 0.1, 1.0, 0.5, 0.5, 0.02, 0.9)) for angle in angles]
        return roll_report("photos", 1, turns, {"b.jpg": "no face"})

    monkeypatch.setattr(evaluate_roll, "find_photos", lambda *given: ["photo"])
    monkeypatch.setattr(evaluate_roll, "evaluate_photo_rolls", evaluate)
    return seen


def test_a_full_turn_in_steps(asked, tmp_path, capsys):
    file = tmp_path / "roll.json"
    command = ["evaluate", "roll", "--photos", str(tmp_path), "--step", "90", "--method", "fit"]
    assert app.main([*command, "--json", str(file)]) == 0
    assert asked["angles"] == [90.0, 180.0, 270.0]
    assert asked["method"] == "fit"
    shown = capsys.readouterr()
    assert "b.jpg: no face" in shown.err
    (found,) = json.loads(file.read_text())
    assert found["all"]["within"] == 1.0


def test_nothing_to_measure_on(capsys):
    assert app.main(["evaluate", "roll"]) == 2
    assert "--photos or --clip" in capsys.readouterr().err
