"""A fit to exact dense points recovers the head; points of large deviation count little."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.alignment import procrustes
from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.dense_fit import DenseFitConfig, DensePoints, fit_dense
from facerelief.inverse.landmark_fit import FaceState, fit_landmarks

CAMERA = WeakPerspective(0.1, 0.35, -0.1, 130, 140, 1.2)


@pytest.fixture(scope="module")
def scene(toy_model):
    rng = np.random.default_rng(2)
    identity = rng.normal(0, 0.8, toy_model.n_identity).astype(np.float32)
    expression = np.zeros(toy_model.n_expression, np.float32)
    expression[[3, 17]] = 0.5
    shape = toy_model.shape(identity, expression)
    vertices = np.flatnonzero(toy_model.mean[:, 2] > 10)[::3].astype(np.int32)
    points = CAMERA.project(shape[vertices])[:, :2].astype(np.float64)
    marks = CAMERA.project(toy_model.landmarks["ibug68"].of(shape))[:, :2]
    start = fit_landmarks(toy_model, marks + rng.normal(0, 3, marks.shape), name="ibug68").state
    return shape, vertices, points, marks, start


def error(model, shape, state: FaceState) -> float:
    """Mean distance after the best similarity, mm."""
    found = model.shape(state.identity, state.expression)
    seen = model.mean[:, 2] > 10
    return float(
        np.linalg.norm(procrustes(found[seen], shape[seen]).apply(found[seen]) - shape[seen], axis=1).mean()
    )


def test_exact_points_give_the_head(toy_model, scene):
    shape, vertices, points, _, start = scene
    fit = fit_dense(toy_model, DensePoints(vertices, points, np.full(len(points), 0.1)), start)
    assert error(toy_model, shape, fit.state) < 0.4 * error(toy_model, shape, start)
    assert fit.rms_px < 0.5
    assert fit.state.camera.yaw == pytest.approx(CAMERA.yaw, abs=0.03)


def test_uncertain_points_count_little(toy_model, scene):
    _, vertices, points, _, start = scene
    wrong, sigma = points.copy(), np.full(len(points), 0.3)
    wrong[::2] += [4.0, -3.0]
    trusting = fit_dense(toy_model, DensePoints(vertices, wrong, sigma), start)
    sigma[::2] = 20.0
    warned = fit_dense(toy_model, DensePoints(vertices, wrong, sigma), start)
    right = slice(1, None, 2)
    assert warned.residual_px[right].mean() < 0.5 * trusting.residual_px[right].mean()


def test_a_turned_image_gives_the_same_head(toy_model, scene):
    _, vertices, points, _, start = scene
    turn = np.array([[0.0, 1.0, 10.0], [-1.0, 0.0, 260.0]])
    sigma = np.full(len(points), 0.5)
    one = fit_dense(toy_model, DensePoints(vertices, points, sigma), start).state
    moved = FaceState(start.camera.moved(turn), start.identity, start.expression)
    other = fit_dense(
        toy_model, DensePoints(vertices, points @ turn[:, :2].T + turn[:, 2], sigma), moved
    ).state
    np.testing.assert_allclose(other.identity, one.identity, atol=2e-3)
    np.testing.assert_allclose(other.expression, one.expression, atol=2e-3)


def test_the_detectors_landmarks_can_count_too(toy_model, scene):
    _, vertices, points, marks, start = scene
    sigma = np.full(len(points), 30.0)  # the net knows nothing
    config = DenseFitConfig(detected=5.0)
    alone = fit_dense(toy_model, DensePoints(vertices, points + 20.0, sigma), start, config=config)
    both = fit_dense(
        toy_model, DensePoints(vertices, points + 20.0, sigma), start, marks, name="ibug68", config=config
    )

    def apart(state: FaceState) -> float:
        shape = toy_model.landmarks["ibug68"].of(toy_model.shape(state.identity, state.expression))
        return float(np.linalg.norm(state.camera.project(shape)[:, :2] - marks, axis=1).mean())

    assert apart(both.state) < 0.5 * apart(alone.state)


def test_another_number_of_points_is_refused(toy_model, scene):
    _, vertices, points, _, start = scene
    with pytest.raises(ValueError, match="dense points have shape"):
        fit_dense(toy_model, DensePoints(vertices, points[:5], np.ones(5)), start)
