"""`facerelief bench images|synthesis|track`: timings on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, report
from facerelief.examples import astronaut_path
from facerelief.lab.benchmarks import stages, synthesis, timing, tracking
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.kinds import KINDS
from facerelief.lab.datasets.manifest import Recipe


@dataclass(frozen=True)
class Images:
    """Time every stage of a reconstruction, beside its target.

    The word "images" may be left out.

    Examples:
        facerelief bench
        facerelief bench photo.jpg --repeat 10 --threads 1 --json times.json
    """

    images: Annotated[tuple[Path, ...], Positional, arg(metavar="[IMAGE...]", help_behavior_hint="")] = ()
    """Images to time; the shipped portrait unless given."""
    repeat: options.Count = 5
    """Rounds, after one warm-up round."""
    threads: options.Threads = None
    json: options.JsonFile = None

    def run(self) -> None:
        images = list(self.images) or [astronaut_path()]
        names = [image.name for image in images]
        measured = stages.bench_reconstruct(images, repeat=self.repeat, threads=self.threads, progress=note)
        about = timing.report(measured, images=names, repeat=self.repeat, threads=self.threads)
        report(about, self.json, timing.printed(measured, about["machine"]))


@dataclass(frozen=True)
class Synthesis:
    """Time the making of training data.

    Samples and MB a second, the share of each stage, memory of workers.

    Examples:
        facerelief bench synthesis fits/ --kind fine --workers 1 --workers 2
    """

    fits: Annotated[options.Argument, arg(metavar="FITS")]
    """A folder that `facerelief fit` made."""
    kind: Annotated[str, arg(metavar="coarse|fine|pairs|renders")] = "coarse"
    """Kind of training data."""
    limit: options.Count = 48
    """At most this many photos, chosen by the seed."""
    per_photo: options.Count = 10
    """Samples of each photo."""
    photos_per_shard: options.Count = 4
    """Photos whose samples share a shard."""
    size: Annotated[int | None, options.Range(32), arg(metavar="PX")] = None
    """Side of the images, px; the kind's own unless given."""
    workers: Annotated[UseAppendAction[tuple[int, ...]], options.Range(1), arg(metavar="N")] = ()
    """Number of processes (repeatable, to time several); 1 and 2 unless given."""
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Time a Ray cluster too: its address, or local for one of this machine."""
    seed: options.Seed = 0
    """Seed of everything random."""
    json: options.JsonFile = None

    def run(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise UsageError(f"--kind {self.kind}: expected one of {', '.join(KINDS)}")
        _, configuration = kind.load()
        recipe = Recipe(
            kind,
            options.configured(configuration, **({} if self.size is None else {"size": self.size})),
            per_photo=self.per_photo,
            seed=self.seed,
            limit=self.limit,
            photos_per_shard=self.photos_per_shard,
        )
        fits = FitFolder(self.fits)
        runs: list[tuple[int, str | None]] = [(count, None) for count in self.workers or (1, 2)]
        if self.ray is not None:
            runs.append((max(count for count, _ in runs), self.ray))
        measured: list[synthesis.SynthesisTiming] = []
        for count, address in runs:
            note(f"{self.kind} with {count} workers{' on Ray' if address else ''}")
            measured.append(synthesis.bench_synthesis(fits, recipe, workers=count, ray=address))
        machine = timing.machine()
        shown = synthesis.printed(self.kind, measured, machine)
        report({"machine": machine, "runs": measured}, self.json, shown)


@dataclass(frozen=True)
class Track:
    """Time following a face through a video.

    Times a frame, also with one thread, beside those of MediaPipe's landmark net alone; time to the first
    result and memory of fresh processes.

    Examples:
        facerelief bench track --video clip.mp4 --threads 2 --json times.json
    """

    video: options.NeededFile
    """A video of one face."""
    threads: options.Threads = None
    limit: Annotated[int | None, options.Range(2)] = None
    """At most this many frames; all of them unless given."""
    nets: options.Nets = None
    """Folder with coarse.onnx, tracking.onnx and fine.onnx to time; the shipped ones unless given."""
    json: options.JsonFile = None

    def run(self) -> None:
        about = tracking.bench_track(
            self.video, frames=self.limit, threads=self.threads, nets=self.nets, progress=note
        )
        report(about, self.json, tracking.printed(about))
