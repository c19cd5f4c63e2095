"""Laws of alignment: exact on exact data, never a reflection, covariant to what is done to either side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facerelief.geometry.alignment import (
    Similarity,
    procrustes,
    rigid_icp,
    rotation_from_vector,
    solve_weak_perspective,
)
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.morphable.model import FaceModel

SEEDS = st.integers(0, 2**32 - 1)


def random_similarity(rng: np.random.Generator) -> Similarity:
    return Similarity(
        float(rng.uniform(0.2, 4)), rotation_from_vector(rng.normal(0, 1.5, 3)), rng.normal(0, 100, 3)
    )


class TestSimilarity:
    @given(SEEDS)
    def test_inverse_and_composition(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        one, two = random_similarity(rng), random_similarity(rng)
        points = rng.normal(0, 50, (4, 5, 3))
        np.testing.assert_allclose(one.inverse().apply(one.apply(points)), points, atol=1e-8)
        np.testing.assert_allclose(two.after(one).apply(points), two.apply(one.apply(points)), atol=1e-7)
        homogeneous = points.reshape(-1, 3) @ one.matrix[:3, :3].T + one.matrix[:3, 3]
        np.testing.assert_allclose(one.apply(points).reshape(-1, 3), homogeneous, atol=1e-9)

    def test_precision_follows_the_points(self) -> None:
        assert Similarity.identity().apply(np.ones((2, 3), np.float32)).dtype == np.float32
        assert Similarity.identity().apply([[1, 2, 3]]).dtype == np.float64


class TestRotationVector:
    @given(SEEDS)
    def test_about_an_axis(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        vector = rng.normal(size=3) * 10.0 ** rng.uniform(-12, 0.4)
        rotation = rotation_from_vector(vector)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(rotation @ vector, vector, atol=1e-12)
        np.testing.assert_allclose(rotation_from_vector(-vector), rotation.T, atol=1e-12)

    def test_agrees_with_the_named_angles(self) -> None:
        np.testing.assert_allclose(rotation_from_vector([0.4, 0, 0]), matrix_from_euler(0.4, 0, 0))
        np.testing.assert_allclose(rotation_from_vector([0, 0.4, 0]), matrix_from_euler(0, 0.4, 0))
        np.testing.assert_allclose(rotation_from_vector([0, 0, 0.4]), matrix_from_euler(0, 0, 0.4))


class TestProcrustes:
    @given(SEEDS)
    def test_finds_an_exact_similarity(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth = random_similarity(rng)
        points = rng.normal(0, 30, (rng.integers(3, 20), 3))
        found = procrustes(points, truth.apply(points), weights=rng.uniform(0.1, 1, len(points)))
        np.testing.assert_allclose(found.rotation, truth.rotation, atol=1e-6)
        np.testing.assert_allclose(found.scale, truth.scale, rtol=1e-9)
        np.testing.assert_allclose(found.apply(points), truth.apply(points), atol=1e-7)

    @given(SEEDS)
    def test_never_a_reflection(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        points = rng.normal(0, 30, (12, 3))
        found = procrustes(points, points * [-1, 1, 1])
        assert np.linalg.det(found.rotation) == pytest.approx(1.0)
        assert found.scale > 0

    def test_no_other_similarity_is_nearer(self) -> None:
        rng = np.random.default_rng(3)
        source, target = rng.normal(size=(15, 3)), rng.normal(size=(15, 3))
        weights = rng.uniform(0, 1, 15)
        for with_scale in (True, False):
            found = procrustes(source, target, weights, with_scale)
            best = weights @ ((found.apply(source) - target) ** 2).sum(axis=1)
            for _ in range(200):
                nudge = Similarity(
                    1 + rng.normal(0, 0.02) * with_scale,
                    rotation_from_vector(rng.normal(0, 0.02, 3)),
                    rng.normal(0, 0.02, 3),
                )
                other = weights @ ((nudge.after(found).apply(source) - target) ** 2).sum(axis=1)
                assert other >= best - 1e-12

    def test_without_scale_is_rigid(self) -> None:
        rng = np.random.default_rng(4)
        points = rng.normal(size=(8, 3))
        assert procrustes(points, 3.0 * points, with_scale=False).scale == 1.0

    def test_zero_weight_is_absence(self) -> None:
        rng = np.random.default_rng(5)
        source, target = rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
        weights = np.r_[np.ones(7), 0.0, 0.0]
        part = procrustes(source[:7], target[:7])
        np.testing.assert_allclose(procrustes(source, target, weights).matrix, part.matrix, atol=1e-9)

    @pytest.mark.parametrize("case", ["shape", "count", "nan", "weights", "negative"])
    def test_bad_arguments(self, case: str) -> None:
        a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
        w = [1.0] * 5
        if case == "shape":
            a = np.zeros((5, 2))
        elif case == "count":
            b = b[:4]
        elif case == "nan":
            b[0, 0] = np.nan
        elif case == "weights":
            w = [0.0] * 5
        else:
            w[0] = -1.0
        with pytest.raises(ValueError, match=r"source|target|weights"):
            procrustes(a, b, w)


class TestWeakPerspective:
    @given(SEEDS)
    def test_exact_on_noiseless_points(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        points = rng.normal(0, [60, 80, rng.uniform(20, 60)], (rng.integers(6, 70), 3)) + rng.normal(0, 50, 3)
        camera = WeakPerspective(
            *rng.uniform([-1.5, -1.5, -3], [1.5, 1.5, 3]), *rng.uniform(0, 900, 2), rng.uniform(0.1, 9)
        )
        weights = rng.uniform(0.1, 1, len(points)) if seed % 2 else None
        found = solve_weak_perspective(points, camera.project(points)[:, :2], weights)
        np.testing.assert_allclose(found.rotation, camera.rotation, atol=1e-7)
        np.testing.assert_allclose(found.vector[3:], camera.vector[3:], rtol=1e-7, atol=1e-5)

    @given(SEEDS)
    @settings(max_examples=40)
    def test_covariant_to_image_transforms(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        points = rng.normal(0, [60, 80, 40], (40, 3))
        camera = WeakPerspective(*rng.uniform(-0.7, 0.7, 3), 200, 300, 2.0)
        seen = camera.project(points)[:, :2] + rng.normal(0, 2.0, (40, 2))
        found = solve_weak_perspective(points, seen, refine=50)
        left, top, zoom = rng.uniform(-50, 50), rng.uniform(-50, 50), rng.uniform(0.2, 5)
        crop = solve_weak_perspective(points, (seen - [left, top]) * zoom, refine=50)
        np.testing.assert_allclose(crop.vector, found.in_crop(left, top, zoom).vector, rtol=1e-5, atol=1e-5)
        # an image turned clockwise about its origin: roll falls by as much
        angle = rng.uniform(-1, 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = solve_weak_perspective(points, seen @ turn.T, refine=50)
        np.testing.assert_allclose(
            turned.rotation, matrix_from_euler(0, 0, -angle) @ found.rotation, atol=1e-5
        )
        assert turned.scale == pytest.approx(found.scale, rel=1e-6)

    def test_least_squares_on_noisy_points(self) -> None:
        rng = np.random.default_rng(0)
        points = rng.normal(0, [60, 80, 40], (30, 3))
        seen = WeakPerspective(0.2, -0.4, 0.1, 100, 100, 2).project(points)[:, :2] + rng.normal(0, 5, (30, 2))
        weights = rng.uniform(0.1, 1, 30)

        def error(vector: np.ndarray) -> float:
            residual = WeakPerspective.from_vector(vector).project(points)[:, :2] - seen
            return float(weights @ (residual**2).sum(axis=1))

        best = solve_weak_perspective(points, seen, weights, refine=50).vector
        for k in range(6):
            for sign in (-1, 1):
                step = np.zeros(6)
                step[k] = sign * 1e-4 * max(1.0, abs(best[k]))
                assert error(best + step) >= error(best)

    @given(SEEDS)
    def test_points_in_a_plane(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        points = rng.normal(0, 50, (20, 3)) * [1, 1, 0] + [3, 4, 5]
        camera = WeakPerspective(*rng.uniform(-0.6, 0.6, 3), 100, 100, 1.5)
        seen = camera.project(points)[:, :2]
        found = solve_weak_perspective(points, seen)
        np.testing.assert_allclose(found.project(points)[:, :2], seen, atol=1e-4)
        assert found.scale == pytest.approx(camera.scale, rel=1e-4)
        assert np.trace(found.rotation) >= np.trace(camera.rotation) - 1e-5

    def test_nearly_flat_points_take_the_right_lean(self) -> None:
        rng = np.random.default_rng(1)
        points = rng.normal(0, 50, (60, 3)) * [1, 1, 0.015]
        for yaw in (-0.5, 0.5):
            camera = WeakPerspective(0.1, yaw, 0.0, 100, 100, 1.5)
            found = solve_weak_perspective(points, camera.project(points)[:, :2])
            np.testing.assert_allclose(found.vector, camera.vector, atol=1e-4)

    def test_points_on_a_line_are_refused(self) -> None:
        line = np.outer(np.arange(5.0), [1, 2, 3])
        with pytest.raises(ValueError, match="line"):
            solve_weak_perspective(line, line[:, :2])
        with pytest.raises(ValueError, match="line"):
            solve_weak_perspective(np.ones((5, 3)), line[:, :2])

    def test_counts_must_match(self) -> None:
        with pytest.raises(ValueError, match="match"):
            solve_weak_perspective(np.eye(3), np.zeros((4, 2)))


class TestRigidIcp:
    @pytest.mark.parametrize("with_scale", [False, True])
    def test_brings_a_moved_surface_back(self, toy_model: FaceModel, with_scale: bool) -> None:
        rng = np.random.default_rng(0)
        target = Mesh(toy_model.mean, toy_model.triangles)
        front = toy_model.mean[toy_model.mean[:, 2] > 0].astype(np.float64)
        moved = Similarity(
            1.04 if with_scale else 1.0, rotation_from_vector(rng.normal(0, 0.08, 3)), rng.normal(0, 5, 3)
        )
        found = rigid_icp(moved.apply(front), target, with_scale=with_scale, iterations=200, tolerance=1e-9)
        assert found.rms < 1e-3
        np.testing.assert_allclose(found.transform.apply(moved.apply(front)), front, atol=0.05)
        assert found.distance.shape == (len(front),)

    def test_trimming_leaves_outliers_out(self, toy_model: FaceModel) -> None:
        target = ClosestPoint(toy_model.mean, toy_model.triangles)
        front = toy_model.mean[toy_model.mean[:, 2] > 20].astype(np.float64)
        points = front + np.array([2.0, -1.0, 1.5])
        points[::10] += [0, 0, 60.0]
        found = rigid_icp(points, target, trim=0.12, iterations=200, tolerance=1e-9)
        np.testing.assert_allclose(found.transform.apply(points)[1::10], front[1::10], atol=0.1)
        assert not found.used[::10].any()

    def test_never_ends_worse_than_it_began(self, toy_model: FaceModel) -> None:
        target = ClosestPoint(toy_model.mean, toy_model.triangles)
        points = np.random.default_rng(0).normal(0, 60, (300, 3))
        before = float(np.sqrt(np.mean(target.query(points).distance ** 2)))
        found = rigid_icp(points, target)
        assert found.rms <= before
        np.testing.assert_allclose(
            found.distance, target.query(found.transform.apply(points)).distance, atol=1e-6
        )

    def test_open_border_does_not_pull(self) -> None:
        grid = np.stack(np.meshgrid(np.arange(11.0), np.arange(11.0)), -1).reshape(-1, 2)
        height = np.sin(grid[:, 0] * 0.7) + np.cos(grid[:, 1] * 0.9)
        surface = np.column_stack([grid, height])
        ids = np.arange(121).reshape(11, 11)
        a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
        mesh = Mesh(surface.astype(np.float32), np.r_[np.c_[a, b, c], np.c_[a, c, d]].astype(np.int32))
        beyond = np.column_stack([np.full(40, 14.0), np.linspace(0, 10, 40), np.full(40, 3.0)])
        inner = surface[(grid > 1).all(axis=1) & (grid < 9).all(axis=1)]
        found = rigid_icp(np.r_[inner, beyond], mesh, iterations=100, tolerance=1e-10)
        np.testing.assert_allclose(found.transform.apply(inner), inner, atol=1e-3)
        assert not found.used[-40:].any()

    def test_too_far_is_said(self, toy_model: FaceModel) -> None:
        with pytest.raises(ValueError, match="initial"):
            rigid_icp(toy_model.mean + 1e4, Mesh(toy_model.mean, toy_model.triangles), max_distance=5.0)
