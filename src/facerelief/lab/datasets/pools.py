"""Worker pools of the data engine: processes of this machine, or tasks on a Ray cluster.

A job whose worker dies is done again by another, at most `TRIES` times in all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from facerelief.errors import FacereliefError
from facerelief.runtime.threads import thread_limit
from facerelief.runtime.workers import (
    Answer,
    Losses,
    Status,
    as_completed,
    losses_line,
    run_job,
    worker_settings,
)

J = TypeVar("J")
R = TypeVar("R")

TRIES = 3
LOCAL = "local"
"""Address for a cluster of this machine, started for the run."""


@contextmanager
def local_results(function: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[Iterator[R]]:
    """Results of function(job), each as it is completed, from processes of this machine.

    Leaving the context ends all work. The iterator raises a job's error at once, and FacereliefError about
    jobs without a result after all others ended.
    """
    with as_completed(function, jobs, workers=workers, tries=TRIES) as answers:
        yield _results(answers)


@contextmanager
def ray_results(
    function: Callable[[J], R], jobs: Sequence[J], address: str, workers: int | None = None
) -> Iterator[Iterator[R]]:
    """Results as `local_results` gives them, from tasks on a Ray cluster with one processor each.

    Args:
        function: Called with each job.
        jobs: Jobs.
        address: Address of a cluster, or "local" for one of this machine that ends with the run.
        workers: Tasks at once; as many as the cluster has processors unless given.

    Raises:
        FacereliefError: Ray is not installed, or there is no such cluster.
    """
    check_ray(workers)
    if not jobs:
        yield iter(())
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning about graphics cards
    import logging

    import ray

    about: dict[str, Any] = {"address": address}
    if address == LOCAL:
        about |= {
            "num_cpus": workers or os.cpu_count() or 1,
            "object_store_memory": 80_000_000,  # nothing but small records goes through it
            "include_dashboard": False,
        }
    try:
        with worker_settings():  # inherited by a local cluster's processes
            ray.init(log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=False, **about)
    except (OSError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise FacereliefError(
            f"--ray {address}: no cluster there ({first}); give its address, or local"
        ) from error
    try:
        yield _results(_ray_answers(function, jobs, workers))
    finally:
        ray.shutdown()


def check_ray(workers: int | None) -> None:
    """Raise FacereliefError where Ray is not installed, ValueError for fewer than one worker."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}: expected at least 1")
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise FacereliefError("--ray needs ray: pip install 'facerelief[scale]'")


def _results(answers: Iterator[Answer[R]]) -> Iterator[R]:
    lost: list[str] = []
    for answer in answers:
        if answer.lost:
            lost.append(answer.lost)
        else:
            yield answer.value()
    if lost:
        raise FacereliefError(f"{len(lost)} shards could not be made: {losses_line(TRIES, lost[0])}")


def _ray_answers(function: Callable[[J], R], jobs: Sequence[J], workers: int | None) -> Iterator[Answer[R]]:
    import ray
    from ray.exceptions import RayError, RayTaskError

    cpus = int(ray.cluster_resources().get("CPU", 1)) or 1
    task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_ray_task)
    waiting = deque(range(len(jobs)))
    running: dict[Any, int] = {}
    losses = Losses(TRIES, workers or cpus)
    kind: Status
    value: Any
    while waiting or running:
        while waiting and len(running) < (workers or 2 * cpus):
            number = waiting.popleft()
            running[task.remote(function, jobs[number])] = number
        ready, _ = ray.wait(list(running), num_returns=1)
        number = running.pop(ready[0])
        final = False
        try:
            kind, value = ray.get(ready[0])
        except RayTaskError as error:  # it cannot even be unpickled there
            raise FacereliefError(
                f"a task failed on the cluster ({str(error).strip().splitlines()[-1]}); install the same "
                "versions on every node"
            ) from error
        except RayError as error:  # Ray tried again by itself, as often as it may
            kind, value = "lost", (str(error).strip().splitlines() or ["lost"])[0]
            final = True
        if kind != "lost":
            losses.done()
            yield Answer(number, value) if kind == "done" else Answer(number, error=value)
        elif losses.again(number, value, final=final):
            waiting.append(number)
        else:
            yield Answer(number, lost=value)


def _ray_task(function: Callable[[Any], Any], job: Any) -> tuple[Status, Any]:
    with thread_limit(1):
        return run_job(function, job)
