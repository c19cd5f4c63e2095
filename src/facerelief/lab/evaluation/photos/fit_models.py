"""Face models compared by their fits of the same photos: shading, identity, landmarks, closed lips.

Subjects are split in two halves by a digest of their names: priors are chosen on one, figures reported on the
other.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError, ImageError
from facerelief.inverse.fit import landmarks_for
from facerelief.inverse.landmark_fit import FaceState, landmark_residual
from facerelief.lab.datasets.photos import Photo, find_photos
from facerelief.lab.evaluation.metrics.identity import Consistency, identity_consistency
from facerelief.lab.evaluation.photos.fit_quality import rendered_albedo, rerendered
from facerelief.lab.evaluation.photos.shading import Shading, explained_shading
from facerelief.morphable import named_model
from facerelief.morphable.landmark_sets import INNER_LIPS
from facerelief.morphable.shape_distance import shape_gram
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.runtime.workers import ordered_results

Half = Literal["tune", "report", "all"]

SAME_SHOT = 0.85
"""Pairs of photos more alike than this are mostly the same shot."""
PARTED_MM = 2.0
"""Distance of the inner lips from which a mouth counts as open."""


@dataclass(frozen=True)
class PhotoPair:
    """Two photos of one subject."""

    first: Photo
    second: Photo
    same_shot: bool = False


@dataclass(frozen=True, eq=False)
class FittedPhoto:
    """Measures of one fit."""

    shading: Shading
    identity: NDArray[np.float32]
    """(K,)"""
    rerender_error: float
    """Mean absolute colour difference of the coarse model with its albedo and light, colours in [0, 1]."""
    lips_mm: float
    """Largest height between the inner lips' landmarks, along the face's y: lips that lie one before the
    other are not apart."""
    landmark_mm: float
    """Root mean square distance of the model's landmarks to the detected ones after the whole fit."""


@dataclass(frozen=True)
class GroupShading:
    """Mean explained shading of one group."""

    group: str
    photos: int
    coarse: float
    fine: float
    relief_mm: float
    rerender_error: float


@dataclass(frozen=True)
class ModelFits:
    """Figures of one model on one half of the subjects."""

    model: str
    half: Half
    shading: list[GroupShading]
    identity: dict[str, Consistency]
    """By collection of pairs."""
    landmark_mm: float
    """Median over the photos."""
    parted: int
    """Neutral portraits that end with more than `PARTED_MM` between the lips."""
    neutral: int
    failures: dict[str, str]


@dataclass(frozen=True)
class FitMaterial:
    """Photos of the comparison."""

    photos: list[Photo]
    """Photos of which shading is measured."""
    pairs: dict[str, list[PhotoPair]]
    neutral: list[Photo]
    """Portraits with closed lips."""

    def all(self) -> list[Photo]:
        """Each photo once."""
        both = [
            photo for pairs in self.pairs.values() for pair in pairs for photo in (pair.first, pair.second)
        ]
        return list(dict.fromkeys([*self.photos, *both, *self.neutral]))


def half_of(subject: str) -> Half:
    """The half that a subject belongs to, by a digest of its name."""
    return "tune" if zlib.crc32(subject.encode()) % 2 else "report"


def fit_material(folder: str | Path, half: Half = "report", limit: int = 40) -> FitMaterial:
    """The photos of a collection laid out as `find_photos` reads it, of one half of its subjects.

    Args:
        folder: Collection with index.csv; congress_pairs.csv in it (person, file, other, likeness) names
        pairs
            of two sources.
        half: Half of the subjects.
        limit: Photos at most of each group whose shading is measured.

    Raises:
        ImageError: The folder has no photos.
    """
    folder = Path(folder)

    def ours(photo: Photo) -> bool:
        return half in ("all", half_of(photo.subject))

    found = find_photos(folder)
    london = [photo for photo in found if photo.group == "london" and ours(photo)]
    by_subject: dict[str, list[Photo]] = {}
    for photo in sorted(london, key=lambda p: str(p.file)):
        by_subject.setdefault(photo.subject, []).append(photo)
    pairs = {"london": [PhotoPair(photos[0], photos[1]) for photos in by_subject.values() if len(photos) > 1]}
    table = folder / "congress_pairs.csv"
    if table.is_file():
        pairs["congress"] = listed_pairs(table, found, half)
    chosen: list[Photo] = []
    for group in ("us_congress", "london"):
        members = [photo for photo in found if photo.group == group and ours(photo)]
        step = max(len(members) / limit, 1.0)
        chosen += [members[int(k * step)] for k in range(min(limit, len(members)))]
    neutral = [photo for photo in london if photo.file.stem.endswith("_03")]
    return FitMaterial(chosen, pairs, neutral)


def listed_pairs(table: Path, photos: Sequence[Photo], half: Half) -> list[PhotoPair]:
    """Pairs of a table (person, file, other, likeness), files relative to it, that are among the photos.

    Raises:
        ImageError: There is no such table, or it lacks a column.
    """
    by_file = {photo.file.resolve(): photo for photo in photos}
    out: list[PhotoPair] = []
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{table}: no readable table of pairs ({error}); give a CSV file") from error
    for row in csv.DictReader(text.splitlines()):
        missing = [key for key in ("person", "file", "other", "likeness") if key not in row]
        if missing:
            raise ImageError(f"{table}: lacks the columns {', '.join(missing)}")
        files = [(table.parent / row[key]).resolve() for key in ("file", "other")]
        if all(file in by_file for file in files) and half in ("all", half_of(row["person"])):
            first, second = (by_file[file] for file in files)
            out.append(PhotoPair(first, second, float(row["likeness"]) >= SAME_SHOT))
    return out


def compare_fits(
    models: Sequence[str],
    material: FitMaterial,
    half: Half = "report",
    config: ReconstructorConfig | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ModelFits]:
    """Fit all photos with each model and measure; the figures do not depend on `workers`."""
    return [_model_fits(name, material, half, config, workers, progress) for name in models]


def _model_fits(
    name: str,
    material: FitMaterial,
    half: Half,
    config: ReconstructorConfig | None,
    workers: int,
    progress: Callable[[int, int], None],
) -> ModelFits:
    photos = material.all()
    fits: dict[Photo, FittedPhoto] = {}
    failures: dict[str, str] = {}
    with ordered_results(_fitted, photos, workers=workers, start=_start, arguments=(name, config)) as results:
        for done, (photo, found) in enumerate(zip(photos, results), 1):
            if isinstance(found, str):
                failures[str(photo.file)] = found
            else:
                fits[photo] = found
            progress(done, len(photos))
    shading: list[GroupShading] = []
    for group in dict.fromkeys(photo.group for photo in material.photos):
        members = [fits[photo] for photo in material.photos if photo.group == group and photo in fits]
        means = [
            float(np.nanmean([value(m) for m in members])) if members else float("nan")
            for value in (
                lambda m: m.shading.coarse,
                lambda m: m.shading.fine,
                lambda m: m.shading.relief_mm,
                lambda m: m.rerender_error,
            )
        ]
        shading.append(GroupShading(group, len(members), *means))
    gram = shape_gram(named_model(name))
    identity: dict[str, Consistency] = {}
    for label, pairs in material.pairs.items():
        both = [
            (fits[p.first], fits[p.second])
            for p in pairs
            if not p.same_shot and p.first in fits and p.second in fits
        ]
        if len(both) > 1:
            first, second = (np.stack([pair[k].identity for pair in both]) for k in (0, 1))
            found = identity_consistency(first, second, gram)
            if found is not None:
                identity[label] = found
    neutral = [fits[photo] for photo in material.neutral if photo in fits]
    return ModelFits(
        name,
        half,
        shading,
        identity,
        float(np.median([fit.landmark_mm for fit in fits.values()])) if fits else float("nan"),
        sum(fit.lips_mm > PARTED_MM for fit in neutral),
        len(neutral),
        failures,
    )


_WORKER: list[Reconstructor] = []


def _start(model: str, config: ReconstructorConfig | None) -> None:
    _WORKER[:] = [Reconstructor(model, config or ReconstructorConfig("fit", max_faces=1))]


def _fitted(photo: Photo) -> FittedPhoto | str:
    try:
        result, found = _WORKER[0].with_landmarks(photo.file)[0]
    except FacereliefError as error:
        return str(error)
    color, _ = rendered_albedo(result)
    rendered, seen = rerendered(result, result.coarse, color)
    inner = result.landmarks68_mm
    lips = max(float(inner[a, 1] - inner[b, 1]) for a, b in INNER_LIPS["ibug68"][0])
    # of the detector's landmarks, whatever points held the fit
    observed, name = landmarks_for(result.model, found)
    state = FaceState(result.camera, result.identity, result.expression)
    marks = landmark_residual(result.model, observed, state, name=name)
    return FittedPhoto(
        explained_shading(result),
        result.identity,
        float(np.abs(rendered - seen).mean()) if len(seen) else float("nan"),
        lips,
        marks.rms_px / result.camera.scale,
    )
