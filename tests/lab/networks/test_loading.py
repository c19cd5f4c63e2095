# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of batches and of the processes that read them."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facerelief.errors import FacereliefError
from facerelief.lab.networks.loading import Batches, reading


class Samples:
    """Positions as samples; one of them is damaged."""

    def __getitem__(self, position: int) -> np.ndarray:
        if position == 13:
            raise FacereliefError("shard.tar: a sample is damaged")
        return np.array([position])


def test_batches_go_on_where_they_were_and_are_shared_out():
    whole = list(Batches(0, 6, 8))
    assert list(Batches(4, 6, 8)) == whole[4:]
    assert [k for part in whole for k in part] == list(range(48))
    parts = [list(Batches(0, 6, 8, rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts)] == whole
    with pytest.raises(ValueError, match="multiple"):
        Batches(0, 6, 7, 0, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_read_in_their_order(workers):
    with reading(Samples(), Batches(0, 3, 4), workers) as batches:
        assert [batch[:, 0].tolist() for batch in batches] == list(Batches(0, 3, 4))


@pytest.mark.parametrize("end", ["early", "error", "damage"])
def test_no_reading_process_outlives_its_block(end):
    """Not even where an exception is kept, whose traceback refers to the loader."""
    kept: list[BaseException] = []
    try:
        with reading(Samples(), Batches(0, 4, 4), 1) as batches:
            next(batches)
            assert multiprocessing.active_children()
            if end == "error":
                raise RuntimeError
            if end == "damage":
                list(batches)
    except (RuntimeError, FacereliefError) as error:
        kept.append(error)
    assert len(kept) == (end != "early")
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="readers end at once there")
def test_a_terminated_reader_finishes_its_step_first():
    program = """if True:
        import time
        from facerelief.lab.networks import loading
        loading._GRACE_S = 0.5
        loading.start_worker(0)
        print("ready", flush=True)
        time.sleep(0.3)
        print("still here", flush=True)
        time.sleep(60)
    """
    reader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    reader.send_signal(signal.SIGINT)
    reader.send_signal(signal.SIGTERM)
    assert reader.stdout.readline() == "still here\n"
    assert reader.wait(timeout=30) == -signal.SIGALRM
    reader.stdout.close()
