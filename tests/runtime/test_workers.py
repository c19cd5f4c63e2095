"""Several processes give what one gives, in the same order, and are gone afterwards whatever happens.

Jobs are expressions and the function `eval`, which every fresh interpreter can find.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from facerelief.errors import FacereliefError
from facerelief.runtime import default_threads
from facerelief.runtime.workers import ordered_results, worker_settings

THREADS = "__import__('facerelief.runtime').runtime.default_threads()"


@pytest.fixture(autouse=True)
def nothing_left():
    threads, interrupt = default_threads(), signal.getsignal(signal.SIGINT)
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before
    assert default_threads() == threads
    assert signal.getsignal(signal.SIGINT) == interrupt


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_jobs_order(workers):
    # the first ones take longest
    jobs = [f"(__import__('time').sleep({0.2 / (k + 1)}), {k} ** 2)[1]" for k in range(7)]
    with ordered_results(eval, jobs, workers=workers) as results:
        assert list(results) == [k**2 for k in range(7)]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_process_is_prepared_and_keeps_to_one_thread(workers, monkeypatch):
    monkeypatch.setenv("FACERELIEF_TEST", "no")
    prepare = "import os; os.environ['FACERELIEF_TEST'] = 'yes'"
    jobs = ["__import__('os').environ['FACERELIEF_TEST']", THREADS] * 3
    with ordered_results(eval, jobs, workers=workers, start=exec, arguments=(prepare,)) as results:
        assert list(results) == ["yes", 1] * 3


def test_one_worker_is_this_process_and_more_are_others():
    jobs = ["__import__('os').getpid()"] * 6
    with ordered_results(eval, jobs) as results:
        assert set(results) == {os.getpid()}
    with ordered_results(eval, jobs, workers=2) as results:
        found = set(results)
    assert os.getpid() not in found
    assert len(found) <= 2


def taken(number: int, jobs: list[str], error: type[BaseException] = ZeroDivisionError, **how) -> list:
    """So many results, then an error within the context."""
    found = []
    with suppress(error), ordered_results(eval, jobs, **how) as results:
        for _ in range(number):
            found.append(next(results))
        raise error
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_a_job_reach_the_caller_after_the_results_before(workers):
    jobs = ["1", "[][0]", "3"]
    assert taken(1, jobs, workers=workers) == [1]
    with pytest.raises(IndexError, match="out of range"):
        taken(2, jobs, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_preparing_reach_the_caller(workers):
    with pytest.raises(LookupError, match="no such model"):
        taken(1, ["1", "2"], workers=workers, start=exec, arguments=("raise LookupError('no such model')",))


def test_a_process_that_dies_is_told_in_one_line():
    with pytest.raises(FacereliefError, match=r"^a worker process ended.*fewer workers$"):
        taken(4, ["1", "__import__('os')._exit(3)", "2", "3"], workers=2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_leaving_drops_what_has_not_begun(tmp_path, error):
    mark = "(__import__('time').sleep(0.05), open({!r}, 'w').close())"
    jobs = [mark.format(str(tmp_path / str(k))) for k in range(99)]
    taken(1, jobs, error, workers=2)
    assert 1 <= len(list(tmp_path.iterdir())) < 50


def test_workers_do_not_heed_the_keyboard():
    jobs = ["__import__('signal').getsignal(2) == __import__('signal').SIG_IGN"] * 3
    with ordered_results(eval, jobs, workers=2) as results:
        assert all(results)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    job = (
        f"(open({str(tmp_path)!r} + '/' + str(__import__('os').getpid()), 'w').close(), "
        "__import__('time').sleep(60))"
    )
    program = tmp_path / "program.py"
    program.write_text(
        "from facerelief.runtime.workers import ordered_results\n"
        "if __name__ == '__main__':\n"
        f"    with ordered_results(eval, [{job!r}] * 2, workers=2) as results:\n"
        "        list(results)\n"
    )
    run = subprocess.Popen([sys.executable, str(program)])
    try:
        pids = waited(lambda: [int(f.name) for f in tmp_path.iterdir() if f.name.isdigit()], 2)
    finally:
        run.kill()
        run.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def waited(look, number: int) -> list[int]:
    """What `look` finds as soon as it is so many."""
    deadline = time.monotonic() + 60
    while len(found := look()) < number and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) >= number
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = f"/proc/{pid}/stat"
    if not os.path.exists("/proc/self/stat"):
        return True
    try:
        with open(stat, encoding="utf-8", errors="replace") as handle:
            return handle.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_no_jobs_no_work():
    with ordered_results(eval, [], workers=4, start=exec, arguments=("[][0]",)) as results:
        assert list(results) == []


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(ValueError, match="workers is 0: expected at least 1"):
        taken(1, ["1"], workers=0)


def test_settings_are_given_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with worker_settings():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
