"""The tree search gives what a search through all triangles gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from facerelief.geometry.closest import ClosestPoint
from facerelief.morphable.model import FaceModel


def brute_force(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(T,) distances of a point to triangles (T, 3, 3): face if the foot lies inside, else sides."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    best = np.full(len(corners), np.inf)
    for p, q in ((a, b), (b, c), (c, a)):
        length = ((q - p) ** 2).sum(axis=1)
        s = np.clip(((point - p) * (q - p)).sum(axis=1) / np.where(length > 0, length, 1), 0, 1)
        best = np.minimum(best, np.linalg.norm(point - p - s[:, None] * (q - p), axis=1))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    unit = normal / np.where(area > 0, area, 1)[:, None]
    height = ((point - a) * unit).sum(axis=1)
    foot = point - height[:, None] * unit
    inside = area > 0
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (np.cross(q - p, foot - p) * unit).sum(axis=1) >= 0
    return np.where(inside, np.minimum(best, np.abs(height)), best)


def check(vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray) -> None:
    found = ClosestPoint(vertices, triangles).query(points)
    corners = vertices[triangles]
    expected = np.array([brute_force(p, corners).min() for p in points])
    np.testing.assert_allclose(found.distance, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.barycentric.sum(axis=1), 1.0)
    assert found.barycentric.min() >= -1e-12
    np.testing.assert_allclose(
        found.point, (corners[found.triangle] * found.barycentric[:, :, None]).sum(axis=1), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.norm(points - found.point, axis=1), found.distance, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_random_soups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(0, 10, (rng.integers(3, 40), 3))
    if seed % 3 == 0:
        vertices = np.round(vertices / 4) * 4  # coinciding, collinear, degenerate
    triangles = rng.integers(0, len(vertices), (rng.integers(1, 60), 3))
    points = np.r_[rng.normal(0, 15, (20, 3)), vertices[:5], vertices[triangles[:5]].mean(axis=1)]
    check(vertices, triangles, points)


def test_a_head(toy_model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    vertices = toy_model.mean.astype(np.float64)
    near = vertices[rng.integers(0, len(vertices), 60)] + rng.normal(0, 3, (60, 3))
    check(vertices, toy_model.triangles, np.r_[near, rng.normal(0, 300, (40, 3)), [[0, 0, 0]]])


def test_points_of_the_surface_are_at_no_distance(toy_model: FaceModel) -> None:
    rng = np.random.default_rng(1)
    triangle = rng.integers(0, len(toy_model.triangles), 500)
    weights = rng.dirichlet([1, 1, 1], 500)
    points = (toy_model.mean.astype(np.float64)[toy_model.triangles[triangle]] * weights[:, :, None]).sum(
        axis=1
    )
    found = ClosestPoint(toy_model.mean, toy_model.triangles).query(points)
    assert found.distance.max() < 1e-9
    np.testing.assert_allclose(found.point, points, atol=1e-9)


def test_agrees_with_a_numerical_minimum() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        corners, point = rng.normal(size=(3, 3)), rng.normal(size=3) * 2

        def objective(x: np.ndarray, corners: np.ndarray = corners, point: np.ndarray = point) -> float:
            return float(((np.array([1 - x.sum(), *x]) @ corners - point) ** 2).sum())

        best = minimize(
            objective,
            [0.3, 0.3],
            bounds=[(0, 1)] * 2,
            constraints={"type": "ineq", "fun": lambda x: 1 - x.sum()},
        )
        found = ClosestPoint(corners, [[0, 1, 2]]).query(point[None])
        assert found.distance[0] == pytest.approx(np.sqrt(best.fun), abs=1e-5)


def test_equal_distances_give_the_lowest_id() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    for triangles in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 3], [0, 1, 2]]):
        found = ClosestPoint(square, triangles).query([[0.5, 0.5, 1.0], [0.0, 0.0, -2.0]])
        assert found.triangle.tolist() == [0, 0]


def test_the_order_of_queries_does_not_matter(toy_model: FaceModel) -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(0, 90, (200, 3))
    tree = ClosestPoint(toy_model.mean, toy_model.triangles)
    order = rng.permutation(200)
    one, two = tree.query(points), tree.query(points[order])
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a[order], b)


def test_numbers_that_are_not_finite() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan, 0, 0]])
    tree = ClosestPoint(vertices, [[0, 1, 2], [0, 1, 3]])
    found = tree([[0.2, 0.2, 1.0], [np.nan, 0, 0], [0, np.inf, 0], [0.0, 0.0, 2.0]])
    assert found.triangle.tolist() == [0, -1, -1, 0]
    assert np.isnan(found.distance).tolist() == [False, True, True, False]
    assert np.isnan(found.point[1:3]).all()
    with pytest.raises(ValueError, match="triangle"):
        ClosestPoint(vertices, [[0, 1, 3]])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="vertices"):
        ClosestPoint(np.zeros((3, 2)), [[0, 1, 2]])
    with pytest.raises(ValueError, match="triangle"):
        ClosestPoint(np.zeros((3, 3)), np.zeros((0, 3), int))
    with pytest.raises(ValueError, match="points"):
        ClosestPoint(np.eye(3), [[0, 1, 2]]).query(np.zeros(3))
