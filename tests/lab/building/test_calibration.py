"""Calibrating landmarks: what was put beside its place comes back, scatter becomes spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.building.calibration import calibrate_landmarks
from facerelief.lab.building.surface import IBUG_MIRROR, surface_points
from facerelief.morphable import FaceModel, open_model

SCALE = 2.0
NOISY = np.where(np.arange(68) < 17, 2.0, 0.7)
"""mm by which the made-up detector errs: the outline more than the rest."""


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model().truncated(identity=10)


def faces(model: FaceModel, count: int, seed: int, yaw: float = 0.1) -> list[np.ndarray]:
    """Landmarks of random neutral persons as the made-up detector sees them, px."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        turn = rng.normal(0, 0.1, 3) + [0, yaw, 0]
        camera = WeakPerspective(*turn, 200, 200, SCALE)
        points = model.landmarks["ibug68"].of(model.shape(rng.normal(0, 0.7, 10)))
        noise = SCALE * NOISY[:, None] * rng.normal(size=(68, 2))
        out.append(camera.project(points)[:, :2] + noise)
    return out


@pytest.fixture(scope="module")
def calibrated(model):
    """(true places, misplaced, calibrated, spread, model): brow ends 4 mm too high, nose tip 3 mm too low."""
    vertices = model.mean.astype(np.float64)
    true = model.landmarks["ibug68"].of(vertices)
    shift = np.zeros((68, 3))
    shift[[17, 26]], shift[30] = [0, 4, 0], [0, -3, 0]
    skin = model.triangles[~model.regions["eyeballs"][model.triangles].any(axis=1)]
    misplaced = surface_points(true + shift, vertices, skin)
    wrong = replace(model, landmarks={"ibug68": misplaced})
    found = calibrate_landmarks(wrong, faces(model, 60, 1), faces(model, 40, 2), name="ibug68")
    points = found.landmarks["ibug68"]
    return true, misplaced.of(vertices), points.of(vertices), points.spread, found


def test_misplaced_landmarks_come_back(calibrated):
    true, misplaced, found, _, _ = calibrated
    off = np.linalg.norm(misplaced - true, axis=1)
    left = np.linalg.norm(found - true, axis=1)
    for k in (17, 26, 30):
        assert off[k] > 2.5
        assert left[k] < 0.4 * off[k]
    # and the others stay about where they were
    still = np.delete(left, [17, 26, 30])
    assert still.mean() < 0.8
    assert np.delete(left[17:], [0, 9, 13]).max() < 1.5


def test_placement_is_symmetric(calibrated):
    _, _, found, spread, _ = calibrated
    assert np.abs(found[IBUG_MIRROR] * [-1, 1, 1] - found).max() < 0.5
    np.testing.assert_array_equal(spread, spread[IBUG_MIRROR])


def test_spread_is_the_detectors_scatter_on_the_face(calibrated):
    """mm, whatever the size of the images; the shape that is fitted takes up a little of it."""
    spread = calibrated[3]
    assert spread.dtype == np.float32
    assert 1.4 < np.median(spread[:17]) < 2.6
    assert 0.5 < np.median(spread[17:]) < 1.2
    assert spread.min() >= 0.5
    assert spread.max() <= 8


def test_nothing_but_the_landmarks_changes(calibrated, model):
    found = calibrated[4]
    assert set(found.landmarks) == {"ibug68"}
    for name in ("mean", "identity", "expression", "triangles"):
        assert getattr(found, name) is getattr(model, name)


@pytest.mark.parametrize(("any_faces", "neutral"), [(49, 30), (50, 29), (0, 0)])
def test_too_few_faces_are_refused(model, any_faces, neutral):
    some = np.zeros((68, 2))
    with pytest.raises(ValueError, match=rf"{neutral} neutral and {any_faces} other faces are too few"):
        calibrate_landmarks(model, [some] * any_faces, [some] * neutral, name="ibug68")


def test_faces_that_all_look_aside_are_refused(model):
    with pytest.raises(ValueError, match=r"only \d+ of 30 faces look ahead within 20 degrees"):
        calibrate_landmarks(model, faces(model, 50, 3, yaw=0.7), faces(model, 30, 4, yaw=0.7), name="ibug68")
