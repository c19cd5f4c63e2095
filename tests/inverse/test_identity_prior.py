"""Laws of the identity's prior: standard normal, and narrow along size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.inverse.identity_prior import COMPONENT_SIZE, identity_precision


def test_a_component_of_pure_size_is_held_by_the_size_alone(toy_model):
    face = toy_model.face_vertices
    grown = toy_model.mean - toy_model.mean[face].mean(axis=0)
    identity = toy_model.identity.copy()
    identity[:, :, 0] = 0.02 * grown
    model = replace(toy_model, identity=identity)
    assert model.size_change[0] == pytest.approx(0.02, rel=1e-4)
    precision = identity_precision(model, deviation=2.0, size=0.01)
    assert precision[0, 0] == pytest.approx(0.25 + 4.0 + 4.0, rel=1e-4)


def test_a_component_stays_free_where_another_keeps_the_size(toy_model):
    precision = identity_precision(toy_model, deviation=1.0, size=1e-4)
    change = toy_model.size_change.astype(np.float64)
    # along a direction in which the size stays, each component keeps its own limit alone
    kept = np.linalg.svd(change[None])[2][1:]
    own = np.eye(len(change)) + np.diag(change**2) / COMPONENT_SIZE**2
    np.testing.assert_allclose(kept @ precision @ kept.T, kept @ own @ kept.T, atol=1e-6)
    # and the size itself is held
    assert change @ precision @ change > 0.9 * (change @ change) ** 2 / 1e-4**2


def test_without_a_limit_of_size_all_components_are_alike(toy_model):
    np.testing.assert_allclose(identity_precision(toy_model, 0.5, np.inf), 4.0 * np.eye(toy_model.n_identity))


def test_shifts_and_turns_change_no_size(toy_model):
    identity = np.zeros_like(toy_model.identity)
    identity[:, 1, 0] = 3.0
    identity[:, 0, 1], identity[:, 1, 1] = -0.01 * toy_model.mean[:, 1], 0.01 * toy_model.mean[:, 0]
    model = replace(toy_model, identity=identity)
    np.testing.assert_allclose(model.size_change[:2], 0.0, atol=1e-6)
