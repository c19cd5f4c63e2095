"""Units, mirror images, orders and surfaces are checked."""

from __future__ import annotations

import numpy as np
import pytest
from protocol_cases import MOTION, wavy

from facerelief.geometry import Mesh, matrix_from_euler
from facerelief.lab.evaluation.protocols.files.landmark_files import MEAN_ANCHORS, SEVEN, Landmarks
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.steps.checks import (
    check_extent,
    check_face_order,
    check_handedness,
    check_size,
    check_surface,
    guess_unit,
)


@pytest.mark.parametrize(("size", "unit"), [(160, "mm"), (16, "cm"), (0.16, "m"), (1.6, None), (1.6e5, None)])
def test_a_face_of_a_size_has_a_unit(size, unit):
    assert guess_unit(160 / size) == unit


def seven(scale: float = 1.0) -> Landmarks:
    return Landmarks(scale * np.array([MEAN_ANCHORS[name] for name in SEVEN]), "a.npy")


def test_sizes():
    assert check_size(seven(), matters=True, option="--unit") == []
    with pytest.raises(EvaluationError, match="looks like cm; give --unit cm"):
        check_size(seven(0.1), matters=True, option="--unit")
    assert "looks like m;" in check_size(seven(0.001), matters=False, option="--unit")[0]
    # taken as cm by the user: a face of 1600 mm
    with pytest.raises(EvaluationError, match=r"as cm the face would be 10 times.* looks like mm"):
        check_size(seven(10), matters=True, option="--unit", unit="cm")
    with pytest.raises(EvaluationError, match="no such size"):
        check_size(seven(0.01), matters=True, option="--unit")
    with pytest.raises(EvaluationError, match="--unit m "):
        check_extent(
            Mesh(np.array([[0, 0, 0], [0.2, 0, 0]], np.float32), np.zeros((0, 3), np.int32)),
            "a",
            option="--unit",
        )


def test_mirror_images_and_orders(person):
    check_face_order(Landmarks(MOTION.apply(person.marks), "a"))
    for flipped in (person.marks * [-1, 1, 1], person.marks * [1, 1, -1], -person.marks):
        with pytest.raises(EvaluationError, match="mirror"):
            check_face_order(Landmarks(flipped, "a"))
        with pytest.raises(EvaluationError, match="mirror"):
            check_handedness(MOTION.apply(flipped), person.marks, "a")
    with pytest.raises(EvaluationError, match="order"):
        check_face_order(Landmarks(np.roll(person.marks, 20, axis=0), "a"))


def test_mirror_images_in_the_plane(person):
    flat = person.marks[:, :2]
    turned = flat @ matrix_from_euler(0, 0, 1.0)[:2, :2].T * 3 + 7
    check_handedness(turned, flat, "a")
    with pytest.raises(EvaluationError, match="mirror"):
        check_handedness(turned * [1, -1], flat, "a")


def test_surfaces():
    mesh = wavy(5)
    assert check_surface(mesh, "a") == []
    with pytest.raises(EvaluationError, match="points without triangles"):
        check_surface(Mesh(mesh.vertices, np.zeros((0, 3), np.int32)), "a")
    folded = Mesh(mesh.vertices, np.vstack([mesh.triangles, [[0, 6, 3]], [[0, 6, 4]]]).astype(np.int32))
    assert "1 edge belongs to more than two" in check_surface(folded, "a")[0]
