"""Laws of the fit to several photos: one identity, exact gradient, strangers left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.inverse.fit import FitConfig, InverseFit, fit_face
from facerelief.inverse.landmark_fit import FaceState, LandmarkFitConfig, LandmarkTerm
from facerelief.inverse.photometric import PhotometricConfig
from facerelief.inverse.subject import (
    SubjectConfig,
    SubjectFit,
    SubjectPhoto,
    _JointSolver,
    _Variables,
    fit_subject,
    same_subject,
)
from facerelief.lab.evaluation.truth.model_renders import TruthConfig, truth_cases
from facerelief.morphable import open_model
from facerelief.morphable.shape_distance import shape_distance

QUICK = SubjectConfig(
    fit=FitConfig(photometric=PhotometricConfig(levels=(64,), steps=(3,), points=800)), steps=3, levels=1
)


@pytest.fixture(scope="module")
def model():
    return open_model().truncated(identity=20)


def members(found: SubjectFit) -> list[InverseFit]:
    """The fits of all photos, none of which was left out."""
    fits = [fit for fit in found.fits if fit is not None]
    assert len(fits) == len(found.fits)
    return fits


def as_photo(model, case) -> SubjectPhoto:
    state = FaceState(case.camera, case.identity, case.expression)
    points = LandmarkTerm(model, "mediapipe478", LandmarkFitConfig()).project(state).astype(np.float64)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return SubjectPhoto(case.image, (left, top, right, bottom), points)


@pytest.fixture(scope="module")
def photos(model) -> list[SubjectPhoto]:
    """Three renders, each of another identity."""
    config = TruthConfig(size=200, face_px=120, yaw=20, seed=4)
    return [as_photo(model, case) for case in truth_cases(model, 3, config)]


def test_all_photos_share_identity_and_albedo(model, photos):
    found = fit_subject(model, photos, replace(QUICK, other_mm=np.inf))
    fits = members(found)
    for fit in fits:
        np.testing.assert_array_equal(fit.state.identity, found.identity)
        np.testing.assert_array_equal(fit.appearance.albedo, found.albedo)
    poses = {fit.state.camera.yaw for fit in fits}
    assert len(poses) == len(photos)


def test_one_photo_is_fitted_as_alone(model, photos):
    found = fit_subject(model, photos[:1], QUICK)
    alone = fit_face(model, photos[0].image, photos[0].box, photos[0].landmarks, QUICK.fit)
    np.testing.assert_array_equal(found.identity, alone.state.identity)


def test_a_photo_given_twice_gives_each_the_same_pose(model, photos):
    found = fit_subject(model, [photos[0], photos[0]], QUICK)
    first, second = members(found)
    np.testing.assert_allclose(first.state.camera.vector, second.state.camera.vector, atol=1e-6)
    np.testing.assert_allclose(first.state.expression, second.state.expression, atol=1e-6)
    assert found.distance_mm.max() == 0


def test_gradient_is_that_of_the_joint_energy(model, photos):
    alone = [fit_face(model, p.image, p.box, p.landmarks, QUICK.fit) for p in photos[:2]]
    joint = _JointSolver(model, photos[:2], alone, QUICK)
    identity = alone[0].state.identity
    now = _Variables(
        tuple(replace(fit.state, identity=identity) for fit in alone),
        tuple(replace(fit.appearance, albedo=alone[0].appearance.albedo) for fit in alone),
    )
    levels = [solver.levels[-1] for solver in joint.solvers]
    samples = [s.term.sample(state, level, 500) for s, state, level in zip(joint.solvers, now.states, levels)]
    _, gradient, values, low, high = joint._system(now, levels, samples)
    assert len(values) == joint.size
    assert (values >= low - 1e-6).all()
    assert (values <= high + 1e-6).all()
    for k in (0, 3, model.n_identity, joint.size - 1):
        step = np.zeros(joint.size)
        step[k] = 1e-2 if k < model.n_identity + model.n_albedo else 1e-3
        there, back = (joint._energy(joint._moved(now, s), levels, samples) for s in (step, -step))
        slope = (there - back) / (2 * step[k])
        assert 2 * gradient[k] == pytest.approx(slope, rel=0.05, abs=0.02 * np.abs(gradient).max())


def test_a_stranger_among_three_is_left_out(model):
    own = np.zeros(model.n_identity)
    other = np.zeros(model.n_identity)
    other[2] = 8.0
    same, distance = same_subject(model, [own, other, own], 2.0)
    np.testing.assert_array_equal(same, [True, False, True])
    assert distance[1] == pytest.approx(shape_distance(model, other, own), rel=1e-5)
    assert distance[0] == 0


def test_of_two_different_photos_the_first_stays(model):
    other = np.full(model.n_identity, 5.0)
    same, _ = same_subject(model, [np.zeros(model.n_identity), other], 1.0)
    np.testing.assert_array_equal(same, [True, False])


def test_of_ten_different_people_one_stays(model):
    people = [4.0 * row for row in np.eye(model.n_identity)[:10]]
    same, _ = same_subject(model, people, 0.2)
    assert same.sum() == 1


def test_no_photo_is_refused(model):
    with pytest.raises(ValueError, match="at least one"):
        fit_subject(model, [])
