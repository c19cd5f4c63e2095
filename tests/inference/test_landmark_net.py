"""The landmark net's crop turns with the face, and its points come back to the image."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import facerelief
from facerelief.errors import ModelError
from facerelief.examples import astronaut_path
from facerelief.inference import landmark_net
from facerelief.inference.landmark_net import LANDMARK_MARGIN, LandmarkRunner, landmark_crop
from facerelief.morphable import open_model


@pytest.fixture(scope="module")
def marks():
    model = open_model("open2")
    points = model.landmarks["mediapipe478"].of(model.mean).astype(np.float64)
    return points[:, :2] * [1.5, -1.5] + [200, 220]


def turned(points, angle, centre=(200.0, 200.0)):
    """Points turned counter-clockwise as seen, v down."""
    c, s = math.cos(angle), math.sin(angle)
    return (points - centre) @ np.array([[c, s], [-s, c]]).T + centre


def test_an_upright_face_has_an_upright_crop_about_its_box(marks):
    crop = landmark_crop(marks)
    low, high = marks.min(axis=0), marks.max(axis=0)
    assert crop.angle == pytest.approx(0.0, abs=1e-3)
    assert crop.side == pytest.approx(LANDMARK_MARGIN * (high - low).max(), rel=1e-3)
    np.testing.assert_allclose([crop.centre_u, crop.centre_v], (low + high) / 2, atol=0.2)


@pytest.mark.parametrize("degrees", [0, 30, 90, 175, 300])
def test_the_face_lies_the_same_way_in_the_crop_however_it_is_turned(marks, degrees):
    def inside(points):
        matrix = landmark_crop(points).matrix
        return points @ matrix[:, :2].T + matrix[:, 2]

    np.testing.assert_allclose(inside(turned(marks, math.radians(degrees))), inside(marks), atol=1e-6)


def test_missing_points_are_left_out(marks):
    some = marks.copy()
    some[[100, 200]] = np.nan
    assert math.isfinite(landmark_crop(some).side)


def test_another_number_of_points_is_refused(marks):
    with pytest.raises(ValueError, match="5 landmarks"):
        landmark_crop(marks[:5])


class Fake:
    """A net that finds two points at fixed places of the crop."""

    input_shapes = [(1, 3, 192, 192)]  # noqa: RUF012
    output_shapes = [(1, 2, 2), (1, 2), (2,)]  # noqa: RUF012

    def __call__(self, image):
        points = np.array([[[96.0, 96.0], [0.0, 192.0]]], np.float32)
        return [points, np.array([[2.0, 4.0]], np.float32), np.array([5, 7], np.float32)]


def test_points_and_sigmas_are_px_of_the_image(marks, monkeypatch):
    monkeypatch.setattr(landmark_net, "load_network", lambda *_, **__: Fake())
    runner = LandmarkRunner(open_model("open2"), "x.onnx")
    face = turned(marks, 0.5)
    found, crop = runner(np.zeros((400, 400, 3), np.uint8), face), landmark_crop(face)
    np.testing.assert_allclose(found.points[0], [crop.centre_u, crop.centre_v], atol=1e-6)
    back = found.points @ crop.matrix[:, :2].T + crop.matrix[:, 2]
    np.testing.assert_allclose(back[1], [0, 192], atol=1e-6)
    np.testing.assert_allclose(found.sigma, np.array([2.0, 4.0]) / crop.zoom)
    assert found.vertices.tolist() == [5, 7]


def test_a_net_of_another_model_is_refused(monkeypatch):
    monkeypatch.setattr(landmark_net, "load_network", lambda *_, **__: Fake())
    with pytest.raises(ModelError, match="not those of face model"):
        LandmarkRunner(SimpleNamespace(n_vertices=6, name="small"), "x.onnx")  # type: ignore[arg-type]


def test_another_net_is_refused():
    coarse = Path(landmark_net.NET_FILE).with_name("coarse.onnx")
    with pytest.raises(ModelError, match="no landmark net"):
        LandmarkRunner(open_model("open2"), coarse)


def test_the_shipped_net_finds_vertices_of_open_model_2_alone():
    assert landmark_net.has_landmark_net(open_model("open2"))
    assert not landmark_net.has_landmark_net(open_model())


def test_the_shipped_net_finds_a_rendered_face():
    """The astronaut: points of the nose lie on her nose, and the net is surer of them than of the jaw."""
    model = open_model("open2")
    image = facerelief.read_image(astronaut_path())
    (face,) = facerelief.detect_faces(image, max_faces=1)
    found = LandmarkRunner(model, threads=1)(image, face.landmarks)
    assert len(found.vertices) == 721
    tip = model.landmarks["ibug68"].vertices[30, 0]
    nearest = np.linalg.norm(model.mean[found.vertices] - model.mean[tip], axis=1).argmin()
    side = face.box[2] - face.box[0]
    assert np.linalg.norm(found.points[nearest] - face.landmarks[1]) < 0.08 * side
    jaw = model.mean[found.vertices][:, 1] < model.mean[model.landmarks["ibug68"].vertices[8, 0], 1]
    assert found.sigma[nearest] < found.sigma[jaw].mean()
