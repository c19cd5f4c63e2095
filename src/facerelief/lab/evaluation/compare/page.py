"""The comparison's section of a Markdown page, which `facerelief evaluate compare` keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.compare.plots import BY_YAW, CUMULATIVE
from facerelief.lab.evaluation.compare.run import ComparisonReport
from facerelief.lab.evaluation.compare.tables import (
    fairness_tables,
    image_tables,
    not_measured,
    photo_tables,
    speed_tables,
)
from facerelief.lab.evaluation.metrics.tables import Table, machine_line

HEADING = "## Comparison of the methods"
OPEN, CLOSE = "<!-- comparison -->", "<!-- /comparison -->"
PARTS = ("pictures", "photos", "fairness", "speed")
"""Parts of the section, in their order; a run replaces the parts that it measured."""


_INTRO = (
    "`facerelief evaluate compare` writes this section; [how methods are compared](../comparison.md) defines "
    "the figures. In brackets: 95 % intervals, bootstrap over subjects."
)


def sections(
    report: ComparisonReport, labels: Mapping[str, str], images: str | None = None
) -> dict[str, str]:
    """Name of a part of `PARTS` -> Markdown, for the parts that were measured.

    Args:
        labels: names in the table of speed of what is no method.
        images: folder of the plots as the page links it, ending in "/"; None for no plots.
    """
    compared = report.compared
    out: dict[str, str] = {}
    if (found := compared.images) is not None:
        intro = [
            f"Held-out subjects (split `{found.split}`), edited images whose labels come from inverse "
            "rendering: **inverse rendering has the home advantage here**, its own kind of faces being the "
            "truth, and the networks learned from such labels. The neutral judge is rendered truth "
            "(`facerelief evaluate truth`). All methods start from the same detected face; images in which "
            f"it is not found ({len(found.left_out)}) are left out for all. FineNet adds relief and "
            "leaves the coarse shape as it is.",
        ]
        outro = [not_measured(report)] if report.not_measured else []
        if images is not None:
            outro += [
                f"![Share of images by shape error and by landmark error]({images}{CUMULATIVE})",
                f"![Shape error and landmark error by yaw]({images}{BY_YAW})",
            ]
        threads = f"{report.threads} thread" + ("" if report.threads == 1 else "s")
        where = machine_line(report.machine, report.load_before)
        outro.append(f"ms: median from the detected face to the shape, warm, {threads}. {where}")
        out["pictures"] = _part(intro, image_tables(found.report), outro)
    if (found := compared.photos) is not None:
        photos = found.report
        intro = [
            "The shapes in photos are unknown. The networks have seen photos of the subjects that are not "
            f"held out ({photos.subjects - photos.held_out_subjects} of {photos.subjects}) in training. "
            "Landmark fit, inverse rendering and the poses of UH-E2FAR and the mean face are fitted to the "
            "very landmarks they are measured against; CoarseNet is not.",
        ]
        out["photos"] = _part(intro, photo_tables(photos, compared.relief))
    if (found := compared.fairness) is not None:
        intro = [
            "By group, of photos without known shape and of labelled images. Skin tone is the individual "
            "typology angle of the photo's pixels, light and exposure included; it means skin where photos "
            "share a studio, and less elsewhere. Age and gender are self-reported, where a file has them; "
            "nothing is guessed.",
        ]
        out["fairness"] = _part(intro, fairness_tables(found))
    if (found := report.speed) is not None:
        intro = [
            "From the detected face to the shape (with relief where the name says so), without light, "
            "texture and files; the detector is a row of its own. The first face counts from the start of "
            "the process.",
        ]
        outro = [machine_line(found["machine"], found["load_before"])]
        out["speed"] = _part(intro, speed_tables(found, labels), outro)
    return out


def link(page: Path, folder: Path) -> str:
    """A folder as a page links it, ending in "/"."""
    relative = os.path.relpath(folder.resolve(), page.resolve().parent)
    return f"{Path(relative).as_posix()}/"


def read_page(file: Path) -> str:
    """A page for `with_section`, empty where there is no such file. Raises FacereliefError."""
    if not file.exists():
        return ""
    try:
        page = file.read_text("utf-8")
        with_section(page, {})
    except (OSError, UnicodeDecodeError, FacereliefError) as error:
        raise FacereliefError(f"{file}: {error}") from error
    return page


def with_section(page: str, parts: Mapping[str, str]) -> str:
    """A page with new parts of the comparison's section; its other parts stay.

    The section lies between the lines `OPEN` and `CLOSE`, or is put at the end where the page has neither.
    Applying it twice changes nothing more.

    Args:
        page: Markdown.
        parts: name of `PARTS` -> Markdown.

    Raises:
        FacereliefError: The page has one of the lines without the other.
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


def _part(intro: Sequence[str], tables: Sequence[Table], outro: Sequence[str] = ()) -> str:
    """Markdown of paragraphs, tables and paragraphs."""
    return "\n\n".join([*intro, *(table.markdown for table in tables), *outro])
