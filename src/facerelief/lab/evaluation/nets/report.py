"""All measures of the networks in one report, each on the data that is given for it.

Tested by tests/cli/test_evaluate_nets.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from facerelief.inference.runners import CoarseRunner, FineRunner, TrackingRunner
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.evaluation.metrics.face_errors import Notes
from facerelief.lab.evaluation.metrics.reports import IF_KNOWN, INLINE
from facerelief.lab.evaluation.nets.clips import ClipReport, evaluate_clip
from facerelief.lab.evaluation.nets.coarse import CoarseReport, coarse_report, evaluate_coarse
from facerelief.lab.evaluation.nets.fine import (
    FineReport,
    evaluate_fine,
    evaluate_photos,
    fine_report,
    photo_relief_report,
    relief_of,
)
from facerelief.lab.evaluation.nets.held_out import held_out, held_out_fits, photo_reliefs
from facerelief.lab.evaluation.nets.tracking import PairReport, evaluate_pairs, pair_report
from facerelief.morphable.model import FaceModel
from facerelief.tracking.tracker import Tracker
from facerelief.video import VideoReader

T = TypeVar("T")


@dataclass(frozen=True)
class HeldOutReport(Generic[T]):
    """A report on held-out samples."""

    data: str | None = field(metadata=IF_KNOWN)
    """Name of the data set; None for photos."""
    split: str
    report: T = field(metadata=INLINE)


@dataclass(frozen=True)
class NetsReport:
    """Measures of the networks; None where no data were given."""

    nets: str
    """Folder of the networks, or "shipped"."""
    coarse: HeldOutReport[CoarseReport] | None = field(default=None, metadata=IF_KNOWN)
    fine: HeldOutReport[FineReport] | None = field(default=None, metadata=IF_KNOWN)
    photos: HeldOutReport[FineReport] | None = field(default=None, metadata=IF_KNOWN)
    pairs: HeldOutReport[PairReport] | None = field(default=None, metadata=IF_KNOWN)
    clips: dict[str, ClipReport] | None = field(default=None, metadata=IF_KNOWN)
    """By file name."""


@dataclass(frozen=True, eq=False)
class NetsEvaluation:
    """Networks and the choice of samples that they are measured on."""

    model: FaceModel
    nets: Path | None
    """Folder of the networks; None for the shipped ones."""
    split: str | None
    limit: int | None
    """Most samples, photos and frames of each part."""
    notes: Notes
    say: Callable[[str], None]
    """Called with lines about the clips."""

    def coarse(self, folder: Path) -> HeldOutReport[CoarseReport]:
        """CoarseNet on a data set of the kinds coarse, renders or pairs."""
        net = CoarseRunner(self.model, nets=self.nets)
        found = held_out(self.model, folder, ("coarse", "renders", "pairs"), self.split, self.limit)
        rows = evaluate_coarse(self.model, net, found.samples, progress=self.notes("coarse", found.count))
        return HeldOutReport(folder.name, found.split, coarse_report(rows))

    def fine(self, folder: Path) -> HeldOutReport[FineReport]:
        """FineNet on FineData or drawn wrinkles, made with any face model."""
        net = FineRunner(self.model, nets=self.nets)
        found = held_out(None, folder, ("fine", "wrinkles"), self.split, self.limit)
        rows = evaluate_fine(relief_of(net), found.samples, self.notes("fine", found.count))
        return HeldOutReport(folder.name, found.split, fine_report(rows))

    def photos(self, folder: Path, photos: Path | None) -> HeldOutReport[FineReport]:
        """FineNet on photos, against the relief of their fits."""
        net = FineRunner(self.model, nets=self.nets)
        fits = FitFolder(folder, photos)
        names = held_out_fits(fits, self.split, self.limit)
        reliefs = photo_reliefs(self.model, fits, names, net.size)
        rows = evaluate_photos(self.model, net, reliefs, self.notes("photos", len(names)))
        return HeldOutReport(None, self.split or "val and test", photo_relief_report(rows))

    def pairs(self, folder: Path) -> HeldOutReport[PairReport]:
        """Tracking CoarseNet on a data set of the kind pairs."""
        tracking = TrackingRunner(self.model, nets=self.nets)
        coarse = CoarseRunner(self.model, nets=self.nets)
        found = held_out(self.model, folder, ("pairs",), self.split, self.limit)
        progress = self.notes("pairs", found.count)
        rows = evaluate_pairs(self.model, tracking, coarse, found.samples, progress)
        return HeldOutReport(folder.name, found.split, pair_report(rows))

    def clip(self, file: Path) -> ClipReport:
        """The tracker on a video of one face."""
        nets = None if self.nets is None else str(self.nets)
        with VideoReader(file, limit=self.limit) as reader:
            frames = list(reader)
        return evaluate_clip(
            [frame.image for frame in frames],
            [frame.time for frame in frames],
            lambda config: Tracker(self.model, replace(config, nets=nets)),
            progress=lambda text: self.say(f"{file.name}: {text}"),
        )
