"""A stage's time is the sum over its blocks."""

from __future__ import annotations

import time

import pytest

from facerelief.runtime.clock import StageClock


@pytest.fixture
def clock(monkeypatch) -> StageClock:
    """A clock on which a second passes between any two looks."""
    seconds = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    return StageClock()


def test_repeated_stages_add_up(clock):
    for stage in ("depth", "light", "depth"):
        with clock(stage):
            pass
    assert clock.ms == {"depth": 2000.0, "light": 1000.0}
    assert list(clock.ms) == ["depth", "light"]


def test_an_outer_stage_includes_the_inner_one(clock):
    with clock("outer"), clock("inner"):
        pass
    assert clock.ms == {"inner": 1000.0, "outer": 3000.0}


def test_a_stage_that_fails_counts_too(clock):
    with pytest.raises(KeyError), clock("depth"):
        raise KeyError
    assert clock.ms == {"depth": 1000.0}
