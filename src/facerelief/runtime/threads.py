"""Thread limits of networks, linear algebra and OpenCV: all of them are set here.

Networks take `default_threads()`. Small linear algebra is slower on several threads than on one, far slower
beside a busy process; `single_thread` limits it where the library solves such systems. `thread_limit` sets
all three for a whole process: a worker, a benchmark.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_network_threads: int | None = None


def default_threads() -> int:
    """Default threads of a network: `set_threads`, else FACERELIEF_THREADS, else the cores, at most four.

    The networks are small: beyond a few threads they get slower.
    """
    if _network_threads is not None:
        return _network_threads
    asked = os.environ.get("FACERELIEF_THREADS", "").strip()
    if asked.isascii() and asked.isdigit() and int(asked) > 0:
        return int(asked)
    return max(1, min(4, available_cores()))


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int | None) -> int | None:
    """Set the threads of networks loaded from now on, None for the default; returns the setting before.

    Raises:
        ValueError: `count` is less than 1.
    """
    global _network_threads
    if count is not None and count < 1:
        raise ValueError(f"count is {count}: expected at least 1 thread, or None for the default")
    before, _network_threads = _network_threads, count
    return before


def load_linear_algebra() -> None:
    """Load SciPy's linear algebra, so that a limit set later holds for it: only loaded libraries can be
    limited."""
    import scipy.linalg  # noqa: F401


@contextmanager
def thread_limit(count: int | None) -> Iterator[None]:
    """Networks, linear algebra and OpenCV of this process limited to `count` threads inside.

    Args:
        count: Threads; None leaves all three as they are.
    """
    if count is None:
        yield
        return
    import cv2
    from threadpoolctl import threadpool_limits

    load_linear_algebra()
    networks, opencv = set_threads(count), cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        set_threads(networks)
        cv2.setNumThreads(opencv)


class _Overlap:
    """Count of the threads inside `single_thread`, and the settings from before the first entered.

    threadpoolctl restores the setting that it found. Of two overlapping threads the second finds the limit of
    the first, and would leave it in place for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: dict[str, tuple[Any, int]] = {}
        """Library file -> its controller and its threads."""

    def enter(self, controller: Any) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = {}
            for library in controller.lib_controllers:
                self._before.setdefault(library.filepath, (library, library.num_threads))

    def leave(self) -> None:
        """Restore the settings that overlapping threads left limited."""
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            wrong = [
                (library, count) for library, count in self._before.values() if library.num_threads != count
            ]
            for library, count in wrong:
                library.set_num_threads(count)
            if wrong:
                with _controller(False).limit(limits=None):  # gives up the ownership that setting took
                    pass


_overlap = _Overlap()


@contextmanager
def single_thread(*, scipy: bool = True) -> Iterator[None]:
    """Linear algebra on one thread inside; may be entered from several threads at once.

    Args:
        scipy: Limit SciPy's library too, which imports it. Otherwise only the libraries that were loaded at
            the first call are limited.
    """
    controller = _controller(scipy)
    _overlap.enter(controller)
    try:
        with controller.limit(limits=1, user_api="blas"):
            yield
    finally:
        _overlap.leave()


@functools.cache
def _controller(with_scipy: bool) -> Any:
    """The loaded libraries, cached: finding them takes milliseconds, limiting them microseconds."""
    if with_scipy:
        load_linear_algebra()
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
