"""Laws of rotations: proper, invertible, and the signs that docs/conventions.md promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerelief.geometry.rotation import euler_from_matrix, matrix_from_euler, nearest_rotation

ANGLE = st.floats(-math.pi + 1e-3, math.pi - 1e-3)
YAW = st.floats(-math.pi / 2 + 1e-3, math.pi / 2 - 1e-3)


@given(ANGLE, YAW, ANGLE)
def test_angles_to_matrix_to_angles(pitch: float, yaw: float, roll: float) -> None:
    matrix = matrix_from_euler(pitch, yaw, roll)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    np.testing.assert_allclose(euler_from_matrix(matrix), (pitch, yaw, roll), atol=1e-6)


@given(ANGLE, st.sampled_from([-math.pi / 2, math.pi / 2]), ANGLE)
def test_gimbal_lock_keeps_the_rotation(pitch: float, yaw: float, roll: float) -> None:
    matrix = matrix_from_euler(pitch, yaw, roll)
    again = euler_from_matrix(matrix)
    assert again[2] == 0.0
    np.testing.assert_allclose(matrix_from_euler(*again), matrix, atol=1e-7)


def test_order_is_roll_after_yaw_after_pitch() -> None:
    a, b, c = 0.3, -0.5, 0.7
    apart = matrix_from_euler(0, 0, c) @ matrix_from_euler(0, b, 0) @ matrix_from_euler(a, 0, 0)
    np.testing.assert_allclose(matrix_from_euler(a, b, c), apart, atol=1e-15)


def test_signs() -> None:
    nose = np.array([0.0, 0.0, 1.0])
    assert (matrix_from_euler(0, 0.2, 0) @ nose)[0] > 0  # yaw > 0: to the image's right
    assert (matrix_from_euler(0.2, 0, 0) @ nose)[1] < 0  # pitch > 0: down
    crown = np.array([0.0, 1.0, 0.0])
    assert (matrix_from_euler(0, 0, 0.2) @ crown)[0] < 0  # roll > 0: counter-clockwise as seen


@given(st.integers(0, 2**32 - 1))
def test_nearest_rotation_is_proper_and_leaves_rotations_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(3, 3))
    near = nearest_rotation(matrix)
    assert np.linalg.det(near) == pytest.approx(1.0)
    for _ in range(20):
        other = nearest_rotation(rng.normal(size=(3, 3)))
        assert np.linalg.norm(matrix - near) <= np.linalg.norm(matrix - other) + 1e-9
    np.testing.assert_allclose(nearest_rotation(near), near, atol=1e-12)


def test_nearest_rotation_refuses_reflections() -> None:
    assert np.linalg.det(nearest_rotation(np.diag([1.0, 1.0, -1.0]))) == pytest.approx(1.0)
