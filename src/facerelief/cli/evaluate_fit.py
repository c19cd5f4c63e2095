"""`facerelief evaluate fit`: quality of inverse rendering on photos without a known shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facerelief.cli import options
from facerelief.cli.console import formatted, progress, report, say, table
from facerelief.cli.model import read_model
from facerelief.errors import ImageError
from facerelief.lab.datasets.photos import find_photos
from facerelief.lab.evaluation.photos.fit_quality import evaluate_fits
from facerelief.lab.evaluation.photos.fit_report import MOST_ERROR, MOST_SHARE, FitReport, fit_report


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
        """Measure and print."""
        chosen = find_photos(self.photos, self.group, self.limit)
        elders = frozenset[str]() if self.old is None else _names(self.old)
        with progress("photos") as show:
            found = evaluate_fits(chosen, self.model, workers=self.workers, progress=show)
        made = fit_report(found, read_model(self.model), elders)
        report(made, self.json, lambda: _print(made))


def _names(file: Path) -> frozenset[str]:
    """Lines of a text file. Raises FacereliefError."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file}: no readable list of names ({error}); give a text file") from error
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _print(made: FitReport) -> None:
    word = {True: "ok", False: "over"}
    groups = [
        (g, word[g.full_error <= MOST_ERROR], word[g.share <= MOST_SHARE], 100 * g.warned)
        for g in made.groups
    ]
    head = "group|photos|coarse|full|full/coarse|coarse cells|fine cells|10..90 %|skin cells|relief mm|edges"
    columns = (
        "{0.group}|{0.photos}|{0.coarse_error:.4f}|{0.full_error:.4f} {1}|{0.share:.2f} {2}|"
        "{0.coarse_cells:.2f}|{0.fine_cells:.2f}|{0.fine_cells_10_90[0]:.2f}..{0.fine_cells_10_90[1]:.2f}|"
        "{0.skin_cells:.2f}|{0.relief_mm:.2f}|{0.edge_correlation:+.2f}|{3:.0f} %"
    )
    title = "Re-rendered face against the photo; size of the relief"
    table(f"{head}|warned", formatted(columns, groups), title)
    for group, tone in made.tone.items():
        title = f"{group}: skin tone, dark to light (light's share {tone.light_share:+.2f})"
        rows = formatted("{0}|{1.photos}|{1.tone:.3f}|{1.albedo:.3f}|{1.light:.3f}", enumerate(tone.rows, 1))
        table("skin|photos|brightness|albedo|light", rows, title)
    for group, found in made.identity.items():
        say(
            f"{group}: {found.subjects} persons with two photos: shapes {found.same_mm:.2f} mm apart, "
            f"of different persons {found.different_mm:.2f} mm (same over different "
            f"{found.same_over_different:.2f}); rank-1 {100 * found.rank1:.0f} % by shape, "
            f"{100 * found.rank1_coefficients:.0f} % by coefficients"
        )
    for file, why in made.failures.items():
        say(f"left out: {why or file}")
