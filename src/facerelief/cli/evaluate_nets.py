"""`facerelief evaluate nets`: the networks on held-out samples, photos and clips."""

from __future__ import annotations

from dataclasses import dataclass

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, progress, report
from facerelief.lab.evaluation.nets.report import NetsEvaluation, NetsReport
from facerelief.lab.evaluation.nets.tables import printed
from facerelief.morphable import open_model


@dataclass(frozen=True)
class Nets:
    """Measure the networks on held-out subjects, beside their targets.

    CoarseNet on a coarse data set, FineNet on FineData and on photos, Tracking CoarseNet on pairs, the
    tracker on clips: any of them. docs/nets.md defines the numbers.

    Examples:
        facerelief evaluate nets --coarse sets/coarse --json nets.json
        facerelief evaluate nets --clip video.mp4
    """

    coarse: options.Folder = None
    """A data set of the kinds coarse or renders."""
    fine: options.Folder = None
    """A data set of the kind fine."""
    pairs: options.Folder = None
    """A data set of the kind pairs."""
    fits: options.Folder = None
    """Photos fitted with `facerelief fit`: held-out persons."""
    photos: options.Folder = None
    """Folder of the fits' photos, if they have moved."""
    clip: options.Files = ()
    """A video of one face (repeatable)."""
    split: options.Split = None
    limit: options.Limit = None
    """At most this many samples, photos and frames of each part."""
    nets: options.Nets = None
    """Folder with coarse.onnx, tracking.onnx and fine.onnx to measure; the shipped ones unless given."""
    json: options.JsonFile = None

    def run(self) -> None:
        if not any((self.coarse, self.fine, self.pairs, self.fits, self.clip)):
            raise UsageError("nothing to measure on: give --coarse, --fine, --pairs, --fits or --clip")
        with progress("samples") as show:
            run = NetsEvaluation(
                open_model(),
                self.nets,
                self.split,
                self.limit,
                lambda subject, total: lambda done: show(done, total, subject),
                note,
            )
            made = NetsReport(
                "shipped" if self.nets is None else self.nets.resolve().name,
                None if self.coarse is None else run.coarse(self.coarse),
                None if self.fine is None else run.fine(self.fine),
                None if self.fits is None else run.photos(self.fits, self.photos),
                None if self.pairs is None else run.pairs(self.pairs),
                {clip.name: run.clip(clip) for clip in self.clip} or None,
            )
        report(made, self.json, printed(made))
