"""Non-rigid registration leaves a match and follows a bulge."""

from __future__ import annotations

import numpy as np

from facerelief.geometry import Mesh
from facerelief.lab.evaluation.protocols.steps.nonrigid import NonRigidConfig, deform


def wavy(n: int = 25, size: float = 40.0) -> Mesh:
    """A square with hills, mm, seen from +z."""
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-size, size, n), np.linspace(-size, size, n)))
    z = 6 * np.sin(x / 9) + 5 * np.cos(y / 7) + 0.004 * (x - 5) ** 2
    a = np.arange(n * n).reshape(n, n)
    quads = [a[:-1, :-1], a[:-1, 1:], a[1:, 1:], a[1:, :-1]]
    p, q, r, s = (part.ravel() for part in quads)
    return Mesh(
        np.stack([x, y, z], 1).astype(np.float32),
        np.vstack([np.c_[p, q, r], np.c_[p, r, s]]).astype(np.int32),
    )


def test_nonrigid_leaves_a_match_and_follows_a_bulge():
    mesh = wavy(15)
    v = mesh.vertices.astype(np.float64) / 9
    assert np.abs(deform(v, mesh.triangles, v) - v).max() < 1e-6
    goal = v + np.exp(-np.sum(v[:, :2] ** 2, axis=1) / 4)[:, None] * [0, 0, 0.8]
    ids = np.array([0, 112, 224])
    left = [0.8]  # at the middle of the bulge; the softer the sheet, the closer it comes
    for stiffness in (50.0, 10.0, 1.0):
        moved = deform(v, mesh.triangles, goal, ids, goal[ids], NonRigidConfig(stiffness=stiffness))
        left.append(float(np.linalg.norm(moved[112] - goal[112])))
    assert left == sorted(left, reverse=True)
    assert left[1] < 0.6
    assert left[-1] < 0.1
