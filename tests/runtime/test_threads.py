"""Thread limits: restored whatever happens inside and however many threads overlap."""

from __future__ import annotations

import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

from facerelief.runtime.threads import (
    default_threads,
    load_linear_algebra,
    set_threads,
    single_thread,
    thread_limit,
)


def blas_threads() -> dict[str, int]:
    found = (library for library in threadpool_info() if library["user_api"] == "blas")
    return {library["filepath"]: library["num_threads"] for library in found}


def test_scipys_linear_algebra_is_limited_too():
    code = (
        "from facerelief.runtime.threads import single_thread, _controller\n"
        "with single_thread(): pass\n"
        "print(any('scipy' in lib.filepath for lib in _controller(True).lib_controllers))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_overlapping_threads_restore_the_first_setting():
    """A enters, B enters, A leaves, B leaves: without a count of entries B restores A's limit."""
    code = """
import threading
import numpy as np, scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits
from facerelief.runtime.threads import single_thread
blas = lambda: [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
threads = lambda: {lib["filepath"]: lib["num_threads"] for lib in blas()}
with threadpool_limits(3):
    before = threads()
    inside, leave = threading.Event(), threading.Event()
    def other():
        with single_thread():
            inside.set()
            leave.wait(10)
    with single_thread(scipy=False):
        b = threading.Thread(target=other)
        b.start()
        inside.wait(10)
    leave.set()
    b.join()
    print(threads() == before, len(before) > 1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_an_error_inside_restores_too():
    load_linear_algebra()
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), single_thread():
        _ = 1 / 0
    assert blas_threads() == before


def test_a_limit_covers_networks_and_opencv():
    import cv2

    before = default_threads(), cv2.getNumThreads()
    with thread_limit(1):
        assert (default_threads(), cv2.getNumThreads()) == (1, 1)
        assert set(blas_threads().values()) == {1}
    assert (default_threads(), cv2.getNumThreads()) == before


def test_no_limit_changes_nothing():
    load_linear_algebra()
    before = default_threads(), blas_threads()
    with thread_limit(None):
        assert (default_threads(), blas_threads()) == before


@pytest.mark.parametrize("given", ["\u00b2", "-1", "0", "two", ""])
def test_settings_that_are_no_count_are_ignored(given, monkeypatch):
    monkeypatch.delenv("FACERELIEF_THREADS", raising=False)
    usual = default_threads()
    monkeypatch.setenv("FACERELIEF_THREADS", given)
    assert default_threads() == usual


def test_less_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)
