"""Reports of the comparison as tables, for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from facerelief.lab.evaluation.compare.fairness import (
    LEAST_SUBJECTS,
    Fairness,
    FairnessReport,
    GroupMeasures,
    PhotoGroupMeasures,
)
from facerelief.lab.evaluation.compare.images import ImageReport
from facerelief.lab.evaluation.compare.methods import METHODS, NET_FINE
from facerelief.lab.evaluation.compare.photos import PhotoReport
from facerelief.lab.evaluation.compare.run import ComparisonReport, ReliefAgreement
from facerelief.lab.evaluation.metrics.face_errors import YAW_NAMES
from facerelief.lab.evaluation.metrics.groups import TONE
from facerelief.lab.evaluation.metrics.identity import Consistency
from facerelief.lab.evaluation.metrics.intervals import Interval
from facerelief.lab.evaluation.metrics.tables import Printed, Table, machine_line


def number(value: float | None, digits: int = 2) -> str:
    """A number, or "–" where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def cell(found: Interval | None, digits: int = 2) -> str:
    """A number with its interval: "1.34 (1.28 to 1.41)"."""
    if found is None or not math.isfinite(found.value):
        return "–"
    value, low, high = (number(x, digits) for x in (found.value, found.low, found.high))
    return value if low == high == value else f"{value} ({low} to {high})"


def printed(report: ComparisonReport, labels: Mapping[str, str]) -> Iterator[Printed]:
    """The report as it is printed; labels: names in the table of speed of what is no method."""
    compared = report.compared
    if compared.images is not None:
        yield from image_tables(compared.images.report)
    if compared.photos is not None:
        yield from photo_tables(compared.photos.report, compared.relief)
    if compared.fairness is not None:
        yield from fairness_tables(compared.fairness)
    if report.speed is not None:
        yield from speed_tables(report.speed, labels)
    if report.not_measured:
        yield not_measured(report)
    where = report.machine if report.speed is None else report.speed["machine"]
    yield machine_line(where, report.load_before)


def not_measured(report: ComparisonReport) -> str:
    """A line about the methods that were not measured."""
    return (
        "Not measured: " + "; ".join(f"{METHODS[n]}: {why}" for n, why in report.not_measured.items()) + "."
    )


# ---------------------------------------------------------------- labelled images


def image_tables(report: ImageReport) -> list[Table]:
    """All images, by yaw, by expression."""
    head = (
        "method",
        "shape after pose, mm",
        "below mean face, %",
        "as posed, mm",
        "neutral shape, mm",
        "68 landmarks, %",
        "51, %",
        "yaw, pitch, °",
        "ms",
    )
    rows = tuple(
        (
            METHODS[name],
            cell(found["rigid_mm"]),
            cell(whole.below_mean_face, 0),
            cell(found["level_mm"]),
            cell(found["neutral_mm"]),
            cell(found["nme68"]),
            number(found["nme51"].value),
            f"{number(found['yaw'].value, 1)}, {number(found['pitch'].value, 1)}",
            number(whole.median_ms, 1),
        )
        for name, whole, found in ((n, m.whole, m.whole.measures) for n, m in report.methods.items())
    )
    count = f"{report.images} images of {report.subjects} subjects"
    tables = [Table(f"Images with labels: {count}", head, rows)]
    for title, parts, names in (
        ("by yaw, degrees", {name: m.by_yaw for name, m in report.methods.items()}, YAW_NAMES),
        ("by expression", {name: m.by_expression for name, m in report.methods.items()}, None),
    ):
        first = next(iter(parts.values()), {})
        chosen = [x for x in names or first if x in first]
        head = ("method", *(f"{x} ({first[x].images})" for x in chosen))
        body = tuple(
            (METHODS[name], *(cell(found[x].measures["rigid_mm"]) for x in chosen))
            for name, found in parts.items()
            if name != NET_FINE
        )
        if chosen:
            tables.append(Table(f"Shape after pose, mm, {title} (images)", head, body))
    return tables


# ---------------------------------------------------------------- photos


def photo_tables(report: PhotoReport, relief: ReliefAgreement | None = None) -> list[Table]:
    """Measures of photos without known shape, identity consistency, and agreement of relief."""
    title = f"Photos without known shape: {report.photos} of {report.subjects} subjects"
    head = ("method", "68 landmarks from the detector's, %", "from the other methods, mm", "re-render error")
    rows = tuple(
        (METHODS[name], cell(found["nme68"]), cell(found["apart_mm"]), cell(found["rerender"], 4))
        for name, found in report.methods.items()
    )
    tables = [Table(title, head, rows)] if rows else []
    for part in dict.fromkeys(part for found in report.consistency.values() for part in found):
        tables.append(_identity_table(part, {n: c[part] for n, c in report.consistency.items() if part in c}))
    if relief:
        head = (
            "relief of CoarseNet + FineNet against inverse rendering's",
            "photos",
            "correlation",
            "height",
        )
        body = ("held-out photos", str(relief.photos), cell(relief.band_r), cell(relief.height))
        tables.append(Table("Relief agreement", head, (body,)))
    return tables


def _identity_table(part: str, methods: Mapping[str, Consistency]) -> Table:
    """Identity consistency over one part of the subjects, of which there is at least one method."""
    head = (
        "method",
        "subjects",
        "same, mm",
        "others, mm",
        "same / others",
        "AUC",
        "EER, %",
        "nearest right, %",
    )
    rows = tuple(
        (
            METHODS[name],
            str(found.subjects),
            cell(found.same_mm),
            cell(found.different_mm),
            cell(found.same_over_different),
            cell(found.auc, 3),
            cell(Interval(100 * found.eer.value, 100 * found.eer.low, 100 * found.eer.high), 0),
            number(100 * found.rank1, 0),
        )
        for name, found in methods.items()
    )
    last = list(methods.values())[-1]
    label = {"all": "all subjects", "held out": "subjects held out from training"}.get(part, part)
    pairs = f"{last.genuine} pairs of one subject, {last.impostor} of two"
    return Table(f"Identity from two photos, {label}: {pairs}", head, rows)


# ---------------------------------------------------------------- fairness

_FAIRNESS = (
    ("photos", "nme68", "Landmarks from the detector's, %, photos", 2),
    ("photos", "apart_mm", "From the other methods, mm, photos", 2),
    ("photos", "rerender", "Re-render error, photos", 4),
    ("photos", "same_over_different", "Identity: same / others, within the group, photos", 2),
    ("photos", "auc", "Identity: AUC within the group, photos", 3),
    ("images", "rigid_mm", "Shape after pose, mm, labelled images", 2),
    ("images", "neutral_mm", "Neutral shape, mm, labelled images", 2),
    ("images", "nme68", "68 landmarks, %, labelled images", 2),
)
"""Data, measure, title and digits of each table."""


def fairness_tables(report: FairnessReport) -> list[Table]:
    """A table for each measure, a row for each group."""
    tables: list[Table] = []
    for data, measure, title, digits in _FAIRNESS:
        parts: Fairness = getattr(report, data) or {}
        names = dict.fromkeys(
            name for groups in parts.values() for group in groups.values() for name in group.methods
        )
        shown = [name for name in names if name != NET_FINE]
        rows: list[tuple[str, ...]] = []
        for attribute, groups in parts.items():
            for name, group in groups.items():
                cells = [cell(_measure(group.methods.get(method), measure), digits) for method in shown]
                if not group.methods:
                    cells = [f"fewer than {LEAST_SUBJECTS} subjects", *[""] * (len(shown) - 1)]
                # in photos of many sources the tone is half light
                what = "skin in the photo" if (data, attribute) == ("images", TONE) else attribute
                count = group.photos if data == "photos" else group.images
                rows.append((f"{what}: {name}", str(group.subjects), str(count), *cells))
        if shown:
            head = ("group", "subjects", data, *(METHODS[name] for name in shown))
            tables.append(Table(title, head, tuple(rows)))
    return tables


def _measure(found: GroupMeasures | None, name: str) -> Interval | None:
    """A measure of a group, or one of its identity consistency."""
    if found is None or name in found.measures:
        return None if found is None else found.measures[name]
    return getattr(found.consistency, name, None) if isinstance(found, PhotoGroupMeasures) else None


# ---------------------------------------------------------------- speed


def speed_tables(about: Mapping[str, Any], labels: Mapping[str, str]) -> list[Table]:
    """Timings of `lab.benchmarks.methods.bench_methods`; labels: names of what is no method."""
    counts = [str(count) for count in about["threads"]]
    names: dict[str, str] = {**METHODS, **labels}

    def many(count: str) -> str:
        return f"{count} thread" + ("" if count == "1" else "s")

    head = (
        "method",
        *(f"ms a face, {many(x)}" for x in counts),
        *(f"first face of a process, s, {many(x)}" for x in counts),
        *(f"most memory, MiB, {many(x)}" for x in counts),
    )
    rows = tuple(
        (
            str(names.get(name, name)),
            *(number(found[x]["median_ms"], 1) for x in counts),
            *(number(found[x]["cold_start_s"], 1) for x in counts),
            *(number(found[x]["peak_mb"], 0) for x in counts),
        )
        for name, found in about["methods"].items()
    )
    return [Table("Time and memory, each method in processes of its own", head, rows)]
