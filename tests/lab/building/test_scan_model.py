"""Laws of open model 2 as it is shipped: `scan_model`, `scan_regions` and `scan_report` made it."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.adjacency import open_edges
from facerelief.lab.building.scan_report import (
    COMBINATIONS,
    clay,
    combination,
    folded_triangles,
    measure_contact,
    unit_asymmetry,
)
from facerelief.lab.building.scan_units import UNITS
from facerelief.lab.building.skin_light import light_share
from facerelief.morphable import open_model
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.morphable.model import FaceModel


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model("open2")


def test_units_are_arkits_and_two_more(model):
    assert model.expression_names == UNITS
    assert model.expression_names[:52] == ARKIT_NAMES
    assert np.abs(model.expression[:, :, UNITS.index("tongueOut")]).max() > 20


def test_left_and_right_are_alike(model):
    mirror = [-1, 1, 1]
    np.testing.assert_allclose(model.mean[model.symmetry] * mirror, model.mean, atol=1e-3)
    assert unit_asymmetry(model) < 0.05
    for mask in model.regions.values():
        np.testing.assert_array_equal(mask[model.symmetry], mask)


def test_parts_do_not_overlap(model):
    parts = ("teeth", "tongue", "lashes", "eyeballs")
    assert sum(model.regions[part].astype(int) for part in parts).max() == 1
    assert not (model.region("face", "narrow_face") & model.region("teeth", "tongue", "lashes")).any()
    assert not (model.regions["ears"] & model.regions["neck"]).any()


def test_texture_coordinates_lie_in_one_square(model):
    assert model.uv.min() >= 0
    assert model.uv.max() <= 1
    assert len(model.uv_triangles) == len(model.triangles)


def test_the_skin_is_closed_but_for_the_neck(model):
    lined = ~model.region("teeth", "gums", "tongue", "lashes", "eyeballs", "mouth", "eye_sockets")
    skin = model.triangles[lined[model.triangles].all(axis=1)]
    rims = model.mean[np.unique(open_edges(skin))]
    at_neck = rims[:, 1] < -95
    near_openings = np.abs(rims[:, 1]) < 85
    assert (at_neck | near_openings).all()


def test_lids_and_lips_close_on_any_face(model):
    found = measure_contact(model, identities=12, seed=3)
    assert found.lid_gap_mm < 0.4
    assert found.lip_gap_mm < 0.5
    assert found.lid_depth_median_mm < 0.3


def test_without_correctives_lids_stay_open(model):
    from dataclasses import replace

    plain = measure_contact(replace(model, correctives=()), identities=12, seed=3)
    assert plain.lid_gap_mm > 0.5


def test_folds_are_few_and_small(model):
    folded, large = folded_triangles(model, 20)
    assert large <= folded < 20 * len(model.triangles) * 1e-4


def test_its_skin_holds_no_light(model):
    found = light_share(model)
    assert found.explained < 0.1
    assert found.asymmetry < 0.01
    assert found.darkest >= 0.05


@pytest.mark.parametrize("name", list(COMBINATIONS))
def test_combinations_name_units(model, name):
    weights = combination(model, COMBINATIONS[name])
    assert weights.max() > 0.3
    assert np.isfinite(model.shape(None, weights)).all()


def test_clay_shows_a_face(model):
    image = clay(model, model.mean, 120, 0.4)
    assert image.shape == (120, 120, 3)
    assert (image[50:70, 50:70] < 250).all()
