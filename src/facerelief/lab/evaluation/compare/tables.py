"""The comparison's figures as tables, and as the section of a Markdown page that the command keeps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.compare.methods import METHODS, NET_FINE
from facerelief.lab.evaluation.metrics.face_errors import YAW_NAMES
from facerelief.lab.evaluation.metrics.groups import LEAST_PERSONS, TONE

HEADING = "## Comparison of the methods"
OPEN, CLOSE = "<!-- comparison -->", "<!-- /comparison -->"
PARTS = ("pictures", "photos", "fairness", "speed")
"""Parts of the section, in their order; a run replaces those that it measured."""


_INTRO = (
    "`facerelief evaluate compare` writes this section; [how methods are compared](../comparison.md) defines "
    "the figures. In brackets: 95 % intervals, bootstrap over persons."
)


@dataclass(frozen=True)
class Table:
    """Cells to print: the first column's are left-aligned."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """With its title above."""
        rule = ("---",) * len(self.head)
        lines = ["| " + " | ".join(row) + " |" for row in (self.head, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines])


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or "–" where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def cell(found: Mapping[str, float | None] | None, digits: int = 2) -> str:
    """A figure with its interval: "1.34 (1.28 to 1.41)"."""
    if found is None or number(found["value"]) == "–":
        return "–"
    value, low, high = (number(found[x], digits) for x in ("value", "low", "high"))
    return value if low == high == value else f"{value} ({low} to {high})"


# ---------------------------------------------------------------- pictures


def picture_tables(report: Mapping[str, Any]) -> list[Table]:
    """Of a `picture_report`: all pictures, by yaw, by expression."""
    methods = report["methods"]
    rows = tuple(
        (
            METHODS[name],
            cell(whole["rigid_mm"]),
            cell(whole.get("below_mean_face"), 0),
            cell(whole["level_mm"]),
            cell(whole["neutral_mm"]),
            cell(whole["nme68"]),
            number(whole["nme51"]["value"]),
            f"{number(whole['yaw']['value'], 1)}, {number(whole['pitch']['value'], 1)}",
            number(whole["median_ms"], 1),
        )
        for name, found in methods.items()
        for whole in [found["all"]]
    )
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
    count = f"{report['pictures']} pictures of {report['persons']} persons"
    tables = [Table(f"Pictures with labels: {count}", head, rows)]
    for key, title, names in (
        ("by_yaw", "by yaw, degrees", YAW_NAMES),
        ("by_expression", "by expression", None),
    ):
        parts = next(iter(methods.values()))[key] if methods else {}
        chosen = [x for x in names or parts if x in parts]
        head = ("method", *(f"{x} ({parts[x]['pictures']})" for x in chosen))
        body = tuple(
            (METHODS[name], *(cell(found[key][x]["rigid_mm"]) for x in chosen))
            for name, found in methods.items()
            if name != NET_FINE
        )
        if chosen:
            tables.append(Table(f"Shape after pose, mm, {title} (pictures)", head, body))
    return tables


# ---------------------------------------------------------------- photos


def photo_tables(report: Mapping[str, Any], relief: Mapping[str, Any] | None = None) -> list[Table]:
    """Of a `photo_report`: measures of photos without known shape, and identity consistency."""
    methods = report["methods"]
    title = f"Photos without known shape: {report['photos']} of {report['persons']} persons"
    head = ("method", "68 landmarks from the detector's, %", "from the other methods, mm", "re-render error")
    rows = tuple(
        (METHODS[name], cell(found["nme68"]), cell(found["apart_mm"]), cell(found["rerender"], 4))
        for name, found in methods.items()
    )
    tables = [Table(title, head, rows)] if rows else []
    parts = dict.fromkeys(part for found in report["consistency"].values() for part in found)
    head = (
        "method",
        "persons",
        "same, mm",
        "others, mm",
        "same / others",
        "AUC",
        "EER, %",
        "nearest right, %",
    )
    for part in parts:
        body: list[tuple[str, ...]] = []
        pairs = ""
        for name, found in report["consistency"].items():
            if (one := found.get(part)) is not None:
                pairs = f"{one['genuine']} pairs of one person, {one['impostor']} of two"
                body.append(
                    (
                        METHODS[name],
                        str(one["persons"]),
                        cell(one["same_mm"]),
                        cell(one["different_mm"]),
                        cell(one["ratio"]),
                        cell(one["auc"], 3),
                        _percent(one["eer"]),
                        number(100 * one["rank1"], 0),
                    )
                )
        label = {"all": "all persons", "held out": "persons held out from training"}.get(part, part)
        tables.append(Table(f"Identity from two photos, {label}: {pairs}", head, tuple(body)))
    if relief:
        head = (
            "relief of CoarseNet + FineNet against inverse rendering's",
            "photos",
            "correlation",
            "height",
        )
        body = [("held-out photos", str(relief["photos"]), cell(relief["band_r"]), cell(relief["height"]))]
        tables.append(Table("Relief agreement", head, tuple(body)))
    return tables


def _percent(found: Mapping[str, float]) -> str:
    return cell({key: 100 * found[key] for key in ("value", "low", "high")}, 0)


# ---------------------------------------------------------------- fairness


def fairness_tables(about: Mapping[str, Any]) -> list[Table]:
    """Of "photos" (`photo_fairness`) and "pictures" (`picture_fairness`), those that there are: a table of
    each measure, a row of each group."""
    wanted = (
        ("photos", "nme68", "Landmarks from the detector's, %, photos", 2),
        ("photos", "apart_mm", "From the other methods, mm, photos", 2),
        ("photos", "rerender", "Re-render error, photos", 4),
        ("photos", "ratio", "Identity: same / others, within the group, photos", 2),
        ("photos", "auc", "Identity: AUC within the group, photos", 3),
        ("pictures", "rigid_mm", "Shape after pose, mm, labelled pictures", 2),
        ("pictures", "neutral_mm", "Neutral shape, mm, labelled pictures", 2),
        ("pictures", "nme68", "68 landmarks, %, labelled pictures", 2),
    )
    tables: list[Table] = []
    for source, measure, title, digits in wanted:
        parts = about.get(source) or {}
        names = dict.fromkeys(
            name for groups in parts.values() for group in groups.values() for name in group["methods"]
        )
        shown = [name for name in names if name != NET_FINE]
        rows: list[tuple[str, ...]] = []
        for attribute, groups in parts.items():
            for name, group in groups.items():
                cells = [_measure(group["methods"].get(method), measure) for method in shown]
                told = (
                    [cell(found, digits) for found in cells]
                    if group["methods"]
                    else [f"fewer than {LEAST_PERSONS} persons", *[""] * (len(shown) - 1)]
                )
                # of photos from everywhere it is half light
                what = "skin in the photo" if (source, attribute) == ("pictures", TONE) else attribute
                rows.append((f"{what}: {name}", str(group["persons"]), str(group[source]), *told))
        if shown:
            head = ("group", "persons", source, *(METHODS[name] for name in shown))
            tables.append(Table(title, head, tuple(rows)))
    return tables


def _measure(found: Mapping[str, Any] | None, name: str) -> Mapping[str, float] | None:
    if found is None:
        return None
    return found[name] if name in found else (found.get("consistency") or {}).get(name)


# ---------------------------------------------------------------- speed


def speed_tables(about: Mapping[str, Any], labels: Mapping[str, str]) -> list[Table]:
    """Of `method_benchmark.bench_methods`."""
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


def told_machine(where: Mapping[str, Any], load: float | None = None) -> str:
    """One line: processor, cores, versions, and the load before where others were at work."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    busy = f" Others were at work (load {load:.1f}): times are too long." if (load or 0.0) > 0.5 else ""
    return (
        f"{where['processor']}, {where['cores']} cores, {where['system']}; Python {where['python']}, "
        f"{versions}.{busy}"
    )


# ---------------------------------------------------------------- the page


def with_section(page: str, parts: Mapping[str, str]) -> str:
    """A page with these parts of the comparison in it (name of `PARTS` -> Markdown), the others as they were.

    The section lies between the lines `OPEN` and `CLOSE`, or is put at the end where the page has neither.
    Applying it twice changes nothing more. Raises FacereliefError where one line is there without the other.
    """
    if page.count(OPEN) != page.count(CLOSE) or page.count(OPEN) > 1 or page.find(CLOSE) < page.find(OPEN):
        raise FacereliefError(
            f"expected one line {OPEN} and after it one {CLOSE}, or neither; correct the page"
        )
    before, _, rest = page.partition(OPEN)
    inside, _, after = rest.partition(CLOSE)
    if not rest:
        before, after = (f"{page.rstrip()}\n\n" if page.strip() else ""), "\n"
    found: dict[str, str] = {}
    for name in PARTS:
        match = re.search(
            f"{re.escape(_mark(name))}\n(.*?)\n{re.escape(_mark('/' + name))}", inside, re.DOTALL
        )
        if name in parts:
            found[name] = parts[name].strip()
        elif match:
            found[name] = match[1]
    body = "\n\n".join(f"{_mark(name)}\n{text}\n{_mark('/' + name)}" for name, text in found.items())
    return f"{before}{OPEN}\n\n{HEADING}\n\n{_INTRO}\n\n{body}\n\n{CLOSE}{after}"


def _mark(name: str) -> str:
    end = name.startswith("/")
    return f"<!-- {'/' if end else ''}comparison: {name.lstrip('/')} -->"


def part(intro: Sequence[str], tables: Sequence[Table], outro: Sequence[str] = ()) -> str:
    """Markdown of paragraphs, tables and paragraphs."""
    return "\n\n".join([*intro, *(table.markdown for table in tables), *outro])
