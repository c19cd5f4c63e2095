"""A collection of photos, inverse-rendered once: what every kind of training data starts from.

A fits folder holds `<group>/<stem>.fit.npz` per photo, or `<group>/<stem>.failed.json` with the reason, and
`fits.json` with the photos' folder and the model's name. Every file is written whole, so a run that was
killed goes on where it was. The photos stay where they are; their hashes show whether they changed.
"""

from __future__ import annotations

import functools
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError, ImageError
from facerelief.face.reconstruction import Reconstruction
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.inverse.dense_fit import DenseFitConfig
from facerelief.inverse.detail import coarse_depth, photo_albedo
from facerelief.inverse.distance_prior import DistancePrior
from facerelief.inverse.fit import FitConfig
from facerelief.inverse.landmark_fit import LandmarkFitConfig
from facerelief.io.atomic import write_bytes
from facerelief.io.digest import file_digest
from facerelief.lab.datasets.photos import Photo
from facerelief.lab.datasets.splits import split_of
from facerelief.morphable import EMBEDDED, open_model
from facerelief.morphable.model import FaceModel
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.runtime.workers import ordered_results
from facerelief.typed import Float32

FORMAT = 1
INDEX = "fits.json"
_DONE, _FAILED = ".fit.npz", ".failed.json"
_STEP_MM = 0.005
"""Displacements are kept as whole numbers of this."""


@dataclass(frozen=True, eq=False)
class Fit:
    """One photo's inverse rendering, without the pixels."""

    name: str
    """Group and file stem: "london/001_03". Unique in a folder."""
    file: str
    """The photo, relative to the photos' folder."""
    sha256: str
    """Of the photo's file."""
    subject: str
    family: str
    """Never divided between splits: the subject, or all who may be the same person."""
    group: str
    licence: str
    camera: WeakPerspective
    identity: Float32
    """(K,)"""
    expression: Float32
    """(E,)"""
    albedo: Float32
    """(A,)"""
    light: Float32
    """(9, 3)"""
    box: tuple[float, float, float, float]
    confidence: float
    warnings: tuple[str, ...]
    landmarks: Float32
    """(L, 2) px, as detected."""
    load_relief: Callable[[], DepthPatch]
    """Reads `relief`: most of a fit's bytes, which are not needed to look over all fits."""

    @functools.cached_property
    def relief(self) -> DepthPatch:
        """Displacement, mm along camera z, on the photo's pixels; NaN off the face.

        Raises FacereliefError for a damaged file.
        """
        return self.load_relief()

    @property
    def split(self) -> str:
        """ "train", "val" or "test"."""
        return split_of(self.family)

    def reconstruction(self, image: NDArray[np.uint8], model: FaceModel) -> Reconstruction:
        """The face on its photo (H, W, 3), as `Reconstructor` gave it."""
        vertices = model.shape(self.identity, self.expression)
        coarse, relief = coarse_depth(model, vertices, self.camera, image.shape), self.relief
        if (coarse.left, coarse.top, coarse.depth.shape) != (relief.left, relief.top, relief.depth.shape):
            raise FacereliefError(f"{self.name}: made with another model; fit the photos again")
        fine = replace(coarse, depth=coarse.depth + np.nan_to_num(relief.depth))
        return Reconstruction(
            image=image,
            model=model,
            camera=self.camera,
            identity=self.identity,
            expression=self.expression,
            albedo=self.albedo,
            light=self.light,
            box=self.box,
            confidence=self.confidence,
            method="fit",
            coarse=coarse,
            fine=fine,
            skin=photo_albedo(model, image, vertices, self.camera, self.albedo, self.light, fine),
            warnings=self.warnings,
            source=self.file,
            source_sha256=self.sha256,
        )


class FitFolder:
    """The fits of a folder, by name."""

    def __init__(self, folder: str | Path, photos: str | Path | None = None) -> None:
        """Look into a folder that `fit_photos` made.

        photos: where the photos are now, if they have moved. Raises FacereliefError where there are none.
        """
        self.folder = Path(folder)
        try:
            about = json.loads((self.folder / INDEX).read_text("utf-8"))
            self.photos = Path(photos if photos is not None else about["photos"])
            self.model_name = (str(about["model"]), str(about["model_version"]))
            found = int(about["format"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FacereliefError(
                f"{self.folder / INDEX}: cannot be read ({error}); give a folder that `facerelief fit` made"
            ) from error
        if found != FORMAT:
            raise FacereliefError(
                f"{self.folder / INDEX}: format {found}, expected {FORMAT}; fit the photos again"
            )
        self.names = sorted(
            str(file.relative_to(self.folder).as_posix())[: -len(_DONE)]
            for file in self.folder.rglob(f"*{_DONE}")
        )

    def __len__(self) -> int:
        return len(self.names)

    def failures(self) -> dict[str, str]:
        """Name -> why a photo gave no fit."""
        out: dict[str, str] = {}
        for file in sorted(self.folder.rglob(f"*{_FAILED}")):
            name = str(file.relative_to(self.folder).as_posix())[: -len(_FAILED)]
            out[name] = str(json.loads(file.read_text("utf-8")).get("reason", ""))
        return out

    def load(self, name: str) -> Fit:
        """One fit, its relief when it is asked for. Raises FacereliefError for a damaged file."""
        file = self.folder / f"{name}{_DONE}"
        with _damage_reported(file), np.load(file, allow_pickle=False) as data:
            about = json.loads(bytes(data["about"]).decode("utf-8"))
            return Fit(
                name=name,
                subject=about.pop("person"),
                camera=WeakPerspective.from_vector(data["camera"]),
                identity=data["identity"],
                expression=data["expression"],
                albedo=data["albedo"],
                light=data["light"],
                landmarks=data["landmarks"],
                load_relief=functools.partial(_read_relief, file),
                box=tuple(about.pop("box")),
                warnings=tuple(about.pop("warnings")),
                **about,
            )

    def image(self, fit: Fit) -> NDArray[np.uint8]:
        """The fit's photo (H, W, 3). Raises ImageError where it is missing or another one."""
        from facerelief.io.images import read_image

        file = self.photos / fit.file
        if file_digest(file) != fit.sha256:
            raise ImageError(f"{file}: has changed since it was fitted; fit the photos again")
        return read_image(file)

    def reconstruction(self, fit: Fit, model: FaceModel) -> Reconstruction:
        """The face on its photo. Raises FacereliefError for a photo or model that is not the fit's."""
        self.check_model(model)
        return fit.reconstruction(self.image(fit), model)

    def model(self) -> FaceModel:
        """The embedded face model of the fits. Raises FacereliefError where there is none of that name."""
        for name in EMBEDDED:
            found = open_model(name)
            if (found.name, str(found.version)) == self.model_name:
                return found
        raise FacereliefError(
            f"{self.folder}: fitted with model {self.model_name[0]!r} version {self.model_name[1]}, which "
            "does not come with this version; fit the photos again"
        )

    def check_model(self, model: FaceModel) -> None:
        """Raises FacereliefError for a model other than the fits'."""
        if (model.name, str(model.version)) != self.model_name:
            raise FacereliefError(
                f"{self.folder}: fitted with model {self.model_name[0]!r} version {self.model_name[1]}, not "
                f"{model.name!r} version {model.version}; fit the photos again"
            )


def fit_photos(
    photos: Sequence[Photo],
    root: str | Path,
    out: str | Path,
    *,
    families: dict[str, str] | None = None,
    config: ReconstructorConfig | None = None,
    model: str = "open",
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FitFolder:
    """Inverse-render the best face of every photo into a folder; what is there already is left as it is.

    root: the photos' folder; families: subject -> family (see `splits`), a family of its own where it names
    none, left out where it is empty; model: "open" or "open2", an embedded face model. A photo without a
    face, or one that cannot be read, is recorded with the reason. Raises OutputError where the folder cannot
    be written.
    """
    out, root = Path(out), Path(root).resolve()
    out.mkdir(parents=True, exist_ok=True)
    own = open_model(model)
    about = {"format": FORMAT, "photos": str(root), "model": own.name, "model_version": str(own.version)}
    if (out / INDEX).exists():
        before = FitFolder(out)
        if before.model_name != (own.name, str(own.version)):
            raise FacereliefError(f"{out}: holds fits of another model; choose another folder")
    write_bytes(out / INDEX, json.dumps(about, indent=2).encode())
    families = families or {}
    jobs: list[_FitJob] = []
    for photo in photos:
        if family := families.get(photo.subject, photo.subject):
            jobs.append(_FitJob(photo, photo.file.resolve().relative_to(root).as_posix(), family, out))
    total = len(jobs)
    jobs = [job for job in jobs if not job.path(_DONE).exists() and not job.path(_FAILED).exists()]
    done = total - len(jobs)
    progress(done, total)
    with ordered_results(_fit, jobs, workers=workers, start=_start, arguments=(model, config)) as results:
        for _ in results:
            done += 1
            progress(done, total)
    return FitFolder(out)


@contextmanager
def _damage_reported(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise FacereliefError(f"{file}: damaged ({error}); delete it and fit again") from error


def _read_relief(file: Path) -> DepthPatch:
    with _damage_reported(file), np.load(file, allow_pickle=False) as data:
        relief = data["relief"].astype(np.float32)
        relief[relief == np.iinfo(np.int16).min] = np.nan
        left, top = (int(x) for x in data["corner"])
        return DepthPatch(relief * np.float32(_STEP_MM), left, top)


@dataclass(frozen=True)
class _FitJob:
    photo: Photo
    file: str
    family: str
    out: Path

    def path(self, ending: str) -> Path:
        return self.out / f"{Path(self.file).with_suffix('').as_posix()}{ending}"


_WORKER: list[Reconstructor] = []


WEAK_PERSPECTIVE = FitConfig(
    landmarks=LandmarkFitConfig(distance=DistancePrior(0.0)),
    dense=DenseFitConfig(replace(DenseFitConfig().model, distance=DistancePrior(0.0))),
)
"""Labels of data sets are poses under weak perspective."""


def _start(model: str, config: ReconstructorConfig | None) -> None:
    _WORKER[:] = [
        Reconstructor(model, config or ReconstructorConfig("fit", max_faces=1, fit=WEAK_PERSPECTIVE))
    ]


def _fit(job: _FitJob) -> bool:
    done, failed = job.path(_DONE), job.path(_FAILED)
    done.parent.mkdir(parents=True, exist_ok=True)
    try:
        result, landmarks = _WORKER[0].with_landmarks(job.photo.file)[0]
    except FacereliefError as error:
        write_bytes(failed, json.dumps({"file": job.file, "reason": str(error)}).encode())
        return False
    write_bytes(done, _packed(job, result, landmarks))
    return True


def _packed(job: _FitJob, r: Reconstruction, landmarks: Float32) -> bytes:
    assert r.fine is not None
    relief = r.fine.depth - r.coarse.depth
    unknown = np.isnan(relief)
    coded = np.rint(np.nan_to_num(relief) / _STEP_MM)
    coded = np.clip(coded, -32767, 32767).astype(np.int16)
    coded[unknown] = np.iinfo(np.int16).min
    about = {
        "file": job.file,
        "sha256": r.source_sha256,
        "person": job.photo.subject,
        "family": job.family,
        "group": job.photo.group,
        "licence": job.photo.licence,
        "box": [float(x) for x in r.box],
        "confidence": float(r.confidence),
        "warnings": list(r.warnings),
    }
    data = io.BytesIO()
    np.savez_compressed(
        data,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        camera=r.camera.vector,
        identity=r.identity.astype(np.float32),
        expression=r.expression.astype(np.float32),
        albedo=r.albedo.astype(np.float32),
        light=np.asarray(r.light, np.float32),
        landmarks=np.asarray(landmarks, np.float32),
        relief=coded,
        corner=np.array([r.fine.left, r.fine.top], np.int64),
    )
    return data.getvalue()
