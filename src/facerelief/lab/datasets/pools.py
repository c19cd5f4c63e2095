"""Workers that may die: processes of this machine, or tasks on a Ray cluster.

A job that loses its worker is done again by another; three times at most.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from facerelief.errors import FacereliefError, OutputError
from facerelief.runtime.threads import thread_limit
from facerelief.runtime.workers import end_with_parent, worker_settings

J = TypeVar("J")
R = TypeVar("R")

TRIES = 3
"""Of a job whose worker dies."""
LOCAL = "local"
"""Address for a cluster of this machine, started for the run."""


class Crew(Protocol):
    """Runs a function on many jobs."""

    def results(self, function: Callable[[J], R], jobs: Sequence[J]) -> AbstractContextManager[Iterator[R]]:
        """function(job) of every job, as each ends, in any order. Functions, jobs and results are pickled.

        Leaving the context ends all work. The iterator raises the first error that is about all jobs (a full
        disk, a missing package) at once, and that a job lost its worker three times after all others ended.
        """
        ...


def _answer(function: Callable[[J], R], job: J) -> tuple[str, Any]:
    """("done", result), ("stop", error) for what no repetition helps, ("again", reason) for the rest."""
    try:
        return "done", function(job)
    except FacereliefError as error:
        return "stop", (OutputError if isinstance(error, OutputError) else FacereliefError)(str(error))
    except MemoryError:
        return "again", "out of memory"
    except Exception:  # a bug: told with its place
        return "stop", RuntimeError(traceback.format_exc())


class _Losses:
    """Counts workers lost, by job and in a row."""

    def __init__(self, workers: int) -> None:
        self.tries: dict[int, int] = {}
        self.in_a_row = 0
        self.most = TRIES * max(workers, 1)
        self.given_up: list[str] = []

    def again(self, number: int, reason: str) -> bool:
        """Whether to try a job once more. Raises FacereliefError where nothing but losses comes."""
        self.in_a_row += 1
        self.tries[number] = self.tries.get(number, 0) + 1
        if self.in_a_row >= self.most:
            raise FacereliefError(self._line(self.in_a_row, reason))
        if self.tries[number] < TRIES:
            return True
        self.given_up.append(self._line(TRIES, reason))
        return False

    def done(self) -> None:
        self.in_a_row = 0

    def end(self) -> None:
        """Raise FacereliefError where a job was given up."""
        if self.given_up:
            raise FacereliefError(f"{len(self.given_up)} shards could not be made: {self.given_up[0]}")

    @staticmethod
    def _line(times: int, reason: str) -> str:
        return (
            f"worker processes ended {times} times ({reason}), perhaps for lack of memory; use fewer workers "
            "and give the command again"
        )


class LocalCrew:
    """Processes of this machine, with one thread each."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: expected at least 1")
        self.workers = workers

    @contextmanager
    def results(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Iterator[R]]:
        workers: list[_Worker] = []
        try:
            yield self._run(function, jobs, workers)
        finally:
            for worker in workers:
                worker.stop()

    def _run(self, function: Callable[[J], R], jobs: Sequence[J], workers: list[_Worker]) -> Iterator[R]:
        waiting = deque(enumerate(jobs))
        losses = _Losses(min(self.workers, len(jobs)))
        while waiting or any(worker.number is not None for worker in workers):
            while waiting and len(workers) < min(self.workers, len(jobs)):
                workers.append(_Worker(function))
            for worker in workers:
                if waiting and worker.number is None:
                    worker.give(*waiting.popleft())
            busy = {worker.connection: worker for worker in workers if worker.number is not None}
            for ready in wait(list(busy)):
                worker = busy[ready]  # pyright: ignore[reportArgumentType]
                number = worker.number
                assert number is not None
                kind, value = worker.take()
                if kind == "done":
                    losses.done()
                    yield value
                elif kind == "stop":
                    raise value
                else:
                    worker.stop()
                    workers.remove(worker)
                    if losses.again(number, value):
                        waiting.append((number, jobs[number]))
        losses.end()


class _Worker:
    """A process that works on one job at a time."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        with worker_settings():
            self.process.start()
        theirs.close()
        self.number: int | None = None

    def give(self, number: int, job: Any) -> None:
        self.number = number
        with suppress(OSError):  # a dead worker is noticed when its answer is awaited
            self.connection.send(job)

    def take(self) -> tuple[str, Any]:
        """The answer to the job given, or ("again", how it died)."""
        self.number = None
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5.0)
            code = self.process.exitcode
            return "again", f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """End the process, at work or not: what it leaves unfinished is cleared by the engine."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def _work(connection: Connection[Any, Any], function: Callable[[Any], Any]) -> None:
    """The life of a worker process: jobs in, answers out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent heeds it and decides
    end_with_parent()
    with thread_limit(1), suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            connection.send(_answer(function, job))


class RayCrew:
    """Tasks on a Ray cluster, one processor each."""

    def __init__(self, address: str, workers: int | None = None) -> None:
        """address: of a cluster, or "local" for one of this machine that ends with the run.

        workers: tasks at once; as many as the cluster has processors unless given. Raises FacereliefError
        where Ray is not installed.
        """
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: expected at least 1")
        from importlib.util import find_spec

        if find_spec("ray") is None:
            raise FacereliefError("--ray needs ray: pip install 'facerelief[scale]'")
        self.address, self.workers = address, workers

    @contextmanager
    def results(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Iterator[R]]:
        if not jobs:
            yield iter(())
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning about graphics cards
        import logging

        import ray

        about: dict[str, Any] = {"address": self.address}
        if self.address == LOCAL:
            about |= {
                "num_cpus": self.workers or os.cpu_count() or 1,
                "object_store_memory": 80_000_000,  # nothing but small records goes through it
                "include_dashboard": False,
            }
        try:
            # a local cluster's processes inherit the settings of one thread
            with worker_settings():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=False, **about)
        except (OSError, RuntimeError, ValueError) as error:
            first = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise FacereliefError(
                f"--ray {self.address}: no cluster there ({first}); give its address, or local"
            ) from error
        try:
            yield self._run(function, jobs)
        finally:
            ray.shutdown()

    def _run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        cpus = int(ray.cluster_resources().get("CPU", 1)) or 1
        task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_ray_task)
        waiting = deque(enumerate(jobs))
        running: dict[Any, int] = {}
        losses = _Losses(self.workers or cpus)
        kind: str
        value: Any
        while waiting or running:
            while waiting and len(running) < (self.workers or 2 * cpus):
                number, job = waiting.popleft()
                running[task.remote(function, job)] = number
            ready, _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ready[0])
            try:
                kind, value = ray.get(ready[0])
            except RayTaskError as error:  # not even unpickled there
                raise FacereliefError(
                    f"a task failed on the cluster ({str(error).strip().splitlines()[-1]}); install the same "
                    "versions on every node"
                ) from error
            except RayError as error:  # Ray tried again by itself, as often as it may
                kind, value = "again", (str(error).strip().splitlines() or ["lost"])[0]
                losses.tries[number] = TRIES - 1
            if kind == "done":
                losses.done()
                yield value
            elif kind == "stop":
                raise value
            elif losses.again(number, value):
                waiting.append((number, jobs[number]))
        losses.end()


def _ray_task(function: Callable[[Any], Any], job: Any) -> tuple[str, Any]:
    with thread_limit(1):
        return _answer(function, job)
