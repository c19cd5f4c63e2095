"""Reader of a saved face folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ImageError
from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.face_json import FaceFileError, FaceParameters, read_face_json
from facerelief.geometry.patch import DepthPatch
from facerelief.inverse.detail import photo_albedo
from facerelief.morphable import EMBEDDED, named_model, open_model
from facerelief.morphable.model import FaceModel

_MARKER, _PHOTO = "face.json", "photo.jpg"


def load_face(path: str | Path, model: FaceModel | None = None) -> FaceParameters:
    """The parameters of a saved face.

    Args:
        path: A face folder, or the face.json itself.
        model: Model that the coefficients must belong to. The saved shape is then
            `model.shape(face.identity, model.expression_weights(face.expression))`.

    Returns:
        The content of face.json.

    Raises:
        FaceFileError: There is no readable face.json of this schema version, or it is of another model.
    """
    path = Path(path)
    file = path / _MARKER if path.is_dir() else path
    face = read_face_json(file)
    if model is None:
        return face
    if (face.model_name, face.model_version) != (model.name, model.version):
        raise FaceFileError(
            f"{file}: made with model {face.model_name!r} version {face.model_version}, "
            f"not {model.name!r} version {model.version}; load that model or reconstruct the photo again"
        )
    unknown = [name for name in face.expression if name not in model.expression_names]
    if unknown or len(face.identity) > model.n_identity or len(face.albedo) > model.n_albedo:
        what = f"expression {unknown[0]!r} beside those" if unknown else "more coefficients than"
        raise FaceFileError(
            f"{file}: has {what} the model {model.name!r} has not; reconstruct the photo again"
        )
    return face


def load_reconstruction(folder: str | Path, model: FaceModel | str | Path | None = None) -> Reconstruction:
    """Read a saved face: image, parameters, depth, relief and skin.

    Numbers are rounded as in face.json, the image is the JPEG photo.jpg, and `skin` is computed again from
    these.

    Args:
        folder: A face folder, or the face.json in it.
        model: Model that the face was made with, or its file; the embedded one that it names unless given.

    Returns:
        The face as it was saved.

    Raises:
        FaceFileError: A file is missing, damaged, or of another model, or does not fit the others.
        ModelError: The file is no face model.
    """
    folder = Path(folder)
    folder = folder.parent if folder.name == _MARKER else folder
    if not (folder / _MARKER).is_file() and (folder / "face0" / _MARKER).is_file():
        raise FaceFileError(
            f"{folder}: holds one folder per face; name one of them, such as {folder / 'face0'}"
        )
    if not isinstance(model, FaceModel):
        model = named_model(_embedded(folder / _MARKER) if model is None else model)
    face = load_face(folder / _MARKER, model)
    image = _photo(folder / _PHOTO, face)
    found = Reconstruction(
        image=image,
        model=model,
        camera=face.camera,
        identity=face.identity,
        expression=model.expression_weights(face.expression),
        albedo=face.albedo,
        light=face.light,
        box=face.box,
        confidence=face.confidence,
        method=face.method,
        coarse=_depth(folder / "depth_coarse.npy", image),
        fine=_depth(folder / "depth.npy", image) if face.relief else None,
        warnings=face.warnings,
        timings_ms=dict(face.timings_ms),
        source=face.source,
        source_sha256=face.source_sha256,
        networks=face.networks,
        model_sha256=face.model_sha256,
        residuals=face.fit,
        expected_error_mm=face.expected_error_mm,
    )
    if found.fine is None:
        return found
    skin = photo_albedo(model, image, found.vertices, found.camera, found.albedo, found.light, found.fine)
    return replace(found, skin=skin)


def _embedded(path: Path) -> str:
    """The embedded model whose name a face.json has; the default one for other names."""
    name = read_face_json(path).model_name
    return next((key for key in EMBEDDED if name == open_model(key).name), "open")


def _photo(file: Path, face: FaceParameters) -> NDArray[np.uint8]:
    from facerelief.io.images import read_image

    advice = "reconstruct the photo again"
    if not file.is_file():
        raise FaceFileError(f"{file}: no such file (made by an older version?); {advice}")
    try:
        image = read_image(file)
    except ImageError as error:
        raise FaceFileError(f"{error} (of a saved face); {advice}") from error
    height, width = image.shape[:2]
    if (width, height) != face.image_size:
        want = " x ".join(map(str, face.image_size))
        raise FaceFileError(f"{file}: is {width} x {height} px, expected {want} as face.json says; {advice}")
    return image


def _depth(file: Path, image: NDArray[np.uint8]) -> DepthPatch:
    """The part of a saved depth map that holds finite values."""
    advice = "expected depth as facerelief saves it; reconstruct the photo again"
    try:
        whole = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FaceFileError(f"{file}: cannot be read ({error}); {advice}") from error
    if whole.shape != image.shape[:2] or whole.dtype != np.float32:
        raise FaceFileError(f"{file}: {whole.dtype} {whole.shape} beside a photo {image.shape}; {advice}")
    there = np.isfinite(whole)
    rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return DepthPatch(np.zeros((0, 0), np.float32), 0, 0)
    top, left = int(rows[0]), int(columns[0])
    part = whole[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return DepthPatch(np.where(np.isfinite(part), part, np.float32(np.nan)), left, top)
