"""Mixes of ARKit's units: every part exists, weights are within bounds, sides are alike."""

from __future__ import annotations

import pytest

from facerelief.errors import ModelError
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored
from facerelief.morphable.named_expressions import AVATAR_KEYS, EXPRESSIONS, NAMED, VISEMES


@pytest.mark.parametrize("name", NAMED)
def test_mixes_are_of_arkits_units_within_bounds(name):
    assert set(NAMED[name]) <= set(ARKIT_NAMES)
    assert all(0 < weight <= 1 for weight in NAMED[name].values())


def test_names_are_told_apart():
    assert len(VISEMES) == 15
    assert len(AVATAR_KEYS) == 5
    assert len(NAMED) == len(EXPRESSIONS) + 20
    assert not set(NAMED) & set(ARKIT_NAMES)


@pytest.mark.parametrize("name", [*VISEMES, *AVATAR_KEYS])
def test_mouths_of_speech_are_symmetric(name):
    assert {mirrored(part): weight for part, weight in NAMED[name].items()} == NAMED[name]


def test_models_take_friendly_names(toy_model):
    weights = toy_model.expression_weights({"open-mouth": 0.5, "jawOpen": 0.1})
    assert weights[toy_model.expression_names.index("jawOpen")] == pytest.approx(0.45)
    with pytest.raises(ModelError, match="did you mean"):
        toy_model.expression_weights({"smil": 1})
