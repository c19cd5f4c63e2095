"""Reconstruction of one subject from several photos: one identity, a pose, expression and light for each."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.detection import DetectedFace, detect_faces
from facerelief.errors import FacereliefError, NoFaceError
from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.maps import head_maps
from facerelief.facefolder.relief_merge import with_merged_relief
from facerelief.facefolder.save import save_reconstruction
from facerelief.inference.evidence import Evidence
from facerelief.inverse.fit import InverseFit, fit_face
from facerelief.inverse.subject import SubjectConfig, SubjectPhoto, fit_subject, identity_evidence
from facerelief.io.atomic import atomic_folder
from facerelief.io.digest import file_digest
from facerelief.io.focal_length import focal_length_px
from facerelief.io.images import as_image, read_image
from facerelief.morphable import FaceModel
from facerelief.morphable.shape_distance import shape_distance
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.typed import Float

FACES = 4
"""Most faces of a photo among which the subject is looked for."""


@dataclass(frozen=True, eq=False)
class SubjectReconstruction:
    """One subject in several photos."""

    faces: dict[int, Reconstruction]
    """By the photo's place in the input: its face, with the shared identity and albedo, and the relief that
    all photos show (`facefolder.relief_merge`)."""
    left_out: dict[int, str]
    """By place: one line that names the photo and says why it was left out."""

    @property
    def identity(self) -> NDArray[np.float32]:
        """(K,) of all faces, standard deviations."""
        return next(iter(self.faces.values())).identity


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One detected face with its own fit."""

    name: str
    digest: str
    image: NDArray[np.uint8]
    face: DetectedFace
    seen: Evidence
    focal: float | None
    """Focal length by the photo's EXIF, px."""
    fit: InverseFit

    @property
    def photo(self) -> SubjectPhoto:
        """The face as a fit of several photos takes it."""
        seen = self.seen
        return SubjectPhoto(
            self.image, self.face.box, self.face.landmarks, seen.dense, self.focal, seen.bare_skin
        )

    def evidence(self, model: FaceModel) -> Float:
        """(K,) identity by which it is told from other faces."""
        return identity_evidence(model, self.face.landmarks, self.fit)


def reconstruct_subject(
    images: Sequence[str | os.PathLike[str] | ArrayLike],
    *,
    model: FaceModel | str | Path = "open2",
    config: ReconstructorConfig | None = None,
) -> SubjectReconstruction:
    """Reconstruct one subject from several photos by inverse rendering.

    Photos without a face, that cannot be read, or of somebody else are left out. In a photo of several people
    the face most like those of the other photos counts. Each file's EXIF gives the focal length of its own
    camera, where it has one.

    Args:
        images: Files, or arrays as for `reconstruct`.
        model: Face model, file, or name.
        config: Settings; the method is always "fit".

    Raises:
        ModelError: The model cannot be read or fitted.
        NoFaceError: No photo shows a usable face.
        ValueError: No image is given.
    """
    if not len(images):
        raise ValueError("no images; expected at least one photo of the subject")
    config = replace(config or ReconstructorConfig(), method="fit")
    reconstructor = Reconstructor(model, config)
    found: dict[int, list[_Candidate]] = {}
    left_out: dict[int, str] = {}
    for number, image in enumerate(images):
        try:
            found[number] = _candidates(reconstructor, image, number)
        except FacereliefError as error:
            left_out[number] = str(error)
    if not found:
        raise NoFaceError("; ".join(left_out.values()))
    chosen = _chosen(reconstructor.model, found)
    places = sorted(chosen)
    photos = [
        SubjectPhoto(
            one.image, one.face.box, one.face.landmarks, one.seen.dense, one.focal, one.seen.bare_skin
        )
        for one in (chosen[k] for k in places)
    ]
    started = time.perf_counter()
    together = fit_subject(
        reconstructor.model, photos, SubjectConfig(fit=config.fit), [chosen[k].fit for k in places]
    )
    timings = {"fit_subject": 1e3 * (time.perf_counter() - started)}
    faces: dict[int, Reconstruction] = {}
    for number, fit, distance in zip(places, together.fits, together.distance_mm):
        one = chosen[number]
        if fit is None:
            left_out[number] = (
                f"{one.name}: shows another face than the other photos ({distance:.1f} mm apart); left out"
            )
            continue
        face = reconstructor.from_fit(one.image, one.face, fit, timings, one.seen.bare_skin)
        faces[number] = replace(face, source=one.name if one.digest else "", source_sha256=one.digest)
    merged = dict(zip(faces, with_merged_relief(list(faces.values()))))
    return SubjectReconstruction(merged, dict(sorted(left_out.items())))


def _candidates(
    reconstructor: Reconstructor, image: str | os.PathLike[str] | ArrayLike, number: int
) -> list[_Candidate]:
    """Faces of a photo, best first, each fitted by itself."""
    name, digest, focal = f"photo {number + 1}", "", None
    if isinstance(image, str | os.PathLike):
        name = os.fspath(image)
        pixels, digest, focal = read_image(name), file_digest(name), focal_length_px(name)
    else:
        pixels = as_image(image)
    config, model = reconstructor.config, reconstructor.model
    faces = detect_faces(pixels, max_faces=FACES, min_confidence=config.min_confidence)
    if not faces:
        raise NoFaceError(f"{name}: no face found; give an image with a visible face")
    out: list[_Candidate] = []
    for face in faces:
        seen = reconstructor.evidence(pixels, face)
        fit = fit_face(model, pixels, face.box, face.landmarks, config.fit, seen.dense, focal, seen.bare_skin)
        out.append(_Candidate(name, digest, pixels, face, seen, focal, fit))
    return out


def _chosen(model: FaceModel, found: dict[int, list[_Candidate]]) -> dict[int, _Candidate]:
    """One face of each photo: of several people, the one most like the faces of photos with one face."""
    first = {number: faces[0] for number, faces in found.items()}
    several = {number: faces for number, faces in found.items() if len(faces) > 1}
    if not several:
        return first
    sure = [one for number, one in first.items() if number not in several] or [next(iter(first.values()))]
    anchor = np.mean([one.evidence(model) for one in sure], axis=0)
    nearest = {
        number: min(faces, key=lambda one: shape_distance(model, one.evidence(model), anchor))
        for number, faces in several.items()
    }
    return first | nearest


def save_subject(
    subject: SubjectReconstruction,
    folders: Mapping[int, Path],
    texture_size: int = 2048,
    overwrite: bool = False,
) -> list[Path]:
    """Save each photo's face in FOLDER/face0, with one texture and one relief made of all photos.

    Args:
        subject: The faces.
        folders: By the photo's place.
        texture_size: Side of the texture, px.
        overwrite: Replace earlier results.

    Raises:
        OutputError: A folder is taken or cannot be written.
    """
    written: list[Path] = []
    for number, face in subject.faces.items():
        others = [other for k, other in subject.faces.items() if k != number]
        with atomic_folder(folders[number], overwrite=overwrite, marker="face0") as folder:
            save_reconstruction(face, folder / "face0", maps=head_maps(face, texture_size, others))
        written.append(folders[number] / "face0")
    return written
