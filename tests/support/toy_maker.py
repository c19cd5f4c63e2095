"""A maker for the tests of the engine: images of noise, and faults on demand.

Where the environment names a folder in TOY_FAULTS, a file there arms a fault: `die-<photo>` kills the process
that works on that photo, and is taken away by it; `die-always-<photo>` stays; `slow` makes every sample take
that many seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.kinds import Kind
from facerelief.lab.datasets.manifest import Recipe
from facerelief.lab.datasets.samples import Sample, about_source, photo_rng, sample_key

KIND = Kind("toy", "toy_maker:ToyMaker", "toy_maker:ToyConfig")


@dataclass(frozen=True)
class ToyConfig:
    """Settings of toy samples."""

    size: int = 24
    """Side of the image, px."""


class ToyMaker:
    """Noise with labels that tell the noise's numbers."""

    def __init__(self, fits: FitFolder, model: Any, config: ToyConfig) -> None:
        self.config = config
        self.spent_ms = {"render": 0.0}

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        _faults(fit.name)
        for number in range(count):
            if fit.subject == "useless" and number:
                raise FacereliefError(f"{fit.name}: too small")
            if fit.subject == "buggy":
                raise IndexError("out of range")
            started = time.perf_counter()
            rng = photo_rng(seed, fit.name, number)
            size = self.config.size
            image = rng.integers(0, 256, (size, size, 3), np.uint8)
            labels = {
                "camera": np.array([*rng.normal(0, 0.3, 3), size / 2, size / 2, 0.1]),
                "identity": fit.identity,
                "expression": rng.uniform(0, 1, 52).astype(np.float32),
                "landmarks68": rng.uniform(0, size, (68, 3)).astype(np.float32),
                "box": np.array([2, 2, size - 2, size - 2], np.float32),
                "map": np.zeros((size, size), np.float32),
            }
            about = about_source(fit, "toy", number, seed)
            self.spent_ms["render"] += 1e3 * (time.perf_counter() - started)
            yield Sample(sample_key(fit, "toy", number), image, labels, about)


RECIPE = Recipe(KIND, ToyConfig(), per_photo=3, photos_per_shard=5)


def _faults(name: str) -> None:
    if not (folder := os.environ.get("TOY_FAULTS")):
        return
    plain = name.replace("/", "_")
    if (slow := Path(folder, "slow")).exists():
        time.sleep(float(slow.read_text()))
    if Path(folder, f"die-always-{plain}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    once = Path(folder, f"die-{plain}")
    if once.exists():
        once.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
