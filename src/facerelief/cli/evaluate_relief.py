"""`facerelief evaluate relief`: wrinkles of photos without a known shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import note, progress, report, say
from facerelief.io.write_images import write_png
from facerelief.lab.datasets.photos import find_photos
from facerelief.lab.evaluation.photos.fit_models import PhotoPair, half_of, listed_pairs
from facerelief.lab.evaluation.photos.fit_report import read_names
from facerelief.lab.evaluation.photos.relief_quality import measure_reliefs, sheet
from facerelief.lab.evaluation.photos.relief_report import printed, relief_report

T = TypeVar("T")

SHEET_ROWS = 20
"""Most photos on a contact sheet."""


@dataclass(frozen=True)
class Relief:
    """Measure the wrinkles of photos without a known shape.

    Shading explained by the coarse surface, FineNet and the solver, strength by band, relief where no bare
    skin is seen, and whether two photos of a subject have the same relief. docs/evaluation.md defines them.

    Examples:
        facerelief evaluate relief photos/ --model open2 --sheet relief.png
        facerelief evaluate relief photos/ --pairs photos/pairs.csv --limit 20
    """

    photos: options.Argument
    """Folder of photos; an index.csv there names their subjects and groups."""
    group: options.Group = ()
    """Only this group (repeatable)."""
    limit: options.Limit = None
    """At most this many photos of each group, evenly spread, and this many pairs."""
    half: Literal["report", "tune", "all"] = "all"
    """Half of the subjects: weights are chosen on tune."""
    pairs: options.File = None
    """Table of two photos of each subject: columns person, file, other (relative to it), likeness."""
    old: options.File = None
    """Names of photos of persons over 60, one a line: a group more, with a target of its own."""
    young: options.File = None
    """Names of photos of persons under 30 in flat light, one a line: their relief is mostly false."""
    model: options.Model = "open"
    """The face model to fit."""
    sheet: Annotated[options.File, arg(metavar="FILE.png")] = None
    """Write photos, clay in raking light from two sides, and relief in the atlas, to look at."""
    workers: options.Workers = 1
    json: options.JsonFile = None

    def run(self) -> None:
        """Fit, measure and print."""
        found = find_photos(self.photos, self.group)
        if self.half != "all":
            found = [photo for photo in found if half_of(photo.subject) == self.half]
        chosen = [
            photo
            for group in dict.fromkeys(photo.group for photo in found)
            for photo in _spread([photo for photo in found if photo.group == group], self.limit)
        ]
        pairs: list[PhotoPair] = []
        if self.pairs is not None:
            pairs = listed_pairs(self.pairs, find_photos(self.photos), self.half)
            pairs = _spread([pair for pair in pairs if not pair.same_shot], self.limit)
        everyone = dict.fromkeys([*chosen, *(one for pair in pairs for one in (pair.first, pair.second))])
        rows = 0 if self.sheet is None else min(SHEET_ROWS, len(chosen))
        with progress("photos") as show:
            measures, failures = measure_reliefs(
                list(everyone), self.model, tiles=rows, workers=self.workers, progress=show
            )
        for file, why in failures.items():
            note(f"left out: {file}: {why}")
        old, young = (
            frozenset[str]() if names is None else read_names(names) for names in (self.old, self.young)
        )
        made = relief_report(self.model, chosen, measures, pairs, old=old, young=young, failures=failures)
        if self.sheet is not None:
            tiles = [m.tiles for m in measures.values() if m.tiles is not None]
            if tiles:
                write_png(self.sheet, sheet(tiles))
                say(f"{self.sheet}: {len(tiles)} photos")
        report(made, self.json, printed(made))


def _spread(members: list[T], limit: int | None) -> list[T]:
    """At most `limit` of some members, evenly spread."""
    if limit is None or len(members) <= limit:
        return members
    return [members[int(k * len(members) / limit)] for k in range(limit)]
