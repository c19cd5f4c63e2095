"""Laws of rendered truth: same seed, same images; no error for what is right, a known one for the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.alignment import Similarity, rotation_from_vector
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.lab.evaluation.truth.model_renders import (
    TruthConfig,
    rotation_error,
    truth_cases,
    vertex_error,
)
from facerelief.morphable import open_model
from facerelief.rendering.render import render_depth, shade_mesh

SMALL = TruthConfig(size=96, face_px=60)


def some_similarity(seed: int = 0) -> Similarity:
    rng = np.random.default_rng(seed)
    return Similarity(1.7, rotation_from_vector(rng.normal(0, 0.4, 3)), rng.normal(0, 50, 3))


class TestCases:
    def test_same_seed_same_pictures_however_many(self, toy_model):
        few, many = list(truth_cases(toy_model, 2, SMALL)), list(truth_cases(toy_model, 4, SMALL))
        assert (len(few), len(many)) == (2, 4)
        for one, two in zip(few, many):
            np.testing.assert_array_equal(one.image, two.image)
            np.testing.assert_array_equal(one.vertices, two.vertices)
            np.testing.assert_array_equal(one.light, two.light)
            assert one.camera == two.camera
        pictures = {case.image.tobytes() for case in many}
        assert len(pictures) == 4

    def test_other_seeds_give_others(self, toy_model):
        one, two = (next(truth_cases(toy_model, 1, replace(SMALL, seed=s))) for s in (1, 2))
        assert one.camera != two.camera
        assert (one.image != two.image).any()

    @pytest.mark.parametrize("which", ["toy", "open"])
    def test_the_truth_is_what_the_picture_shows(self, toy_model, which):
        model = toy_model if which == "toy" else open_model()
        for case in truth_cases(model, 3, replace(SMALL, texture=0.05)):
            assert case.image.shape == (96, 96, 3)
            assert case.image.dtype == np.uint8
            np.testing.assert_array_equal(case.vertices, model.shape(case.identity, case.expression))
            np.testing.assert_array_equal(case.neutral, model.shape(case.identity))
            assert case.albedo.min() >= 0.02
            assert case.albedo.max() <= 1
            mesh = Mesh(case.vertices, model.triangles, case.albedo)
            again, coverage = shade_mesh(mesh, case.camera, 96, 96, light=case.light)
            shown = coverage == 1
            assert shown.mean() > 0.2
            # but for noise of two grey levels
            difference = case.image[shown].astype(float) - again[shown]
            assert np.abs(difference.mean()) < 1
            assert 1 < difference.std() < 3

    def test_the_face_lies_inside(self, toy_model):
        for case in truth_cases(toy_model, 8, replace(SMALL, yaw=70)):
            face = case.camera.project(case.vertices[toy_model.face_vertices])[:, :2]
            assert face.min() > 0
            assert face.max() < 96
            depth = render_depth(case.vertices, toy_model.triangles, case.camera, 96, 96)
            assert np.isfinite(depth).mean() > 0.1

    def test_angles_keep_their_limits_and_fill_them(self, toy_model):
        config = TruthConfig(size=16, face_px=10, yaw=40, pitch=10, roll=5)
        angles = np.degrees([c.camera.vector[:3] for c in truth_cases(toy_model, 60, config)])
        for k, limit in enumerate((10, 40, 5)):
            assert np.abs(angles[:, k]).max() <= limit + 1e-9
            assert angles[:, k].min() < -0.7 * limit
            assert angles[:, k].max() > 0.7 * limit

    def test_neutral_faces_on_demand(self, toy_model):
        for case in truth_cases(toy_model, 2, replace(SMALL, expressions=False)):
            np.testing.assert_array_equal(case.expression, 0)
            np.testing.assert_array_equal(case.vertices, case.neutral)

    def test_given_colours_are_used_and_left_alone(self, toy_model):
        green = np.tile(np.array([0.1, 0.8, 0.1], np.float32), (toy_model.n_vertices, 1))
        kept = green.copy()
        case = next(truth_cases(toy_model, 1, replace(SMALL, texture=0.0), colors=green))
        np.testing.assert_array_equal(green, kept)
        face = toy_model.face_vertices & (toy_model.mean[:, 1] < 20)
        np.testing.assert_allclose(case.albedo[face], kept[face], atol=0.02)


class TestVertexError:
    @pytest.mark.parametrize("seed", range(3))
    def test_nothing_for_a_moved_turned_and_scaled_copy(self, toy_model, seed):
        truth = toy_model.mean
        copy = some_similarity(seed).apply(truth)
        error = vertex_error(copy, truth, toy_model.face_vertices)
        assert error.shape == (toy_model.face_vertices.sum(),)
        np.testing.assert_allclose(error, 0, atol=1e-3)

    def test_one_wrong_vertex_is_told(self, toy_model):
        mask = toy_model.face_vertices
        wrong = toy_model.mean.copy()
        first = np.flatnonzero(mask)[0]
        wrong[first, 2] += 5
        error = vertex_error(wrong, toy_model.mean, mask)
        assert error[0] == pytest.approx(5, abs=0.2)
        assert np.median(error) < 0.1

    def test_what_lies_outside_the_mask_is_not_asked(self, toy_model):
        mask = toy_model.face_vertices
        wrong = toy_model.mean.copy()
        wrong[~mask] += 40
        np.testing.assert_allclose(vertex_error(wrong, toy_model.mean, mask), 0, atol=1e-4)

    def test_measured_in_the_truths_millimetres(self, toy_model):
        mask = np.ones(toy_model.n_vertices, bool)
        rough = toy_model.mean + np.random.default_rng(0).normal(0, 1.0, toy_model.mean.shape)
        here = vertex_error(rough, toy_model.mean, mask)
        np.testing.assert_allclose(vertex_error(rough * 0.1, toy_model.mean, mask), here, atol=1e-6)
        assert np.sqrt((here**2).mean()) == pytest.approx(np.sqrt(3), rel=0.05)


class TestRotationError:
    @pytest.mark.parametrize("angle", [0.0, 0.001, 0.5, 2.0, np.pi])
    @pytest.mark.parametrize("axis", ["pitch", "yaw", "roll"])
    def test_known_turns(self, axis, angle):
        still = WeakPerspective(0, 0, 0, 5, 6, 2)
        turned = replace(still, **{axis: angle})
        assert rotation_error(still, turned) == pytest.approx(np.degrees(angle), abs=1e-4)
        assert rotation_error(turned, still) == pytest.approx(np.degrees(angle), abs=1e-4)

    def test_place_and_size_do_not_matter(self):
        one = WeakPerspective(0.3, -0.7, 0.2, 0, 0, 1)
        assert rotation_error(one, replace(one, translation_u=90, translation_v=-4, scale=7)) < 1e-4

    def test_turns_add_up_whatever_the_pose(self):
        rng = np.random.default_rng(0)
        for _ in range(5):
            start = WeakPerspective.from_vector([*rng.normal(0, 0.5, 3), 0, 0, 1])
            turn = rng.normal(size=3)
            turn *= 0.4 / np.linalg.norm(turn)
            end = WeakPerspective.from_matrix(rotation_from_vector(turn) @ start.rotation, (0, 0), 1)
            assert rotation_error(start, end) == pytest.approx(np.degrees(0.4), abs=1e-4)
