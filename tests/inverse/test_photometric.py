"""Laws of the photometric fit: the energy and its gradient, light and shape recovered, harm never done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from photometric_toys import (
    HEIGHT,
    WIDTH,
    Box,
    level_of,
    moved,
    ramp_level,
    step_lengths,
    toy_appearance,
    toy_state,
)

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import face_normals
from facerelief.inverse.identity_prior import identity_precision
from facerelief.inverse.image_level import image_level
from facerelief.inverse.landmark_fit import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkTerm,
    fit_landmarks,
    landmark_term,
)
from facerelief.inverse.light_prior import LightPrior
from facerelief.inverse.photometric import PhotometricConfig, PhotoSolver, fit_photometric
from facerelief.inverse.photometric_term import Appearance, photometric_term
from facerelief.lab.evaluation.truth.model_renders import (
    TruthConfig,
    rotation_error,
    truth_cases,
    vertex_error,
)
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering.lighting import ambient_light, directional_light
from facerelief.rendering.render import shade_mesh
from facerelief.rendering.spherical_harmonics import sh_basis

QUICK = PhotometricConfig(levels=(64,), steps=(4,), points=800)
LOOSE = LightPrior(level=50, direction=50, colour=50, colour_direction=50)


def exact_landmarks(model: FaceModel, state: FaceState, name: str = "ibug68") -> np.ndarray:
    return LandmarkTerm(model, name, LandmarkFitConfig()).project(state).astype(np.float64)


def start_at(state: FaceState, count: int = 68) -> LandmarkFit:
    return LandmarkFit(state, np.zeros(count, np.float32), 0.0)


class TestEnergy:
    @pytest.fixture
    def solver(self, toy_model, toy_camera) -> PhotoSolver:
        """Landmarks with outliers and pixels with outliers: robust costs are far from quadratic."""
        state = toy_state(toy_model, toy_camera)
        rng = np.random.default_rng(2)
        observed = exact_landmarks(toy_model, state) + rng.normal(0, 2.0, (68, 2))
        observed[rng.choice(68, 7, replace=False)] += 15
        observed[12] = np.nan
        nothing = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        return PhotoSolver(
            toy_model,
            nothing,
            (10, 10, 110, 150),
            observed,
            start_at(state),
            landmark_term(toy_model, "ibug68", LandmarkFitConfig()),
            PhotometricConfig(),
        )

    @pytest.mark.parametrize("seed", range(3))
    def test_gradient_is_that_of_the_energy(self, toy_model, toy_camera, solver, seed):
        """Each term apart and all together: the weights are the derivatives of the robust costs."""
        marks, level = solver.marks, ramp_level()
        turned = replace(toy_camera, yaw=toy_camera.yaw + 0.05, scale=1.05 * toy_camera.scale)
        state, appearance = toy_state(toy_model, turned, seed), toy_appearance(toy_model, seed)
        sample = solver.term.sample(state, level, 500)
        _, gradient = solver.quadratic(state, appearance, level, sample)
        lengths = step_lengths(toy_model)
        slope = np.zeros(len(lengths))
        for k, length in enumerate(lengths):
            step = np.zeros(len(lengths))
            step[k] = length
            there, back = (
                solver.energy(*moved(marks, state, appearance, s), level, sample) for s in (step, -step)
            )
            slope[k] = (there - back) / (2 * length)
        for block in np.split(np.arange(len(lengths)), np.cumsum([3, 1, 2, 5, 52, 3])):
            size = np.abs(slope[block]).max()
            np.testing.assert_allclose(2 * gradient[block], slope[block], atol=0.01 * size)

    def test_terms_are_what_they_say(self, toy_model, toy_camera, solver):
        """Guo et al.'s weights for small errors; no error, no cost."""
        state = solver.start.state
        level = ramp_level()
        sample = solver.term.sample(state, level, 300)
        config = solver.config
        rest = Appearance(np.zeros(3, np.float32), config.light.mean().reshape(3, 9).T.astype(np.float32))
        zero = replace(state, identity=0 * state.identity, expression=0 * state.expression)
        assert solver.energy_terms(zero, rest, level, sample)["regularisation"] == pytest.approx(0, abs=1e-9)
        one = replace(zero, identity=np.eye(5, dtype=np.float32)[0])
        assert solver.energy_terms(one, rest, level, sample)["regularisation"] == pytest.approx(
            config.regularisation
            * identity_precision(toy_model, config.identity_deviation, config.size_deviation)[0, 0],
            rel=1e-4,
        )
        exact = exact_landmarks(toy_model, zero)
        for shift in (0.0, 0.01):
            perfect = PhotoSolver(
                toy_model,
                np.zeros((HEIGHT, WIDTH, 3), np.uint8),
                (10, 10, 110, 150),
                exact + np.array([shift, 0.0]),
                start_at(zero),
                landmark_term(toy_model, "ibug68", LandmarkFitConfig(along_outline=1.0)),
                config,
            )
            cost = perfect.energy_terms(zero, rest, level, sample)["landmarks"]
            assert cost == pytest.approx(config.landmarks * (shift / 140) ** 2, rel=1e-2, abs=1e-12)

    def test_far_landmarks_cost_a_fixed_sum_and_pull_no_more(self, solver):
        direction = np.array([[0.6, -0.8]])
        costs, weights = zip(
            *(solver._landmark_cost(d * direction.repeat(68, 0)) for d in (0, 1, 9, 81, 1e4))
        )
        seen = solver.usable
        assert (np.diff(costs, axis=0)[:, seen] > 0).all()
        assert (np.diff(weights, axis=0)[:, seen] < 0).all()
        np.testing.assert_array_equal(np.array(costs)[:, ~seen], 0)
        spread = solver.marks.spread * solver.start.state.camera.scale * solver.marks.config.robust
        limit = weights[0] * spread**2
        np.testing.assert_allclose(costs[-1], limit, rtol=1e-2)


def drawn(model: FaceModel, state: FaceState, appearance: Appearance, size: tuple[int, int]) -> np.ndarray:
    mesh = Mesh(
        model.shape(state.identity, state.expression),
        model.triangles,
        np.clip(model.skin(appearance.albedo), 0, 1),
    )
    image, _ = shade_mesh(mesh, state.camera, *size, light=appearance.light, background=(0.2, 0.3, 0.2))
    return image


def box_around(points: np.ndarray) -> Box:
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


@pytest.fixture(scope="module")
def toy_truth(toy_model):
    """The toy in a known pose, light and skin: (state, appearance, image, landmarks, box)."""
    camera = WeakPerspective(0.1, 0.2, -0.1, 75, 100, 0.75)
    rng = np.random.default_rng(4)
    state = FaceState(
        camera, rng.normal(0, 1, 5).astype(np.float32), toy_model.expression_weights({"jawOpen": 0.5})
    )
    light = directional_light((-0.5, 0.3, 1.0), color=(0.5, 0.5, 0.45), ambient=(0.5, 0.5, 0.55))
    appearance = Appearance(np.array([0.5, -0.8, 1.0], np.float32), light.astype(np.float32))
    observed = exact_landmarks(toy_model, state)
    return state, appearance, drawn(toy_model, state, appearance, (200, 150)), observed, box_around(observed)


class TestInverseRendering:
    def test_relight_finds_the_light_and_the_skin(self, toy_model, toy_truth):
        """With the true shape, colours agree to a grey level or two, and so does the shading seen."""
        state, truth, image, observed, box = toy_truth
        config = PhotometricConfig(regularisation=1e-7, light=LOOSE)
        solver = PhotoSolver(
            toy_model,
            image,
            box,
            observed,
            start_at(state),
            landmark_term(toy_model, "ibug68", LandmarkFitConfig()),
            config,
        )
        level = solver.levels[-1]
        start = Appearance(np.zeros(3, np.float32), ambient_light(0.9).astype(np.float32))
        found = solver.relight(state, start, level, rounds=12)
        sample = solver.term.sample(state, level, 4000)
        residual = solver.term.residual(state, found, level, sample)
        assert np.median(np.abs(residual)) < 0.01
        # albedo and light share a factor per channel; the nose's red and the shading's shape are their own
        normals = face_normals(state.camera.to_camera(solver.term.vertices(state)), toy_model.triangles)
        basis = sh_basis(normals[sample.triangle])
        ratio = (basis @ found.light) / (basis @ truth.light)
        ratio /= np.median(ratio, axis=0)
        assert np.quantile(np.abs(ratio - 1), 0.9) < 0.06
        assert found.albedo[2] == pytest.approx(truth.albedo[2], abs=0.3)

    def test_relight_is_exact_on_its_own_picture(self, toy_model, toy_camera):
        """An image made of the term's own colours: light and albedo explain it without rest."""
        state, truth = toy_state(toy_model, toy_camera), toy_appearance(toy_model)
        term = photometric_term(toy_model)
        blank = level_of(*np.zeros((3, HEIGHT, WIDTH, 3)))
        sample = term.sample(state, blank, 100_000)
        colors = term.residual(state, truth, blank, sample)
        uvz = state.camera.project(term.vertices(state))
        points = (uvz[toy_model.triangles[sample.triangle]] * sample.barycentric[:, :, None]).sum(axis=1)
        i, j = np.floor(points[:, 1]).astype(int), np.floor(points[:, 0]).astype(int)
        picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        picture[i, j] = colors
        level = level_of(picture, 0 * picture, 0 * picture)
        config = PhotometricConfig(regularisation=1e-9, light=LOOSE, points=100_000)
        nothing = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        marks = exact_landmarks(toy_model, state)
        solver = PhotoSolver(
            toy_model,
            nothing,
            (10, 10, 110, 150),
            marks,
            start_at(state),
            landmark_term(toy_model, "ibug68", LandmarkFitConfig()),
            config,
        )
        found = solver.relight(state, replace(truth, albedo=0 * truth.albedo), level, rounds=30)
        assert np.abs(term.residual(state, found, level, sample)).max() < 3e-3
        assert found.albedo[2] == pytest.approx(truth.albedo[2], abs=0.02)

    def test_pixels_improve_on_loose_landmarks(self, toy_model, toy_truth):
        state, _, image, observed, box = toy_truth
        noisy = observed + np.random.default_rng(1).normal(0, 2.5, observed.shape)
        first = fit_landmarks(toy_model, noisy, name="ibug68")
        fit = fit_photometric(toy_model, image, box, noisy, first, name="ibug68")
        assert fit.residual_after < 0.9 * fit.residual_before
        truth = toy_model.shape(state.identity, state.expression)

        def off(found: FaceState) -> float:
            points = toy_model.shape(found.identity, found.expression)
            seen = state.camera.project(truth) - found.camera.project(points)
            return float(np.linalg.norm(seen[toy_model.face_vertices, :2], axis=1).mean())

        assert off(fit.state) < off(first.state)

    def test_open_model_in_random_light(self):
        """Rendered truth, noisy landmarks: the residual falls, the shape comes nearer, landmarks are held."""
        model = open_model()
        before, after = [], []
        for k, case in enumerate(truth_cases(model, 3, TruthConfig(size=224, face_px=130, yaw=35, seed=11))):
            state = FaceState(case.camera, case.identity, case.expression)
            observed = exact_landmarks(model, state, "mediapipe478")
            observed += np.random.default_rng(k).normal(0, 0.7, observed.shape)
            box = box_around(observed)
            first = fit_landmarks(model, observed)
            fit = fit_photometric(model, case.image, box, observed, first)
            assert fit.residual_after <= fit.residual_before
            assert fit.landmark_rms_px <= 1.01 * PhotometricConfig().drift * first.rms_px
            assert rotation_error(fit.state.camera, case.camera) < 4
            for found, errors in ((first.state, before), (fit.state, after)):
                shape = model.shape(found.identity, found.expression)
                errors.append(vertex_error(shape, case.vertices, model.face_vertices).mean())
        assert np.mean(after) < np.mean(before)


class TestNoHarm:
    """Whatever the image, the result is finite, no worse than stage 1 and near its landmarks."""

    @staticmethod
    def check(model: FaceModel, image: np.ndarray, observed: np.ndarray, box: Box, config=QUICK):
        first = fit_landmarks(model, observed, name="ibug68")
        fit = fit_photometric(model, image, box, observed, first, name="ibug68", config=config)
        for values in (
            fit.state.camera.vector,
            fit.state.coefficients,
            fit.appearance.albedo,
            fit.appearance.light,
            [fit.residual_before, fit.residual_after, fit.landmark_rms_px, *fit.terms.values()],
        ):
            assert np.isfinite(values).all()
        assert set(fit.terms) == {"photometric", "landmarks", "regularisation"}
        assert fit.residual_after <= fit.residual_before
        assert fit.landmark_rms_px <= config.drift * first.rms_px + 0.02
        assert fit.state.expression.min() >= 0
        assert fit.state.expression.max() <= 1
        return first, fit

    @pytest.fixture
    def noisy(self, toy_truth):
        _, _, image, observed, box = toy_truth
        return image, observed + np.random.default_rng(5).normal(0, 2, observed.shape), box

    @pytest.mark.parametrize("value", [0, 255, 128], ids=["black", "white", "grey"])
    def test_pictures_of_one_colour(self, toy_model, noisy, value):
        image, observed, box = noisy
        self.check(toy_model, np.full_like(image, value), observed, box)

    def test_noise(self, toy_model, noisy):
        image, observed, box = noisy
        static = np.random.default_rng(0).integers(0, 256, image.shape).astype(np.uint8)
        self.check(toy_model, static, observed, box)

    def test_grey_photo(self, toy_model, noisy):
        image, observed, box = noisy
        grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        _, fit = self.check(toy_model, grey, observed, box)
        assert fit.residual_after < fit.residual_before

    @pytest.mark.parametrize("shift", [(12, 0), (-9, 9)])
    def test_a_picture_beside_its_landmarks_pulls_only_so_far(self, toy_model, noisy, shift):
        image, observed, box = noisy
        first, fit = self.check(toy_model, np.roll(image, shift, axis=(1, 0)), observed, box)
        moved = np.linalg.norm(fit.state.camera.vector[3:5] - first.state.camera.vector[3:5])
        assert moved < 8

    def test_no_drift_allowed_means_none(self, toy_model, noisy):
        image, observed, box = noisy
        self.check(toy_model, np.roll(image, 6, axis=1), observed, box, replace(QUICK, drift=1.0))

    def test_what_drifted_is_drawn_back_just_so_far(self, toy_model, noisy, monkeypatch):
        """However the descent ends, the landmarks' residual ends within the limit, and not far below."""
        image, observed, box = noisy

        def astray(self, state, appearance, level, steps):
            camera = state.camera
            away = replace(camera, translation_u=camera.translation_u + 3, yaw=camera.yaw + 0.1)
            return replace(state, camera=away, identity=state.identity + 0.3), appearance

        monkeypatch.setattr(PhotoSolver, "descend", astray)
        monkeypatch.setattr(PhotoSolver, "robust_rms", lambda *_: 0.0)
        first, fit = self.check(toy_model, image, observed, box)
        assert fit.landmark_rms_px > 0.97 * QUICK.drift * first.rms_px
        share = (fit.state.identity - first.state.identity)[0] / 0.3
        assert 0 < share < 1
        turned = fit.state.camera.vector - first.state.camera.vector
        np.testing.assert_allclose(turned, share * np.array([0, 0.1, 0, 3, 0, 0]), atol=1e-4)

    def test_a_worse_result_is_not_handed_out(self, toy_model, noisy, monkeypatch):
        image, observed, box = noisy

        def darken(self, state, appearance, level, steps):
            return state, replace(appearance, light=0 * appearance.light)

        monkeypatch.setattr(PhotoSolver, "descend", darken)
        first, fit = self.check(toy_model, image, observed, box)
        assert fit.state is first.state
        assert fit.residual_after == fit.residual_before
        assert np.abs(fit.appearance.light).max() > 0.1

    @pytest.mark.parametrize(("left", "top"), [(60, 0), (0, 70), (-60, 0), (0, -80)])
    def test_face_cut_by_the_frame(self, toy_model, toy_truth, left, top):
        state, _, image, observed, _ = toy_truth
        rows, columns = slice(max(top, 0), 200 + min(top, 0)), slice(max(left, 0), 150 + min(left, 0))
        corner = np.array([max(left, 0), max(top, 0)])
        shown = np.ascontiguousarray(image[rows, columns])
        points = observed - corner + np.random.default_rng(6).normal(0, 1.0, observed.shape)
        _, fit = self.check(toy_model, shown, points, box_around(points))
        assert rotation_error(fit.state.camera, state.camera) < 8

    @pytest.mark.parametrize("size", [6, 12, 24])
    def test_tiny_faces(self, toy_model, size):
        camera = WeakPerspective(0.0, 0.1, 0.0, 16, 16, size / 200)
        state = FaceState(camera, np.zeros(5, np.float32), np.zeros(52, np.float32))
        appearance = toy_appearance(toy_model)
        observed = exact_landmarks(toy_model, state)
        observed += np.random.default_rng(7).normal(0, 0.1, observed.shape)
        image = drawn(toy_model, state, appearance, (32, 32))
        self.check(toy_model, image, observed, box_around(observed))

    def test_a_face_that_no_pixel_shows(self, toy_model, toy_truth):
        """A box that meets the image, a face beside it: stage 1 is all there is."""
        _, _, image, observed, box = toy_truth
        _, _, right, bottom = box
        sliver = np.ascontiguousarray(image[:3, :3])
        first = fit_landmarks(toy_model, observed, name="ibug68")
        fit = fit_photometric(toy_model, sliver, (0, 0, right, bottom), observed, first, name="ibug68")
        assert fit.state is first.state
        assert (fit.residual_before, fit.residual_after) == (0.0, 0.0)

    def test_model_without_albedo_components(self, toy_model, noisy):
        self.check(toy_model.truncated(albedo=0), *noisy)


def test_same_input_same_fit(toy_model, toy_truth):
    _, _, image, observed, box = toy_truth
    noisy = observed + np.random.default_rng(1).normal(0, 1.5, observed.shape)
    first = fit_landmarks(toy_model, noisy, name="ibug68")
    one, two = (
        fit_photometric(toy_model, image, box, noisy, first, name="ibug68", config=QUICK) for _ in range(2)
    )
    np.testing.assert_array_equal(one.state.coefficients, two.state.coefficients)
    np.testing.assert_array_equal(one.appearance.light, two.appearance.light)


def test_shading_agrees_with_the_renderer(toy_model, toy_truth):
    """The term's colours at the truth are those of the rendered image (smooth shading, 8 bits)."""
    state, truth, image, _, box = toy_truth
    term = photometric_term(toy_model)
    level = image_level(image, box, 1000)
    sample = term.sample(state, level, 5000)
    residual = term.residual(state, truth, level, sample)
    assert np.median(np.abs(residual)) < 0.005
    assert abs(float(residual.mean())) < 0.004
