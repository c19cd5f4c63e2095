"""Laws of the expression's prior: rare units held closer to zero, both sides alike, gaze of both eyes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief import open_model
from facerelief.inverse.expression_prior import expression_precision


@pytest.fixture(scope="module")
def model():
    return open_model("open2")


def cost(model, precision, **weights):
    expression = model.expression_weights(weights)
    return float(expression @ precision @ expression)


def test_precision_is_symmetric_and_positive_definite(model):
    precision = expression_precision(model, 0.6)
    np.testing.assert_array_equal(precision, precision.T)
    assert np.linalg.eigvalsh(precision)[0] > 0


def test_equal_weights_of_both_sides_cost_what_the_units_alone_do(model):
    both = cost(model, expression_precision(model, 0.5), mouthSmileLeft=0.5, mouthSmileRight=0.5)
    assert both == pytest.approx(2.0)
    one_sided = cost(model, expression_precision(model, 0.5, np.inf), mouthSmileLeft=0.5)
    assert one_sided == pytest.approx(1.0)
    assert cost(model, expression_precision(model, 0.5, 0.25), mouthSmileLeft=0.5) == pytest.approx(5.0)


def test_winks_cost_no_more_than_blinks(model):
    precision = expression_precision(model, 0.6)
    wink = cost(model, precision, eyeBlinkLeft=1.0)
    assert cost(model, precision, eyeBlinkLeft=1.0, eyeBlinkRight=1.0) == pytest.approx(2 * wink)


def test_eyes_that_look_the_same_way_cost_less_than_a_squint(model):
    precision = expression_precision(model, 0.6)
    same = cost(model, precision, eyeLookOutLeft=0.5, eyeLookInRight=0.5)
    assert cost(model, precision, eyeLookInLeft=0.5, eyeLookInRight=0.5) > 2 * same


def test_rare_units_cost_more(model):
    precision = expression_precision(model, 0.6)
    smile = cost(model, precision, mouthSmileLeft=0.5, mouthSmileRight=0.5)
    assert cost(model, precision, browOuterUpLeft=0.5, browOuterUpRight=0.5) > 4 * smile


def test_statistical_bases_are_standard_normal(model):
    precision = expression_precision(replace(model, expression_kind="pca"), 0.6)
    np.testing.assert_array_equal(precision, np.eye(model.n_expression))
