"""Alignments: motions are undone, in each protocol's own way."""

from __future__ import annotations

import numpy as np
import pytest
from protocol_cases import MOTION, wavy

from facerelief.geometry import Mesh, Similarity, matrix_from_euler, procrustes
from facerelief.lab.evaluation.protocols.steps.alignment import (
    Surface,
    deviation_scale,
    keypoint_icp,
    scan_to_surface,
    similarity_icp,
)
from facerelief.lab.evaluation.protocols.steps.distances import (
    point_to_surface,
)


def test_realys_scale_is_the_ratio_of_deviations():
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2.0]])
    found = deviation_scale(points, MOTION.apply(points))
    assert found.scale == pytest.approx(MOTION.scale)
    assert np.allclose(found.apply(points), MOTION.apply(points))
    # not the scale of least squares: one coordinate that is off counts by its size, not its square
    target = points.copy()
    target[1, 0] = 4
    turned = (points - points.mean(0)) @ procrustes(points, target, with_scale=False).rotation.T
    expected = np.abs(target - target.mean(0)).sum() / np.abs(turned).sum()
    assert deviation_scale(points, target).scale == pytest.approx(expected)
    assert expected != pytest.approx(procrustes(points, target).scale)


@pytest.mark.parametrize("with_scale", [True, False])
def test_scan_to_surface_undoes_a_motion(with_scale):
    mesh = wavy()
    inner = mesh.vertices[np.abs(mesh.vertices[:, :2]).max(axis=1) < 30].astype(np.float64)
    motion = MOTION if with_scale else Similarity(1.0, MOTION.rotation, MOTION.translation)
    moved = Mesh(motion.apply(mesh.vertices), mesh.triangles)
    off = Similarity(
        1.03 if with_scale else 1.0, matrix_from_euler(0.03, -0.04, 0.02), np.array([0.8, -0.5, 1.0])
    )
    surface = Surface.of(moved)
    pose = scan_to_surface(inner, surface, off.after(motion.inverse()), with_scale=with_scale)
    assert point_to_surface(inner, surface, pose).max() < 1e-3
    assert pose.scale == pytest.approx(1 / motion.scale, abs=1e-4)


def test_shrinking_the_prediction_gains_nothing():
    """Distances count on the scan: a flat prediction is not scaled away."""
    mesh = wavy()
    points = mesh.vertices.astype(np.float64)
    flat = Mesh((mesh.vertices * [1, 1, 0]).astype(np.float32), mesh.triangles)
    pose = scan_to_surface(points, Surface.of(flat), Similarity.identity(), with_scale=True)
    assert 0.5 < pose.scale < 2


def test_icp_with_a_similarity_in_each_round():
    mesh = wavy()
    inner = mesh.vertices[np.abs(mesh.vertices[:, :2]).max(axis=1) < 25].astype(np.float64)
    off = Similarity(1.02, matrix_from_euler(0.02, 0.01, -0.02), np.array([0.3, 0.4, 0.5]))
    motion, nearest = similarity_icp(
        off.apply(inner), Surface.of(mesh), Similarity.identity(), tolerance=1e-6
    )
    assert nearest.distance.mean() < 0.02
    assert motion.scale == pytest.approx(1 / 1.02, abs=0.005)


def test_keypoints_hold_what_a_plane_leaves_free():
    """On a plane every shift fits the points; the keypoints alone say which is right."""
    n = 15
    mesh = Mesh((wavy(n).vertices * [1, 1, 0]).astype(np.float32), wavy(n).triangles)
    points = mesh.vertices[np.abs(mesh.vertices[:, :2]).max(axis=1) < 20].astype(np.float64)
    keypoints = np.array([[-10, 0, 0], [10, 0, 0], [0, 10, 0.0]])
    off = Similarity(1.0, np.eye(3), np.array([3.0, -2.0, 0.0]))
    pose = keypoint_icp(points, Surface.of(mesh), off, keypoints, keypoints, repeat=len(points) // 3)
    assert np.abs(pose.apply(keypoints) - keypoints).max() < 0.1
