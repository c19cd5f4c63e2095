"""FineNet's report: true relief meets every target, no relief is the coarse surface."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.nets.fine import (
    PhotoRelief,
    evaluate_fine,
    evaluate_photos,
    fine_report,
    photo_relief_report,
)


def fine_sample(kind: str) -> Sample:
    """A bowl with ripples in a round mask."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    mask = (x * x + y * y < 0.8).astype(np.uint8)
    ripples = 0.2 * np.sin(10 * x) * mask
    labels = {
        "depth_coarse": (10 - 20 * (x * x + y * y)).astype(np.float32) * mask,
        "mask": mask,
        "displacement": ripples.astype(np.float16),
        "camera": np.array([0, 0, 0, 32, 32, 0.5], np.float32),
        "box": np.array([4, 4, 60, 60], np.float32),
        "gains": np.array([0, 0, 0, 1, 1, 1] if kind == "own" else [1, 1, 1, 1, 1, 1], np.float32),
    }
    return Sample(kind, np.zeros((64, 64, 3), np.uint8), labels, {"relit": kind == "relit"})


class TestFine:
    samples = (fine_sample("own"), fine_sample("moved"), fine_sample("relit"))

    def true(self, image: Any, depth: Any, mask: Any, width: float) -> Any:
        assert width == pytest.approx(112.0)
        return self.samples[0].labels["displacement"].astype(np.float32)

    def test_truth_meets_every_target(self):
        report = fine_report(evaluate_fine(self.true, self.samples))
        assert set(report.parts) == {"all", "own", "moved", "relit"}
        whole = report.parts["all"]
        assert whole["samples"] == 3
        assert whole["normal_deg"] < 1e-3 < 1 < whole["coarse_normal_deg"]
        assert whole["band_r"] == pytest.approx(1)
        assert whole["found_over_true"] == pytest.approx(1)
        assert whole["error_mm"] == 0
        assert all(target.met for target in report.targets)

    def test_half_the_relief_halves_the_error(self):
        report = fine_report(evaluate_fine(lambda *given: 0.5 * self.true(*given), self.samples))
        whole = report.parts["all"]
        assert whole["error_mm"] == pytest.approx(0.5 * whole["coarse_error_mm"])
        assert whole["found_over_true"] == pytest.approx(0.5)
        assert whole["band_r"] == pytest.approx(1)
        assert 0.3 < whole["normal_deg"] / whole["coarse_normal_deg"] < 0.6

    def test_no_relief_is_the_coarse_surface(self):
        report = fine_report(evaluate_fine(lambda image, depth, mask, width: 0 * depth, self.samples))
        whole = report.parts["all"]
        assert whole["normal_deg"] == pytest.approx(whole["coarse_normal_deg"])
        assert whole["band_r"] == 0
        assert not any(target.met for target in report.targets)

    def test_the_same_as_in_training(self):
        torch = pytest.importorskip("torch")
        from facerelief.lab.networks.data import FineItem
        from facerelief.lab.networks.guo import FineOutput
        from facerelief.lab.networks.measures import FineMeasures

        rng = np.random.default_rng(0)
        labels = self.samples[0].labels
        found = (labels["displacement"] + rng.normal(0, 0.1, (64, 64))).astype(np.float32)
        (row,) = evaluate_fine(lambda *given: found, self.samples[:1])
        maps = [
            torch.from_numpy(labels[name].astype(np.float32))[None]
            for name in ("depth_coarse", "mask", "displacement")
        ]
        theirs = FineMeasures()
        known, width, scale = torch.ones_like(maps[1]), torch.tensor([112.0]), torch.tensor([0.5])
        item = FineItem(None, *maps, width, scale, None, known, known, torch.zeros(1))
        theirs.add(item, FineOutput(torch.from_numpy(found)[None] / 1.12, None))
        result = theirs.result()
        assert row.errors["normal_deg"] == pytest.approx(result["normal_deg"], rel=1e-3)
        assert row.errors["coarse_normal_deg"] == pytest.approx(result["baseline_normal_deg"], rel=1e-3)
        assert row.errors["band_r"] == pytest.approx(result["band_r"], abs=2e-3)
        assert row.errors["error_mm"] == pytest.approx(1.12 * result["error_percent"], rel=1e-3)

    def test_photos_by_group(self, toy_model, states):
        labels = self.samples[0].labels
        true, mask = labels["displacement"].astype(np.float32), labels["mask"] > 0
        photos = [
            PhotoRelief(group, np.full((8, 8, 3), sign, np.uint8), states[0], true, mask)
            for group, sign in (("studio", 1), ("street", 0))
        ]

        def net(image: Any, state: FaceState, vertices: Any) -> Any:
            assert vertices.shape == toy_model.mean.shape
            return SimpleNamespace(surface=SimpleNamespace(mask=mask), displacement=true * image[0, 0, 0])

        report = photo_relief_report(evaluate_photos(toy_model, net, photos))
        assert report.parts["studio"]["band_r"] == pytest.approx(1)
        assert report.parts["street"]["band_r"] == 0
        assert report.parts["all"]["band_r"] == pytest.approx(0.5)
