"""Work on many things in several processes, which end whatever happens."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from facerelief.errors import FacereliefError
from facerelief.runtime.threads import set_threads

J = TypeVar("J")
R = TypeVar("R")

_THREAD_SETTINGS = ("FACERELIEF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def worker_settings() -> Iterator[None]:
    """Processes started inside load libraries for one thread and do not heed the keyboard's interrupt."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    main = threading.current_thread() is threading.main_thread()
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, interrupt or signal.default_int_handler)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _nothing() -> None:
    pass


@contextmanager
def ordered_results(
    function: Callable[[J], R],
    jobs: Sequence[J],
    *,
    workers: int = 1,
    start: Callable[..., object] = _nothing,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Iterator[R]]:
    """function(job) of every job, in the jobs' order, each as soon as it is there.

    With one worker in this process, else in processes of their own: then the main program must be importable,
    and function, start, jobs and results are pickled. start(*arguments) prepares each process; networks keep
    to one thread. Leaving the context, also by an error or Ctrl-C, drops the jobs not begun and
    waits for the processes to end. Errors of `start` and `function` come from the iterator, whatever the
    number of workers; a FacereliefError tells that a process died.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: expected at least 1")
    workers = min(workers, len(jobs))
    if workers <= 1:
        before = set_threads(1)
        try:
            yield _here(function, jobs, start, arguments)
        finally:
            set_threads(before)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(start, arguments))
    try:
        with worker_settings():
            results = pool.map(_Guarded(function), jobs)
        yield _received(results)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _here(
    function: Callable[[J], R], jobs: Sequence[J], start: Callable[..., object], arguments: tuple[Any, ...]
) -> Iterator[R]:
    if jobs:
        start(*arguments)
    yield from map(function, jobs)


def _received(results: Iterator[R]) -> Iterator[R]:
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield from results
    except BrokenProcessPool as error:
        raise FacereliefError(
            "a worker process ended by itself, perhaps for lack of memory; use fewer workers"
        ) from error


_FAILED: list[Exception] = []
"""In a worker process: why it could not be prepared."""


def end_with_parent() -> None:
    """In a worker process: end at once when the process that started it is gone, even by SIGKILL."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


def _begin(start: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent heeds it and decides
    end_with_parent()
    set_threads(1)
    try:
        start(*arguments)
    except Exception as error:  # raised here it would end the process, and nobody would learn why
        _FAILED.append(error)


class _Guarded:
    """A function that raises what went wrong when its process was prepared."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, job: Any) -> Any:
        if _FAILED:
            raise _FAILED[0]
        return self.function(job)
