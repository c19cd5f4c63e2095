"""Laws of the measures of the networks: truth has no error, known errors are found, in the units promised."""

from __future__ import annotations

import io
import json
import math
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import run_command

from facerelief.cli import evaluate_nets as cli_nets
from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.inference import runners as pipeline_nets
from facerelief.inference.crops import SquareCrop, tracking_crop
from facerelief.inference.runners import Estimate
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import encode_sample
from facerelief.lab.evaluation.metrics import face_errors as shared
from facerelief.lab.evaluation.metrics.face_errors import (
    Bar,
    box_crop,
    calibration,
    expression_groups,
    label_state,
    shape_errors,
    state_errors,
    true_face,
    yaw_bin,
)
from facerelief.lab.evaluation.nets.clips import (
    FILTERED,
    PER_FRAME,
    RAW,
    Track,
    agreement,
    drift,
    edited_clip,
    evaluate_clip,
    follow,
    jitter,
    lag,
    recovery,
    shifted,
    speed,
    third,
)
from facerelief.lab.evaluation.nets.coarse import (
    DETECTOR,
    LOOKED,
    MEAN_FACE,
    NET,
    coarse_report,
    evaluate_coarse,
)
from facerelief.lab.evaluation.nets.fine import (
    PhotoRelief,
    evaluate_fine,
    evaluate_photos,
    fine_report,
    photo_report,
)
from facerelief.lab.evaluation.nets.tracking import COARSE, PREVIOUS, TRACKING, evaluate_pairs, pair_report
from facerelief.morphable import open_model
from facerelief.rendering.render import shade_mesh

SIZE = 96


def random_state(model: Any, seed: int, yaw: float | None = None) -> FaceState:
    rng = np.random.default_rng(seed)
    scale = SIZE / (1.6 * float(np.ptp(model.mean[:, 1])))
    yaw = float(rng.normal(0, 0.35)) if yaw is None else yaw
    camera = WeakPerspective(float(rng.normal(0, 0.1)), yaw, 0.05, SIZE / 2 + 1, SIZE / 2 - 2, scale)
    identity = rng.normal(0, 0.7, model.n_identity).astype(np.float32)
    expression = (rng.random(model.n_expression) * (rng.random(model.n_expression) < 0.2)).astype(np.float32)
    return FaceState(camera, identity, expression)


def labelled(model: Any, state: FaceState, number: int = 0, image: Any = None) -> Sample:
    """A sample of the kinds coarse and pairs; two previous states, the second one lost."""
    vertices = model.shape(state.identity, state.expression)
    uvz = state.camera.project(vertices)
    uv = uvz[model.face_vertices, :2]
    before = [replace(state.camera, translation_u=state.camera.translation_u + d) for d in (3.0, 12.0)]
    crops = [tracking_crop(vertices, model.face_vertices, c) for c in before]
    labels = {
        "camera": state.camera.vector,
        "identity": state.identity,
        "expression": state.expression,
        "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
        "previous_camera": np.stack([c.vector for c in before]),
        "previous_identity": np.stack([0.9 * state.identity] * 2),
        "previous_expression": np.stack([state.expression] * 2),
        "previous_crop": np.array(
            [
                [
                    *(c.centre_u - c.side / 2, c.centre_v - c.side / 2),
                    *(c.centre_u + c.side / 2, c.centre_v + c.side / 2),
                ]
                for c in crops
            ]
        ),
        "previous_frames": np.array([2, 0], np.uint8),
        "blur": np.array([0.0], np.float32),
    }
    image = np.full((SIZE, SIZE, 3), number, np.uint8) if image is None else image
    return Sample(f"toy-{number:04d}", image, labels, {"number": number})


class Oracle:
    """A net that knows the states of pictures by the colour of their first pixel, and may change them."""

    size = SIZE

    def __init__(self, states: list[FaceState], change: Any = lambda state: state) -> None:
        self.states, self.change = states, change

    def __call__(self, image: Any, *where: Any) -> Any:
        estimate = Estimate(self.change(self.states[int(image[0, 0, 0])]), 1.0)
        return estimate if len(where) == 1 else (estimate, np.zeros(58))

    def look(self, image: Any, around: WeakPerspective) -> Estimate:
        return self(image, around)


@pytest.fixture(scope="module")
def states(toy_model) -> list[FaceState]:
    return [random_state(toy_model, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def samples(toy_model, states) -> list[Sample]:
    return [labelled(toy_model, state, k) for k, state in enumerate(states)]


@pytest.fixture(scope="module")
def truth(toy_model):
    """A frontal face."""
    state = replace(random_state(toy_model, 0), camera=WeakPerspective(0, 0, 0, SIZE / 2, SIZE / 2, 0.3))
    sample = labelled(toy_model, state)
    return true_face(toy_model, state, box_crop(sample.labels["box"], SIZE))


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
            crop = box_crop(labelled(toy_model, state).labels["box"], SIZE)
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
        mean = shared.means(ours)
        names = {"surface_mm": "surface_mm", "posed_mm": "posed_mm", "nme": "nme68", "yaw_deg": "yaw"}
        for name, own_name in names.items():
            assert mean[own_name] == pytest.approx(theirs[name], rel=5e-3)


class TestSums:
    def test_bars(self):
        assert Bar("x", 1.6, 1.6).met is True
        assert Bar("x", 1.7, 1.6).met is False
        assert Bar("x", 0.7, 0.6, least=True).met is True
        assert Bar("x", float("nan"), 1.6).met is None
        assert Bar("x", float("inf"), 5).document == {
            "what": "x",
            "value": float("inf"),
            "at_most": 5,
            "met": False,
        }

    def test_yaw_bins(self):
        found = [yaw_bin(x) for x in (0.0, -14.9, 15.0, 44.0, -45.0, 120.0)]
        assert found == ["0-15", "0-15", "15-30", "30-45", "45+", "45+"]
        assert shared.YAW_NAMES == ("0-15", "15-30", "30-45", "45+")

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
        assert (found["samples"], found["factor"], found["spearman"]) == (50, 2.0, pytest.approx(1.0))
        assert [b["samples"] for b in found["bins"]] == [10] * 5
        assert found["bins"][0]["true_mm"] == pytest.approx(2 * found["bins"][0]["stated_mm"])
        assert calibration(stated, -stated)["spearman"] == pytest.approx(-1.0)
        assert np.isnan(calibration(np.ones(9), stated[:9])["spearman"])
        assert calibration(np.full(3, np.nan), np.ones(3))["bins"] == []

    def test_means_over_those_that_have_it(self):
        found = shared.means([{"a": 1.0}, {"a": 3.0, "b": 5.0}, {"b": float("nan")}])
        assert found == {"a": 2.0, "b": 5.0}


class TestCoarse:
    def detect(self, samples: list[Sample], model: Any, by: float) -> Any:
        def found(image: Any, box: Any) -> Any:
            state = label_state(samples[int(image[0, 0, 0])].labels)
            shape = model.shape(state.identity, state.expression)
            marks = model.landmarks["ibug68"].of(state.camera.project(shape))[:, :2]
            return marks + [by, 0]

        return found

    def test_an_oracle_meets_every_bar(self, toy_model, states, samples):
        done: list[int] = []
        rows = evaluate_coarse(
            toy_model, Oracle(states), samples, self.detect(samples, toy_model, 1.0), done.append
        )
        report = coarse_report(rows)
        assert done == [1, 2, 3, 4]
        assert report["samples"] == report["all"][NET]["samples"] == report["all"][DETECTOR]["samples"] == 4
        for method in (NET, LOOKED):
            assert report["all"][method]["rigid_mm"] < 1e-3
            assert report["all"][method]["nme68_over_detector"] < 1e-2
        assert report["all"][MEAN_FACE]["rigid_mm"] > 0.3
        assert all(bar["met"] for bar in report["bars"])
        assert sum(part["samples"] for part in report["by_yaw"].values()) == 4
        json.dumps(report)

    def test_a_wrong_net_misses_them(self, toy_model, states, samples):
        def wrong(state: FaceState) -> FaceState:
            camera = replace(state.camera, yaw=state.camera.yaw + math.radians(20))
            return FaceState(camera, state.identity + 6, state.expression)

        rows = evaluate_coarse(
            toy_model, Oracle(states, wrong), samples, self.detect(samples, toy_model, 0.1)
        )
        report = coarse_report(rows)
        assert not any(bar["met"] for bar in report["bars"])
        assert report["all"][NET]["yaw"] == pytest.approx(20, abs=1e-3)

    def test_faces_that_the_detector_misses_are_told_apart(self, toy_model, states, samples):
        rows = evaluate_coarse(toy_model, Oracle(states), samples, lambda image, box: None)
        report = coarse_report(rows)
        assert DETECTOR not in report["all"]
        assert LOOKED not in report["all"]
        assert {bar["met"] for bar in report["bars"]} == {True, None}


@dataclass
class FineSample:
    image: Any
    labels: dict[str, Any]
    about: dict[str, Any]


def fine_sample(kind: str) -> FineSample:
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
    return FineSample(np.zeros((64, 64, 3), np.uint8), labels, {"relit": kind == "relit"})


class TestFine:
    samples = (fine_sample("own"), fine_sample("moved"), fine_sample("relit"))

    def true(self, image: Any, depth: Any, mask: Any, width: float) -> Any:
        assert width == pytest.approx(112.0)
        return self.samples[0].labels["displacement"].astype(np.float32)

    def test_truth_meets_every_bar(self):
        report = fine_report(evaluate_fine(self.true, self.samples))
        assert set(report["parts"]) == {"all", "own", "moved", "relit"}
        whole = report["parts"]["all"]
        assert whole["samples"] == 3
        assert whole["normal_deg"] < 1e-3 < 1 < whole["coarse_normal_deg"]
        assert whole["band_r"] == pytest.approx(1)
        assert whole["found_over_true"] == pytest.approx(1)
        assert whole["error_mm"] == 0
        assert all(bar["met"] for bar in report["bars"])

    def test_half_the_relief_halves_the_error(self):
        report = fine_report(evaluate_fine(lambda *given: 0.5 * self.true(*given), self.samples))
        whole = report["parts"]["all"]
        assert whole["error_mm"] == pytest.approx(0.5 * whole["coarse_error_mm"])
        assert whole["found_over_true"] == pytest.approx(0.5)
        assert whole["band_r"] == pytest.approx(1)
        assert 0.3 < whole["normal_deg"] / whole["coarse_normal_deg"] < 0.6

    def test_no_relief_is_the_coarse_surface(self):
        report = fine_report(evaluate_fine(lambda image, depth, mask, width: 0 * depth, self.samples))
        whole = report["parts"]["all"]
        assert whole["normal_deg"] == pytest.approx(whole["coarse_normal_deg"])
        assert whole["band_r"] == 0
        assert not any(bar["met"] for bar in report["bars"])

    def test_the_same_as_in_training(self):
        torch = pytest.importorskip("torch")
        from facerelief.lab.networks.data import FineItem
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
        item = FineItem(None, *maps, torch.tensor([112.0]), torch.tensor([0.5]), cues=None)
        theirs.add(item, torch.from_numpy(found)[None] / 1.12)
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

        report = photo_report(evaluate_photos(toy_model, net, photos))
        assert report["parts"]["studio"]["band_r"] == pytest.approx(1)
        assert report["parts"]["street"]["band_r"] == 0
        assert report["parts"]["all"]["band_r"] == pytest.approx(0.5)


class TestPairs:
    def test_an_oracle_beats_what_was_known(self, toy_model, states, samples):
        rows = evaluate_pairs(toy_model, Oracle(states), Oracle(states), samples)
        assert [row.frames for row in rows] == [2, 0, 2, 0]
        report = pair_report(rows)
        assert {"followed", "lost", "2 frames older", "sharp"} == set(report["parts"])
        followed = report["parts"]["followed"]
        scale = states[0].camera.scale
        assert followed[TRACKING]["level_mm"] < 1e-3
        assert followed[COARSE]["level_mm"] < 1e-3
        assert followed[PREVIOUS]["level_mm"] == pytest.approx(3.0 / scale, rel=1e-3)
        assert report["parts"]["lost"][PREVIOUS]["level_mm"] == pytest.approx(12.0 / scale, rel=1e-3)
        assert report["changes_above"]["2"] == {"followed": 0.0, "lost": 0.0}
        assert report["bars"][1]["met"]

    def test_identity_is_the_true_one_in_all(self, toy_model, states, samples):
        other = Oracle(states, lambda s: replace(s, identity=s.identity + 5))
        report = pair_report(evaluate_pairs(toy_model, other, other, samples))
        for method in (TRACKING, COARSE, PREVIOUS):
            assert report["parts"]["followed"][method]["surface_mm"] < 1e-3


# ---------------------------------------------------------------- clips


BASE = np.random.default_rng(0).uniform(-20, 20, (68, 2))


def path(frames: int, right: float = 0.0) -> np.ndarray:
    """(T, 68, 2) landmarks that move to the right by so many px a frame."""
    return BASE + 100 + np.stack([right * np.arange(frames), np.zeros(frames)], axis=1)[:, None]


class TestTracks:
    def test_jitter_is_acceleration(self):
        everywhere = np.ones(20, bool)
        assert jitter(path(20, 3.0), everywhere) == pytest.approx(0, abs=1e-9)
        shaking = path(20)
        shaking[::2, :, 0] += 1
        assert jitter(shaking, everywhere) == pytest.approx(2)
        shaking[4] = np.nan
        assert jitter(shaking, everywhere) == pytest.approx(2)
        assert np.isnan(jitter(shaking, np.zeros(20, bool)))
        assert np.isnan(jitter(shaking[:2], everywhere[:2]))

    def test_slow_frames_are_the_lowest_third(self):
        marks = np.concatenate([path(30), path(60, 4.0) + 0])
        slow = third(speed(marks), np.ones(90, bool))
        assert slow[:20].all()
        assert not slow[40:].any()
        fast = third(speed(marks), np.ones(90, bool), highest=True)
        assert fast[45:60].all()
        assert not fast[:25].any()

    def test_a_delay_is_found(self):
        turn = 30 * np.sin(np.arange(80) / 7)
        moving = path(80) + np.stack([turn, 0 * turn], axis=1)[:, None]
        late = np.concatenate([moving[:1], moving[:1], moving[:-2]])
        everywhere = np.ones(80, bool)
        assert lag(moving, moving, everywhere) == pytest.approx(0, abs=0.05)
        assert lag(late, moving, everywhere) == pytest.approx(2, abs=0.1)
        half = 0.5 * (moving[1:] + moving[:-1])
        assert lag(half, moving[1:], everywhere[1:]) == pytest.approx(0.5, abs=0.1)

    def test_drift(self):
        detected = path(200, 0.5)
        steady = drift(detected + [2, 0], detected, 40.0)
        assert steady["first"] == steady["last"] == pytest.approx(5.0)
        assert (steady["ratio"], steady["shift"]) == (pytest.approx(1.0), pytest.approx(0.0))
        away = detected + np.linspace(0, 4, 200)[:, None, None] * [1, 0]
        found = drift(away, detected, 40.0)
        assert found["ratio"] > 5
        assert found["shift"] == pytest.approx(found["last"] - found["first"])
        # errors to either side are as large, and yet the track moved
        both = detected + np.where(np.arange(200) < 100, -2, 2)[:, None, None] * [1, 0]
        assert drift(both, detected, 40.0)["ratio"] == pytest.approx(1)
        assert drift(both, detected, 40.0)["shift"] == pytest.approx(10)
        assert np.isnan(drift(np.nan * detected, detected, 40.0)["ratio"])

    def test_agreement(self):
        assert agreement(path(9), path(9) + [3, 4], 50.0) == pytest.approx(10)
        assert np.isnan(agreement(path(9) * np.nan, path(9), 50.0))


WIDTH, SQUARE = 160, 30


def frame(left: float, top: int = 50) -> np.ndarray:
    """A picture with a white square for a face."""
    image = np.full((120, WIDTH, 3), 40, np.uint8)
    image[top : top + SQUARE, max(round(left), 0) : max(round(left) + SQUARE, 0)] = 255
    return image


def square_marks(image: Any) -> Any:
    """Landmarks on the white square, if it is whole."""
    rows, columns = np.nonzero(image[..., 0] > 200)
    if len(rows) < 0.9 * SQUARE * SQUARE or np.ptp(columns) > 2 * SQUARE:
        return None
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
    unit = (BASE - BASE.min(axis=0)) / np.ptp(BASE, axis=0)
    return low + unit * (high - low)


class Watcher:
    """Follows the square, as exactly as its configuration asks; finds it again after `slow` frames."""

    def __init__(self, config: Any, slow: int = 0) -> None:
        self.noise = 1.0 if config.per_frame else 0.1 if config.smooth else 0.5
        self.rng, self.slow, self.missed, self.seen = np.random.default_rng(0), slow, slow, False

    def step(self, image: Any, time: float) -> tuple[str, Any]:
        marks = square_marks(image)
        if marks is None:
            self.missed, self.seen = 0, False
            return "none", None
        self.missed += 1
        if self.missed <= self.slow:
            return "none", None
        state, self.seen = ("tracked" if self.seen else "found"), True
        return state, SimpleNamespace(landmarks68_px=marks + self.noise * self.rng.normal(size=2))


class TestClips:
    frames = tuple(frame(30 + 0.2 * k) for k in range(60))
    times = tuple(k / 25 for k in range(60))

    def test_pictures_move_and_their_border_goes_on(self):
        image = frame(50)
        np.testing.assert_array_equal(shifted(image, 7)[:, 57:87], image[:, 50:80])
        np.testing.assert_array_equal(shifted(image, -40)[:, 10:40], image[:, 50:80])
        assert (shifted(image, WIDTH) == 40).all()

    def test_a_face_leaves_and_is_back_elsewhere(self):
        box = np.array([30, 50, 75, 80])
        clip = edited_clip(self.frames, box, away=25)
        assert (clip.gone, clip.back, len(clip.frames)) == (35, 60, 90)
        assert all(square_marks(image) is None for image in clip.frames[clip.gone : clip.back])
        assert clip.shifts[clip.back] == 40  # a quarter of the width, to where there is room
        assert clip.shifts[clip.gone] == -WIDTH
        place = square_marks(clip.frames[clip.back])
        np.testing.assert_allclose(place, square_marks(self.frames[clip.sources[clip.back]]) + [40, 0])

    @pytest.mark.parametrize("slow", [0, 3])
    def test_recovery_is_counted_in_frames(self, slow):
        clip = edited_clip(self.frames, np.array([30, 50, 75, 80]), away=10)
        boxes = [
            None if (m := square_marks(image)) is None else np.concatenate([m.min(axis=0), m.max(axis=0)])
            for image in clip.frames
        ]
        config = SimpleNamespace(per_frame=False, smooth=True)
        track = follow(Watcher(config, slow), clip.frames, range(len(clip.frames)))
        assert recovery(track, clip, boxes) == {"recovered": slow, "noticed": 0.0, "ghosts": 0.0}

    def test_a_track_that_stays_where_nothing_is(self):
        clip = edited_clip(self.frames, np.array([30, 50, 75, 80]), away=10)
        marks = np.broadcast_to(square_marks(self.frames[0]), (len(clip.frames), 68, 2))
        boxes = [np.array([70, 50, 100, 80])] * len(clip.frames)
        found = recovery(Track(marks, ("tracked",) * len(clip.frames)), clip, boxes)
        assert found == {"recovered": float("inf"), "noticed": float("inf"), "ghosts": 1.0}

    def test_a_clip_whole(self):
        found = evaluate_clip(self.frames, self.times, Watcher, square_marks)
        assert found["frames"] == 60
        assert set(found["tracks"]) == {PER_FRAME, RAW, FILTERED}
        tracks = found["tracks"]
        assert tracks[PER_FRAME]["jitter_px"] > tracks[RAW]["jitter_px"] > tracks[FILTERED]["jitter_px"]
        assert tracks[FILTERED]["jitter_over_per_frame"] < 0.25  # the square itself moves by whole px
        assert tracks[FILTERED]["drift_ratio"] == pytest.approx(1, abs=0.4)
        assert found["leaving"] == {"recovered": 0.0, "noticed": 0.0, "ghosts": 0.0}
        assert found["detector"]["shown"] == 1.0
        assert {bar["what"]: bar["met"] for bar in found["bars"]}["jitter over CoarseNet's per frame"]
        json.dumps(found)

    def test_a_clip_without_a_face(self):
        empty = [np.zeros((20, 20, 3), np.uint8)] * 10
        found = evaluate_clip(empty, self.times[:10], Watcher, square_marks)
        assert [bar["met"] for bar in found["bars"]] == [None, None, None]


# ---------------------------------------------------------------- the command


def run(*args: object, code: int = 0) -> Any:
    return run_command("evaluate", "nets", *args, code=code)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory) -> Path:
    """Two pictures of the open model in the split "val"."""
    folder = tmp_path_factory.mktemp("sets") / "pairs"
    folder.mkdir()
    model = open_model()
    recipe = {
        "schema": "facerelief dataset 1",
        "kind": "pairs",
        "model": {"name": model.name, "version": str(model.version)},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with tarfile.open(folder / "val-000000.tar", "w") as tar:
        for number in range(2):
            state = replace(random_state(model, number), identity=np.zeros(model.n_identity, np.float32))
            vertices = model.shape(state.identity, state.expression)
            image, _ = shade_mesh(Mesh(vertices, model.triangles, model.skin()), state.camera, SIZE, SIZE)
            sample = labelled(model, state, number, np.asarray(image, np.uint8))
            for ending, data in encode_sample(sample, "png").items():
                entry = tarfile.TarInfo(f"{sample.key}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    record = {"name": "val-000000", "split": "val", "sha256": "", "bytes": 0, "samples": 2, "seconds": 0.0}
    photos = [{"name": "a", "group": "g", "samples": 2}]
    (folder / "val-000000.json").write_text(json.dumps({**record, "photos": photos, "failures": {}}))
    return folder


def test_the_command_measures_and_writes_json(data_set, tmp_path, monkeypatch):
    state = random_state(open_model(), 0)

    def runner(model: Any, nets: Any = None) -> Oracle:
        return Oracle([state] * 256)

    monkeypatch.setattr(pipeline_nets, "CoarseRunner", runner)
    monkeypatch.setattr(pipeline_nets, "TrackingRunner", runner)
    file = tmp_path / "found.json"
    result = run("--coarse", data_set, "--pairs", data_set, "--limit", 2, "--json", file)
    assert "CoarseNet, 2 samples of val" in result.stdout
    assert "ok" in result.stdout
    about = json.loads(file.read_text())
    assert about["nets"] == "shipped"
    assert about["coarse"]["split"] == about["pairs"]["split"] == "val"
    assert about["coarse"]["samples"] == 2
    printed = run("--pairs", data_set, "--limit", 1, "--json").stdout
    assert json.loads(printed)["pairs"]["samples"] == 1


def test_what_is_held_out(data_set):
    model = open_model()
    part, count, found = cli_nets.held_out(model, data_set, ("pairs",), None, None)
    assert (part, count, [sample.key for sample in found]) == ("val", 2, ["toy-0000", "toy-0001"])
    with pytest.raises(FacereliefError, match="no samples of test"):
        cli_nets.held_out(model, data_set, ("pairs",), "test", None)
    with pytest.raises(FacereliefError, match="holds pairs, expected fine"):
        cli_nets.held_out(model, data_set, ("fine",), None, None)
    other = replace(model, name="another")
    with pytest.raises(FacereliefError, match="expected 'another'"):
        cli_nets.held_out(other, data_set, ("pairs",), None, None)


def test_other_nets_by_argument_or_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("FACERELIEF_NETS", raising=False)
    shipped = pipeline_nets.net_file("coarse")
    assert pipeline_nets.net_file("coarse", tmp_path) == tmp_path / "coarse.onnx"
    monkeypatch.setenv("FACERELIEF_NETS", str(tmp_path / "other"))
    assert pipeline_nets.net_file("coarse") == tmp_path / "other" / "coarse.onnx"
    assert pipeline_nets.net_file("coarse", tmp_path) == tmp_path / "coarse.onnx"
    monkeypatch.delenv("FACERELIEF_NETS")
    assert pipeline_nets.net_file("coarse") == shipped


def test_wrong_input_ends_in_one_line(data_set, tmp_path):
    run(code=2)
    run("--pairs", data_set, "--split", "train", code=2)
    for arguments in (["--nets", tmp_path], ["--coarse", tmp_path], ["--fits", tmp_path]):
        given = arguments if "--nets" not in arguments else ["--coarse", data_set, *arguments]
        result = run(*given, code=1)
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        assert str(tmp_path) in line or "onnx" in line
