"""Data engine: a data set made shard by shard, in processes or on a Ray cluster, also where workers die.

A shard depends on its plan alone, so it may be made anywhere, and again: the bytes are the same. It is
written under a temporary name, renamed when it is whole, and finished when its record stands beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerelief.errors import FacereliefError, OutputError
from facerelief.io.atomic import TEMPORARY_PREFIX, output_error
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.manifest import (
    MANIFEST,
    Plan,
    Recipe,
    ShardPlan,
    begin,
    make_plan,
    read_json,
    read_record,
    versions,
    write_manifest,
    write_record,
)
from facerelief.lab.datasets.pools import check_ray, local_results, ray_results
from facerelief.lab.datasets.samples import Maker
from facerelief.lab.datasets.shards import ShardWriter, encode_sample


@dataclass(frozen=True)
class Progress:
    """Progress of a run, reported after every shard."""

    shards: int
    shards_total: int
    samples: int
    """Of all finished shards."""
    photos: int
    photos_total: int
    failures: int
    record: dict[str, Any] | None = None
    """Of the shard just made; None before the first."""


def synthesize(
    fits: FitFolder,
    out: str | Path,
    recipe: Recipe,
    *,
    workers: int | None = None,
    ray: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Make a data set, or what is missing of it; returns its manifest.

    workers: shards made at once, each in a process of its own: one, or as many as the Ray cluster has
    processors, unless given. ray: address of a Ray cluster, or "local" for one of this machine; `out` and the
    fits' and photos' folders must then be shared by all its nodes. Works with any number of earlier runs of
    the same recipe that were stopped, killed or ran out of disk.

    Raises OutputError where `out` holds something else, is being written by another run, or cannot be
    written; FacereliefError where a shard's worker died three times, or the model, photos or packages
    needed are missing.
    """
    out = Path(out).resolve()
    _check(fits)
    if ray is not None:
        check_ray(workers)
    plan = make_plan(recipe, fits)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    with _only_run(out):
        begin(out, plan)
        _clear(out)
        records = {shard.name: record for shard in plan.shards if (record := read_record(out, shard.name))}
        missing = [shard for shard in plan.shards if shard.name not in records]
        if not missing and (out / MANIFEST).exists():
            manifest = read_json(out / MANIFEST)
            if [s["sha256"] for s in manifest.get("shards", ())] == [r["sha256"] for r in records.values()]:
                progress(_progress(plan, records, None))
                return manifest
        progress(_progress(plan, records, None))
        factory = _Factory(
            str(fits.folder.resolve()), str(fits.photos.resolve()), recipe, plan.about["versions"]
        )
        with ExitStack() as stack:
            stack.callback(_clear, out)
            jobs = [ShardJob(factory, shard, str(out)) for shard in missing]
            results = (
                local_results(make_shard, jobs, workers or 1)
                if ray is None
                else ray_results(make_shard, jobs, ray, workers)
            )
            for record in stack.enter_context(results):
                records[record["name"]] = record
                progress(_progress(plan, records, record))
        ordered = [records[shard.name] for shard in plan.shards]
        return write_manifest(out, plan, ordered)


def _progress(plan: Plan, records: dict[str, Any], record: dict[str, Any] | None) -> Progress:
    made = records.values()
    return Progress(
        len(records),
        len(plan.shards),
        sum(r["samples"] for r in made),
        sum(len(r["photos"]) + len(r["failures"]) for r in made),
        sum(len(shard.photos) for shard in plan.shards),
        sum(len(r["failures"]) for r in made),
        record,
    )


def _check(fits: FitFolder) -> None:
    """Raise FacereliefError for what would fail with every photo."""
    fits.model()
    _check_photos(fits)


def _check_photos(fits: FitFolder) -> None:
    if not fits.photos.is_dir():
        raise FacereliefError(
            f"{fits.photos}: the photos of {fits.folder} are not there; put them back, or give their folder"
        )


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    """Lock on the output folder, where the file system has locks."""
    try:
        import fcntl
    except ImportError:  # Windows; two runs at once write the same bytes
        yield
        return
    try:
        handle = (out / ".lock").open("w")
    except OSError as error:
        raise output_error(out, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{out}: another run is writing there; wait for its end") from None
        except OSError:  # a network's file system without locks
            pass
        yield


def _clear(out: Path) -> None:
    """Remove what killed or stopped workers left unfinished."""
    for entry in out.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):
            entry.unlink()


# ---------------------------------------------------------------- in a worker


@dataclass(frozen=True)
class _Factory:
    """Recipe of a worker's maker."""

    fits: str
    photos: str
    recipe: Recipe
    versions: dict[str, str]

    def make(self) -> tuple[FitFolder, Maker]:
        here = versions()
        differing = [f"{k} {here[k]}, not {v}" for k, v in self.versions.items() if here.get(k) != v]
        if differing:
            raise FacereliefError(
                f"a worker on {os.uname().nodename if hasattr(os, 'uname') else 'another machine'} has "
                f"{'; '.join(differing)}; install the same versions on every node"
            )
        if not Path(self.fits).is_dir():
            raise FacereliefError(f"{self.fits}: not on a worker's machine; share the folder with every node")
        fits = FitFolder(self.fits, self.photos)
        _check_photos(fits)
        maker, _ = self.recipe.kind.load()
        return fits, maker(fits, fits.model(), self.recipe.config)


@dataclass(frozen=True)
class ShardJob:
    """A shard to be made, and where."""

    factory: _Factory
    shard: ShardPlan
    out: str


_MADE: list[tuple[_Factory, FitFolder, Maker]] = []
"""In a worker process: the maker, made once."""


def make_shard(job: ShardJob) -> dict[str, Any]:
    """Make one shard and its record; returns the record. Raises OutputError where it cannot be written."""
    started = time.perf_counter()
    if not _MADE or _MADE[0][0] != job.factory:
        _MADE[:] = [(job.factory, *job.factory.make())]
    _, fits, maker = _MADE[0]
    out = Path(job.out)
    if not out.is_dir():
        raise OutputError(f"{out}: not there for a worker; share the output folder with every node")
    target = out / f"{job.shard.name}.tar"
    before = dict(getattr(maker, "spent_ms", {}))
    spent = {"encode": 0.0, "write": 0.0}
    photos: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    try:
        writer = ShardWriter(target)
        try:
            for source in job.shard.photos:
                try:
                    coded = _coded(fits, maker, source.name, job.factory.recipe, spent)
                except FacereliefError as error:
                    failures[source.name] = " ".join(str(error).split())
                    continue
                with _timed(spent, "write"):
                    for key, members in coded:
                        writer.write(key, members)
                about = {"name": source.name, "person": source.subject, "family": source.family}
                about |= {"group": source.group, "licence": source.licence}
                photos.append(about | {"samples": len(coded)})
            with _timed(spent, "write"):
                sha256, size = writer.finish()
        except BaseException:
            writer.discard()
            raise
    except OSError as error:
        raise output_error(target, error) from error
    for name, ms in dict(getattr(maker, "spent_ms", {})).items():
        spent[name] = spent.get(name, 0.0) + ms - before.get(name, 0.0)
    record = {
        "name": job.shard.name,
        "split": job.shard.split,
        "sha256": sha256,
        "bytes": size,
        "samples": sum(photo["samples"] for photo in photos),
        "photos": photos,
        "failures": failures,
        "seconds": round(time.perf_counter() - started, 3),
        "spent_ms": {name: round(ms, 1) for name, ms in spent.items()},
        "memory_mb": _memory_mb(),
        "pid": os.getpid(),
    }
    write_record(out, job.shard.name, record)
    return record


def _coded(
    fits: FitFolder, maker: Maker, name: str, recipe: Recipe, spent: dict[str, float]
) -> list[tuple[str, dict[str, bytes]]]:
    """All samples of a photo, or the reason why there are none as a FacereliefError."""
    coded: list[tuple[str, dict[str, bytes]]] = []
    try:
        for sample in maker(fits.load(name), recipe.per_photo, recipe.seed):
            with _timed(spent, "encode"):
                coded.append((sample.key, encode_sample(sample, recipe.image_format)))
    except (FacereliefError, MemoryError):
        raise
    except Exception as error:  # one photo's bug is not the end of all others
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise FacereliefError(
            f"{name}: internal error ({type(error).__name__}: {first}); please report it"
        ) from error
    return coded


@contextmanager
def _timed(spent: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    spent[name] += 1e3 * (time.perf_counter() - started)


def _memory_mb() -> float:
    """Memory of this process now, MB; its largest so far where the system does not report that."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    with suppress(ImportError):
        import resource

        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)
    return 0.0
