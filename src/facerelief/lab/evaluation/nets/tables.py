"""Measures of the networks as they are printed.

Tested by tests/cli/test_evaluate_nets.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facerelief.lab.evaluation.metrics.face_errors import Calibration
from facerelief.lab.evaluation.metrics.tables import Printed, Table, number
from facerelief.lab.evaluation.nets.report import NetsReport

_MARKS = ("nme68", "nme51")
_ANGLES = ("pitch", "yaw", "roll")
_RELIEF = ("normal_deg", "coarse_normal_deg", "band_r", "found_over_true", "error_mm", "coarse_error_mm")
_PHOTOS = ("band_r", "found_over_true", "found_mm", "true_mm")
_CLIP = ("shown", "found", "jitter_px", "jitter_percent", "jitter_over_per_frame")
_DRIFT = ("drift_first", "drift_last", "drift_ratio", "drift_shift")


def printed(made: NetsReport) -> Iterator[Printed]:
    """The report as it is printed."""
    if made.coarse is not None:
        found = made.coarse.report
        title = f"CoarseNet, {found.samples} samples of {made.coarse.split}"
        shape = ("rigid_mm", "similar_mm", "level_mm", "posed_mm", "surface_mm")
        yield _table(title, found.whole.methods, (*shape, *_MARKS, *_ANGLES))
        for title, parts in (("by yaw", found.by_yaw), ("by expression", found.by_expression)):
            rows = {f"{n}: {m}": values for n, part in parts.items() for m, values in part.methods.items()}
            yield _table(title, rows, ("rigid_mm", "level_mm", *_MARKS, "yaw"))
        yield _calibration(found.calibration)
        yield found.targets
    for part, title, names in (
        (made.fine, "FineNet on FineData", _RELIEF),
        (made.photos, "FineNet on photos, against the fit", _PHOTOS),
    ):
        if part is not None:
            yield _table(f"{title}, {part.split}", part.report.parts, names)
            yield part.report.targets
    if made.pairs is not None:
        found = made.pairs.report
        rows = {
            f"{name}: {method}": {"samples": part.samples} | values
            for name, part in found.parts.items()
            for method, values in part.methods.items()
        }
        title = f"Tracking CoarseNet, {found.samples} pairs of {made.pairs.split}, true identity"
        yield _table(title, rows, ("level_mm", "posed_mm", "surface_mm", *_MARKS, *_ANGLES))
        for limit, shares in found.changes_above.items():
            parts = ", ".join(f"{100 * share:.1f} % of {name}" for name, share in shares.items())
            yield f"pose changes by more than {limit} deviations: {parts}"
        yield _calibration(found.calibration)
        yield found.targets
    for name, found in (made.clips or {}).items():
        title = f"{name}: {found.frames} frames, landmarks {found.face_px:.0f} px across"
        yield _table(title, found.tracks, (*_CLIP, *_DRIFT))
        for what in ("detector", "filter", "backward", "leaving"):
            measures: dict[str, float] = getattr(found, what)
            yield f"{what}: {', '.join(f'{key} {number(value)}' for key, value in measures.items())}"
        yield found.targets


def _calibration(found: Calibration) -> Table:
    title = f"stated error: rank correlation {number(found.spearman)}, right times {number(found.factor)}"
    rows = {str(k): vars(row) for k, row in enumerate(found.bins, 1)}
    return _table(title, rows, ("stated_mm", "true_mm", "true_p90_mm"), head="fifth")


def _table(title: str, rows: Mapping[str, Mapping[str, Any]], names: Sequence[str], head: str = "") -> Table:
    """A row of measures for each label; the number of samples where a row has it."""
    counted = ("samples",) if any("samples" in row for row in rows.values()) else ()
    cells = [
        [label, *(str(row.get(name, "")) for name in counted), *(number(row.get(name)) for name in names)]
        for label, row in rows.items()
    ]
    return Table(title, (head, *counted, *names), cells)
