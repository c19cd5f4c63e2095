"""Timings by stage: medians, percentiles, and the machine they were taken on."""

from __future__ import annotations

import json

import pytest

import facerelief
from facerelief.lab.benchmarks.timing import Stage, Stopwatch, machine, timings


def test_stopwatch_and_percentiles():
    watch = Stopwatch()
    for ms in range(1, 12):
        watch.add("walk", float(ms))
    with watch("run"):
        pass
    with pytest.raises(KeyError), watch("fall"):
        raise KeyError
    stages = [Stage("run", "fast"), Stage("walk", "slow", 5), Stage("fly", "never"), Stage("fall", "never")]
    run, walk = timings(watch, stages)
    assert (run.name, run.calls, run.within) == ("run", 1, None)
    assert (walk.median_ms, walk.p90_ms, walk.calls) == (6.0, 10.0, 11)
    assert walk.within is False


def test_machine():
    where = machine()
    assert where["processor"]
    assert where["cores"] >= 1
    assert where["versions"]["facerelief"] == facerelief.__version__
    json.dumps(where)
