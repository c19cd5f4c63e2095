"""One pool of worker processes. No worker outlives its parent.

Every worker is a fresh interpreter on one thread. It ignores Ctrl-C, which the parent
handles, and ends within a second when the parent is gone, even by SIGKILL. The main program must be
importable (`if __name__ == "__main__":`); functions, jobs and results are pickled.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from facerelief.errors import FacereliefError
from facerelief.runtime.threads import thread_limit

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

J = TypeVar("J")
R = TypeVar("R")

_THREAD_SETTINGS = ("FACERELIEF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_GRACE_S = 10.0
"""Time that a stopped worker has to clear up."""
_AGAIN_S = 0.5
"""Time after which a signal is looked for, or sent, again: one that comes just before a process begins to
wait does not wake it."""


@dataclass(frozen=True)
class Answer(Generic[R]):
    """Result of one job, or the reason why there is none."""

    number: int
    """Index of the job."""
    result: R | None = None
    error: Exception | None = None
    """Raised by the function, or when the worker was prepared; its traceback is among the notes."""
    lost: str = ""
    """End of the last try's worker: "signal 9", "exit code 3", "out of memory"."""

    def value(self) -> R:
        """The result. Raises the job's error; FacereliefError where the worker was lost."""
        if self.error is not None:
            raise self.error
        if self.lost:
            raise FacereliefError(
                f"a worker process ended ({self.lost}), perhaps for lack of memory; use fewer workers"
            )
        return cast(R, self.result)


class Losses:
    """Counts lost workers, by job and in succession, and decides about another try."""

    def __init__(self, tries: int, workers: int) -> None:
        self.tries = tries
        self._of_job: dict[int, int] = {}
        self._in_a_row = 0
        self._most = tries * max(workers, 1)

    def again(self, number: int, reason: str, *, final: bool = False) -> bool:
        """Record a lost worker; True where its job is to be tried again.

        Args:
            number: Index of the job.
            reason: How the worker ended.
            final: All tries of the job have been made elsewhere.

        Raises:
            FacereliefError: With several tries, `tries` times `workers` workers in succession were lost.
        """
        self._in_a_row += 1
        self._of_job[number] = self.tries if final else self._of_job.get(number, 0) + 1
        if self.tries > 1 and self._in_a_row >= self._most:
            raise FacereliefError(losses_line(self._in_a_row, reason))
        return self._of_job[number] < self.tries

    def done(self) -> None:
        """Record a result."""
        self._in_a_row = 0


def losses_line(times: int, reason: str) -> str:
    """One line about workers that were lost several times."""
    return (
        f"worker processes ended {times} times ({reason}), perhaps for lack of memory; use fewer workers "
        "and give the command again"
    )


def _nothing(*_: object) -> None:
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
    """Results of function(job) in the order of the jobs, each as soon as it is known.

    With one worker the work is done in this process, with more in processes of their own. Errors of `start`
    and `function` come from the iterator, whatever the number of workers. Leaving the context stops all work.

    Args:
        function: Called with each job.
        jobs: Jobs, in the order of the results.
        workers: Jobs worked on at once.
        start: Prepares each process; called with `arguments`.
        arguments: Arguments of `start`.

    Raises:
        ValueError: `workers` is less than 1.
        FacereliefError: From the iterator: a worker died.
    """
    if min(_checked(workers), len(jobs)) <= 1:
        with thread_limit(1):
            yield _here(function, jobs, start, arguments)
        return
    with as_completed(function, jobs, workers=workers, start=start, arguments=arguments) as answers:
        yield _in_order(answers)


def _here(
    function: Callable[[J], R], jobs: Sequence[J], start: Callable[..., object], arguments: tuple[Any, ...]
) -> Iterator[R]:
    if jobs:
        start(*arguments)
    yield from map(function, jobs)


def _in_order(answers: Iterator[Answer[R]]) -> Iterator[R]:
    early: dict[int, Answer[R]] = {}
    following = 0
    for answer in answers:
        early[answer.number] = answer
        while following in early:
            yield early.pop(following).value()
            following += 1


@contextmanager
def as_completed(
    function: Callable[[J], R],
    jobs: Sequence[J],
    *,
    workers: int,
    tries: int = 1,
    start: Callable[..., object] = _nothing,
    arguments: tuple[Any, ...] = (),
    clear: Callable[[J], object] = _nothing,
) -> Iterator[Iterator[Answer[R]]]:
    """Answers to all jobs, in the order of their completion. All work is done in worker processes.

    A worker that dies is replaced. Leaving the context, also by an error or Ctrl-C, drops the jobs not begun,
    asks the workers to end (SIGTERM becomes SystemExit, so that `finally` blocks run) and waits for them.

    Args:
        function: Called with each job.
        jobs: Jobs, begun in this order.
        workers: Jobs worked on at once.
        tries: Times that a job is begun before its worker counts as lost for good.
        start: Prepares each process; called with `arguments`.
        arguments: Arguments of `start`.
        clear: Called in this process with each job that a worker left unfinished.

    Raises:
        ValueError: `workers` is less than 1.
        FacereliefError: From the iterator: too many workers in succession died (see `Losses`).
    """
    count = min(_checked(workers), len(jobs))
    pool: list[_Worker] = []
    try:
        yield _answers((function, start, arguments), jobs, count, Losses(tries, count), pool, clear)
    finally:
        _stop(pool, jobs, clear)


def _checked(workers: int) -> int:
    if workers < 1:
        raise ValueError(f"workers is {workers}: expected at least 1")
    return workers


def _answers(
    setup: tuple[Any, ...],
    jobs: Sequence[J],
    count: int,
    losses: Losses,
    pool: list[_Worker],
    clear: Callable[[J], object],
) -> Iterator[Answer[Any]]:
    from multiprocessing.connection import wait

    waiting = deque(range(len(jobs)))
    while waiting or any(worker.number is not None for worker in pool):
        while waiting and len(pool) < count:
            pool.append(_Worker(setup))
        for worker in pool:
            if waiting and worker.number is None:
                number = waiting.popleft()
                worker.give(number, jobs[number])
        busy = {worker.connection: worker for worker in pool if worker.number is not None}
        for ready in wait(list(busy), _AGAIN_S):
            worker = busy[ready]  # pyright: ignore[reportArgumentType]
            number = cast(int, worker.number)
            kind, value = worker.take()
            if kind == "lost":
                _stop([worker], jobs, clear)
                pool.remove(worker)
                if losses.again(number, value):
                    waiting.append(number)
                else:
                    yield Answer(number, lost=value)
                continue
            losses.done()
            yield Answer(number, value) if kind == "done" else Answer(number, error=value)


def _stop(pool: Sequence[_Worker], jobs: Sequence[J], clear: Callable[[J], object]) -> None:
    """End workers and clear the jobs that they leave unfinished."""
    for worker in pool:
        worker.connection.close()
        if worker.number is not None:
            worker.process.terminate()
    ends = time.monotonic() + _GRACE_S
    for worker in pool:
        worker.process.join(_AGAIN_S)
        while worker.process.is_alive() and time.monotonic() < ends:
            worker.process.terminate()
            worker.process.join(_AGAIN_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        if worker.number is not None:
            clear(jobs[worker.number])


class _Worker:
    """A process that works on one job at a time."""

    def __init__(self, setup: tuple[Any, ...]) -> None:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with worker_settings():
            self.process.start()
        theirs.close()
        self.number: int | None = None
        self._send(setup)

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # a dead worker is noticed when its answer is awaited
            self.connection.send(message)

    def give(self, number: int, job: Any) -> None:
        self.number = number
        self._send(job)

    def take(self) -> tuple[Status, Any]:
        """The answer to the job given; see `run_job`. The job of a lost worker stays its job."""
        try:
            answer: tuple[Status, Any] = self.connection.recv()
            if answer[0] != "lost":
                self.number = None
            return answer
        except (EOFError, OSError):
            self.process.join(5.0)
            code = self.process.exitcode
            return "lost", f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


# ---------------------------------------------------------------- in a worker

Status = Literal["done", "error", "lost"]


@contextmanager
def worker_settings() -> Iterator[None]:
    """Processes started inside load libraries for one thread and ignore Ctrl-C."""
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


def _work(connection: Connection[Any, Any]) -> None:
    """Main program of a worker: the setup and jobs in, answers out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    _end_with_parent()
    with suppress(EOFError, OSError):
        function, start, arguments = connection.recv()
        with thread_limit(1):
            kind, value = run_job(lambda given: start(*given), arguments)
            while True:
                job = connection.recv()
                answer = run_job(function, job) if kind == "done" else (kind, value)
                try:
                    connection.send(answer)
                except OSError:
                    raise
                except Exception as error:  # whatever pickling the result raised
                    connection.send(("error", TypeError(f"a result that cannot be pickled ({error})")))


def run_job(function: Callable[[J], R], job: J) -> tuple[Status, Any]:
    """("done", result), ("error", exception), or ("lost", "out of memory"): another try may succeed."""
    try:
        return "done", function(job)
    except MemoryError:
        return "lost", "out of memory"
    except Exception as error:
        from multiprocessing.reduction import ForkingPickler

        pickler: Any = ForkingPickler
        trace = traceback.format_exc()
        error.add_note(trace)
        try:
            pickler.loads(pickler.dumps(error))
        except Exception:
            return "error", RuntimeError(trace)
        return "error", error


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked again, it goes on clearing up
    raise SystemExit(143)


def _end_with_parent() -> None:
    """End this process at once when the process that started it is gone."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()
