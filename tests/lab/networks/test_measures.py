# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of the measures: truth has no error, known errors are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facerelief.lab.networks.data import CoarseData, CropConfig, FineData, Shards, TrackingData
from facerelief.lab.networks.guo import CoarseOutput, FineOutput, TrackingOutput
from facerelief.lab.networks.measures import CoarseMeasures, FineMeasures, TrackingMeasures


def batch_of(data, count=4):
    return torch.utils.data.default_collate([data[k] for k in range(count)])


@pytest.fixture(scope="module")
def batch(face_set, toy_model):
    return batch_of(CoarseData(Shards([face_set], "val", "coarse"), toy_model, CropConfig(size=64)))


def measured(toy_model, batch, out):
    measures = CoarseMeasures(toy_model, 64, (torch.zeros(52), torch.tensor([0, 0, 0, 32.0, 32.0, -1.0])))
    measures.add(batch, out)
    return measures.result()


def test_truth_has_no_error_and_the_mean_face_has_some(toy_model, batch):
    found = measured(
        toy_model, batch, CoarseOutput(batch.identity, batch.expression, batch.pose, torch.zeros(4))
    )
    assert found["samples"] == 4
    for name in ("surface_mm", "posed_mm", "nme", "yaw_deg"):
        assert found[name] == pytest.approx(0.0, abs=1e-3)
        assert found[f"baseline_{name}"] > 0.1


def test_a_wrong_yaw_is_found_in_degrees_and_changes_no_shape(toy_model, batch):
    pose = batch.pose.clone()
    pose[:, 1] += math.radians(5)
    found = measured(toy_model, batch, CoarseOutput(batch.identity, batch.expression, pose, torch.zeros(4)))
    assert found["yaw_deg"] == pytest.approx(5.0, abs=1e-3)
    assert found["surface_mm"] == pytest.approx(0.0, abs=1e-4)
    assert found["posed_mm"] > 0.5


def test_landmarks_are_measured_by_their_boxs_size(toy_model, batch):
    pose = batch.pose.clone()
    pose[:, 3] += 2.0
    found = measured(toy_model, batch, CoarseOutput(batch.identity, batch.expression, pose, torch.zeros(4)))
    sizes = []
    for identity, expression, true in zip(batch.identity, batch.expression, batch.pose):
        from facerelief.lab.networks.data import camera_of

        vertices = toy_model.shape(identity.numpy(), expression.numpy())
        uv = toy_model.landmarks["ibug68"].of(camera_of(true.numpy()).project(vertices))[:, :2]
        sizes.append(math.sqrt(float(np.ptp(uv, axis=0).prod())))
    assert found["nme"] == pytest.approx(float(np.mean([200.0 / size for size in sizes])), rel=1e-3)


def test_no_change_is_the_baseline_of_tracking(toy_model, face_set):
    batch = batch_of(TrackingData(Shards([face_set], "val", "tracking"), toy_model, 64))
    measures = TrackingMeasures(toy_model, 64)
    same = TrackingOutput(batch.previous_expression, batch.previous_pose, torch.zeros(4, 58), torch.zeros(4))
    measures.add(batch, same)
    found = measures.result()
    for name in ("surface_mm", "posed_mm", "nme", "yaw_deg"):
        assert found[name] == pytest.approx(found[f"baseline_{name}"], abs=1e-6)
        assert found[name] > 0


def test_true_relief_correlates_and_none_is_the_baseline(toy_model, fine_set):
    batch = batch_of(FineData(Shards([fine_set], "val", "fine")))
    true = batch.displacement / (0.01 * batch.face_width[:, None, None])
    found, nothing = FineMeasures(), FineMeasures()
    found.add(batch, FineOutput(true, None))
    nothing.add(batch, FineOutput(torch.zeros_like(true), None))
    good, none = found.result(), nothing.result()
    assert good["error_percent"] == pytest.approx(0.0, abs=1e-5)
    assert good["normal_deg"] == pytest.approx(0.0, abs=1e-3)
    assert good["band_r"] == pytest.approx(1.0, abs=1e-4)
    assert none["normal_deg"] == pytest.approx(none["baseline_normal_deg"])
    assert none["error_percent"] == pytest.approx(good["baseline_error_percent"])
    assert none["band_r"] == 0.0
    assert good["found_over_true"] == pytest.approx(1.0, abs=1e-4)
    assert none["found_over_true"] == 0.0
    assert "trust_error" not in good


def test_the_error_of_trust_counts_images_that_have_it(fine_set):
    batch = batch_of(FineData(Shards([fine_set], "val", "fine")))
    batch = batch._replace(trust=batch.mask, trusted=torch.tensor([1.0] + [0.0] * (len(batch.mask) - 1)))
    right = 40 * (batch.mask - 0.5)
    found = FineMeasures()
    found.add(batch, FineOutput(torch.zeros_like(batch.mask), right))
    assert found.result()["trust_error"] == pytest.approx(0, abs=1e-6)
    found.add(batch, FineOutput(torch.zeros_like(batch.mask), -right))
    assert found.result()["trust_error"] == pytest.approx(0.5, abs=1e-6)
