"""Names of expressions and lights stand for weights and coefficients. Errors: test_edit.py, test_names."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.rendering import directional_light, shade
from facerelief.synthesis.vocabulary import EXPRESSIONS, LIGHTS, EditError, expression_changes, named_light

OWN = directional_light((-0.4, 0.5, 1.0), color=(0.6, 0.5, 0.4), ambient=0.3)


@pytest.fixture(scope="module")
def normals():
    """(P, 3) of a half sphere, symmetric in x."""
    x, y = np.meshgrid(np.linspace(-0.9, 0.9, 31), np.linspace(-0.9, 0.9, 31))
    inside = x * x + y * y < 0.95
    return np.stack([x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))], axis=-1)[inside]


def test_a_models_own_name_is_that_weight(toy_model):
    index = toy_model.expression_names.index("jawOpen")
    assert expression_changes(toy_model, {"jawOpen": 0.25}) == {index: 0.25}
    assert expression_changes(toy_model, {}) == {}


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_a_friendly_name_scales_its_blendshapes(toy_model, name):
    names = toy_model.expression_names
    found = {names[i]: weight for i, weight in expression_changes(toy_model, {name: 0.5}).items()}
    assert found == pytest.approx({part: 0.5 * share for part, share in EXPRESSIONS[name].items()})


def test_contributions_add_up_to_the_models_bound(toy_model):
    names = toy_model.expression_names
    both = expression_changes(toy_model, {"surprise": 1.0, "jawOpen": 0.3})
    assert both[names.index("jawOpen")] == pytest.approx(0.75)
    assert expression_changes(toy_model, {"surprise": 1.0, "jawOpen": 0.9})[names.index("jawOpen")] == 1.0


def test_left_and_right_are_mirror_images():
    for left, right in (("wink-left", "wink-right"),):
        swapped = {name.replace("Left", "Right"): weight for name, weight in EXPRESSIONS[left].items()}
        assert swapped == EXPRESSIONS[right]


@pytest.mark.parametrize("name", [*LIGHTS, "rotate:90", "rotate:-45"])
def test_no_light_is_brighter_than_the_photos_own(normals, name):
    before = shade(normals, OWN)
    after = np.maximum(shade(normals, named_light(name, OWN, normals)), 0)
    ratio = after.mean(axis=0) / np.maximum(before, 0).mean(axis=0)
    assert np.ptp(ratio) < 1e-3  # the colour stays
    assert 0.7 < ratio[0] < 1.001


def test_lights_shine_from_their_side(normals):
    def sides(name, axis):
        shading = shade(normals, named_light(name, OWN, normals)).mean(axis=1)
        return shading[normals[:, axis] < -0.2].mean(), shading[normals[:, axis] > 0.2].mean()

    for name, axis, positive in (
        ("from-left", 0, False),
        ("from-right", 0, True),
        ("from-above", 1, True),
        ("from-below", 1, False),
    ):
        low, high = sides(name, axis)
        assert (high > 1.2 * low) if positive else (low > 1.2 * high), name


def test_a_flat_light_is_the_same_from_all_sides(normals):
    shading = shade(normals, named_light("flat", OWN, normals))
    np.testing.assert_allclose(shading, shading[:1].repeat(len(shading), 0), atol=1e-5)


def test_rotations_of_the_light(normals):
    np.testing.assert_allclose(named_light("rotate:0", OWN, normals), OWN, atol=1e-6)
    np.testing.assert_allclose(
        named_light("rotate:360", OWN, normals), named_light("rotate:0", OWN, normals), atol=1e-5
    )
    front = directional_light((0.0, 0.3, 1.0), color=0.5, ambient=0.3)
    mirror = normals * [-1, 1, 1]
    right, left = (named_light(f"rotate:{d}", front, normals) for d in (60, -60))
    np.testing.assert_allclose(shade(normals, right), shade(mirror, left), atol=1e-5)
    assert shade([[0.8, 0, 0.6]], right)[0, 0] > shade([[-0.8, 0, 0.6]], right)[0, 0]


def test_a_model_that_lacks_a_blendshape_is_named(toy_model):
    from dataclasses import replace

    names = ["other" if n == "jawOpen" else n for n in toy_model.expression_names]
    with pytest.raises(EditError, match=r"'open-mouth' needs jawOpen, which the model 'toy' has not"):
        expression_changes(replace(toy_model, expression_names=tuple(names)), {"open-mouth": 1})
