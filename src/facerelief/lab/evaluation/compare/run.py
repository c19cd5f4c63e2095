"""The comparison of all methods: on labelled images, on photos without known shape, by groups of subjects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.detection import detect_faces
from facerelief.errors import FacereliefError
from facerelief.examples import astronaut_path
from facerelief.inference.runners import FineRunner
from facerelief.io.images import read_image
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.evaluation.compare.fairness import (
    Fairness,
    FairnessReport,
    image_fairness,
    photo_fairness,
)
from facerelief.lab.evaluation.compare.images import ImageReport, ImageRow, compare_images, image_report
from facerelief.lab.evaluation.compare.methods import (
    FIT,
    MEAN_FACE,
    METHODS,
    NET_FINE,
    Method,
    missing_nets,
    open_method,
)
from facerelief.lab.evaluation.compare.photos import (
    PhotoInput,
    PhotoReport,
    PhotoRow,
    compare_photos,
    photo_report,
)
from facerelief.lab.evaluation.compare.sources import PhotoSources
from facerelief.lab.evaluation.metrics.face_errors import Notes, counted
from facerelief.lab.evaluation.metrics.groups import People, groups_of, skin_tone
from facerelief.lab.evaluation.metrics.intervals import Interval, SubjectBootstrap
from facerelief.lab.evaluation.metrics.reports import IF_KNOWN, IMAGES, INLINE
from facerelief.lab.evaluation.nets.fine import evaluate_photos
from facerelief.lab.evaluation.nets.held_out import held_out, held_out_fits, photo_reliefs
from facerelief.morphable.model import FaceModel

MOST_RELIEFS = 60
"""Photos on which relief is compared."""


@dataclass(frozen=True)
class ComparedImagesReport:
    """Labelled images of a data set."""

    data: str
    split: str
    left_out: dict[str, str]
    """Sample -> reason."""
    report: ImageReport = field(metadata=INLINE)


@dataclass(frozen=True)
class ComparedPhotosReport:
    """Photos without known shape."""

    left_out: dict[str, str]
    """Photo -> reason."""
    fits_from_file: bool
    """True where the states of method "fit" come from a folder of fits."""
    report: PhotoReport = field(metadata=INLINE)


@dataclass(frozen=True)
class ReliefAgreement:
    """FineNet's relief against that of the fit on held-out photos, from the fit's own coarse face."""

    photos: int
    band_r: Interval
    """Correlation; see `nets.fine.band_errors`."""
    height: Interval
    """Strength of FineNet's relief over that of the fit."""


@dataclass(frozen=True)
class Compared:
    """Measured parts; None for those without data."""

    images: ComparedImagesReport | None = field(default=None, metadata=IF_KNOWN | IMAGES)
    fairness: FairnessReport | None = field(default=None, metadata=IF_KNOWN)
    photos: ComparedPhotosReport | None = field(default=None, metadata=IF_KNOWN)
    relief: ReliefAgreement | None = field(default=None, metadata=IF_KNOWN)


@dataclass(frozen=True)
class ComparisonReport:
    """Everything that `facerelief evaluate compare` measures."""

    methods: dict[str, str]
    """Methods that were measured -> their names in tables."""
    not_measured: dict[str, str]
    """Methods -> reason."""
    nets: str
    """Folder of the networks, or "shipped"."""
    seed: int
    threads: int
    machine: Mapping[str, Any]
    """See `lab.benchmarks.timing.machine`."""
    load_before: float | None
    compared: Compared = field(metadata=INLINE)
    speed: Mapping[str, Any] | None = field(metadata=IF_KNOWN)
    """See `lab.benchmarks.methods.bench_methods`."""


@dataclass(frozen=True)
class ComparisonData:
    """Data to compare on, None for those that are not there."""

    coarse: Path | None
    """Data set of the kinds coarse or renders."""
    fits: Path | None
    """Fitted photos."""
    photos: Path | None
    split: str | None
    """Of the data set and the fits: "val" or "test"."""
    limit: int
    """Most labelled images."""
    subjects: int | None
    """Most subjects of the photos."""


def available_methods(wanted: Sequence[str], nets: Path | None) -> tuple[list[str], dict[str, str]]:
    """Methods of `wanted` that can run, always with the mean face as floor, and those that cannot -> reason.

    Raises:
        ValueError: A name is unknown.
    """
    if unknown := [name for name in wanted if name not in METHODS]:
        raise ValueError(f"{unknown[0]}: expected some of {', '.join(METHODS)}")
    absent = missing_nets(wanted, nets)
    return [n for n in METHODS if n not in absent and (n in wanted or n == MEAN_FACE)], absent


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods and settings that all parts of a comparison share."""

    model: FaceModel
    names: Sequence[str]
    """Methods."""
    nets: Path | None
    """Folder of the networks; None for the shipped ones."""
    seed: int
    """Of the intervals' draws."""
    people: People
    only_known: bool
    """Subjects that `people` lacks are left out of the fairness of photos."""
    notes: Notes

    def methods(self, *, warm: bool = False) -> dict[str, Method]:
        """Opened methods; warm: each has seen a face, so that the first measured time is like the others."""
        found = {name: open_method(self.model, name, self.nets) for name in self.names}
        if warm:
            image = read_image(astronaut_path())
            face = detect_faces(image, max_faces=1)[0]
            for method in found.values():
                method(image, face)
        return found

    def measure(self, data: ComparisonData) -> tuple[Compared, list[ImageRow]]:
        """Measure on everything that is given.

        Returns:
            Reports, and the rows of the labelled images for plots.

        Raises:
            FacereliefError: A folder or a network cannot be used, or nothing in a folder could be measured.
        """
        images = photos = relief = None
        rows: list[ImageRow] = []
        of_images: Fairness | None = None
        of_photos: Fairness | None = None
        given = data.fits is not None or data.photos is not None
        if data.coarse is not None:
            sources = PhotoSources(data.fits, data.photos) if given else None
            images, rows, of_images = self.images(data.coarse, data.split, data.limit, sources)
        if given:
            photos, of_photos = self.photos(PhotoSources(data.fits, data.photos), data.subjects)
        if data.fits is not None and NET_FINE in self.names:
            relief = self.relief(data.fits, data.photos, data.split)
        by_group = of_images is not None or of_photos is not None
        fairness = FairnessReport(of_images, of_photos) if by_group else None
        return Compared(images, fairness, photos, relief), rows

    def images(
        self, folder: Path, split: str | None, limit: int, sources: PhotoSources | None
    ) -> tuple[ComparedImagesReport, list[ImageRow], Fairness | None]:
        """Measure all methods on labelled images of a data set.

        Args:
            sources: photos that the images were made of, for fairness.

        Raises:
            FacereliefError: The data set cannot be used, or no image could be measured.
        """
        chosen = held_out(self.model, folder, ("coarse", "renders"), split, limit)
        progress = self.notes("labelled images", chosen.count)
        found = compare_images(self.model, self.methods(warm=True), chosen.samples, progress=progress)
        if not found.rows:
            why = next(iter(found.left_out.values()), "there are none")
            raise FacereliefError(f"{folder}: no image could be measured ({why}); give another data set")
        report = image_report(found.rows, self.seed)
        fairness = None
        if sources is not None:
            fairness = image_fairness(found.rows, self._image_groups(found.rows, sources), self.seed)
        out = ComparedImagesReport(folder.name, chosen.split, found.left_out, report)
        return out, found.rows, fairness

    def _image_groups(self, rows: Sequence[ImageRow], sources: PhotoSources) -> list[dict[str, str]]:
        """Groups of the photo that each image was made of; none where that photo is not there."""
        by_file: dict[str, dict[str, str]] = {}
        wanted = sorted({row.source for row in rows})
        note = self.notes("skin tones", len(wanted))
        photos = {sources.relative(photo): photo for photo in sources.photos}
        for source in counted(wanted, note):
            photo = photos.get(source)
            found = None if photo is None else sources.load(photo)
            if found is not None:
                angle = skin_tone(self.model, found.image, np.asarray(found.face.landmarks))
                by_file[source] = groups_of(self.people, found.subject, found.name, angle)
        return [by_file.get(row.source, {}) for row in rows]

    def photos(self, sources: PhotoSources, most: int | None) -> tuple[ComparedPhotosReport, Fairness | None]:
        """Measure all methods on photos without known shape, of at most `most` subjects.

        Raises:
            FacereliefError: No photo could be measured.
        """
        chosen = sources.chosen(self.people, most)
        angles: dict[str, float] = {}

        def inputs() -> Iterator[PhotoInput]:
            for photo in chosen:
                found = sources.load(photo)
                if found is not None:
                    angles[found.name] = skin_tone(self.model, found.image, np.asarray(found.face.landmarks))
                    yield found

        # times are measured on labelled images alone: here fits may come from a file
        progress = self.notes("photos", len(chosen))
        rows, left_out = compare_photos(self.model, self.methods(), inputs(), progress)
        left_out = sources.left_out | left_out
        if not rows:
            why = next(iter(left_out.values()), "there are none")
            raise FacereliefError(f"{sources.folder}: no photo could be measured ({why}); give other photos")
        from_file = sources.fits is not None and FIT in self.names
        report = ComparedPhotosReport(left_out, from_file, photo_report(self.model, rows, self.seed))
        return report, self._photo_fairness(rows, angles)

    def _photo_fairness(self, rows: Sequence[PhotoRow], angles: Mapping[str, float]) -> Fairness | None:
        people = self.people
        members = [r for r in rows if not self.only_known or people.find(r.subject, r.name) is not None]
        if not members:
            return None
        tones = subject_angles(members, angles)
        groups = [groups_of(people, row.subject, row.name, tones[row.subject]) for row in members]
        return photo_fairness(self.model, members, groups, self.seed)

    def relief(self, fits: Path, photos: Path | None, split: str | None) -> ReliefAgreement:
        """Measure FineNet's relief against the fit's on held-out photos.

        Raises:
            FacereliefError: The fits cannot be used.
        """
        net = FineRunner(self.model, nets=self.nets)
        folder = FitFolder(fits, photos)
        names = held_out_fits(folder, split, MOST_RELIEFS)
        note = self.notes("relief", len(names))
        subjects: list[str] = []
        values: list[tuple[float, float, float]] = []
        reliefs = photo_reliefs(self.model, folder, names, net.size)
        for name, photo in counted(zip(names, reliefs), note):
            for row in evaluate_photos(self.model, net, [photo]):
                subjects.append(folder.load(name).family)
                values.append((row.errors["band_r"], row.errors["found_mm"], row.errors["true_mm"]))
        boot = SubjectBootstrap(subjects, self.seed)
        r, found, true = np.array(values).reshape(-1, 3).T
        return ReliefAgreement(len(values), boot.mean(r), boot.ratio(found, true))


def subject_angles(rows: Sequence[PhotoRow], angles: Mapping[str, float]) -> dict[str, float]:
    """Subject -> mean typology angle of the photos that show skin, so that every subject is in one group; NaN
    where none does."""
    by_subject: dict[str, list[float]] = {}
    for row in rows:
        known = by_subject.setdefault(row.subject, [])
        if np.isfinite(angles[row.name]):
            known.append(angles[row.name])
    return {subject: float(np.mean(known)) if known else np.nan for subject, known in by_subject.items()}
