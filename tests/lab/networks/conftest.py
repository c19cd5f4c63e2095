"""Tests of networks keep to one thread."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import pytest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Others may be at work on the machine."""
    torch = pytest.importorskip("torch")

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])
