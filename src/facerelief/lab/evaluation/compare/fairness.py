"""Measures by skin tone, age and gender: counts and intervals of groups (docs/comparison.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from facerelief.lab.evaluation.compare import photos
from facerelief.lab.evaluation.compare.images import ImageRow, methods_of
from facerelief.lab.evaluation.compare.photos import PhotoRow, consistency_of
from facerelief.lab.evaluation.metrics.groups import ATTRIBUTES, group_names
from facerelief.lab.evaluation.metrics.identity import Consistency
from facerelief.lab.evaluation.metrics.intervals import Interval, SubjectBootstrap
from facerelief.lab.evaluation.metrics.reports import IF_KNOWN, IMAGES, INLINE, SUBJECTS
from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool

LEAST_SUBJECTS = 5
"""Groups of fewer subjects are counted and not measured."""
IMAGE_MEASURES = ("rigid_mm", "level_mm", "neutral_mm", "nme68")


@dataclass(frozen=True)
class GroupMeasures:
    """One method in one group."""

    measures: dict[str, Interval] = field(metadata=INLINE)


@dataclass(frozen=True)
class PhotoGroupMeasures(GroupMeasures):
    """One method on the photos of one group."""

    consistency: Consistency | None
    """Identity among the subjects of this group alone."""


@dataclass(frozen=True)
class Group:
    """One group; number of its photos or of its labelled images."""

    photos: int | None = field(metadata=IF_KNOWN)
    images: int | None = field(metadata=IF_KNOWN | IMAGES)
    subjects: int = field(metadata=SUBJECTS)
    methods: Mapping[str, GroupMeasures]
    """Empty for groups below `LEAST_PERSONS`."""


Fairness = dict[str, dict[str, Group]]
"""Attribute -> group -> measures."""


@dataclass(frozen=True)
class FairnessReport:
    """Measures by group, of labelled images and of photos without known shape."""

    images: Fairness | None = field(default=None, metadata=IF_KNOWN | IMAGES)
    photos: Fairness | None = field(default=None, metadata=IF_KNOWN)


def photo_fairness(
    model: FaceModel, rows: Sequence[PhotoRow], groups: Sequence[Mapping[str, str]], seed: int = 0
) -> Fairness:
    """Measures of photos without known shape by group; groups: of each row (`groups_of`)."""
    boot = SubjectBootstrap([row.subject for row in rows], seed)

    def measured(name: str, where: Bool) -> PhotoGroupMeasures:
        values = {x: np.array([row.measures[name][x] for row in rows]) for x in photos.MEASURES}
        members = [row for row, inside in zip(rows, where) if inside]
        cells = {x: boot.mean(found, where) for x, found in values.items()}
        return PhotoGroupMeasures(cells, consistency_of(model, members, name, seed))

    names = methods_of(rows[0].measures if rows else None)
    return _by_group(boot, groups, names, measured, of_photos=True)


def image_fairness(rows: Sequence[ImageRow], groups: Sequence[Mapping[str, str]], seed: int = 0) -> Fairness:
    """The same for labelled images; groups: of the photo that each was made of."""
    boot = SubjectBootstrap([row.subject for row in rows], seed)

    def measured(name: str, where: Bool) -> GroupMeasures:
        return GroupMeasures(
            {x: boot.mean(np.array([row.errors[name][x] for row in rows]), where) for x in IMAGE_MEASURES}
        )

    names = methods_of(rows[0].errors if rows else None)
    return _by_group(boot, groups, names, measured, of_photos=False)


def _by_group(
    boot: SubjectBootstrap,
    groups: Sequence[Mapping[str, str]],
    names: Sequence[str],
    measured: Callable[[str, Bool], GroupMeasures],
    *,
    of_photos: bool,
) -> Fairness:
    out: Fairness = {}
    for attribute in ATTRIBUTES:
        found = [member.get(attribute, "") for member in groups]
        parts: dict[str, Group] = {}
        for group in group_names(attribute, found):
            where = np.array([x == group for x in found])
            count, known = int(where.sum()), boot.subjects(where)
            methods = {name: measured(name, where) for name in names} if known >= LEAST_SUBJECTS else {}
            parts[group] = Group(count if of_photos else None, None if of_photos else count, known, methods)
        if parts:
            out[attribute] = parts
    return out
