"""`facerelief evaluate ...`: measurements with the commands that print them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerelief.cli.evaluate_compare import evaluate_compare
from facerelief.cli.evaluate_nets import JsonCommand, evaluate_nets, without_nan
from facerelief.cli.evaluate_protocol import evaluate_protocol
from facerelief.cli.evaluate_truth import evaluate_truth

if TYPE_CHECKING:
    from facerelief.lab.evaluation.photos.fit_quality import FitMeasures, FitReport

evaluate_app = typer.Typer(no_args_is_help=True, help="Measure how good reconstructions are.")
evaluate_app.command("nets", cls=JsonCommand)(evaluate_nets)
evaluate_app.command("compare", cls=JsonCommand)(evaluate_compare)
evaluate_app.command("truth", cls=JsonCommand)(evaluate_truth)
evaluate_app.command("protocol", cls=JsonCommand)(evaluate_protocol)

_BARS = {"full": 0.02, "share": 0.60}
"""Re-render error after the whole decomposition: at most this, and at most this share of the coarse fit's."""


@evaluate_app.callback()
def _evaluate() -> None:
    pass


@evaluate_app.command()
def fit(
    photos: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Photos; an index.csv there tells persons and groups.")
    ],
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only this group (repeat for more).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many photos of each group; all of them unless given.")
    ] = None,
    old: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names of photos of persons over 60, a line each: told apart."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="open|FILE", help="Face model: the embedded open one, or a model file.")
    ] = "open",
    workers: Annotated[int, typer.Option(min=1, help="Photos worked on at once.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Reconstruct photos and say how well the result explains them.

    Re-render errors, size of the relief, skin tone against light, identity of persons with two photos.
    """
    from facerelief.lab.datasets.photos import find_photos
    from facerelief.lab.evaluation.photos.fit_quality import evaluate_fits
    from facerelief.morphable import load_model, open_model

    chosen = find_photos(photos, groups or (), limit)
    elders = _names(old) if old is not None else frozenset[str]()

    def note(done: int, total: int) -> None:
        if done % 25 == 0 or done == total:
            print(f"{done} of {total} photos", file=sys.stderr, flush=True)

    report = evaluate_fits(chosen, model, workers=workers, progress=note)
    about = summary(report, open_model() if model == "open" else load_model(model), elders)
    if as_json:
        print(json.dumps(without_nan(about), indent=1, allow_nan=False))
        return
    _print(about)


def _names(file: Path) -> frozenset[str]:
    from facerelief.errors import ImageError

    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file}: no readable list of names ({error}); give a text file") from error
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def summary(report: FitReport, model: Any, elders: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Everything that is printed, JSON-serialisable."""
    import numpy as np

    from facerelief.lab.evaluation.photos.fit_quality import identity_agreement, light_share, tone_table

    def row(name: str, members: list[FitMeasures]) -> dict[str, Any]:
        def median(field: str) -> float:
            return float(np.nanmedian([getattr(m, field) for m in members]))

        coarse, full = (
            float(np.nanmean([getattr(m, f"{k}_error") for m in members])) for k in ("coarse", "full")
        )
        stages = sorted({stage for m in members for stage in m.timings_ms})
        return {
            "group": name,
            "photos": len(members),
            "coarse_error": coarse,
            "full_error": full,
            "share": full / max(coarse, 1e-9),
            "coarse_cells": median("coarse_cells"),
            "fine_cells": median("fine_cells"),
            "skin_cells": median("skin_cells"),
            "fine_cells_10_90": [
                float(np.nanpercentile([m.fine_cells for m in members], q)) for q in (10, 90)
            ],
            "relief_mm": median("relief_mm"),
            "edge_correlation": median("edge_correlation"),
            "confidence": median("confidence"),
            "warned": float(np.mean([bool(m.warnings) for m in members])),
            "median_ms": {
                stage: float(np.median([m.timings_ms.get(stage, 0.0) for m in members])) for stage in stages
            },
        }

    rows = [row(group, report.of(group)) for group in report.groups()]
    aged = [m for m in report.measures if m.photo.file.stem in elders]
    if aged:
        rows.append(row("over 60", aged))
    about: dict[str, Any] = {"groups": rows, "failures": report.failures}
    about["tone"] = {}
    about["identity"] = {}
    for group in report.groups():
        members = report.of(group)
        about["tone"][group] = {"rows": tone_table(members), "light_share": light_share(members)}
        found = identity_agreement(members, model)
        if found is not None:
            about["identity"][group] = vars(found)
    return about


def _print(about: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=150)
    table = Table("group", title="Re-rendered face against the photo; size of the relief")
    heads = (
        "photos",
        "coarse",
        "full",
        "full/coarse",
        "coarse cells",
        "fine cells",
        "10..90 %",
        "skin cells",
        "relief mm",
    )
    for head in (*heads, "edges", "warned"):
        table.add_column(head, justify="right")
    for r in about["groups"]:
        low, high = r["fine_cells_10_90"]
        table.add_row(
            r["group"],
            str(r["photos"]),
            f"{r['coarse_error']:.4f}",
            f"{r['full_error']:.4f} {'ok' if r['full_error'] <= _BARS['full'] else 'over'}",
            f"{r['share']:.2f} {'ok' if r['share'] <= _BARS['share'] else 'over'}",
            f"{r['coarse_cells']:.2f}",
            f"{r['fine_cells']:.2f}",
            f"{low:.2f}..{high:.2f}",
            f"{r['skin_cells']:.2f}",
            f"{r['relief_mm']:.2f}",
            f"{r['edge_correlation']:+.2f}",
            f"{100 * r['warned']:.0f} %",
        )
    console.print(table)
    for group, tone in about["tone"].items():
        table = Table(
            "skin", title=f"{group}: skin tone, dark to light (light's share {tone['light_share']:+.2f})"
        )
        for head in ("photos", "brightness", "albedo", "light"):
            table.add_column(head, justify="right")
        for k, r in enumerate(tone["rows"], 1):
            table.add_row(str(k), f"{r['photos']:.0f}", *(f"{r[x]:.3f}" for x in ("tone", "albedo", "light")))
        console.print(table)
    for group, found in about["identity"].items():
        line = (
            f"{group}: {found['persons']} persons with two photos: shapes {found['same_mm']:.2f} mm apart, "
            f"of different persons {found['different_mm']:.2f} mm (ratio {found['ratio']:.2f}); "
            f"rank-1 {100 * found['rank1']:.0f} % by shape, "
            f"{100 * found['rank1_coefficients']:.0f} % by coefficients"
        )
        console.print(line, highlight=False)
    for file, why in about["failures"].items():
        console.print(f"left out: {why or file}", highlight=False, markup=False, soft_wrap=True)
