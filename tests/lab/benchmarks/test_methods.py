"""Time and memory of the methods: what is counted, in processes that tell why they fail."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from facerelief.errors import FacereliefError, NoFaceError
from facerelief.lab.benchmarks import methods as method_benchmark
from facerelief.lab.benchmarks.methods import DETECTOR, bench_methods, one_face, peak_mb, repeated


def test_the_first_call_does_not_count():
    asked: list[int] = []
    found = repeated(lambda: asked.append(1), 4, 60.0)
    assert len(asked) == 5
    assert found["calls"] == 4
    assert 0 <= found["median_ms"] <= found["p90_ms"]


def test_time_that_is_up_ends_it_after_one():
    assert repeated(lambda: None, 100, 0.0)["calls"] == 1


def test_no_calls_no_figures():
    asked: list[int] = []
    assert repeated(lambda: asked.append(1), 0, 1.0) == {"median_ms": None, "p90_ms": None, "calls": 0}
    assert not asked


def test_memory_is_that_of_this_process():
    most = peak_mb()
    if most is None:
        pytest.skip("this system does not tell")
    assert 20 < most < 64_000


def test_fresh_processes():
    before = dict(os.environ)
    told: list[str] = []
    found = bench_methods(
        [DETECTOR, "mean_face"], threads=(1,), calls=2, starts=1, seconds=5, progress=told.append
    )
    assert told == ["detector, 1 thread", "mean_face, 1 thread"]
    assert dict(os.environ) == before
    assert found["threads"] == [1]
    assert found["machine"]["versions"]
    for name in (DETECTOR, "mean_face"):
        row = found["methods"][name]["1"]
        assert row["calls"] in (1, 2)
        assert 0 < row["median_ms"] < 1e3 * row["cold_start_s"]
        assert row["peak_mb"] is None or row["peak_mb"] > 20


def test_a_process_that_fails_says_why_in_one_line(tmp_path):
    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(FacereliefError, match="no face found") as caught:
        bench_methods(["mean_face"], empty, threads=(1,), calls=1, starts=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(NoFaceError, match=r"wall\.png"):
        one_face("mean_face", empty, 1)


def test_all_that_a_process_tells_is_heard_whenever_it_tells_it(monkeypatch):
    """Both lines at once, after more words of its own than a pipe holds."""
    code = (
        """import sys; sys.stderr.write("careful! " * 50_000); sys.stdout.write('ready\\n{"calls": 7}\\n')"""
    )
    monkeypatch.setattr(method_benchmark, "_CHILD", code)
    found = bench_methods(["mean_face"], threads=(1,), calls=1, starts=1)
    assert found["methods"]["mean_face"]["1"]["calls"] == 7


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"calls": 0}])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        bench_methods(["mean_face"], **wrong)
