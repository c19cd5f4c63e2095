"""The command prints and writes the comparison of models; the comparison itself is tested in the lab."""

from __future__ import annotations

import json

import pytest

from facerelief.cli import app, evaluate_models
from facerelief.lab.evaluation.photos.fit_models import FitMaterial, GroupShading, ModelFits


@pytest.fixture
def asked(monkeypatch) -> dict[str, object]:
    """Arguments that the command gives to the lab, which answers with made-up figures."""
    seen: dict[str, object] = {}

    def compare(models, material, half, **how):
        seen.update(models=models, half=half, workers=how["workers"])
        group = GroupShading("london", 3, 0.1, 0.25, 0.08, 0.04)
        return [ModelFits(name, half, [group], {}, 2.0, 1, 3, {"a.jpg": "no face"}) for name in models]

    monkeypatch.setattr(evaluate_models, "fit_material", lambda *given: FitMaterial([], {}, []))
    monkeypatch.setattr(evaluate_models, "compare_fits", compare)
    return seen


def test_both_open_models_are_compared_unless_others_are_named(asked, tmp_path, capsys):
    assert app.main(["evaluate", "models", "--photos", str(tmp_path)]) == 0
    assert asked["models"] == ("open", "open2")
    assert asked["half"] == "report"
    shown = capsys.readouterr()
    assert "0.100 coarse" in shown.out
    assert "1 of 3" in shown.out
    assert "a.jpg: no face" in shown.err


def test_figures_are_written_as_json(asked, tmp_path):
    file = tmp_path / "models.json"
    command = ["evaluate", "models", "--photos", str(tmp_path), "--model", "open2", "--half", "tune"]
    assert app.main([*command, "--json", str(file)]) == 0
    assert asked["models"] == ("open2",)
    (found,) = json.loads(file.read_text())
    assert found["half"] == "tune"
    assert found["shading"][0]["fine"] == 0.25
