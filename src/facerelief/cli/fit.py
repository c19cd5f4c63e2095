"""`facerelief fit`, `synthesize`, `dataset`: from a folder of photos to training data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facerelief.cli.dataset import dataset_app
from facerelief.cli.synthesize import synthesize_app

datasets_app = typer.Typer(no_args_is_help=True)
datasets_app.add_typer(synthesize_app, name="synthesize")
datasets_app.add_typer(dataset_app, name="dataset")


@datasets_app.command()
def fit(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="Folder; an index.csv there tells persons and groups.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the fits go.")],
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only this group (repeat for more).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many photos of each group; all of them unless given.")
    ] = None,
    families: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV with columns person, family: families are never split between sets."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Photos worked on at once.")] = 1,
) -> None:
    """Inverse-render a folder of photos once, as the start of training data.

    What is there already is left alone, so a run that was stopped goes on where it was. Photos without a
    face are recorded and left out.
    """
    from facerelief.lab.datasets.fits import fit_photos
    from facerelief.lab.datasets.photos import find_photos
    from facerelief.lab.datasets.splits import read_families

    chosen = find_photos(photos, groups or (), limit)
    known = read_families(families) if families is not None else None

    def note(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"{done} of {total} photos", file=sys.stderr, flush=True)

    folder = fit_photos(chosen, photos, out, families=known, workers=workers, progress=note)
    failures = folder.failures()
    for name, reason in failures.items():
        print(f"left out: {name}: {reason}")
    print(f"{len(folder)} photos fitted, {len(failures)} left out; in {out}")
