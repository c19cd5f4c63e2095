"""Means of `fit_quality` by group, skin tone against light, and identity consistency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerelief.errors import ImageError
from facerelief.lab.evaluation.metrics.identity import Agreement, photo_pairs, shape_agreement
from facerelief.lab.evaluation.metrics.tables import Printed, tabulate
from facerelief.lab.evaluation.photos.fit_quality import FitMeasures, MeasuredFits
from facerelief.morphable.model import FaceModel
from facerelief.morphable.shape_distance import shape_gram

MOST_ERROR, MOST_SHARE = 0.02, 0.60
"""Targets of the re-render error after the whole decomposition: its value, and its share of the coarse
fit's."""


@dataclass(frozen=True)
class FitGroup:
    """One group of photos: means of the errors, medians of the other measures of `FitMeasures`."""

    group: str
    photos: int
    coarse_error: float
    full_error: float
    share: float
    """full_error / coarse_error"""
    coarse_cells: float
    fine_cells: float
    skin_cells: float
    fine_cells_10_90: tuple[float, float]
    """10th and 90th percentile of fine_cells."""
    relief_mm: float
    edge_correlation: float
    confidence: float
    warned: float
    """Share of photos with a warning."""
    median_ms: dict[str, float]
    """By stage."""


@dataclass(frozen=True)
class ToneRow:
    """Photos of similar skin brightness: means of `FitMeasures`."""

    photos: int
    tone: float
    albedo: float
    light: float


@dataclass(frozen=True)
class ToneReport:
    """Skin tone of a group of photos, dark to light."""

    rows: list[ToneRow]
    light_share: float
    """See `light_share`."""


@dataclass(frozen=True)
class FitReport:
    """Everything that `facerelief evaluate fit` measures."""

    groups: list[FitGroup]
    failures: dict[str, str]
    """Photo -> reason why it was not measured."""
    tone: dict[str, ToneReport]
    """By group."""
    identity: dict[str, Agreement]
    """By group, those with at least two subjects with two photos."""


def fit_report(found: MeasuredFits, model: FaceModel, elders: frozenset[str] = frozenset()) -> FitReport:
    """Means by group.

    Args:
        elders: stems of photos that form one more group, "over 60".
    """
    members = {group: found.of(group) for group in found.groups()}
    aged = [m for m in found.measures if m.photo.file.stem in elders]
    agreements = {group: identity_agreement(part, model) for group, part in members.items()}
    return FitReport(
        [_group(group, part) for group, part in (members | ({"over 60": aged} if aged else {})).items()],
        found.failures,
        {group: ToneReport(tone_table(part), light_share(part)) for group, part in members.items()},
        {group: agreement for group, agreement in agreements.items() if agreement is not None},
    )


def _group(name: str, members: Sequence[FitMeasures]) -> FitGroup:
    def of(measure: str) -> list[float]:
        return [getattr(m, measure) for m in members]

    def median(measure: str) -> float:
        return float(np.nanmedian(of(measure)))

    coarse, full = (float(np.nanmean(of(measure))) for measure in ("coarse_error", "full_error"))
    low, high = (float(np.nanpercentile(of("fine_cells"), q)) for q in (10, 90))
    stages = sorted({stage for m in members for stage in m.timings_ms})
    return FitGroup(
        name,
        len(members),
        coarse,
        full,
        full / max(coarse, 1e-9),
        median("coarse_cells"),
        median("fine_cells"),
        median("skin_cells"),
        (low, high),
        median("relief_mm"),
        median("edge_correlation"),
        median("confidence"),
        float(np.mean([bool(m.warnings) for m in members])),
        {stage: float(np.median([m.timings_ms.get(stage, 0.0) for m in members])) for stage in stages},
    )


def identity_agreement(measures: Sequence[FitMeasures], model: FaceModel) -> Agreement | None:
    """`shape_agreement` over all subjects with two photos, the first two by file name; None below two such
    subjects."""
    pairs = photo_pairs(measures, lambda m: m.photo.subject, lambda m: str(m.photo.file))
    if len(pairs) < 2:
        return None
    first, second = (np.stack([pair[k].identity for pair in pairs]) for k in (0, 1))
    return shape_agreement(first, second, shape_gram(model))


def tone_table(measures: Sequence[FitMeasures], groups: int = 4) -> list[ToneRow]:
    """Photos in equal groups by the brightness of their skin, dark to light."""
    order = sorted(measures, key=lambda m: m.tone)
    parts = np.array_split(np.arange(len(order)), min(groups, max(len(order), 1)))
    rows: list[ToneRow] = []
    for members in ([order[k] for k in part] for part in parts if len(part)):
        tone, albedo, light = (
            float(np.mean([getattr(m, name) for m in members])) for name in ("tone", "albedo", "light")
        )
        rows.append(ToneRow(len(members), tone, albedo, light))
    return rows


def light_share(measures: Sequence[FitMeasures]) -> float:
    """Share of the differences in skin brightness that the fit explains by light.

    The slope of log light on log brightness; 0 would be right where all photos were lit alike.
    """
    tone, light = (np.log([getattr(m, name) for m in measures]) for name in ("tone", "light"))
    return float(np.polyfit(tone, light, 1)[0]) if len(measures) > 2 and tone.std() > 1e-6 else float("nan")


def read_names(file: Path) -> frozenset[str]:
    """Names of photos in a text file, one a line; lines that begin with # are comments. Raises ImageError."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file}: no readable list of names ({error}); give a text file") from error
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def printed(made: FitReport) -> Iterator[Printed]:
    """The report as it is printed."""
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
    yield tabulate(title, f"{head}|warned", columns, groups)
    for group, tone in made.tone.items():
        title = f"{group}: skin tone, dark to light (light's share {tone.light_share:+.2f})"
        columns = "{0}|{1.photos}|{1.tone:.3f}|{1.albedo:.3f}|{1.light:.3f}"
        yield tabulate(title, "skin|photos|brightness|albedo|light", columns, enumerate(tone.rows, 1))
    for group, found in made.identity.items():
        yield (
            f"{group}: {found.subjects} persons with two photos: shapes {found.same_mm:.2f} mm apart, "
            f"of different persons {found.different_mm:.2f} mm (same over different "
            f"{found.same_over_different:.2f}); rank-1 {100 * found.rank1:.0f} % by shape, "
            f"{100 * found.rank1_coefficients:.0f} % by coefficients"
        )
    for file, why in made.failures.items():
        yield f"left out: {why or file}"
