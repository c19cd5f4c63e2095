"""Report of the open model: images of the right subjects, figures and files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from facerelief.lab.building import report
from facerelief.lab.building.report import expression_sheet, portrait, sample_sheet, write_report


def test_a_turned_head_is_another_image_and_scale_fills_the_frame(toy_model):
    straight = portrait(toy_model, toy_model.mean, size=120, scale=0.3)
    assert straight.shape == (120, 120, 3)
    assert (portrait(toy_model, toy_model.mean, 0.6, size=120, scale=0.3) != straight).any()

    def covered(image):
        return np.any(image != image[0, 0], axis=2).sum()

    assert covered(portrait(toy_model, toy_model.mean, size=120, scale=0.4)) > 1.5 * covered(straight)


def test_samples_are_those_of_the_seed(toy_model):
    one, again, other = (sample_sheet(toy_model, 8, seed) for seed in (0, 0, 1))
    assert one.shape == (480, 1920, 3)
    assert (one == again).all()
    assert (one[:240] != other[:240]).any()
    assert (one[240:] == other[240:]).all()  # components at -3 and +3 are not random


def test_every_shown_expression_changes_the_face(toy_model):
    sheet = expression_sheet(toy_model)
    assert sheet.shape == (480, 1920, 3)
    neutral = portrait(toy_model, toy_model.mean, 0.2, scale=1.15)
    tiles = [sheet[y : y + 240, x : x + 240] for y in (0, 240) for x in range(0, 1920, 240)]
    assert len(tiles) == len(report.SHOWN_UNITS)
    assert all((tile[20:] != neutral[20:]).any() for tile in tiles)  # the name stands above


def test_the_report_has_figures_and_images(toy_build, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    most = toy_build.model.n_identity
    monkeypatch.setattr(report, "COMPONENTS", (1, most))
    found = write_report(toy_build, tmp_path / "new", persons=8)
    assert json.loads((tmp_path / "new" / "model_report.json").read_text("utf-8")) == found
    few, all_ = found["residual"]
    assert (few["components"], few["persons"], all_["components"], all_["persons"]) == (1, 2, most, 8)
    assert 0 <= all_["median_mm"] <= all_["p90_mm"]
    assert all_["mean_mm"] < few["mean_mm"]
    for name in ("model_residual.png", "model_samples.png", "model_expressions.png"):
        assert (tmp_path / "new" / name).stat().st_size > 1000
