"""Batches of samples, read by processes beside the training one."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from facerelief.errors import FacereliefError
from facerelief.lab.networks.order import close_shards

_GRACE_S = 20.0
"""Time from SIGTERM to the end of a reading process."""


class Batches(Sampler[list[int]]):
    """Positions of the samples of steps `first` to `last` - 1; each of several processes gets its part."""

    def __init__(self, first: int, last: int, batch: int, rank: int = 0, world: int = 1) -> None:
        """batch: samples of all `world` processes together. Raises ValueError where it is no multiple of
        `world`."""
        if batch % world:
            raise ValueError(f"batch is {batch}: expected a multiple of the {world} processes")
        self.steps, self.batch, self.part, self.rank = range(first, last), batch, batch // world, rank

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            start = step * self.batch + self.rank * self.part
            yield list(range(start, start + self.part))

    def __len__(self) -> int:
        return len(self.steps)


def start_worker(number: int) -> None:
    """Set up a reading process: its own file positions, one thread.

    Signals that a terminal sends to all are the training process's to answer. SIGTERM ends a reading process
    after `_GRACE_S`, so that the training can finish its step, and a training that was killed leaves none.
    """
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, _GRACE_S))
    close_shards()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


@contextmanager
def reading(data: Any, batches: Any, workers: int) -> Iterator[Iterator[Any]]:
    """The batches of a data set in order; no process that reads them outlives the block.

    torch ends the processes when the loader's iterator is freed. The traceback of an exception that is kept
    keeps the iterator, so they are ended here.

    Args:
        data: samples by position.
        batches: lists of positions.
        workers: processes that read; 0 for the calling one.

    Raises:
        FacereliefError: a sample cannot be read; its own one-line error, not the worker's whole traceback.
    """
    loader = DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=start_worker,
        prefetch_factor=3 if workers else None,
        generator=torch.Generator(),  # leaves the net's random numbers alone
    )
    iterator = iter(loader)
    try:
        yield _in_one_line(iterator)
    finally:
        getattr(iterator, "_shutdown_workers", lambda: None)()


def _in_one_line(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except FacereliefError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FacereliefError(reason.removeprefix("facerelief.errors.FacereliefError: ")) from error
