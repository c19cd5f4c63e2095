"""Every kind of training data can be loaded, and its configuration is documented."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.kinds import KINDS, Kind


@pytest.mark.parametrize("name", sorted(KINDS))
def test_maker_and_configuration_can_be_imported(name):
    maker, config = KINDS[name].load()
    assert KINDS[name].name == name
    assert list(inspect.signature(maker).parameters)[2] == "config"
    inspect.signature(maker).bind("fits", "model", "config")
    assert dataclasses.is_dataclass(config())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().another = 1


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_field_of_a_configuration_has_a_docstring(name):
    _, config = KINDS[name].load()
    classes = [base for base in config.__mro__ if dataclasses.is_dataclass(base)]
    source = "\n".join(inspect.getsource(base) for base in classes)
    for field in dataclasses.fields(config):
        assert re.search(
            rf'^    {field.name}: .*\n(?:        .*\n|    \).*\n)*    """', source, re.MULTILINE
        ), field.name


def test_a_missing_maker_is_refused_in_one_line():
    for place in ("facerelief.none:Maker", "facerelief.lab.datasets.coarse:None_"):
        with pytest.raises(FacereliefError, match=rf"^{place}: cannot be imported [^\n]+$"):
            Kind("x", place, place).load()
