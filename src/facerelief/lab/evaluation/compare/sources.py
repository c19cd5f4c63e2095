"""Photos of a comparison: a choice of subjects, and each photo's face from its fit or from the detector.

Tested by tests/cli/test_evaluate_compare.py.
"""

from __future__ import annotations

from pathlib import Path

from facerelief.detection import detect_faces
from facerelief.errors import FacereliefError
from facerelief.inverse.landmark_fit import FaceState
from facerelief.io.images import read_image
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.photos import Photo, find_photos
from facerelief.lab.datasets.splits import split_of
from facerelief.lab.evaluation.compare.methods import FIT
from facerelief.lab.evaluation.compare.photos import PhotoInput
from facerelief.lab.evaluation.metrics.groups import People

MOST_SINGLE = 250
"""Most photos of a collection without subjects that have two photos."""


class PhotoSources:
    """Photos with their faces: from a folder of fits where it has them, else detected."""

    def __init__(self, fits: Path | None, photos: Path | None) -> None:
        """Find the photos of a folder, or those of a folder of fits.

        Raises:
            FacereliefError: A folder cannot be used.
        """
        self.fits = None if fits is None else FitFolder(fits, photos)
        folder = photos if photos is not None else self.fits.photos if self.fits is not None else Path()
        self.folder = folder
        self._names = set[str]() if self.fits is None else set(self.fits.names)
        self.photos: list[Photo] = find_photos(folder)
        self.left_out: dict[str, str] = {}
        """Photo -> reason why `load` gave None."""

    def relative(self, photo: Photo) -> str:
        """The photo's file in the folder, as fits and data sets name it."""
        return photo.file.relative_to(self.folder).as_posix()

    def chosen(self, people: People, most: int | None) -> list[Photo]:
        """Two photos of each subject with two or more, and of those in `people`, at most `most` subjects.

        Where there are none: one photo each of at most `MOST_SINGLE` subjects. All evenly spread.
        """
        by_subject: dict[str, list[Photo]] = {}
        for photo in sorted(self.photos, key=lambda photo: str(photo.file)):
            by_subject.setdefault(photo.subject, []).append(photo)
        subjects = [
            subject
            for subject, found in by_subject.items()
            if len(found) >= 2 or people.find(subject, found[0].file.name) is not None
        ]
        if not subjects:
            found = list(by_subject)
            step = max(len(found) / MOST_SINGLE, 1.0)
            subjects = [found[int(k * step)] for k in range(min(MOST_SINGLE, len(found)))]
        if most is not None and len(subjects) > most:
            subjects = [subjects[int(k * len(subjects) / most)] for k in range(most)]
        return [photo for subject in subjects for photo in by_subject[subject][:2]]

    def load(self, photo: Photo) -> PhotoInput | None:
        """The photo and its face; None, with the reason in `left_out`, for a photo of no use."""
        name = self.relative(photo)
        try:
            fit = self._fit(name)
            if fit is not None and self.fits is not None:
                state = FaceState(fit.camera, fit.identity, fit.expression)
                held, image = fit.split != "train", self.fits.image(fit)
                return PhotoInput(name, photo.subject, photo.group, held, image, fit, {FIT: state})
            image = read_image(photo.file)
            faces = detect_faces(image, max_faces=1)
            if not faces:
                raise FacereliefError("no face found")
        except FacereliefError as error:
            self.left_out[name] = str(error)
            return None
        held = split_of(photo.subject) != "train"
        return PhotoInput(name, photo.subject, photo.group, held, image, faces[0])

    def _fit(self, name: str) -> Fit | None:
        stem = Path(name).with_suffix("").as_posix()
        return self.fits.load(stem) if self.fits is not None and stem in self._names else None
