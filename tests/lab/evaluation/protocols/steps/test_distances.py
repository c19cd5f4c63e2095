"""Distances to surfaces and their rims."""

from __future__ import annotations

import numpy as np

from facerelief.geometry import Mesh, Similarity
from facerelief.lab.evaluation.protocols.steps.alignment import (
    Surface,
)
from facerelief.lab.evaluation.protocols.steps.distances import (
    on_rim,
    point_to_plane,
    point_to_surface,
    symmetric_mean,
)


def test_distances_to_a_plane_and_its_rim():
    mesh = Mesh(np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    surface, still = Surface.of(mesh), Similarity.identity()
    points = np.array([[2, 2, 3], [-4, 2, 3.0]])
    assert np.allclose(point_to_surface(points, surface, still), [3, 5])
    assert np.allclose(point_to_plane(points, surface, still), [3, 3])
    assert on_rim(surface, surface.nearest(points, still)).tolist() == [False, True]
    twice = Similarity(2.0, np.eye(3), np.zeros(3))
    assert np.allclose(point_to_surface(points, surface, twice), [3, 5])


def test_the_symmetric_distance_is_symmetric():
    a, b = np.array([1.0, 2.0]), np.array([5.0, 5.0, 5.0, 5.0])
    assert symmetric_mean(a, b) == symmetric_mean(b, a) == 3.25
