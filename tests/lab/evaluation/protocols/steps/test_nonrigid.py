"""Non-rigid registration leaves a match and follows a bulge."""

from __future__ import annotations

import numpy as np
from protocol_cases import wavy

from facerelief.lab.evaluation.protocols.steps.nonrigid import NonRigidConfig, deform


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
