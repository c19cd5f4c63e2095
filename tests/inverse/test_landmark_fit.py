"""Laws of the landmark fit: exact derivatives, truth found again, what moves the image moves the pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from full_models import with_correctives

from facerelief.errors import ModelError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.landmark_fit import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkTerm,
    fit_landmarks,
    fit_pose,
    landmark_term,
)
from facerelief.lab.building.surface import IBUG_MIRROR, mediapipe_mirror
from facerelief.lab.evaluation.truth.model_renders import rotation_error
from facerelief.morphable import FaceModel, open_model
from facerelief.morphable.arkit import mirrored
from facerelief.morphable.landmark_sets import OUTLINES
from facerelief.morphable.model import Contour
from facerelief.morphable.statistics import expression_pca

LIDS_RIGHT, LIDS_LEFT = (144, 145, 153, 158, 159, 160), (373, 374, 380, 385, 386, 387)
TRUSTING = LandmarkFitConfig(iterations=25, evidence=400.0, identity=1.0, expression=0.3)
"""For landmarks without error: the model's statistics have no say."""
SMILE = {"jawOpen": 0.5, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.6, "eyeBlinkLeft": 0.8}
POSES = [(0.0, 0.0, 0.0), (0.2, 0.5, -0.3), (-0.3, -0.7, 0.4), (0.1, 1.0, 0.0)]


@pytest.fixture(scope="module")
def open_face() -> FaceModel:
    return open_model()


def camera_of(pose: tuple[float, float, float], scale: float = 2.0) -> WeakPerspective:
    return WeakPerspective(*pose, 250.0, 240.0, scale)


def random_state(model: FaceModel, pose: tuple[float, float, float], seed: int = 0) -> FaceState:
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 0.7, model.n_identity).astype(np.float32)
    expression = model.expression_weights(SMILE)
    return FaceState(camera_of(pose), identity, expression)


def landmarks_of(model: FaceModel, state: FaceState, name: str) -> np.ndarray:
    """(L, 2) px, outline landmarks where the fit says that detectors put them."""
    return LandmarkTerm(model, name, LandmarkFitConfig()).project(state).astype(np.float64)


def with_contour(model: FaceModel) -> FaceModel:
    """The toy model with outline landmarks 2..5 and 11..14 sliding along rows toward the cheek."""
    sliding = np.array([2, 3, 4, 5, 11, 12, 13, 14], np.int32)
    at = model.landmarks["ibug68"].of(model.mean)[sliding]
    rows = []
    for x, y, z in at:
        steps = np.linspace(-1, 1, 7)[:, None] * [-0.4 * x, 0, 20] + [x, y, z]
        rows.append([int(np.linalg.norm(model.mean - p, axis=1).argmin()) for p in steps])
    return replace(model, contours={"ibug68": Contour(sliding, np.array(rows, np.int32))})


class TestDerivatives:
    @pytest.mark.parametrize("pose", POSES)
    @pytest.mark.parametrize("which", ["toy", "toy with contour", "toy with correctives", "open"])
    @pytest.mark.parametrize("distance", [350.0, np.inf])
    def test_jacobian_agrees_with_central_differences(self, toy_model, open_face, which, pose, distance):
        """Every column, with outline landmarks held in the place that the pose gave them."""
        model = {
            "toy": toy_model,
            "toy with contour": with_contour(toy_model),
            "toy with correctives": with_correctives(toy_model),
            "open": open_face,
        }[which]
        term = LandmarkTerm(model, "ibug68", LandmarkFitConfig())
        state = random_state(model, pose)
        camera = replace(state.camera, inverse_distance=1 / distance)
        state = replace(state, camera=camera, expression=np.full(model.n_expression, 0.4, np.float32))
        observed = np.zeros((68, 2))
        residual, jacobian = term.linearise(state, observed)
        slid = term.surface(state)[0]
        np.testing.assert_allclose(residual, state.camera.project(slid)[:, :2], atol=1e-3)

        def residual_after(step: np.ndarray) -> np.ndarray:
            return term.linearise(term.moved(state, step), observed)[0]

        # coefficients are linear, so their steps may be long; the pose is not
        lengths = np.full(jacobian.shape[2], 0.3)
        lengths[:4], lengths[4:6], lengths[6] = 2e-3, 1.0, 0.05
        if which != "toy":
            lengths[7:] = 0.02  # no outline landmark may hop to the next candidate
        for k in range(jacobian.shape[2]):
            step = np.zeros(jacobian.shape[2])
            step[k] = lengths[k]
            there = np.abs(term.surface(term.moved(state, step))[0] - slid).max()
            back = np.abs(term.surface(term.moved(state, -step))[0] - slid).max()
            assert max(there, back) < 3, "an outline landmark has hopped: choose another pose"
            slope = (residual_after(step) - residual_after(-step)) / (2 * lengths[k])
            size = max(np.abs(slope).max(), 1.0)
            np.testing.assert_allclose(jacobian[:, :, k], slope, atol=3e-3 * size, err_msg=f"unknown {k}")

    def test_whitened_rows_are_the_weighted_quadratic_form(self, toy_model):
        """Across the outline with the full weight, along it with less, elsewhere all around."""
        config = LandmarkFitConfig(along_outline=0.2)
        term = LandmarkTerm(toy_model, "ibug68", config)
        state = random_state(toy_model, (0.1, 0.2, 0.0))
        rng = np.random.default_rng(1)
        observed = term.project(state) + rng.normal(0, 3, (68, 2))
        weight = rng.uniform(0, 2, 68)
        residual, jacobian = term.linearise(state, observed)
        b, a = term.whitened(residual, jacobian, observed, weight)
        along = np.gradient(observed[list(OUTLINES["ibug68"])], axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        squared = (residual**2).sum(axis=1)
        squared[:17] -= 0.8 * (residual[:17] * along).sum(axis=1) ** 2
        assert b @ b == pytest.approx(weight @ squared, rel=1e-9)
        np.testing.assert_allclose(term.squared_distance(residual, observed), squared, rtol=1e-9)
        step = rng.normal(0, 0.01, jacobian.shape[2])
        moved = residual + jacobian @ step
        b_moved, _ = term.whitened(moved, jacobian, observed, weight)
        np.testing.assert_allclose(b + a @ step, b_moved, atol=1e-4)

    def test_closed_outlines_have_no_ends(self, open_face):
        term = LandmarkTerm(open_face, "mediapipe478", LandmarkFitConfig())
        assert set(term.outline_before) == set(term.outline_after) == set(term.outline)
        opened = LandmarkTerm(open_face, "ibug68", LandmarkFitConfig())
        assert opened.outline_before[0] == 0
        assert opened.outline_after[-1] == 16


class TestOutline:
    def test_near_side_stays_and_far_side_slides_to_the_silhouette(self, open_face):
        term = LandmarkTerm(open_face, "ibug68", LandmarkFitConfig())
        still = open_face.landmarks["ibug68"].of(open_face.mean)
        for sign in (-1, 1):
            state = random_state(open_face, (0.0, 0.7 * sign, 0.0))
            state = replace(state, identity=0 * state.identity, expression=0 * state.expression)
            moved = np.linalg.norm(term.surface(state)[0] - still, axis=1) > 1e-3
            far = np.sign(still[:, 0]) == sign
            assert moved[:17].any()
            assert not moved[~far].any()
            assert not moved[17:].any()
            # no candidate of its row lies further out
            turned = term.row_mean @ state.camera.rotation[0]
            best = term.surface(state)[0][term.sliding] @ state.camera.rotation[0]
            rows = far[term.sliding]
            assert (sign * best[rows] >= (sign * turned[rows]).max(axis=1) - 1e-3).all()

    def test_rolling_the_picture_moves_no_landmark_on_the_face(self, open_face):
        term = LandmarkTerm(open_face, "mediapipe478", LandmarkFitConfig())
        upright = random_state(open_face, (0.1, 0.6, 0.0))
        for roll in (0.5, -1.2, 3.0):
            tilted = replace(upright, camera=replace(upright.camera, roll=roll))
            np.testing.assert_array_equal(term.surface(upright)[0], term.surface(tilted)[0])


class TestTruth:
    @pytest.mark.parametrize("pose", POSES[:3])
    def test_noiseless_landmarks_give_the_toy_back(self, toy_model, pose):
        """Only what they show: depth and size of a frontal toy look alike, so do some of its expressions."""
        state = random_state(toy_model, pose)
        observed = landmarks_of(toy_model, state, "ibug68")
        fit = fit_landmarks(toy_model, observed, name="ibug68", config=TRUSTING)
        assert rotation_error(fit.state.camera, state.camera) < 0.15
        assert fit.rms_px < 0.05
        if pose[1] != 0:
            assert fit.state.camera.scale == pytest.approx(state.camera.scale, rel=5e-3)
            np.testing.assert_allclose(fit.state.identity, state.identity, atol=0.15)

    @pytest.mark.parametrize("pose", POSES[:3])
    def test_noiseless_landmarks_give_the_open_model_back(self, open_face, pose):
        few = open_face.truncated(identity=20)
        state = random_state(few, pose)
        observed = landmarks_of(few, state, "mediapipe478")
        fit = fit_landmarks(few, observed, config=TRUSTING)
        assert rotation_error(fit.state.camera, state.camera) < 0.01
        assert fit.state.camera.scale == pytest.approx(state.camera.scale, rel=1e-3)
        assert fit.rms_px < 0.01
        np.testing.assert_allclose(fit.state.identity, state.identity, atol=0.01)
        np.testing.assert_allclose(fit.state.expression, state.expression, atol=0.01)

    @pytest.mark.parametrize("pose", POSES[:3])
    def test_default_weights_find_pose_and_shape_of_plausible_faces(self, open_face, pose):
        state = random_state(open_face, pose)
        noise = np.random.default_rng(5).normal(0, 1.0, (478, 2))
        fit = fit_landmarks(open_face, landmarks_of(open_face, state, "mediapipe478") + noise)
        assert rotation_error(fit.state.camera, state.camera) < 2.0
        assert fit.state.camera.scale == pytest.approx(state.camera.scale, rel=0.05)
        face = open_face.face_vertices
        mean_face = np.linalg.norm((open_face.shape(state.identity) - open_face.mean)[face], axis=1).mean()
        found = open_face.shape(fit.state.identity) - open_face.shape(state.identity)
        assert np.linalg.norm(found[face], axis=1).mean() < 0.9 * mean_face
        assert fit.state.expression[open_face.expression_names.index("jawOpen")] > 0.2

    def test_statistical_expressions_are_fitted_too(self, open_face):
        model = expression_pca(open_face.truncated(identity=20), 20, samples=300)
        rng = np.random.default_rng(2)
        state = FaceState(
            camera_of((0.1, -0.2, 0.1)),
            rng.normal(0, 0.7, 20).astype(np.float32),
            rng.normal(0, 0.7, 20).astype(np.float32),
        )
        fit = fit_landmarks(model, landmarks_of(model, state, "mediapipe478"), config=TRUSTING)
        assert rotation_error(fit.state.camera, state.camera) < 0.3
        assert fit.state.expression.min() < 0
        assert fit.rms_px < 0.2

    def test_nothing_to_explain_leaves_the_mean_face(self, toy_model):
        mean = FaceState(camera_of((0.2, 0.1, 0.3)), np.zeros(5, np.float32), np.zeros(52, np.float32))
        fit = fit_landmarks(toy_model, landmarks_of(toy_model, mean, "ibug68"), name="ibug68")
        np.testing.assert_allclose(fit.state.coefficients, 0, atol=1e-3)
        assert rotation_error(fit.state.camera, mean.camera) < 0.01


def same_face(a: LandmarkFit, b: LandmarkFit, atol: float = 5e-3) -> None:
    np.testing.assert_allclose(a.state.identity, b.state.identity, atol=atol)
    np.testing.assert_allclose(a.state.expression, b.state.expression, atol=atol)


@pytest.fixture(scope="module")
def seen(open_face):
    """Noisy landmarks of a turned face and their fit."""
    observed = landmarks_of(open_face, random_state(open_face, (0.1, 0.35, -0.2)), "mediapipe478")
    observed += np.random.default_rng(3).normal(0, 1.5, (478, 2))
    return observed, fit_landmarks(open_face, observed)


class TestCovariance:
    """A motion of the image's landmarks moves the pose and leaves the face alone."""

    def test_shift(self, open_face, seen):
        observed, fit = seen
        moved = fit_landmarks(open_face, observed + np.array([1000.0, -300.0]))
        same_face(fit, moved)
        np.testing.assert_allclose(
            moved.state.camera.vector - fit.state.camera.vector, [0, 0, 0, 1000, -300, 0], atol=2e-2
        )

    def test_magnification(self, open_face, seen):
        observed, fit = seen
        moved = fit_landmarks(open_face, observed * 3.0)
        same_face(fit, moved)
        expected = fit.state.camera.vector * [1, 1, 1, 3, 3, 3]
        np.testing.assert_allclose(moved.state.camera.vector, expected, rtol=1e-3, atol=1e-3)
        assert moved.rms_px == pytest.approx(3 * fit.rms_px, rel=1e-3)

    @pytest.mark.parametrize("angle", [0.4, -1.3, 2.9])
    def test_roll(self, open_face, seen, angle):
        observed, fit = seen
        c, s = np.cos(angle), np.sin(angle)
        # counter-clockwise as seen, with v down
        moved = fit_landmarks(open_face, observed @ np.array([[c, -s], [s, c]]))
        same_face(fit, moved)
        camera = fit.state.camera
        assert moved.state.camera.yaw == pytest.approx(camera.yaw, abs=2e-3)
        assert moved.state.camera.pitch == pytest.approx(camera.pitch, abs=2e-3)
        turned = (moved.state.camera.roll - camera.roll - angle + np.pi) % (2 * np.pi) - np.pi
        assert turned == pytest.approx(0, abs=2e-3)

    @pytest.mark.parametrize(("which", "atol"), [("toy", 2e-2), ("open", 0.1)])
    def test_mirror(self, toy_model, open_face, which, atol):
        """A mirrored image shows the mirrored pose and swaps left and right expressions."""
        model, name = (toy_model, "ibug68") if which == "toy" else (open_face, "mediapipe478")
        partner = (
            IBUG_MIRROR
            if which == "toy"
            else mediapipe_mirror(model.landmarks[name].of(model.mean.astype(float)))
        )
        observed = landmarks_of(model, random_state(model, (0.1, 0.3, 0.2)), name)
        fit = fit_landmarks(model, observed, name=name).state
        flipped = fit_landmarks(model, (observed * [-1, 1])[partner], name=name).state
        expected = fit.camera.vector * [1, -1, -1, -1, 1, 1]
        np.testing.assert_allclose(flipped.camera.vector[:3], expected[:3], atol=0.01)
        np.testing.assert_allclose(flipped.camera.vector[3:], expected[3:], atol=1.0)
        swap = [model.expression_names.index(mirrored(n)) for n in model.expression_names]
        np.testing.assert_allclose(flipped.expression, fit.expression[swap], atol=atol)


class TestBadLandmarks:
    def test_gross_outliers_change_little(self, open_face):
        state = random_state(open_face, (0.1, 0.2, 0.0))
        rng = np.random.default_rng(4)
        observed = landmarks_of(open_face, state, "mediapipe478") + rng.normal(0, 1.0, (478, 2))
        clean = fit_landmarks(open_face, observed)
        wild = rng.choice(478, 48, replace=False)
        observed[wild] += rng.normal(0, 60, (48, 2))
        fit = fit_landmarks(open_face, observed)
        assert rotation_error(fit.state.camera, clean.state.camera) < 1.5
        assert fit.state.camera.scale == pytest.approx(clean.state.camera.scale, rel=0.02)
        apart = open_face.shape(fit.state.identity, fit.state.expression) - open_face.shape(
            clean.state.identity, clean.state.expression
        )
        assert np.linalg.norm(apart[open_face.face_vertices], axis=1).mean() < 1.0
        assert fit.rms_px < 2 * clean.rms_px + 1

    def test_missing_landmarks_are_left_out(self, open_face):
        observed = landmarks_of(open_face, random_state(open_face, (0.0, 0.3, 0.1)), "mediapipe478")
        whole = fit_landmarks(open_face, observed)
        missing = np.random.default_rng(6).choice(478, 120, replace=False)
        holes = observed.copy()
        holes[missing] = np.nan
        holes[missing[:5]] = np.inf
        fit = fit_landmarks(open_face, holes)
        assert np.isnan(fit.residual_px[missing]).all()
        assert np.isfinite(np.delete(fit.residual_px, missing)).all()
        assert rotation_error(fit.state.camera, whole.state.camera) < 1.0
        # whatever stood there
        holes[missing] = np.nan
        other = fit_landmarks(open_face, holes)
        np.testing.assert_array_equal(other.state.coefficients, fit.state.coefficients)

    def test_missing_landmarks_do_not_break_covariance(self, toy_model):
        """The neighbours of a missing outline landmark still know which way the outline runs."""
        observed = landmarks_of(toy_model, random_state(toy_model, (0.1, 0.1, 0.1)), "ibug68")
        observed += np.random.default_rng(7).normal(0, 1, (68, 2))
        observed[[4, 9, 10]] = np.nan
        here = fit_landmarks(toy_model, observed, name="ibug68")
        there = fit_landmarks(toy_model, observed + np.array([-700.0, 90.0]), name="ibug68")
        same_face(here, there, atol=2e-3)

    def test_expression_stays_in_bounds(self, toy_model):
        state = random_state(toy_model, (0.0, 0.1, 0.0))
        observed = landmarks_of(toy_model, state, "ibug68")
        wild = observed + np.random.default_rng(8).normal(0, 15, observed.shape)
        fit = fit_landmarks(toy_model, wild, name="ibug68", config=TRUSTING)
        assert fit.state.expression.min() >= 0
        assert fit.state.expression.max() <= 1
        assert (fit.state.expression == 0).any()

    def test_too_few_landmarks(self, toy_model):
        observed = landmarks_of(toy_model, random_state(toy_model, (0.0, 0.0, 0.0)), "ibug68")
        observed[5:] = np.nan
        with pytest.raises(ValueError, match="only 5 usable landmarks, at least 6"):
            fit_landmarks(toy_model, observed, name="ibug68")

    def test_other_shapes(self, toy_model):
        for shape in ((67, 2), (68, 3), (68,)):
            with pytest.raises(ValueError, match="landmarks have shape"):
                fit_landmarks(toy_model, np.zeros(shape), name="ibug68")

    def test_missing_set_names_what_the_model_has(self, toy_model):
        with pytest.raises(ModelError, match=r"'toy' has no landmarks 'mediapipe478' .*ibug68"):
            fit_landmarks(toy_model, np.zeros((478, 2)))


def test_same_landmarks_same_fit(toy_model):
    observed = landmarks_of(toy_model, random_state(toy_model, (0.1, 0.4, 0.1)), "ibug68")
    one, two = (fit_landmarks(toy_model, observed.copy(), name="ibug68") for _ in range(2))
    np.testing.assert_array_equal(one.state.coefficients, two.state.coefficients)
    np.testing.assert_array_equal(one.state.camera.vector, two.state.camera.vector)


def test_a_start_saves_iterations(open_face):
    state = random_state(open_face, (0.1, 0.3, 0.1))
    observed = landmarks_of(open_face, state, "mediapipe478")
    first = fit_landmarks(open_face, observed)
    again = fit_landmarks(open_face, observed, start=first.state, config=LandmarkFitConfig(iterations=3))
    assert rotation_error(again.state.camera, first.state.camera) < 0.5
    assert again.rms_px < 1.1 * first.rms_px + 0.05


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (0.2, -0.5, 0.3), (-0.1, 1.0, 0.0)])
@pytest.mark.parametrize("name", ["mediapipe478", "ibug68"])
def test_the_pose_of_a_known_shape_comes_back(open_face, pose, name):
    truth = random_state(open_face, pose, seed=4)
    observed = landmarks_of(open_face, truth, name)
    observed[::9] = np.nan
    fit = fit_pose(open_face, observed, truth.identity, truth.expression, name=name)
    assert rotation_error(fit.state.camera, truth.camera) < 0.1
    assert fit.rms_px < 0.05
    assert np.array_equal(fit.state.identity, truth.identity)
    assert np.array_equal(fit.state.expression, truth.expression)


def test_a_pose_bears_outliers_and_too_few_landmarks_are_told(open_face):
    truth = random_state(open_face, (0.1, 0.3, 0.0), seed=5)
    observed = landmarks_of(open_face, truth, "mediapipe478")
    wrong = np.random.default_rng(1).choice(478, 40, replace=False)
    observed[wrong] += (60.0, -45.0)
    fit = fit_pose(open_face, observed, truth.identity, truth.expression)
    assert rotation_error(fit.state.camera, truth.camera) < 0.5
    observed[5:] = np.nan
    with pytest.raises(ValueError, match="only 5"):
        fit_pose(open_face, observed, truth.identity, truth.expression)


def test_residuals_are_distances_in_the_picture(toy_model):
    observed = landmarks_of(toy_model, random_state(toy_model, (0.1, 0.1, 0.1)), "ibug68")
    observed += np.random.default_rng(9).normal(0, 2, observed.shape)
    fit = fit_landmarks(toy_model, observed, name="ibug68")
    projected = LandmarkTerm(toy_model, "ibug68", LandmarkFitConfig()).project(fit.state)
    np.testing.assert_allclose(fit.residual_px, np.linalg.norm(projected - observed, axis=1), atol=1e-3)
    assert fit.residual_px.min() < fit.rms_px < fit.residual_px.max()


def test_the_term_is_prepared_once(toy_model):
    config = LandmarkFitConfig()
    assert landmark_term(toy_model, "ibug68", config) is landmark_term(
        toy_model, "ibug68", LandmarkFitConfig()
    )
    assert landmark_term(toy_model, "ibug68", replace(config, evidence=1.0)) is not landmark_term(
        toy_model, "ibug68", config
    )


def lid_gap(points: np.ndarray) -> tuple[float, float]:
    """Openings of the person's right and left eye, px; points (478, 2)."""
    return tuple(float(np.linalg.norm(points[a] - points[b])) for a, b in ((159, 145), (386, 374)))


@pytest.mark.parametrize("pose", POSES[:3])
def test_shut_eyes_are_shut_whatever_their_folds_say(open_face, pose):
    """Creases as of open eyes, which landmark nets give for shut ones too, do not hold the lids open."""
    term = landmark_term(open_face, "mediapipe478", LandmarkFitConfig())
    wide = random_state(open_face, pose)
    wide.expression[:] = open_face.expression_weights({"mouthSmileLeft": 0.3})
    shut = replace(wide, expression=open_face.expression_weights({"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.6}))
    observed = term.project(wide).astype(np.float64)
    lids = [*LIDS_RIGHT, *LIDS_LEFT]
    observed[lids] = term.project(shut)[lids]
    found = term.with_lids(fit_landmarks(open_face, observed).state, observed)
    for seen, true in zip(lid_gap(term.project(found)), lid_gap(observed), strict=True):
        assert seen <= 1.15 * true + 0.5
    names = list(open_face.expression_names)
    left, right = (found.expression[names.index(n)] for n in ("eyeBlinkLeft", "eyeBlinkRight"))
    assert left > right > 0.2


def test_lids_are_never_opened_and_open_eyes_stay(open_face):
    term = landmark_term(open_face, "mediapipe478", LandmarkFitConfig())
    state = random_state(open_face, POSES[0])
    observed = term.project(state).astype(np.float64)
    np.testing.assert_array_equal(term.with_lids(state, observed).expression, state.expression)
    wide = replace(state, expression=open_face.expression_weights({"eyeWideLeft": 1.0}))
    same = term.with_lids(state, term.project(wide).astype(np.float64))
    np.testing.assert_array_equal(same.expression, state.expression)
    observed[159] = np.nan
    assert np.isfinite(term.with_lids(state, observed).expression).all()


def test_landmarks_with_correctives_are_those_of_the_shape(toy_model):
    model = with_correctives(toy_model)
    state = replace(random_state(model, POSES[1]), expression=np.full(52, 0.5, np.float32))
    found = LandmarkTerm(model, "ibug68", LandmarkFitConfig()).surface(state)[0]
    wanted = model.landmarks["ibug68"].of(model.shape(state.identity, state.expression))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    plain = toy_model.landmarks["ibug68"].of(toy_model.shape(state.identity, state.expression))
    assert np.abs(found - plain).max() > 0.05


INNER_LIPS = {
    "mediapipe478": (((13, 14), (82, 87), (312, 317)), (78, 308)),
    "ibug68": (((61, 67), (62, 66), (63, 65)), (60, 64)),
}


def lips_apart(points: np.ndarray, name: str) -> float:
    """Height of the inner mouth over its width."""
    pairs, (a, b) = INNER_LIPS[name]
    height = np.mean([np.linalg.norm(points[i, :2] - points[j, :2]) for i, j in pairs])
    return float(height / np.linalg.norm(points[a, :2] - points[b, :2]))


@pytest.mark.parametrize("name", ["mediapipe478", "ibug68"])
class TestClosedLips:
    def term(self, model: FaceModel, name: str) -> LandmarkTerm:
        return landmark_term(model, name, LandmarkFitConfig())

    @pytest.mark.parametrize("pose", POSES[:3])
    @pytest.mark.parametrize(
        "opened", [{"jawOpen": 0.25}, {"jawOpen": 0.2, "mouthFunnel": 0.4}, {"mouthLowerDownLeft": 0.6}]
    )
    def test_lips_that_touch_on_the_photo_are_closed(self, open_face, name, opened, pose):
        term, camera = self.term(open_face, name), camera_of(pose)
        state = FaceState(
            camera, np.zeros(open_face.n_identity, np.float32), open_face.expression_weights(opened)
        )
        after = term.with_closed_lips(state)
        at_rest = replace(state, expression=np.zeros(52, np.float32))
        before, closed, rest = (lips_apart(term.project(s), name) for s in (state, after, at_rest))
        assert closed < before
        assert closed < rest + 0.03
        assert after.camera is state.camera
        assert after.identity is state.identity

    def test_only_units_that_move_the_lips_change(self, open_face, name):
        term, camera = self.term(open_face, name), camera_of(POSES[0])
        weights = open_face.expression_weights({**SMILE, "browInnerUp": 0.6})
        after = term.with_closed_lips(FaceState(camera, np.zeros(open_face.n_identity, np.float32), weights))
        changed = {open_face.expression_names[k] for k in np.flatnonzero(after.expression != weights)}
        assert changed <= {
            "jawOpen",
            "mouthClose",
            "mouthFunnel",
            "mouthShrugUpper",
            "mouthUpperUpLeft",
            "mouthUpperUpRight",
            "mouthLowerDownLeft",
            "mouthLowerDownRight",
            "mouthStretchLeft",
            "mouthStretchRight",
        }
        assert after.expression.min() >= 0
        assert after.expression.max() <= 1

    @pytest.mark.parametrize("seed", range(4))
    def test_no_mouth_is_opened(self, open_face, name, seed):
        term, rng = self.term(open_face, name), np.random.default_rng(seed)
        weights = (rng.random(52) * (rng.random(52) < 0.3)).astype(np.float32)
        identity = rng.normal(0, 0.7, open_face.n_identity).astype(np.float32)
        state = FaceState(camera_of(POSES[seed % 3]), identity, weights)
        after = term.with_closed_lips(state)
        assert lips_apart(term.project(after), name) <= lips_apart(term.project(state), name) + 1e-3
