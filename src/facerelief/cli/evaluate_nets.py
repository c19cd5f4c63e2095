"""`facerelief evaluate nets`: the networks on held-out samples, photos and clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, number, print_targets, progress, report, say, table
from facerelief.lab.evaluation.metrics.face_errors import Calibration
from facerelief.lab.evaluation.nets.report import NetsEvaluation, NetsReport
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
        """Measure and print."""
        if not any((self.coarse, self.fine, self.pairs, self.fits, self.clip)):
            raise UsageError("nothing to measure on: give --coarse, --fine, --pairs, --fits or --clip")
        with progress("samples") as show:

            def notes(subject: str, total: int) -> Any:
                return lambda done: show(done, total, subject)

            run = NetsEvaluation(open_model(), self.nets, self.split, self.limit, notes, note)
            made = NetsReport(
                "shipped" if self.nets is None else self.nets.resolve().name,
                None if self.coarse is None else run.coarse(self.coarse),
                None if self.fine is None else run.fine(self.fine),
                None if self.fits is None else run.photos(self.fits, self.photos),
                None if self.pairs is None else run.pairs(self.pairs),
                {clip.name: run.clip(clip) for clip in self.clip} or None,
            )
        report(made, self.json, lambda: _print(made))


_MARKS = ("nme68", "nme51")
_ANGLES = ("pitch", "yaw", "roll")
_RELIEF = ("normal_deg", "coarse_normal_deg", "band_r", "found_over_true", "error_mm", "coarse_error_mm")
_PHOTOS = ("band_r", "found_over_true", "found_mm", "true_mm")
_CLIP = ("shown", "found", "jitter_px", "jitter_percent", "jitter_over_per_frame")
_DRIFT = ("drift_first", "drift_last", "drift_ratio", "drift_shift")


def _print(made: NetsReport) -> None:
    if made.coarse is not None:
        found = made.coarse.report
        title = f"CoarseNet, {found.samples} samples of {made.coarse.split}"
        shape = ("rigid_mm", "similar_mm", "level_mm", "posed_mm", "surface_mm")
        _table(title, found.whole.methods, (*shape, *_MARKS, *_ANGLES))
        for title, parts in (("by yaw", found.by_yaw), ("by expression", found.by_expression)):
            rows = {f"{n}: {m}": values for n, part in parts.items() for m, values in part.methods.items()}
            _table(title, rows, ("rigid_mm", "level_mm", *_MARKS, "yaw"))
        _print_calibration(found.calibration)
        print_targets(map(vars, found.targets))
    for part, title, names in (
        (made.fine, "FineNet on FineData", _RELIEF),
        (made.photos, "FineNet on photos, against the fit", _PHOTOS),
    ):
        if part is not None:
            _table(f"{title}, {part.split}", part.report.parts, names)
            print_targets(map(vars, part.report.targets))
    if made.pairs is not None:
        found = made.pairs.report
        rows = {
            f"{name}: {method}": {"samples": part.samples} | values
            for name, part in found.parts.items()
            for method, values in part.methods.items()
        }
        title = f"Tracking CoarseNet, {found.samples} pairs of {made.pairs.split}, true identity"
        _table(title, rows, ("level_mm", "posed_mm", "surface_mm", *_MARKS, *_ANGLES))
        for limit, shares in found.changes_above.items():
            parts = ", ".join(f"{100 * share:.1f} % of {name}" for name, share in shares.items())
            say(f"pose changes by more than {limit} deviations: {parts}")
        _print_calibration(found.calibration)
        print_targets(map(vars, found.targets))
    for name, found in (made.clips or {}).items():
        title = f"{name}: {found.frames} frames, landmarks {found.face_px:.0f} px across"
        _table(title, found.tracks, (*_CLIP, *_DRIFT))
        for what in ("detector", "filter", "backward", "leaving"):
            measures: dict[str, float] = getattr(found, what)
            say(f"{what}: {', '.join(f'{key} {number(value)}' for key, value in measures.items())}")
        print_targets(map(vars, found.targets))


def _print_calibration(found: Calibration) -> None:
    title = f"stated error: rank correlation {number(found.spearman)}, right times {number(found.factor)}"
    rows = {str(k): vars(row) for k, row in enumerate(found.bins, 1)}
    _table(title, rows, ("stated_mm", "true_mm", "true_p90_mm"), head="fifth")


def _table(title: str, rows: Mapping[str, Mapping[str, Any]], names: Sequence[str], head: str = "") -> None:
    """A row of measures for each label; the number of samples where a row has it."""
    counted = ("samples",) if any("samples" in row for row in rows.values()) else ()
    cells = [
        [label, *(str(row.get(name, "")) for name in counted), *(number(row.get(name)) for name in names)]
        for label, row in rows.items()
    ]
    table((head, *counted, *names), cells, title)
