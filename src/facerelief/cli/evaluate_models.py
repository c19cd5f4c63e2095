"""`facerelief evaluate models`: face models compared by their fits of the same photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from facerelief.cli import options
from facerelief.cli.console import note, progress, report, say, table
from facerelief.lab.evaluation.photos.fit_models import ModelFits, compare_fits, fit_material


@dataclass(frozen=True)
class Models:
    """Compare face models by their fits of the same photos.

    Explained shading, two photos of one subject, landmarks, closed lips. Subjects are split in two halves:
    weights are chosen on one, figures reported on the other.

    Examples:
        facerelief evaluate models --photos photos/ --json models.json
    """

    photos: options.NeededFolder
    """Photos with an index.csv, and congress_pairs.csv if there are pairs of two sources."""
    models: Annotated[UseAppendAction[tuple[str, ...]], arg(name="model", metavar="open|open2|FILE")] = ()
    """Model to fit (repeatable); open and open2 unless given."""
    half: Literal["report", "tune", "all"] = "report"
    """Half of the subjects."""
    limit: Annotated[int, options.Range(1), arg(metavar="N")] = 40
    """At most this many photos of each group whose shading is measured."""
    workers: options.Workers = 1
    json: options.JsonFile = None

    def run(self) -> None:
        """Fit, measure and print."""
        material = fit_material(self.photos, self.half, self.limit)
        with progress("photos") as show:
            found = compare_fits(
                self.models or ("open", "open2"), material, self.half, workers=self.workers, progress=show
            )
        for fits in found:
            for file, why in fits.failures.items():
                note(f"left out by {fits.model}: {file}: {why}")
        report([replace(fits, failures={}) for fits in found], self.json, lambda: _print(found))


def _print(found: list[ModelFits]) -> None:
    rows: list[list[str]] = []
    for fits in found:
        for group in fits.shading:
            label = f"shading explained, {group.group} ({group.photos})"
            rows.append([label, fits.model, f"{group.coarse:.3f} coarse", f"{group.fine:.3f} with relief"])
            relief = f"relief {group.relief_mm:.3f} mm"
            label = f"re-render error, {group.group}"
            rows.append([label, fits.model, f"{group.rerender_error:.4f}", relief])
        for name, match in fits.identity.items():
            label = f"two photos of a subject, {name} ({match.genuine})"
            rows.append([label, fits.model, f"AUC {match.auc.value:.3f}", f"nearest right {match.rank1:.0%}"])
        rows.append(["landmarks, median", fits.model, f"{fits.landmark_mm:.2f} mm", ""])
        rows.append(["neutral mouths parted", fits.model, f"{fits.parted} of {fits.neutral}", ""])
    table(["measure", "model", "value", ""], sorted(rows, key=lambda row: row[0]))
    say(f"half of the subjects: {found[0].half}")
