"""Laws of the comparison on labelled images: the truth has no error, all methods get the same images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.compare.images import (
    MEASURES,
    compare_images,
    image_report,
    neutral_error,
    rigid_distance,
)
from facerelief.lab.evaluation.metrics.intervals import Interval

SIZE = 120


def sample(model: Any, state: FaceState, number: int, family: str) -> Sample:
    """A labelled image whose pixels hold its number."""
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


class TestImages:
    def test_the_truth_has_no_error_and_is_all_below_the_mean_face(self, toy_model, samples, methods):
        found = compare_images(toy_model, methods, samples, anywhere)
        assert not found.left_out
        report = image_report(found.rows)
        whole = report.methods["net"].whole
        for measure in MEASURES:
            assert whole.measures[measure].value == pytest.approx(0, abs=1e-3)
        assert whole.below_mean_face.value == pytest.approx(100, abs=0.1)
        floor = report.methods["mean_face"].whole
        assert floor.measures["rigid_mm"].value > 0.5
        assert floor.measures["neutral_mm"].value > 0.5
        assert floor.below_mean_face == Interval(0, 0, 0)
        rigid = floor.measures["rigid_mm"]
        assert rigid.low <= rigid.value <= rigid.high
        assert (report.images, report.subjects) == (6, 3)

    def test_parts_make_up_the_whole(self, toy_model, samples, methods):
        report = image_report(compare_images(toy_model, methods, samples, anywhere).rows)
        found = report.methods["mean_face"]
        parts = found.by_yaw.values()
        assert sum(part.images for part in parts) == 6
        total = sum(part.images * part.measures["rigid_mm"].value for part in parts)
        assert total / 6 == pytest.approx(found.whole.measures["rigid_mm"].value)

    def test_a_picture_is_left_out_for_all_or_for_none(self, toy_model, samples, methods):
        def unsure(image: Any, box: Any) -> Any:
            return None if image[0, 0, 0] == 1 else anywhere(image, box)

        def failing(image: Any, face: Any) -> FaceState:
            if image[0, 0, 0] == 3:
                raise FacereliefError("no idea")
            state = methods["net"](image, face)
            bad = np.full_like(state.identity, np.nan)
            return replace(state, identity=bad) if image[0, 0, 0] == 4 else state

        found = compare_images(toy_model, {**methods, "fit": failing}, samples, unsure)
        assert list(found.left_out) == ["toy-1", "toy-3", "toy-4"]
        assert found.left_out["toy-3"] == "no idea"
        assert "not finite" in found.left_out["toy-4"]
        assert all(set(row.errors) == {"net", "mean_face", "fit"} for row in found.rows)
        assert len(found.rows) == 3

    def test_the_order_of_methods_and_pictures_does_not_matter(self, toy_model, samples, methods):
        once = compare_images(toy_model, methods, samples, anywhere).rows
        again = compare_images(
            toy_model, dict(reversed(list(methods.items()))), reversed(samples), anywhere
        ).rows
        a, b = image_report(once), image_report(again)
        assert list(a.methods) == list(b.methods) == ["net", "mean_face"]
        cells = [vars(x.methods["mean_face"].whole.measures["rigid_mm"]) for x in (a, b)]
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
