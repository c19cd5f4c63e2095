"""Regions of scans: spheres, noses, foreheads."""

from __future__ import annotations

import numpy as np
import pytest
from protocol_cases import MOTION

from facerelief.geometry import Mesh
from facerelief.lab.evaluation.protocols.files.landmark_files import Landmarks
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.steps.crops import (
    FaceFrame,
    below_forehead,
    cropped,
    nose_crop,
    nose_tip,
    now_crop,
    now_sphere,
)

IDS = [36, 39, 42, 45, 33, 48, 54]


def test_the_sphere_of_now():
    seven = np.array(
        [[-45, 0, 0], [-15, 0, 0], [15, 0, 0], [45, 0, 0], [0, -50, 0], [-25, -70, 0], [25, -70, 0]], float
    )
    center, radius = now_sphere(seven)
    assert np.allclose(
        center, [0, -35, 0]
    )  # a third of the way... 0.3 from the bottom of the nose to the bridge
    assert radius == pytest.approx(1.4 * (90 + 50) / 2)
    points = center + radius * np.array([[0.999, 0, 0], [1.001, 0, 0], [0, 0, -0.999]])
    assert now_crop(points, seven).tolist() == [True, False, True]


def test_crops_move_with_the_face(person):
    marks = Landmarks(person.marks, "a")
    other = Landmarks(MOTION.apply(person.marks), "b")
    v = person.vertices
    moved = MOTION.apply(v)
    assert (now_crop(v, marks.seven) == now_crop(moved, other.seven)).all()
    assert (below_forehead(v, marks, 40) == below_forehead(moved, other, 40 * MOTION.scale)).all()
    assert (nose_crop(v, person.marks[30], 95) == nose_crop(moved, other.points[30], 95 * MOTION.scale)).all()


def test_the_frame_of_a_face(person):
    frame = FaceFrame.of(Landmarks(person.marks, "a"))
    assert frame.left[0] > 0.99
    assert frame.up[1] > 0.9
    assert frame.front[2] > 0.9


def test_the_nose_tip_is_found_without_a_landmark(person):
    mesh = person.scan()
    seven = Landmarks(person.marks[IDS], "a")
    assert np.linalg.norm(nose_tip(mesh, seven) - person.marks[30]) < 5
    with pytest.raises(EvaluationError, match="no surface near"):
        nose_tip(Mesh(mesh.vertices + 500, mesh.triangles), seven)


def test_an_empty_crop_is_an_error():
    with pytest.raises(EvaluationError, match="only 1 of 40"):
        cropped(np.zeros((40, 3)), np.arange(40) < 1, "s.obj")
