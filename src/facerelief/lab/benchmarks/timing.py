"""Timings of stages, shared by all benchmarks.

A `Stage` has a name and a target; a `Stopwatch` collects milliseconds by stage; `timings` gives their
medians and 90th percentiles; `machine` describes the machine.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.lab.evaluation.metrics.tables import Printed, machine_line, tabulate
from facerelief.runtime.threads import available_cores

PACKAGES = ("facerelief", "numpy", "scipy", "numba", "opencv-python-headless", "openvino")
"""Packages whose versions affect speed."""


@dataclass(frozen=True)
class Stage:
    """A timed part of a computation."""

    name: str
    what: str
    """Description."""
    target_ms: float | None = None
    """Target for the median, ms; None without one."""


@dataclass(frozen=True)
class Timing:
    """A stage's measurement, ms."""

    name: str
    what: str
    calls: int
    median_ms: float
    p90_ms: float
    target_ms: float | None

    @property
    def within(self) -> bool | None:
        """True where the median reaches the target; None where there is none."""
        return None if self.target_ms is None else self.median_ms <= self.target_ms


class Stopwatch:
    """Milliseconds collected by stage name."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}

    def add(self, name: str, ms: float) -> None:
        self.ms.setdefault(name, []).append(ms)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block under this name, unless it raises."""
        started = time.perf_counter()
        yield
        self.add(name, 1e3 * (time.perf_counter() - started))


def timings(stopwatch: Stopwatch, stages: Sequence[Stage]) -> list[Timing]:
    """Medians and 90th percentiles of the stages that were timed, in the order of `stages`."""
    return [
        Timing(
            stage.name,
            stage.what,
            len(ms),
            float(np.median(ms)),
            float(np.percentile(ms, 90)),
            stage.target_ms,
        )
        for stage in stages
        if (ms := stopwatch.ms.get(stage.name))
    ]


def machine() -> dict[str, Any]:
    """Description of this machine: processor, cores this process may use, versions."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def report(measured: Sequence[Timing], **about: Any) -> dict[str, Any]:
    """Timings as a JSON-serialisable document: {"machine", "stages", and the given `about`}."""
    rows = [
        {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(timing).items()}
        | {"within": timing.within}
        for timing in measured
    ]
    return {"machine": machine(), **about, "stages": rows}


def printed(measured: Sequence[Timing], machine: Mapping[str, Any]) -> Iterator[Printed]:
    """Timings beside their targets as they are printed."""
    targets = (
        "" if m.target_ms is None else f"{m.target_ms:g} {'ok' if m.within else 'over'}" for m in measured
    )
    head = "stage|calls|median ms|90 % ms|target ms|subject"
    columns = "{0.name}|{0.calls}|{0.median_ms:.2f}|{0.p90_ms:.2f}|{1}|{0.what}"
    yield tabulate("", head, columns, zip(measured, targets), left={"subject"})
    yield machine_line(machine)
