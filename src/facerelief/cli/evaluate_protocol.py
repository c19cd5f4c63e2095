"""`facerelief evaluate protocol`: scores predictions by the published protocols."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerelief.cli.evaluate_nets import JsonOption, write_json

if TYPE_CHECKING:
    from facerelief.lab.evaluation.protocols.runner import Report

SHOWN = 20
"""Lines about missing, refused or odd predictions that are printed; the JSON has all."""


def evaluate_protocol(
    name: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="Which protocol; --list names them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The benchmark's folder, laid out as its owners give it."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Meshes (OBJ, PLY) of any system, with landmarks beside each."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="net|fit|...", help="Instead: run one of our methods on the benchmark's pictures."
        ),
    ] = None,
    unit: Annotated[str, typer.Option(metavar="mm|cm|m", help="Unit of the predicted meshes.")] = "mm",
    data_unit: Annotated[str, typer.Option(metavar="mm|cm|m", help="Unit of the scans.")] = "mm",
    annotations: Annotated[
        str, typer.Option(metavar="original|reannotated", help="Which annotations of AFLW2000-3D.")
    ] = "original",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many cases, evenly spread.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Cases without a prediction are no failure.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the protocols, a line each.")] = False,
    as_json: JsonOption = None,
) -> None:
    """Score 3D faces against scans or annotations by a published protocol.

    Predictions of any system (--predictions) or of our own methods (--method). Folders, recipes and what each
    number means: docs/evaluation.md. Ends with 1 where a case has no prediction or could not be measured.
    """
    from facerelief.lab.evaluation.protocols.predictions import FolderPredictions, MethodPredictions
    from facerelief.lab.evaluation.protocols.presets import PRESETS, preset
    from facerelief.lab.evaluation.protocols.recipes import Settings
    from facerelief.lab.evaluation.protocols.runner import run_protocol
    from facerelief.lab.evaluation.protocols.steps.checks import UNITS

    if list_:
        for each in PRESETS:
            print(f"{each.name:13} {each.about}")
        return
    if name is None or data is None or (predictions is None) == (method is None):
        raise typer.BadParameter("give a PRESET (--list names them), --data, and --predictions or --method")
    for option, value in (("--unit", unit), ("--data-unit", data_unit)):
        if value not in UNITS:
            raise typer.BadParameter(f"{option} {value}: expected {', '.join(UNITS)}")
    chosen = preset(name, annotations)
    if predictions is not None:
        source = FolderPredictions(predictions, unit, flat=chosen.flat)
    else:
        source = MethodPredictions(str(method), neutral=chosen.neutral, flat=chosen.flat)

    def note(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            print(f"{done} of {total} cases", file=sys.stderr, flush=True)

    report = run_protocol(chosen, data, source, Settings(data_unit), limit=limit, progress=note)
    about = {
        "predictions": str(predictions) if predictions is not None else f"method {method}"
    } | report.as_json()
    if as_json is None or str(as_json) != "-":
        _print(report, about["predictions"])
    write_json(about, as_json)
    _tell(report)
    if report.refused or not report.scores or (report.missing and not allow_missing):
        raise typer.Exit(1)


def _print(report: Report, of: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=150)
    console.print(report.preset.about, highlight=False)
    rows: Mapping[str, Mapping[str, Any]] = report.summary["rows"]
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    table = Table("", title=f"{report.preset.name}, {report.preset.unit}: {escape(of)}")
    for column in columns:
        table.add_column(column, justify="right")
    for label, row in rows.items():
        table.add_row(escape(label), *(_number(row.get(column)) for column in columns))
    console.print(table)
    console.print(f"{len(report.scores)} of {report.asked} cases scored", highlight=False)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _tell(report: Report) -> None:
    """What is missing or wrong, on the error stream."""
    for what, lines in (
        ("warning", report.warnings),
        ("refused", list(report.refused.values())),
        ("missing", list(report.missing.values())),
    ):
        for line in lines[:SHOWN]:
            print(f"{what}: {line}", file=sys.stderr)
        if len(lines) > SHOWN:
            print(f"{what}: ... and {len(lines) - SHOWN} more", file=sys.stderr)
    if report.missing:
        print(f"{len(report.missing)} of {report.asked} cases have no prediction", file=sys.stderr)
    if report.refused:
        print(f"{len(report.refused)} of {report.asked} cases could not be measured", file=sys.stderr)
