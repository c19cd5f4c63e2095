"""Laws of the comparison: the truth has no error, all methods get the same pictures, photos without truth."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.compare import run as comparison
from facerelief.lab.evaluation.compare.methods import METHODS, missing_nets, open_method
from facerelief.lab.evaluation.compare.run import (
    PHOTO_MEASURES,
    PICTURE_MEASURES,
    PhotoInput,
    compare_photos,
    compare_pictures,
    neutral_error,
    photo_measures,
    photo_report,
    picture_report,
    rerender_error,
    rigid_distance,
    run_methods,
)
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE

SIZE = 120


def random_state(model: Any, seed: int, yaw: float = 0.2) -> FaceState:
    rng = np.random.default_rng(seed)
    camera = WeakPerspective(float(rng.normal(0, 0.1)), yaw, 0.05, SIZE / 2, SIZE / 2, 0.45)
    expression = np.zeros(model.n_expression, np.float32)
    return FaceState(camera, rng.normal(0, 0.7, model.n_identity).astype(np.float32), expression)


def sample(model: Any, state: FaceState, number: int, family: str) -> Sample:
    """A labelled picture whose pixels tell its number."""
    vertices = model.shape(state.identity, state.expression)
    uv = state.camera.project(vertices)[model.face_vertices, :2]
    labels = {
        "camera": state.camera.vector,
        "identity": state.identity,
        "expression": state.expression,
        "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
    }
    image = np.full((SIZE, SIZE, 3), number, np.uint8)
    return Sample(f"toy-{number}", image, labels, {"family": family, "source": f"toy/{number}.jpg"})


@pytest.fixture(scope="module")
def states(toy_model) -> list[FaceState]:
    return [random_state(toy_model, seed, yaw) for seed, yaw in enumerate((0.0, 0.1, -0.4, 0.6, 0.9, 0.0))]


@pytest.fixture(scope="module")
def samples(toy_model, states) -> list[Sample]:
    return [sample(toy_model, state, k, f"person {k // 2}") for k, state in enumerate(states)]


@pytest.fixture
def methods(toy_model, states):
    """An oracle under one name, the mean face in the true pose under another."""

    def oracle(image: Any, face: Any) -> FaceState:
        return states[int(image[0, 0, 0])]

    def mean_face(image: Any, face: Any) -> FaceState:
        return replace(oracle(image, face), identity=np.zeros(toy_model.n_identity, np.float32))

    return {"net": oracle, "mean_face": mean_face}


def anywhere(image: Any, box: Any) -> Any:
    return SimpleNamespace(box=tuple(box), landmarks=np.zeros((478, 2)))


class TestPictures:
    def test_the_truth_has_no_error_and_is_all_below_the_mean_face(self, toy_model, samples, methods):
        found = compare_pictures(toy_model, methods, samples, anywhere)
        assert not found.left_out
        report = picture_report(found.rows)
        whole = report["methods"]["net"]["all"]
        for measure in PICTURE_MEASURES:
            assert whole[measure]["value"] == pytest.approx(0, abs=1e-3)
        assert whole["below_mean_face"]["value"] == pytest.approx(100, abs=0.1)
        floor = report["methods"]["mean_face"]["all"]
        assert floor["rigid_mm"]["value"] > 0.5
        assert floor["neutral_mm"]["value"] > 0.5
        assert floor["below_mean_face"] == {"value": 0, "low": 0, "high": 0}
        assert floor["rigid_mm"]["low"] <= floor["rigid_mm"]["value"] <= floor["rigid_mm"]["high"]
        assert (report["pictures"], report["persons"]) == (6, 3)

    def test_parts_make_up_the_whole(self, toy_model, samples, methods):
        report = picture_report(compare_pictures(toy_model, methods, samples, anywhere).rows)
        found = report["methods"]["mean_face"]
        parts = found["by_yaw"].values()
        assert sum(part["pictures"] for part in parts) == 6
        total = sum(part["pictures"] * part["rigid_mm"]["value"] for part in parts)
        assert total / 6 == pytest.approx(found["all"]["rigid_mm"]["value"])

    def test_a_picture_is_left_out_for_all_or_for_none(self, toy_model, samples, methods):
        def unsure(image: Any, box: Any) -> Any:
            return None if image[0, 0, 0] == 1 else anywhere(image, box)

        def failing(image: Any, face: Any) -> FaceState:
            if image[0, 0, 0] == 3:
                raise FacereliefError("no idea")
            state = methods["net"](image, face)
            bad = np.full_like(state.identity, np.nan)
            return replace(state, identity=bad) if image[0, 0, 0] == 4 else state

        found = compare_pictures(toy_model, {**methods, "fit": failing}, samples, unsure)
        assert list(found.left_out) == ["toy-1", "toy-3", "toy-4"]
        assert found.left_out["toy-3"] == "no idea"
        assert "not finite" in found.left_out["toy-4"]
        assert all(set(row.errors) == {"net", "mean_face", "fit"} for row in found.rows)
        assert len(found.rows) == 3

    def test_the_order_of_methods_and_pictures_does_not_matter(self, toy_model, samples, methods):
        once = compare_pictures(toy_model, methods, samples, anywhere).rows
        again = compare_pictures(
            toy_model, dict(reversed(list(methods.items()))), reversed(samples), anywhere
        ).rows
        a, b = picture_report(once), picture_report(again)
        assert list(a["methods"]) == list(b["methods"]) == ["net", "mean_face"]
        cells = [x["methods"]["mean_face"]["all"]["rigid_mm"] for x in (a, b)]
        assert cells[0] == pytest.approx(cells[1])


class TestDistances:
    def test_a_motion_is_no_distance(self):
        points = np.random.default_rng(0).normal(0, 40, (200, 3))
        moved = points @ matrix_from_euler(0.3, -0.2, 0.5).T + [3, 4, 5]
        assert rigid_distance(points, moved) == pytest.approx(0, abs=1e-9)
        assert rigid_distance(points, 1.1 * points) > 1  # size counts

    def test_neutral_error_is_symmetric(self, toy_model, states):
        a, b = (states[k].identity for k in (0, 1))
        there, back = neutral_error(toy_model, a, b), neutral_error(toy_model, b, a)
        assert there == pytest.approx(back, rel=1e-3)
        assert neutral_error(toy_model, a, a) == pytest.approx(0, abs=1e-4)


def face_of(model: Any, state: FaceState) -> Any:
    """A detector that sees the state's own landmarks."""
    marks = np.full((478, 2), np.nan)
    vertices = model.shape(state.identity, state.expression)
    marks[list(IBUG68_AMONG_MEDIAPIPE)] = state.camera.project(model.landmarks["ibug68"].of(vertices))[:, :2]
    return SimpleNamespace(box=(10.0, 10.0, 110.0, 110.0), landmarks=marks)


@pytest.fixture(scope="module")
def drawn(toy_reconstruction) -> tuple[Any, FaceState]:
    r = toy_reconstruction
    return r.image, FaceState(r.camera, r.identity, r.expression)


class TestPhotos:
    def test_the_state_that_was_drawn_explains_the_picture_best(self, toy_model, drawn):
        image, state = drawn
        face = face_of(toy_model, state)
        moved = replace(state, camera=replace(state.camera, translation_u=state.camera.translation_u + 12))
        own, other = (rerender_error(toy_model, image, face, x) for x in (state, moved))
        assert 0 <= own < 0.05
        assert other > 1.5 * own

    def test_measures(self, toy_model, drawn, states):
        image, state = drawn
        face = face_of(toy_model, state)
        shifted = replace(state, identity=state.identity + np.float32(0.5))
        mean = replace(state, identity=np.zeros_like(state.identity))
        found = photo_measures(
            toy_model, image, face, {"net": state, "fit": state, "landmarks": shifted, "mean_face": mean}
        )
        assert set(found["net"]) == set(PHOTO_MEASURES)
        assert found["net"]["nme68"] == pytest.approx(0, abs=1e-3)
        assert found["net"] == pytest.approx(found["fit"])
        # fit is the same, landmarks is apart: half of landmarks' own, which is apart from both
        assert found["net"]["apart_mm"] == pytest.approx(found["landmarks"]["apart_mm"] / 2, rel=1e-2)
        assert found["mean_face"]["apart_mm"] > 0
        alone = photo_measures(toy_model, image, face, {"net": state, "mean_face": mean})
        assert np.isnan(alone["net"]["apart_mm"])

    def test_known_states_are_not_computed_again(self, toy_model, drawn):
        image, state = drawn

        def fail(image: Any, face: Any) -> FaceState:
            raise FacereliefError("asked")

        def photo(name: str, **known: FaceState) -> PhotoInput:
            return PhotoInput(name, name[0], "g", True, image, face_of(toy_model, state), known)

        methods = {"fit": fail, "net_fine": fail, "mean_face": lambda image, face: state}
        photos = [photo("a1", fit=state), photo("b1")]
        rows, left_out = compare_photos(toy_model, methods, photos)
        assert [row.name for row in rows] == ["a1"]
        assert left_out == {"b1": "asked"}
        assert list(rows[0].measures) == ["mean_face", "fit"]  # FineNet's shape is CoarseNet's

    def test_a_photo_that_cannot_be_measured_ends_nothing(self, toy_model, drawn, monkeypatch):
        image, state = drawn
        methods = {"mean_face": lambda image, face: state}
        photos = [PhotoInput(x, x, "g", True, image, face_of(toy_model, state)) for x in "ab"]
        measured = iter(
            (ValueError("no pixel of it is seen"), {"mean_face": dict.fromkeys(PHOTO_MEASURES, 1.0)})
        )

        def measure(*_: Any) -> Any:
            found = next(measured)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(comparison, "photo_measures", measure)
        done: list[int] = []
        rows, left_out = compare_photos(toy_model, methods, photos, done.append)
        assert [row.name for row in rows] == ["b"]
        assert left_out == {"a": "no pixel of it is seen"}
        assert done == [1, 2]

    def test_identity_by_collection_and_held_out(self, toy_model, drawn):
        image, state = drawn
        rng = np.random.default_rng(0)

        def method(image: Any, face: Any) -> FaceState:
            return replace(state, identity=face.identity)

        photos: list[PhotoInput] = []
        for k in range(6):
            own = rng.normal(0, 1, toy_model.n_identity).astype(np.float32)
            for number in range(2):
                face = face_of(toy_model, state)
                face.identity = own + rng.normal(0, 0.01, len(own)).astype(np.float32)
                photos.append(PhotoInput(f"{k}-{number}", str(k), "ab"[k % 2], k < 1, image, face))
        rows, _ = compare_photos(toy_model, {"net": method}, photos)
        report = photo_report(toy_model, rows)
        assert (report["photos"], report["persons"], report["held_out_persons"]) == (12, 6, 1)
        found = report["consistency"]["net"]
        assert set(found) == {"all", "a", "b"}  # one held-out person has nobody to be told from
        assert (found["all"]["genuine"], found["all"]["impostor"]) == (6, 30)
        assert found["all"]["auc"]["value"] == 1
        assert found["all"]["ratio"]["value"] < 0.1


def test_methods_by_name(toy_model, states):
    face = face_of(toy_model, states[1])
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    opened = {name: open_method(toy_model, name) for name in ("landmarks", "mean_face")}
    found, ms = run_methods(opened, image, face)
    assert not found["mean_face"].identity.any()
    assert not found["mean_face"].expression.any()
    assert found["landmarks"].identity.any()
    assert all(spent > 0 for spent in ms.values())
    assert abs(found["mean_face"].camera.yaw - states[1].camera.yaw) < 0.2
    with pytest.raises(ValueError, match="'magic'"):
        open_method(toy_model, "magic")


def test_missing_networks_are_told(tmp_path):
    found = missing_nets(list(METHODS), tmp_path)
    assert list(found) == ["e2far", "net", "net_fine"]
    assert "e2far.onnx" in found["e2far"]
    (tmp_path / "coarse.onnx").touch()
    assert "fine.onnx" in missing_nets(["net", "net_fine"], tmp_path)["net_fine"]
    assert not missing_nets(["net", "fit", "mean_face"], tmp_path)
