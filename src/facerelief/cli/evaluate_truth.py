"""`facerelief evaluate truth`: every method's error in mm on drawn heads whose exact shape is known."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerelief.cli.evaluate_nets import JsonOption, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from facerelief.lab.evaluation.truth.heads_draw import HeadTruthConfig

_MOST_BACKGROUNDS = 100
_SHEET_PERSONS, _SHEET_PX = 6, 192


def evaluate_truth(
    heads: Annotated[
        Path, typer.Option(metavar="FOLDER", help="ICT-FaceKit: its folder FaceXModel, or the packed .npz.")
    ],
    quick: Annotated[bool, typer.Option("--quick", help="24 persons, 120 pictures: minutes.")] = False,
    persons: Annotated[
        int | None, typer.Option(min=2, help="So many persons, five pictures each; 150 if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other persons and pictures.")] = 0,
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="Which of mean_face, landmarks, fit, net, e2far: all; or nearest, too."
        ),
    ] = "all",
    backgrounds: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures to put behind the heads.")
    ] = None,
    nets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="coarse.onnx and e2far.onnx; the shipped ones if not.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Pictures worked on at once; 2 unless given, as cores allow.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Write some of the pictures, to look at.")
    ] = None,
    as_json: JsonOption = None,
) -> None:
    """Measure all methods on drawn pictures of ICT-FaceKit heads, whose exact shape is known.

    Errors in mm by yaw and by expression, with 95 % intervals over persons, beside the mean face's. What is
    drawn and what the numbers mean: docs/truth.md.
    """
    from facerelief.lab.evaluation.truth.heads import FULL_PERSONS, QUICK_PERSONS, evaluate_heads
    from facerelief.lab.evaluation.truth.heads_draw import HeadTruthConfig

    chosen = chosen_methods(methods)
    if quick and persons is not None:
        raise typer.BadParameter("--quick and --persons exclude each other")
    config = HeadTruthConfig(persons=QUICK_PERSONS if quick else persons or FULL_PERSONS, seed=seed)
    behind = [] if backgrounds is None else usable_pictures(backgrounds)
    if sheet is not None:
        _write_sheet(sheet, heads, config, behind)

    def note(done: int, total: int) -> None:
        if done % 25 == 0 or done == total:
            print(f"{done} of {total} pictures", file=sys.stderr, flush=True)

    about = evaluate_heads(
        heads,
        chosen,
        config,
        nets=nets,
        backgrounds=behind,
        workers=workers or min(2, os.cpu_count() or 1),
        progress=note,
    )
    if as_json is None or str(as_json) != "-":
        _print(about)
    write_json(about, as_json)


def chosen_methods(text: str) -> tuple[str, ...]:
    """The methods that a list with commas names, in their usual order. Raises typer.BadParameter."""
    from facerelief.lab.evaluation.truth.heads import METHODS, NEAREST

    if text == "all":
        return METHODS
    known = (*METHODS, NEAREST)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or any(name not in known for name in names):
        raise typer.BadParameter(f"--methods {text}: expected some of {', '.join(known)}, with commas")
    return tuple(name for name in known if name in names)


def usable_pictures(folder: Path) -> list[Path]:
    """At most 100 readable pictures of a folder and its subfolders, evenly spread; what is no picture is told
    and left out. Raises ImageError where there is none."""
    from facerelief.errors import ImageError
    from facerelief.io.images import read_image
    from facerelief.lab.datasets.photos import find_photos

    files = [photo.file for photo in find_photos(folder)]
    step = max(len(files) / _MOST_BACKGROUNDS, 1.0)
    found: list[Path] = []
    for file in (files[int(k * step)] for k in range(min(len(files), _MOST_BACKGROUNDS))):
        try:
            read_image(file)
        except ImageError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
        else:
            found.append(file)
    if not found:
        raise ImageError(f"{folder}: no readable picture; give a folder with photos for --backgrounds")
    return found


def _write_sheet(file: Path, heads: Path, config: HeadTruthConfig, backgrounds: list[Path]) -> None:
    import cv2
    import numpy as np

    from facerelief.io.images import read_image
    from facerelief.io.write_images import write_png
    from facerelief.lab.evaluation.truth.heads_draw import YAW_NAMES, draw_case
    from facerelief.lab.evaluation.truth.heads_ict import Heads, read_heads
    from facerelief.morphable import open_model

    both = Heads.of(read_heads(heads), open_model())
    rows = [
        np.hstack(
            [
                cv2.resize(
                    draw_case(both, person, number, config, backgrounds, read_image).image,
                    (_SHEET_PX, _SHEET_PX),
                    interpolation=cv2.INTER_AREA,
                )
                for number in range(len(YAW_NAMES))
            ]
        )
        for person in range(min(_SHEET_PERSONS, config.persons))
    ]
    write_png(file, np.vstack(rows))


# ---------------------------------------------------------------- printing


def _print(about: dict[str, Any]) -> None:
    from rich.console import Console

    from facerelief.cli.evaluate_nets import print_bars

    console = Console() if sys.stdout.isatty() else Console(width=150)
    title = f"{about['persons']} persons, {about['pictures']} pictures, seed {about['seed']}"
    _overview(console, f"Mean error of the face, mm: {title}", about)
    for part, head in (("yaw", "|yaw|, degrees"), ("expression", "expression")):
        _parts(console, head, part, about)
    print_bars(console, about["bars"])
    for name, why in about["not_measured"].items():
        console.print(f"{name}: not measured: {why}", highlight=False, markup=False, soft_wrap=True)
    for name, told in about["failed"].items():
        text = f"{name}: gave nothing on {told['pictures']} pictures, first: {told['first']}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _overview(console: Console, title: str, about: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table("method", title=title)
    columns = (
        "mean_mm",
        "95 %",
        "below mean face",
        "95 %",
        "rigid_mm",
        "match_mm",
        "found only",
        "median ms",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for name, parts in about["methods"].items():
        whole = parts["all"]
        if not whole["pictures"]:
            table.add_row(name, *["-"] * len(columns))
            continue
        spent = about["median_ms"].get(name)
        table.add_row(
            name,
            f"{whole['mean_mm']:.3f}",
            f"{whole['low']:.2f}..{whole['high']:.2f}",
            f"{whole['below_percent']:.1f} %",
            f"{whole['below_low']:.1f}..{whole['below_high']:.1f}",
            f"{whole['rigid_mm']:.3f}",
            f"{whole['match_mm']:.3f}",
            f"{parts['found']['mean_mm']:.3f}",
            "-" if spent is None else f"{spent:.0f}",
        )
    console.print(table)
    told = about["found"]["all"]
    console.print(f"the detector found {told['found']} of {told['pictures']} faces", highlight=False)


def _parts(console: Console, head: str, part: str, about: Mapping[str, Any]) -> None:
    from rich.table import Table

    counts = about["found"][part]
    table = Table("mean_mm (95 %)", title=f"By {head}")
    for name in counts:
        table.add_column(name, justify="right")
    table.add_row("found", *(f"{n['found']} of {n['pictures']}" for n in counts.values()))
    for method, parts in about["methods"].items():
        cells = (
            f"{cell['mean_mm']:.2f} ({cell['low']:.2f}..{cell['high']:.2f})" if cell["pictures"] else "-"
            for cell in parts[part].values()
        )
        table.add_row(method, *cells)
    console.print(table)
