"""Laws of the photometric term: exact derivatives, and samples of the visible face alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from full_models import with_inner_parts
from photometric_toys import (
    HEIGHT,
    WIDTH,
    moved,
    ramp_level,
    step_lengths,
    toy_appearance,
    toy_state,
    unknowns,
    wavy_level,
)

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.image_level import ImageLevel, image_level
from facerelief.inverse.landmark_fit import LandmarkFitConfig, LandmarkTerm
from facerelief.inverse.photometric_term import PhotometricTerm, photometric_term
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering.rasterizer import rasterize


def jacobian_error(model: FaceModel, level: ImageLevel, camera: WeakPerspective) -> np.ndarray:
    """(unknowns,) rms difference of Jacobian and central differences, over the derivative's rms."""
    term = PhotometricTerm(model)
    marks = LandmarkTerm(model, "ibug68", LandmarkFitConfig())
    state, appearance = toy_state(model, camera), toy_appearance(model)
    sample = term.sample(state, level, 400)
    residual, jacobian = term.linearise(state, appearance, level, sample)
    np.testing.assert_array_equal(residual, term.residual(state, appearance, level, sample))
    assert jacobian.shape == (len(sample.triangle), 3, unknowns(model))
    lengths = step_lengths(model)
    out = np.zeros(len(lengths))
    for k, length in enumerate(lengths):
        step = np.zeros(len(lengths))
        step[k] = length
        there, back = (
            term.residual(*moved(marks, state, appearance, s), level, sample) for s in (step, -step)
        )
        slope = (there - back) / (2 * length)
        size = max(float(np.sqrt((slope**2).mean())), 1e-4)
        out[k] = np.sqrt(((jacobian[:, :, k] - slope) ** 2).mean()) / size
    return out


class TestDerivatives:
    @pytest.mark.parametrize(
        "pose", [(0.0, 0.0, 0.0), (0.2, 0.5, -0.3), (-0.3, -0.8, 0.4)], ids=["front", "right", "left"]
    )
    def test_jacobian_is_exact_on_a_ramp(self, toy_model, pose):
        """Pose, identity, expression, albedo and light, through the image and through the normals."""
        error = jacobian_error(toy_model, ramp_level(), WeakPerspective(*pose, 60, 80, 0.6))
        assert error.max() < 5e-3, f"unknown {error.argmax()}"

    def test_jacobian_under_perspective(self, toy_model):
        error = jacobian_error(toy_model, ramp_level(), WeakPerspective(0.2, 0.5, -0.3, 60, 80, 0.6, 1 / 350))
        assert error.max() < 5e-3, f"unknown {error.argmax()}"

    def test_jacobian_of_the_open_model(self):
        model = open_model().truncated(identity=10, albedo=4)
        error = jacobian_error(model, ramp_level(), WeakPerspective(0.1, 0.3, -0.2, 60, 80, 0.6))
        assert error.max() < 1e-2, f"unknown {error.argmax()}"

    def test_jacobian_is_close_on_a_smooth_picture(self, toy_model, toy_camera):
        error = jacobian_error(toy_model, wavy_level(), toy_camera)
        assert error.max() < 0.1
        assert np.median(error) < 0.02

    def test_zoomed_levels_count_translation_in_the_photos_pixels(self, toy_model, toy_camera):
        term = PhotometricTerm(toy_model)
        level = replace(ramp_level(), left=20.0, top=-10.0, zoom=0.5)
        camera = toy_camera.in_crop(-10.0, 5.0, 2.0)
        state, appearance = toy_state(toy_model, camera), toy_appearance(toy_model)
        sample = term.sample(state, level, 300)
        _, jacobian = term.linearise(state, appearance, level, sample)
        for k, (u, v) in ((4, (1.0, 0.0)), (5, (0.0, 1.0))):
            there, back = (
                replace(
                    state,
                    camera=replace(
                        camera,
                        translation_u=camera.translation_u + sign * u,
                        translation_v=camera.translation_v + sign * v,
                    ),
                )
                for sign in (1, -1)
            )
            slope = term.residual(there, appearance, level, sample) - term.residual(
                back, appearance, level, sample
            )
            np.testing.assert_allclose(jacobian[:, :, k], slope / 2, atol=1e-5)

    def test_appearance_alone_is_the_tail_of_the_jacobian(self, toy_model, toy_camera):
        term, level = PhotometricTerm(toy_model), ramp_level()
        state, appearance = toy_state(toy_model, toy_camera), toy_appearance(toy_model)
        sample = term.sample(state, level, 200)
        residual, whole = term.linearise(state, appearance, level, sample)
        same, tail = term.linearise(state, appearance, level, sample, shape=False)
        np.testing.assert_array_equal(residual, same)
        np.testing.assert_array_equal(whole[:, :, term.size :], tail)


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


class TestSample:
    @pytest.mark.parametrize("limit", [50, 500, 100_000])
    def test_only_visible_face_at_most_so_many(self, toy_model, toy_camera, photo, limit):
        term = PhotometricTerm(toy_model)
        state = toy_state(toy_model, toy_camera)
        level = image_level(photo, (10, 10, 110, 150), 100)
        sample = term.sample(state, level, limit)
        assert 0 < len(sample.triangle) <= limit
        assert len(sample.barycentric) == len(sample.triangle)
        np.testing.assert_allclose(sample.barycentric.sum(axis=1), 1, atol=1e-5)
        corners = toy_model.triangles[sample.triangle]
        assert toy_model.face_vertices[corners].all()
        # each lies on a pixel centre and is what is drawn there
        uvz = level.camera(state.camera).project(term.vertices(state))
        points = (uvz[corners] * sample.barycentric[:, :, None]).sum(axis=1)
        pixel = np.floor(points[:, :2]).astype(int)
        np.testing.assert_allclose(points[:, :2] - pixel, 0.5, atol=1e-3)
        drawn = rasterize(uvz, toy_model.triangles, *level.color.shape[:2])
        np.testing.assert_array_equal(drawn.triangle[pixel[:, 1], pixel[:, 0]], sample.triangle)
        assert len(np.unique(pixel, axis=0)) == len(pixel)

    def test_what_is_no_bare_skin_is_left_out(self, toy_model, toy_camera, photo):
        term, state = PhotometricTerm(toy_model), toy_state(toy_model, toy_camera)
        level = image_level(photo, (0, 0, WIDTH, HEIGHT), 10**4)
        everything = term.sample(state, level, 10**6)
        bare = np.zeros(level.color.shape[:2], bool)
        bare[:, : bare.shape[1] // 2] = True
        half = term.sample(state, replace(level, bare=bare), 10**6)
        assert 0.2 < len(half.triangle) / len(everything.triangle) < 0.8
        # a mask that leaves nearly nothing is not believed
        none = term.sample(state, replace(level, bare=np.zeros_like(bare)), 10**6)
        np.testing.assert_array_equal(none.triangle, everything.triangle)

    def test_a_limited_sample_is_spread_over_the_face(self, toy_model, toy_camera, photo):
        term, level = PhotometricTerm(toy_model), image_level(photo, (10, 10, 110, 150), 140)
        state = toy_state(toy_model, toy_camera)
        whole, few = term.sample(state, level, 100_000), term.sample(state, level, 300)

        def places(sample):
            corners = toy_model.mean[toy_model.triangles[sample.triangle]]
            return (corners * sample.barycentric[:, :, None]).sum(axis=1)[:, :2]

        edges = [np.quantile(places(whole)[:, k], [0.25, 0.5, 0.75]) for k in (0, 1)]
        cell = [sum(np.searchsorted(edges[k], places(few)[:, k]) * 4**k for k in (0, 1))]
        counts = np.bincount(np.array(cell).ravel(), minlength=16)
        assert counts.min() > 0.3 * 300 / 16

    def test_same_every_time(self, toy_model, toy_camera, photo):
        term, level = PhotometricTerm(toy_model), image_level(photo, (10, 10, 110, 150), 100)
        state = toy_state(toy_model, toy_camera)
        one, two = (term.sample(state, level, 200) for _ in range(2))
        np.testing.assert_array_equal(one.triangle, two.triangle)
        np.testing.assert_array_equal(one.barycentric, two.barycentric)

    @pytest.mark.parametrize("shift", [(-70, 0), (70, 0), (0, -80), (0, 90), (60, 60)])
    def test_nothing_beyond_the_photos_edge(self, toy_model, toy_camera, photo, shift):
        """On every side alike: what lies outside the image has no colour to compare with."""
        u, v = shift
        camera = replace(
            toy_camera, translation_u=toy_camera.translation_u + u, translation_v=toy_camera.translation_v + v
        )
        state = toy_state(toy_model, camera)
        term, level = PhotometricTerm(toy_model), image_level(photo, (10 + u, 10 + v, 110 + u, 150 + v), 120)
        sample = term.sample(state, level, 100_000)
        corners = camera.project(term.vertices(state))[toy_model.triangles[sample.triangle]]
        points = (corners * sample.barycentric[:, :, None]).sum(axis=1)
        assert len(points) > 20
        assert (points[:, :2] > 1).all()
        assert (points[:, 0] < WIDTH - 1).all()
        assert (points[:, 1] < HEIGHT - 1).all()


def test_the_term_is_prepared_once_and_few_are_kept(toy_model):
    assert photometric_term(toy_model) is photometric_term(toy_model)
    kept = photometric_term(toy_model)
    for _ in range(4):
        photometric_term(toy_model.truncated(identity=2))
    assert photometric_term(toy_model) is not kept


@pytest.mark.parametrize("yaw", [0.0, 0.6])
def test_the_front_of_a_model_has_the_whole_models_term(toy_model, yaw):
    """Same surface points, residuals and Jacobian, from fewer vertices."""
    whole, front = PhotometricTerm(toy_model), PhotometricTerm(with_inner_parts(toy_model))
    assert front.model.n_vertices < whole.model.n_vertices
    camera, level = WeakPerspective(0.1, yaw, -0.1, 60, 80, 0.6), wavy_level()
    state, appearance = toy_state(toy_model, camera), toy_appearance(toy_model)
    samples = [term.sample(state, level, 400) for term in (whole, front)]
    np.testing.assert_allclose(samples[0].barycentric, samples[1].barycentric, atol=1e-4)
    found = [t.linearise(state, appearance, level, s) for t, s in zip((whole, front), samples)]
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, atol=2e-4)
