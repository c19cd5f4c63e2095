"""Distances of neutral shapes."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.morphable.shape_distance import shape_distance, shape_distances, shape_gram


def test_distances_are_those_of_the_shapes(toy_model):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, toy_model.n_identity)).astype(np.float32)
    found = shape_distances(first, second, shape_gram(toy_model))
    face = toy_model.face_vertices
    apart = toy_model.shape(first[1])[face] - toy_model.shape(second[2])[face]
    assert found[1, 2] == pytest.approx(np.sqrt((apart**2).sum(axis=1).mean()), rel=1e-4)
    assert shape_distance(toy_model, first[1], second[2]) == pytest.approx(found[1, 2])
