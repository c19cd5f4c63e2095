"""Held-out samples: the right split, kind and model, or one line about what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from labelled_states import write_pairs_set

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.nets.held_out import held_out
from facerelief.morphable import open_model


@pytest.fixture(scope="module")
def data_set(tmp_path_factory) -> Path:
    return write_pairs_set(tmp_path_factory.mktemp("sets") / "pairs")


def test_what_is_held_out(data_set):
    model = open_model()
    found = held_out(model, data_set, ("pairs",), None, None)
    assert (found.split, found.count) == ("val", 2)
    assert [sample.key for sample in found.samples] == ["toy-0000", "toy-0001"]
    with pytest.raises(FacereliefError, match="no samples of test"):
        held_out(model, data_set, ("pairs",), "test", None)
    with pytest.raises(FacereliefError, match="holds pairs, expected fine"):
        held_out(model, data_set, ("fine",), None, None)
    other = replace(model, name="another")
    with pytest.raises(FacereliefError, match="expected 'another'"):
        held_out(other, data_set, ("pairs",), None, None)
