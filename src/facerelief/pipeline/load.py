"""Reads back what `save` left."""

from __future__ import annotations

from pathlib import Path

from facerelief.export.face_json import FaceFileError, FaceParameters, read_face_json
from facerelief.morphable.model import FaceModel


def load_face(path: str | Path, model: FaceModel | None = None) -> FaceParameters:
    """The parameters of a saved face.

    Args:
        path: a face folder, or the face.json itself.
        model: when given, checked to be the one the coefficients belong to. Then the saved shape is
            `model.shape(face.identity, model.expression_weights(face.expression))`.

    Raises:
        FaceFileError: no readable face.json of this schema version, or one of another model.
    """
    path = Path(path)
    file = path / "face.json" if path.is_dir() else path
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
