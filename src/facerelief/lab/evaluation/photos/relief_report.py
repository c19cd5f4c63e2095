"""Means of `relief_quality` by group, consistency over pairs, and false relief, with targets.

Tested by tests/lab/evaluation/photos/test_relief_quality.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.metrics.reports import IMAGES, TARGETS, Target
from facerelief.lab.evaluation.metrics.tables import Printed, number, tabulate
from facerelief.lab.evaluation.photos.fit_models import PhotoPair
from facerelief.lab.evaluation.photos.relief_consistency import ReliefConsistency, relief_consistency
from facerelief.lab.evaluation.photos.relief_quality import ReliefMeasures

LEAST_EXPLAINED, LEAST_EXPLAINED_OLD = 0.28, 0.32
"""Targets of the shading that the solver explains: all groups together, and persons over 60."""
LEAST_SAME, MOST_OTHER, LEAST_NEAREST = 0.30, 0.03, 0.60
"""Targets of consistency, the mean relief taken away."""
MOST_FALSE = 0.5
"""Target: strength on young faces over that on old ones."""
OLD, YOUNG = "old", "young"


@dataclass(frozen=True)
class ReliefGroup:
    """Means over one group of photos; see `ReliefMeasures`."""

    group: str
    photos: int = field(metadata=IMAGES)
    coarse: float
    net: float
    solver: float
    strength_mm: tuple[float, float, float]
    wrinkles_mm: float
    untrusted_share: float
    untrusted_pixels: float


@dataclass(frozen=True)
class ReliefReport:
    """Everything that `facerelief evaluate relief` measures."""

    model: str
    groups: list[ReliefGroup]
    """By source; "old" and "young" for photos of listed persons."""
    consistency: ReliefConsistency | None
    """None without two pairs."""
    false_relief: float
    """Strength of wrinkles on young faces over that on old ones; NaN without lists of both."""
    failures: dict[str, str]
    targets: list[Target] = field(metadata=TARGETS)


def relief_report(
    model: str,
    photos: Sequence[Photo],
    found: dict[Photo, ReliefMeasures],
    pairs: Sequence[PhotoPair] = (),
    *,
    old: frozenset[str] = frozenset(),
    young: frozenset[str] = frozenset(),
    failures: dict[str, str] | None = None,
) -> ReliefReport:
    """Means and targets.

    Args:
        model: Its name.
        photos: Photos whose groups are reported.
        found: Measures of these and of the pairs' photos.
        pairs: Photos of one subject each; shots that are the same are left out.
        old: Stems of photos of persons over 60.
        young: Stems of photos of persons under 30.
        failures: File -> reason.
    """
    measured = [photo for photo in photos if photo in found]
    groups = [
        _group(name, [found[photo] for photo in measured if photo.group == name])
        for name in dict.fromkeys(photo.group for photo in measured)
    ]
    by_age: dict[str, ReliefGroup] = {}
    for name, stems in ((OLD, old), (YOUNG, young)):
        members = [found[photo] for photo in measured if photo.file.stem in stems]
        if members:
            by_age[name] = _group(name, members)
    usable = [p for p in pairs if not p.same_shot and p.first in found and p.second in found]
    consistency = relief_consistency(
        [found[p.first].atlas for p in usable], [found[p.second].atlas for p in usable]
    )
    false = float("nan")
    if len(by_age) == 2:
        false = by_age[YOUNG].wrinkles_mm / by_age[OLD].wrinkles_mm
    everyone = _mean([found[photo].solver for photo in measured])
    targets = [Target("shading explained by the solver", everyone, at_least=LEAST_EXPLAINED)]
    if OLD in by_age:
        targets.append(
            Target("shading explained, persons over 60", by_age[OLD].solver, at_least=LEAST_EXPLAINED_OLD)
        )
    if consistency is not None:
        targets += [
            Target("correlation, one subject", consistency.same, at_least=LEAST_SAME),
            Target("correlation, two subjects", consistency.other, at_most=MOST_OTHER),
            Target("nearest relief is the subject's own", consistency.nearest, at_least=LEAST_NEAREST),
        ]
    if np.isfinite(false):
        targets.append(Target("relief of the young over that of the old", false, at_most=MOST_FALSE))
    return ReliefReport(model, [*groups, *by_age.values()], consistency, false, dict(failures or {}), targets)


def printed(made: ReliefReport) -> list[Printed]:
    """The report as it is printed."""
    rows = [(group, *map(number, group.strength_mm), number(group.net)) for group in made.groups]
    parts: list[Printed] = [
        tabulate(
            f"Relief of {made.model}: shading explained, strength in mm by band in px at 240 px",
            "group|photos|coarse|FineNet|solver|0.8-1.5|1.5-4|4-10|on untrusted pixels",
            "{0.group}|{0.photos}|{0.coarse:.3f}|{4}|{0.solver:.3f}|{1}|{2}|{3}"
            "|{0.untrusted_share:.0%} on {0.untrusted_pixels:.0%}",
            rows,
        )
    ]
    if made.consistency is not None:
        c = made.consistency
        parts.append(
            tabulate(
                f"Relief of two photos of a subject: {c.subjects} subjects",
                "relief|same|other|nearest right",
                "{0}|{1:.2f}|{2:.2f}|{3:.0%}",
                [
                    ("mean taken away", c.same, c.other, c.nearest),
                    ("as it is", c.raw_same, c.raw_other, c.raw_nearest),
                ],
            )
        )
    return [*parts, made.targets]


def _group(name: str, members: list[ReliefMeasures]) -> ReliefGroup:
    strength = [_mean([m.strength_mm[k] for m in members]) for k in range(3)]
    return ReliefGroup(
        name,
        len(members),
        _mean([m.coarse for m in members]),
        _mean([m.net for m in members]),
        _mean([m.solver for m in members]),
        (strength[0], strength[1], strength[2]),
        _mean([m.wrinkles_mm for m in members]),
        _mean([m.untrusted_share for m in members]),
        _mean([m.untrusted_pixels for m in members]),
    )


def _mean(values: Sequence[float]) -> float:
    """NaN where there is none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
