"""Speed of data synthesis: samples a second, time by stage, memory of the workers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerelief.lab.datasets.engine import Progress, synthesize
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.manifest import Recipe
from facerelief.lab.evaluation.metrics.tables import Printed, machine_line, tabulate


@dataclass(frozen=True)
class SynthesisTiming:
    """One run of the engine."""

    workers: int
    ray: bool
    samples: int
    samples_per_s: float
    """Of all workers together, without the first shard of each."""
    mb_per_s: float
    """Written, likewise, 10^6 bytes."""
    whole_samples_per_s: float
    """Of the whole run, with the start of its processes."""
    ms: dict[str, float]
    """Time of a worker for a sample by stage, ms; "other" is the rest."""
    memory_mb: tuple[float, float, float]
    """Memory of the largest worker after its first shard, after its last, and its peak."""


def bench_synthesis(
    fits: FitFolder, recipe: Recipe, *, workers: int = 1, ray: str | None = None
) -> SynthesisTiming:
    """Time the making of a data set in a temporary folder.

    Args:
        fits: Fits of the photos.
        recipe: Kind, configuration and numbers of samples.
        workers: Worker processes.
        ray: Address of a Ray cluster, "local" to start one; None for processes of this machine.

    Raises:
        FacereliefError: As `synthesize`.
    """
    records: list[dict[str, Any]] = []

    def collect(progress: Progress) -> None:
        if progress.record is not None:
            records.append(progress.record)

    with tempfile.TemporaryDirectory(prefix="facerelief-") as folder:
        started = time.perf_counter()
        synthesize(fits, Path(folder, "out"), recipe, workers=workers, ray=ray, progress=collect)
        whole = time.perf_counter() - started
    return summary(records, workers, ray is not None, whole)


def summary(records: list[dict[str, Any]], workers: int, ray: bool, whole: float) -> SynthesisTiming:
    """Summarise a run.

    Args:
        records: Of its shards, in the order of completion.
        workers: Worker processes.
        ray: True if they ran on Ray.
        whole: Duration of the run, s.
    """
    by_worker: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        by_worker.setdefault(record["pid"], []).append(record)
    warm = [record for own in by_worker.values() for record in own[1:]] or records
    samples = sum(record["samples"] for record in warm)
    seconds = sum(record["seconds"] for record in warm)
    ms: dict[str, float] = {}
    for record in warm:
        for name, spent in record["spent_ms"].items():
            ms[name] = ms.get(name, 0.0) + spent
    ms["other"] = max(1e3 * seconds - sum(ms.values()), 0.0)
    memories = [[record["memory_mb"] for record in own] for own in by_worker.values()]
    largest = max(memories, key=max, default=[0.0])
    total = sum(record["samples"] for record in records)
    return SynthesisTiming(
        workers=workers,
        ray=ray,
        samples=total,
        samples_per_s=workers * samples / max(seconds, 1e-9),
        mb_per_s=workers * sum(record["bytes"] for record in warm) / 1e6 / max(seconds, 1e-9),
        whole_samples_per_s=total / max(whole, 1e-9),
        ms={name: spent / max(samples, 1) for name, spent in ms.items()},
        memory_mb=(largest[0], largest[-1], max(largest)),
    )


def printed(kind: str, measured: Sequence[SynthesisTiming], machine: Mapping[str, Any]) -> Iterator[Printed]:
    """Speed and memory of several runs as they are printed."""
    stages = list(dict.fromkeys(name for m in measured for name in m.ms))
    columns = [
        "{0.workers}{1}|{0.samples}|{0.samples_per_s:.1f}|{0.whole_samples_per_s:.1f}|{0.mb_per_s:.1f}",
        *(f"{{2[{name}]:.1f}}" for name in stages),
        "{0.memory_mb[0]:.0f}, {0.memory_mb[1]:.0f}, {0.memory_mb[2]:.0f}",
    ]
    head = ["workers", "samples", "samples/s", "with start", "MB/s", *(f"{name} ms" for name in stages)]
    rows = ((m, " on Ray" if m.ray else "", dict.fromkeys(stages, 0.0) | m.ms) for m in measured)
    title = f"{kind}: making training data"
    yield tabulate(title, "|".join([*head, "memory MB: first, last, most"]), "|".join(columns), rows)
    yield machine_line(machine)
