"""`facerelief evaluate compare`: all methods on the same images, by groups of subjects, and their speed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, progress, report
from facerelief.io.atomic import write_bytes
from facerelief.lab.benchmarks import methods as speed
from facerelief.lab.benchmarks.timing import machine
from facerelief.lab.evaluation.compare import page, plots, tables
from facerelief.lab.evaluation.compare.methods import FIT, FIT_RELIEF, METHODS
from facerelief.lab.evaluation.compare.run import (
    Comparison,
    ComparisonData,
    ComparisonReport,
    available_methods,
)
from facerelief.lab.evaluation.metrics.groups import People, read_people
from facerelief.morphable import open_model
from facerelief.runtime.threads import thread_limit


@dataclass(frozen=True)
class Compare:
    """Compare all methods on the same images, from the same detected faces.

    Shape and landmark errors with --coarse; identity, landmarks, agreement and re-render errors on photos of
    unknown shape with --photos or --fits; by skin tone, age and gender; time and memory with --speed.
    docs/comparison.md defines the numbers.

    Examples:
        facerelief evaluate compare --coarse sets/coarse --results results.md
        facerelief evaluate compare --speed --methods net,fit
    """

    coarse: options.Folder = None
    """A data set of the kinds coarse or renders."""
    fits: options.Folder = None
    """Photos fitted with `facerelief fit`, whose faces and fits are used."""
    photos: options.Folder = None
    """Photos; an index.csv there names their persons and groups."""
    people: options.File = None
    """Ages and genders, CSV: columns person, age, gender, or the London Set's face_id, face_age, face_sex.
    Photos of other persons are left out of the fairness table."""
    speed: bool = False
    """Time every method in processes of its own, with 1 and 2 threads."""
    limit: options.Count = 250
    """At most this many labelled images, evenly spread."""
    persons: Annotated[int | None, options.Range(2)] = None
    """Photos of at most this many persons, evenly spread."""
    methods: Annotated[str, arg(metavar="NAMES")] = "e2far,net,net_fine,fit,landmarks"
    """Methods to compare, with commas between."""
    split: options.Split = None
    nets: options.Nets = None
    """Folder with networks to compare; the shipped ones unless given."""
    threads: options.Count = 1
    """Threads of everything but --speed."""
    seed: options.Seed = 0
    """Seed of the bootstrap that gives the intervals."""
    results: Annotated[options.File, arg(metavar="FILE.md")] = None
    """Write the tables into this page, in a section of their own."""
    plots: options.Folder = None
    """Write plots; needs matplotlib and --coarse."""
    json: options.JsonFile = None

    def run(self) -> None:
        if not (self.coarse or self.photos or self.fits or self.speed):
            raise UsageError("nothing to compare on: give --coarse, --photos, --fits or --speed")
        if self.plots is not None:  # checked before minutes of work
            if self.coarse is None:
                raise UsageError("--plots needs --coarse: without labels there are no errors to plot")
            plots.check_plotting()
        earlier = "" if self.results is None else page.read_page(self.results)
        made = self._measured()
        if self.results is not None:
            images = None if self.plots is None else page.link(self.results, self.plots)
            parts = page.sections(made, speed.LABELS, images)
            write_bytes(self.results, page.with_section(earlier, parts).encode())
        report(made, self.json, tables.printed(made, speed.LABELS))

    def _measured(self) -> ComparisonReport:
        try:
            names, absent = available_methods(options.names(self.methods), self.nets)
        except ValueError as error:
            raise UsageError(f"--methods {error}") from error
        people = People() if self.people is None else read_people(self.people)
        for name, why in absent.items():
            note(f"{name}: left out: {why}")
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        data = ComparisonData(self.coarse, self.fits, self.photos, self.split, self.limit, self.persons)
        with progress("images") as show, thread_limit(self.threads):
            run = Comparison(
                open_model(),
                names,
                self.nets,
                self.seed,
                people,
                only_known=self.people is not None,
                notes=lambda subject, total: lambda done: show(done, total, subject),
            )
            compared, rows = run.measure(data)
        if self.plots is not None and compared.images is not None:
            for file in plots.write_plots(self.plots, rows, compared.images.report):
                note(f"{file}: written")
        timings = None
        if self.speed:
            timed = [speed.DETECTOR, *names]
            if FIT in timed:
                timed.insert(timed.index(FIT) + 1, FIT_RELIEF)
            timings = speed.bench_methods(timed, nets=self.nets, progress=lambda text: note(f"speed: {text}"))
        return ComparisonReport(
            {name: METHODS[name] for name in names},
            absent,
            "shipped" if self.nets is None else self.nets.resolve().name,
            self.seed,
            self.threads,
            machine(),
            load,
            compared,
            timings,
        )
