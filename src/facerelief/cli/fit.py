"""`facerelief fit`: a folder of photos inverse-rendered once, as the start of training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import progress, say
from facerelief.lab.datasets.fits import fit_photos
from facerelief.lab.datasets.photos import find_photos
from facerelief.lab.datasets.splits import read_families


@dataclass(frozen=True)
class Fit:
    """Inverse-render a folder of photos once, as the start of training data.

    Existing fits are kept: the same command continues a run that was stopped. Photos without a face are
    recorded and left out.

    Examples:
        facerelief fit photos/ -o fits/ --group london --workers 2
    """

    photos: Annotated[options.Argument, arg(metavar="PHOTOS")]
    """Folder of photos; an index.csv there names persons and groups."""
    out: options.OutFolder
    """Folder for the fits."""
    model: Literal["open", "open2"] = "open"
    """Face model: the shipped networks belong to open."""
    groups: options.Group = ()
    """Only this group."""
    limit: options.Limit = None
    """At most this many photos of each group; all of them unless given."""
    families: options.File = None
    """CSV with columns person, family: families are never split between sets."""
    workers: options.Workers = 1

    def run(self) -> None:
        chosen = find_photos(self.photos, self.groups, self.limit)
        families = None if self.families is None else read_families(self.families)
        with progress("photos") as show:
            folder = fit_photos(
                chosen, self.photos, self.out, families=families, model=self.model,
                workers=self.workers, progress=show,
            )  # fmt: skip
        failures = folder.failures()
        for name, reason in failures.items():
            say(f"left out: {name}: {reason}")
        say(f"{len(folder)} photos fitted, {len(failures)} left out; in {self.out}")
