"""`facerelief dataset info|show|verify`: training data described and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import note, progress, report, say
from facerelief.io.atomic import write_bytes
from facerelief.io.write_images import encode_jpeg, encode_png
from facerelief.lab.datasets import inspection
from facerelief.lab.evaluation.metrics.tables import Printed, Table, tabulate

DataSet = Annotated[options.Argument, arg(metavar="DIR", help="A folder that `facerelief synthesize` made.")]
Split = Annotated[
    Literal["train", "val", "test"] | None, arg(help="Only this split; all of them unless given.")
]
_SHOWN = 10
"""Photos that were left out, named one by one."""


@dataclass(frozen=True)
class Info:
    """Print counts, distributions and rate of a data set.

    Counts by split, group and licence; distributions of pose, size and expression.

    Examples:
        facerelief dataset info data/coarse --split val
    """

    folder: DataSet
    split: Split = None
    samples: options.Count = 2000
    """Samples that the distributions are computed from, evenly spread."""
    json: options.JsonFile = None

    def run(self) -> None:
        facts = inspection.describe(inspection.DataSet(self.folder), split=self.split, samples=self.samples)
        report(facts, self.json, _printed(self.folder, facts))


def _printed(folder: Path, facts: Mapping[str, Any]) -> Iterator[Printed]:
    state = "" if facts["finished"] else ", not finished"
    yield (
        f"{folder}: {facts['kind']}, {facts['samples']} samples, {facts['mb']} MB{state}; made at "
        f"{facts['samples_per_worker_second']:g} samples a second and worker"
    )
    for key in ("splits", "groups", "licences"):
        rows = facts[key]
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        cells = [[name or "unknown", *(str(row[c]) for c in columns)] for name, row in rows.items()]
        yield Table("", (key[:-1], *columns), cells)
    if facts["distributions"]:
        shares = ((name, "px" if name == "box" else "deg", x) for name, x in facts["distributions"].items())
        columns = "{0}, {1}|{2[0]:.1f}|{2[1]:.1f}|{2[2]:.1f}|{2[3]:.1f}|{2[4]:.1f}"
        title = f"of {facts['looked_at']} samples, evenly spread"
        yield tabulate(title, "label|5 %|25 %|50 %|75 %|95 %", columns, shares)
    used = [f"{name} {100 * share:.0f} %" for name, share in facts["expressions"].items() if share >= 0.01]
    if used:
        yield f"expressions in use: {', '.join(used)}"
    labels = (f"{name} {'x'.join(map(str, row['shape'])) or '1'}" for name, row in facts["labels"].items())
    yield f"labels: {', '.join(labels)}"
    yield from left_out(facts["failures"])


def left_out(failures: Mapping[str, str], more: str = "") -> list[str]:
    """Lines about photos that were left out, with the reasons: the first ten one by one, then `more`."""
    lines = [f"left out: {name}: {reason}" for name, reason in failures.items()]
    rest = [f"left out: {len(lines) - _SHOWN} more{more}"] if len(lines) > _SHOWN else []
    return lines[:_SHOWN] + rest


@dataclass(frozen=True)
class Show:
    """Write random samples side by side as one image.

    Every other sample has its landmarks and box on it.

    Examples:
        facerelief dataset show data/coarse -o sheet.jpg --count 24
    """

    folder: DataSet
    out: options.OutFile
    """The image to write: .png or .jpg."""
    count: Annotated[int, options.Range(1, 2000)] = 48
    """Samples on the sheet."""
    split: Split = None
    groups: options.Group = ()
    """Only photos of this group."""
    seed: options.Seed = 0
    """Seed of the choice of samples."""

    def run(self) -> None:
        png = options.image_suffix(self.out) == ".png"
        data = inspection.DataSet(self.folder)
        sheet = inspection.contact_sheet(
            data, count=self.count, split=self.split, groups=self.groups, seed=self.seed
        )
        write_bytes(self.out, encode_png(sheet) if png else encode_jpeg(sheet, 92))
        say(f"{self.out}: {sheet.shape[1]} x {sheet.shape[0]} px")


@dataclass(frozen=True)
class Verify:
    """Check that a data set is whole.

    Prints a line for every problem, and ends with exit code 1 where there are any. In a whole data set
    hashes, records and manifest agree, every image and label can be read and is finite, keys are unique, and
    no subject is in two splits.

    Examples:
        facerelief dataset verify data/coarse
    """

    folder: DataSet

    def run(self) -> int:
        """Print the problems. Returns the exit code."""
        found = 0
        with progress("shards") as show:
            for line in inspection.verify(self.folder, show):
                found += 1
                say(line)
        if found:
            note(f"{found} problems in {self.folder}")
            return 1
        records = inspection.DataSet(self.folder).records
        say(f"{self.folder}: whole, {sum(r['samples'] for r in records)} samples in {len(records)} shards")
        return 0
