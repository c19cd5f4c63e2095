"""`facerelief dataset info|show|verify`: looking at training data."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

dataset_app = typer.Typer(no_args_is_help=True, help="Look at training data, or check it.")


class SplitName(StrEnum):
    """Whom samples show: those trained on, or those held out."""

    train = "train"
    val = "val"
    test = "test"


_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `facerelief synthesize` made.")]
_Split = Annotated[SplitName | None, typer.Option(help="Only this split; all of them unless given.")]


@dataset_app.command()
def info(
    folder: _Folder,
    split: _Split = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Distributions are of so many samples, evenly spread.")
    ] = 2000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Counts by split, group and licence; distributions of pose, size and expression; rate."""
    from facerelief.lab.datasets.inspection import DataSet, describe

    facts = describe(DataSet(folder), split=split.value if split else None, samples=samples)
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    _print(folder, facts)


def _print(folder: Path, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=150)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    state = "" if facts["finished"] else ", not finished"
    say(
        f"{folder}: {facts['kind']}, {facts['samples']} samples, {facts['mb']} MB{state}; made at "
        f"{facts['samples_per_worker_second']:g} samples a second and worker"
    )
    for what in ("splits", "groups", "licences"):
        table = Table(what[:-1])
        rows = facts[what]
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in rows.items():
            table.add_row(name or "not told", *(str(row[c]) for c in columns))
        console.print(table)
    if facts["distributions"]:
        table = Table("label", title=f"of {facts['looked_at']} samples, evenly spread")
        for column in ("5 %", "25 %", "50 %", "75 %", "95 %"):
            table.add_column(column, justify="right")
        for name, row in facts["distributions"].items():
            unit = "px" if name == "box" else "deg"
            table.add_row(f"{name}, {unit}", *(f"{x:.1f}" for x in row))
        console.print(table)
    used = [f"{name} {100 * share:.0f} %" for name, share in facts["expressions"].items() if share >= 0.01]
    if used:
        say(f"expressions in use: {', '.join(used)}")
    labels = [f"{name} {'x'.join(map(str, row['shape'])) or '1'}" for name, row in facts["labels"].items()]
    say(f"labels: {', '.join(labels)}")
    reasons = list(facts["failures"].items())
    for name, reason in reasons[:10]:
        say(f"left out: {name}: {reason}")
    if len(reasons) > 10:
        say(f"left out: {len(reasons) - 10} more")


@dataset_app.command()
def show(
    folder: _Folder,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The picture to write: .png or .jpg.")
    ],
    count: Annotated[int, typer.Option(min=1, max=2000, help="Samples on the sheet.")] = 48,
    split: _Split = None,
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only photos of this group (repeat for more).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which samples.")] = 0,
) -> None:
    """Draw random samples side by side, every other one with its landmarks and box."""
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise typer.BadParameter(f"{out}: the picture's name ends in .png or .jpg")
    from facerelief.io.atomic import write_bytes
    from facerelief.io.write_images import encode_jpeg, encode_png
    from facerelief.lab.datasets.inspection import DataSet, contact_sheet

    sheet = contact_sheet(
        DataSet(folder), count=count, split=split.value if split else None, groups=groups or (), seed=seed
    )
    write_bytes(out, encode_png(sheet) if out.suffix.lower() == ".png" else encode_jpeg(sheet, 92))
    print(f"{out}: {sheet.shape[1]} x {sheet.shape[0]} px")


@dataset_app.command()
def verify(folder: _Folder) -> None:
    """Check that a data set is whole: a line for every problem, and exit code 1 where there are any.

    Hashes, records and manifest agree, every picture and label can be read and is finite, keys are unique,
    no person is in two splits.
    """
    from facerelief.lab.datasets.inspection import DataSet
    from facerelief.lab.datasets.inspection import verify as problems

    def note(done: int, total: int) -> None:
        if done % 20 == 0 and done < total:
            print(f"{done} of {total} shards", file=sys.stderr, flush=True)

    found = 0
    for line in problems(folder, note):
        found += 1
        print(line, flush=True)
    if found:
        print(f"{found} problems in {folder}", file=sys.stderr)
        raise typer.Exit(1)
    data = DataSet(folder)
    print(f"{folder}: whole, {sum(r['samples'] for r in data.records)} samples in {len(data.records)} shards")
