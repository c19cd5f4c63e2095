"""`facerelief evaluate fit`: quality of inverse rendering on photos without a known shape."""

from __future__ import annotations

from dataclasses import dataclass

from facerelief.cli import options
from facerelief.cli.console import progress, report
from facerelief.lab.datasets.photos import find_photos
from facerelief.lab.evaluation.photos.fit_quality import evaluate_fits
from facerelief.lab.evaluation.photos.fit_report import fit_report, printed, read_names
from facerelief.morphable import named_model


@dataclass(frozen=True)
class Fit:
    """Reconstruct photos and measure how well the result explains them.

    Re-render errors, size of the relief, skin tone against light, identity of subjects with two photos.

    Examples:
        facerelief evaluate fit --photos photos/ --limit 20 --json fit.json
    """

    photos: options.NeededFolder
    """Photos; an index.csv there names their persons and groups."""
    group: options.Group = ()
    """Only this group (repeatable)."""
    limit: options.Limit = None
    """At most this many photos of each group, evenly spread."""
    old: options.File = None
    """Names of photos of persons over 60, one a line: they form one more group."""
    model: options.Model = "open"
    """The face model to fit."""
    workers: options.Workers = 1
    json: options.JsonFile = None

    def run(self) -> None:
        chosen = find_photos(self.photos, self.group, self.limit)
        elders = frozenset[str]() if self.old is None else read_names(self.old)
        with progress("photos") as show:
            found = evaluate_fits(chosen, self.model, workers=self.workers, progress=show)
        made = fit_report(found, named_model(self.model), elders)
        report(made, self.json, printed(made))
