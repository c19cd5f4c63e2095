"""Both stages as one: the right landmarks for the model, timings, truth found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.inverse.fit import IBUG68_AMONG_MEDIAPIPE, FitConfig, fit_face, landmark_set
from facerelief.inverse.landmark_fit import FaceState, LandmarkFitConfig, LandmarkTerm
from facerelief.inverse.photometric import PhotometricConfig
from facerelief.lab.evaluation.truth.model_renders import TruthConfig, rotation_error, truth_cases
from facerelief.morphable import FaceModel, open_model

QUICK = FitConfig(photometric=PhotometricConfig(levels=(64,), steps=(3,), points=800))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model().truncated(identity=30)


@pytest.fixture(scope="module")
def seen(model):
    """A rendered face and its landmarks: (case, {count: landmarks}, box)."""
    case = next(truth_cases(model, 1, TruthConfig(size=200, face_px=120, yaw=30, seed=2)))
    state = FaceState(case.camera, case.identity, case.expression)
    landmarks = {
        count: LandmarkTerm(model, name, LandmarkFitConfig()).project(state).astype(np.float64)
        for count, name in ((478, "mediapipe478"), (68, "ibug68"))
    }
    (left, top), (right, bottom) = landmarks[478].min(axis=0), landmarks[478].max(axis=0)
    return case, landmarks, (left, top, right, bottom)


@pytest.mark.parametrize("count", [478, 68])
def test_either_set_of_landmarks_will_do(model, seen, count):
    case, landmarks, box = seen
    fit = fit_face(model, case.image, box, landmarks[count], QUICK)
    assert rotation_error(fit.state.camera, case.camera) < 4
    assert fit.state.camera.scale == pytest.approx(case.camera.scale, rel=0.06)
    assert len(fit.landmarks.residual_px) == count
    assert fit.photometric.residual_after <= fit.photometric.residual_before
    assert fit.state is fit.photometric.state
    assert fit.appearance is fit.photometric.appearance


def test_the_first_468_are_those_of_mediapipe_without_irises(model, seen):
    case, landmarks, box = seen
    fit = fit_face(model, case.image, box, landmarks[478][:468], QUICK)
    holes = landmarks[478].copy()
    holes[468:] = np.nan
    same = fit_face(model, case.image, box, holes, QUICK)
    np.testing.assert_array_equal(fit.state.coefficients, same.state.coefficients)
    assert rotation_error(fit.state.camera, case.camera) < 4


def test_models_without_mediapipe_points_use_the_68_among_them(model, seen):
    case, landmarks, box = seen
    plain = replace(model, landmarks={"ibug68": model.landmarks["ibug68"]})
    fit = fit_face(plain, case.image, box, landmarks[478], QUICK)
    assert len(fit.landmarks.residual_px) == 68
    chosen = landmarks[478][list(IBUG68_AMONG_MEDIAPIPE)]
    same = fit_face(plain, case.image, box, chosen, QUICK)
    np.testing.assert_array_equal(fit.state.coefficients, same.state.coefficients)
    # mesh points stand in for the 68, so the pose is a little less sure
    assert rotation_error(fit.state.camera, case.camera) < 8


def test_the_68_lie_where_they_should_among_mediapipe(model):
    """Within some mm on the mean face, but for the loose outline, and left stays left."""
    assert len(set(IBUG68_AMONG_MEDIAPIPE)) == 68
    dense = model.landmarks["mediapipe478"].of(model.mean)[list(IBUG68_AMONG_MEDIAPIPE)]
    sparse = model.landmarks["ibug68"].of(model.mean)
    distance = np.linalg.norm(dense - sparse, axis=1)
    assert distance[17:].max() < 9
    assert np.median(distance[17:]) < 4
    apart = np.abs(sparse[:, 0]) > 8
    assert (np.sign(dense[apart, 0]) == np.sign(sparse[apart, 0])).all()


def test_a_model_that_knows_none_of_them(model, seen):
    case, landmarks, box = seen
    bare = replace(model, landmarks={})
    for count in (478, 68):
        with pytest.raises(ModelError, match=r"no landmarks .*cannot be fitted"):
            fit_face(bare, case.image, box, landmarks[count])


def test_other_counts_are_named(model, seen):
    case, _, box = seen
    with pytest.raises(ModelError, match="no landmarks '5 points'"):
        fit_face(model, case.image, box, np.zeros((5, 2)))
    assert landmark_set(68) == "ibug68"
    assert landmark_set(478) == landmark_set(468) == "mediapipe478"


def test_timings_of_both_stages(model, seen):
    case, landmarks, box = seen
    timings = fit_face(model, case.image, box, landmarks[68], QUICK).timings_ms
    assert set(timings) == {"fit_landmarks", "fit_photometric"}
    assert all(0 < ms < 60_000 for ms in timings.values())


def test_configuration_reaches_both_stages(model, seen):
    case, landmarks, box = seen
    still = replace(
        QUICK,
        landmarks=LandmarkFitConfig(iterations=0),
        photometric=replace(QUICK.photometric, steps=(0,)),
    )
    fit = fit_face(model, case.image, box, landmarks[478], still)
    np.testing.assert_array_equal(fit.state.coefficients, 0)
    assert fit.photometric.residual_after == fit.photometric.residual_before
