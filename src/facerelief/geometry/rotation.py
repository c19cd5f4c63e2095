"""Rotations: R = R_z(roll) R_y(yaw) R_x(pitch), radians, right-handed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def matrix_from_euler(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    """(3, 3) matrix of R_z(roll) R_y(yaw) R_x(pitch)."""
    cp, sp = math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    cr, sr = math.cos(roll), math.sin(roll)
    return np.array(
        [
            [cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp],
            [sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp],
            [-sy, cy * sp, cy * cp],
        ]
    )


def euler_from_matrix(rotation: ArrayLike) -> tuple[float, float, float]:
    """(pitch, yaw, roll) of a (3, 3) rotation; yaw in [-pi/2, pi/2], at gimbal lock roll is 0."""
    r = np.asarray(rotation, dtype=float)
    cos_yaw = math.hypot(r[0, 0], r[1, 0])
    yaw = math.atan2(-r[2, 0], cos_yaw)
    if cos_yaw > 1e-8:
        return math.atan2(r[2, 1], r[2, 2]), yaw, math.atan2(r[1, 0], r[0, 0])
    return math.atan2(-r[1, 2], r[1, 1]), yaw, 0.0


def nearest_rotation(matrix: ArrayLike) -> NDArray[np.float64]:
    """The proper rotation closest to a (3, 3) matrix in the Frobenius norm (no reflections)."""
    u, _, vt = np.linalg.svd(np.asarray(matrix, dtype=float))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return u @ vt
