"""Several processes give what one gives, in the same order, and are gone afterwards whatever happens.

Jobs are expressions and the function `eval`, which every fresh interpreter can find.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from facerelief.errors import FacereliefError
from facerelief.runtime import default_threads
from facerelief.runtime.workers import as_completed, ordered_results, worker_settings

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


def test_a_process_that_dies_is_reported_in_one_line():
    with pytest.raises(FacereliefError, match=r"^a worker process ended \(exit code 3\).*fewer workers$"):
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
    """The findings of `look` once there are `number` of them."""
    deadline = time.monotonic() + 60
    while len(found := look()) < number and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) >= number
    return found


def alive(pid: int) -> bool:
    """True if a process runs; False for one that has ended but was not waited for."""
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


# ---------------------------------------------------------------- in the order of completion


def test_every_job_has_one_answer_whatever_became_of_it():
    jobs = ["1", "[][0]", "__import__('os')._exit(3)", "4", "(lambda: 0)"]
    with as_completed(eval, jobs, workers=2) as answers:
        found = {answer.number: answer for answer in answers}
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert (found[0].value(), found[3].value()) == (1, 4)
    assert isinstance(found[1].error, IndexError)
    assert 'File "<string>", line 1' in "".join(found[1].error.__notes__)
    assert found[2].lost == "exit code 3"
    assert found[4].error is not None  # a function's result that cannot be pickled
    for number, error in ((1, IndexError), (2, FacereliefError)):
        with pytest.raises(error):
            found[number].value()


def test_answers_come_as_jobs_are_completed():
    jobs = ["__import__('time').sleep(1.5)", "2"]
    with as_completed(eval, jobs, workers=2, start=eval, arguments=("0",)) as answers:
        assert [answer.number for answer in answers][-1] == 0


MARKED = "(open({0!r} + '/' + __import__('os').urandom(4).hex(), 'w').close(), {1})"


@pytest.mark.parametrize("tries", [1, 3])
def test_a_job_is_tried_so_many_times_and_cleared_every_time(tmp_path, tries):
    job = MARKED.format(str(tmp_path), "__import__('os')._exit(3)")
    cleared: list[str] = []
    with as_completed(eval, [job, "1", "2"], workers=2, tries=tries, clear=cleared.append) as answers:
        lost = [answer for answer in answers if answer.lost]
    assert [answer.number for answer in lost] == [0]
    assert len(list(tmp_path.iterdir())) == tries
    assert cleared == [job] * tries


def test_a_job_without_memory_is_tried_in_another_process(tmp_path):
    mark = str(tmp_path / "mark")
    first = f"(open({mark!r}, 'w').close(), (_ for _ in ()).throw(MemoryError()))"
    job = f"__import__('os').getpid() if __import__('os').path.exists({mark!r}) else {first}"
    with as_completed(eval, [job], workers=1, tries=3) as answers:
        (answer,) = answers
    assert answer.value() > 0


def test_workers_that_only_die_end_the_run():
    jobs = ["__import__('os')._exit(7)"] * 50
    with (
        as_completed(eval, jobs, workers=1, tries=3) as answers,
        pytest.raises(FacereliefError, match=r"3 times \(exit code 7\)"),
    ):
        list(answers)


@pytest.fixture
def interruptible():
    """Interrupts raise, though a shell starts its background jobs with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("missed", [False, True])
def test_a_stopped_worker_clears_up(tmp_path, missed):
    """Also if it misses the first request, as one that comes between the last look for signals and a wait."""
    before = "    leave = signal.signal(15, signal.SIG_IGN)\n" if missed else ""
    after = "    time.sleep(0.3)\n    signal.signal(15, leave)\n" if missed else ""
    program = (
        f"import pathlib, signal, time\nhere = pathlib.Path({str(tmp_path)!r})\n"
        f"try:\n{before}    (here / 'begun').touch()\n{after}    time.sleep(60)\n"
        "finally:\n    time.sleep(1.2)\n    (here / 'cleared').touch()"
    )
    cleared: list[str] = []
    with (
        suppress(KeyboardInterrupt),
        as_completed(exec, [program], workers=1, clear=cleared.append) as answers,
    ):
        threading.Thread(
            target=lambda: waited(lambda: list(tmp_path.iterdir()), 1) and os.kill(os.getpid(), 2)
        ).start()
        next(answers)
    assert {file.name for file in tmp_path.iterdir()} == {"begun", "cleared"}
    assert cleared == [program]
