"""Laws of the errors of a face: truth has none, known errors are found, in the units promised."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from labelled_states import SIZE, random_state

from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import SquareCrop
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.evaluation.metrics import face_errors
from facerelief.lab.evaluation.metrics.face_errors import (
    calibration,
    expression_groups,
    face_crop,
    face_in,
    shape_errors,
    state_errors,
    true_face,
    yaw_bin,
)


@pytest.fixture(scope="module")
def truth(toy_model):
    """A frontal face."""
    state = replace(random_state(toy_model, 0), camera=WeakPerspective(0, 0, 0, SIZE / 2, SIZE / 2, 0.3))
    return true_face(toy_model, state, face_crop(toy_model, state, SIZE))


class TestErrors:
    def test_truth_has_none(self, toy_model, truth):
        errors = state_errors(toy_model, truth, truth.state)
        assert set(errors) == {
            *("surface_mm", "rigid_mm", "similar_mm", "posed_mm", "level_mm", "rms_mm"),
            *("nme68", "nme51", "pitch", "yaw", "roll"),
        }
        assert max(errors.values()) < 1e-3

    def test_a_shape_moved_by_a_millimetre(self, truth):
        for axis, level in ((0, 1.0), (1, 1.0), (2, 0.0)):
            moved = truth.shape + np.eye(3, dtype=np.float32)[axis]
            errors = shape_errors(truth, moved, truth.state.camera)
            assert errors["surface_mm"] == pytest.approx(1.0, abs=1e-3)
            assert errors["posed_mm"] == pytest.approx(1.0, abs=1e-3)
            assert errors["rms_mm"] == pytest.approx(1.0, abs=1e-3)
            assert errors["level_mm"] == pytest.approx(level, abs=1e-3)
            assert errors["rigid_mm"] == pytest.approx(0.0, abs=1e-3)

    def test_a_larger_shape_has_no_error_after_a_similarity_alone(self, truth):
        errors = shape_errors(truth, 1.02 * truth.shape, truth.state.camera)
        assert errors["similar_mm"] < 1e-3 < 0.3 < errors["rigid_mm"] <= errors["surface_mm"]

    def test_a_shift_in_the_picture_is_told_in_true_mm(self, truth):
        camera = replace(truth.state.camera, translation_u=truth.state.camera.translation_u + 0.6)
        errors = shape_errors(truth, truth.shape, camera)
        assert errors["posed_mm"] == pytest.approx(2.0, abs=1e-3)  # 0.3 px/mm
        assert errors["surface_mm"] == pytest.approx(0.0, abs=1e-4)

    def test_angles_in_degrees_the_short_way_round(self, toy_model, truth):
        camera = replace(truth.state.camera, yaw=math.radians(-5), roll=math.radians(359))
        errors = state_errors(toy_model, truth, replace(truth.state, camera=camera))
        assert errors["yaw"] == pytest.approx(5.0)
        assert errors["roll"] == pytest.approx(1.0)

    def test_landmarks_in_per_cent_of_their_box(self, toy_model, truth):
        camera = replace(truth.state.camera, translation_v=truth.state.camera.translation_v + 2)
        errors = state_errors(toy_model, truth, replace(truth.state, camera=camera))
        size = math.sqrt(float(np.ptp(truth.marks, axis=0).prod()))
        assert errors["nme68"] == errors["nme51"] == pytest.approx(200 / size, rel=1e-4)

    def test_seen_is_the_front(self, toy_model, truth):
        assert 0.2 < truth.seen.mean() <= 1
        side = replace(truth.state.camera, yaw=1.0)
        turned = true_face(toy_model, replace(truth.state, camera=side), SquareCrop(48, 48, 96, SIZE))
        x = toy_model.mean[toy_model.face_vertices, 0]
        assert turned.seen[x < -30].mean() > turned.seen[x > 30].mean() + 0.3  # turned to the image's right

    def test_unseen_or_broken_is_not_a_number(self, truth):
        hidden = replace(truth, seen=np.zeros_like(truth.seen))
        assert np.isnan(shape_errors(hidden, truth.shape, truth.state.camera)["rigid_mm"])
        assert np.isnan(shape_errors(truth, np.nan * truth.shape, truth.state.camera)["posed_mm"])

    def test_the_same_as_in_training(self, toy_model, states):
        torch = pytest.importorskip("torch")
        from facerelief.lab.networks.data import CoarseItem
        from facerelief.lab.networks.guo import CoarseOutput
        from facerelief.lab.networks.labels import pose_of
        from facerelief.lab.networks.measures import CoarseMeasures

        found = [random_state(toy_model, 10 + k) for k in range(len(states))]
        ours, items = [], []
        for state, other in zip(states, found):
            crop = face_crop(toy_model, state, SIZE)
            ours.append(state_errors(toy_model, true_face(toy_model, state, crop), other))
            items.append([pose_of(crop.camera(s.camera)) for s in (state, other)])
        own, other = (torch.from_numpy(np.stack([pair[k] for pair in items])) for k in (0, 1))

        def numbers(members: list[FaceState]) -> Any:
            return (
                torch.from_numpy(np.stack([getattr(s, name) for s in members]))
                for name in ("identity", "expression")
            )

        measures = CoarseMeasures(toy_model, SIZE, (torch.zeros(52), own[0]))
        measures.add(
            CoarseItem(None, *numbers(states), own), CoarseOutput(*numbers(found), other, torch.zeros(4))
        )
        theirs = measures.result()
        mean = face_errors.means(ours)
        names = {"surface_mm": "surface_mm", "posed_mm": "posed_mm", "nme": "nme68", "yaw_deg": "yaw"}
        for name, own_name in names.items():
            assert mean[own_name] == pytest.approx(theirs[name], rel=5e-3)


def test_the_face_of_a_box_is_the_one_that_overlaps_it_most(monkeypatch):
    faces = [SimpleNamespace(box=box) for box in ((0, 0, 10, 10), (20, 20, 40, 40), (25, 20, 45, 40))]
    monkeypatch.setattr(face_errors, "detect_faces", lambda image, small_faces: faces)
    image = np.zeros((50, 50, 3), np.uint8)
    assert face_in(image, np.array([21, 20, 41, 40])) is faces[1]
    assert face_in(image, np.array([26, 20, 46, 40])) is faces[2]
    assert face_in(image, np.array([8, 8, 18, 18])) is None  # by less than a fifth


class TestSums:
    def test_yaw_bins(self):
        found = [yaw_bin(x) for x in (0.0, -14.9, 15.0, 44.0, -45.0, 120.0)]
        assert found == ["0-15", "0-15", "15-30", "30-45", "45+", "45+"]
        assert face_errors.YAW_NAMES == ("0-15", "15-30", "30-45", "45+")

    def test_expressions_by_their_weights(self, toy_model):
        names = list(toy_model.expression_names)
        weights = np.zeros(52, np.float32)
        assert expression_groups(toy_model, weights) == ("neutral",)
        weights[names.index("jawOpen")] = 0.5
        for side in ("Left", "Right"):
            weights[names.index(f"mouthSmile{side}")] = 0.6
        assert expression_groups(toy_model, weights) == ("mouth open", "smile")
        weights[names.index("eyeBlinkLeft")] = 0.9
        assert "eyes closed" not in expression_groups(toy_model, weights)

    def test_calibration(self):
        stated = np.linspace(1, 3, 50)
        found = calibration(stated, 2 * stated)
        assert (found.samples, found.factor, found.spearman) == (50, 2.0, pytest.approx(1.0))
        assert [b.samples for b in found.bins] == [10] * 5
        assert found.bins[0].true_mm == pytest.approx(2 * found.bins[0].stated_mm)
        assert calibration(stated, -stated).spearman == pytest.approx(-1.0)
        assert np.isnan(calibration(np.ones(9), stated[:9]).spearman)
        assert calibration(np.full(3, np.nan), np.ones(3)).bins == ()

    def test_means_over_those_that_have_it(self):
        found = face_errors.means([{"a": 1.0}, {"a": 3.0, "b": 5.0}, {"b": float("nan")}])
        assert found == {"a": 2.0, "b": 5.0}
