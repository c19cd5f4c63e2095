"""Random states of the toy model and samples labelled with them."""

from __future__ import annotations

import pytest
from labelled_states import labelled, random_state

from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample


@pytest.fixture(scope="module")
def states(toy_model) -> list[FaceState]:
    return [random_state(toy_model, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def samples(toy_model, states) -> list[Sample]:
    return [labelled(toy_model, state, k) for k, state in enumerate(states)]
