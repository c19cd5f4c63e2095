"""The facts about a model are those of its arrays, and plain enough for JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from facerelief.morphable import FaceModel
from facerelief.morphable.describe import describe


def test_description_counts(toy_model: FaceModel) -> None:
    facts = describe(toy_model)
    assert (facts["vertices"], facts["identity_components"], facts["expression_components"]) == (2242, 5, 52)
    assert facts["landmarks"] == {"ibug68": 68}
    extent = facts["extent_mm"]
    assert isinstance(extent, list)
    assert extent[1] == pytest.approx(210.0, abs=0.1)
    assert facts["symmetric"] is True


def test_facts_survive_json(toy_model: FaceModel) -> None:
    facts = describe(toy_model)
    assert json.loads(json.dumps(facts)) == facts


def test_regions_are_counted_by_vertices(toy_model: FaceModel) -> None:
    model = replace(toy_model, regions={"third": np.arange(toy_model.n_vertices) < 700})
    assert describe(model)["regions"] == {"third": 700}


def test_the_spread_of_identity_scales_with_its_components(toy_model: FaceModel) -> None:
    once, twice = (
        describe(replace(toy_model, identity=np.float32(k) * toy_model.identity))["identity_rms_mm"]
        for k in (1, 2)
    )
    assert twice == pytest.approx(2 * once, abs=0.011)  # each rounded to 0.01 mm
