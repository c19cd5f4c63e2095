"""The face model: its type, the embedded open model, and readers for other models' files."""

from __future__ import annotations

import functools
from pathlib import Path

from facerelief.errors import ModelError
from facerelief.morphable.model import Contour, FaceModel, SurfacePoints
from facerelief.morphable.readers.load import load_model
from facerelief.morphable.storage import load_own_model, save_model

__all__ = [
    "Contour",
    "FaceModel",
    "SurfacePoints",
    "load_model",
    "model_file",
    "named_model",
    "open_model",
    "save_model",
]

EMBEDDED = {"open": "open_model.npz", "open2": "open_model2.npz"}
"""Face models that come with the package, by name."""
OPEN_MODEL_PATH = Path(__file__).parent.parent / "data" / EMBEDDED["open"]
"""File of the default one."""


@functools.cache
def open_model(name: str = "open") -> FaceModel:
    """An open face model that comes with the package (mm, ARKit blendshapes); read once, then shared.

    Args:
        name: "open", the default that the shipped networks belong to, or "open2", made of scans.

    Raises:
        ModelError: There is no such model, or its file is missing.
    """
    path = model_file(name)
    if name not in EMBEDDED or path is None:
        raise ModelError(f"{_place(name)}: the package's own face model is missing; install facerelief again")
    return load_own_model(path)


def named_model(source: str | Path) -> FaceModel:
    """The embedded model of that name ("open", "open2"), else the one of a file or folder.

    Raises:
        ModelError: It cannot be read.
    """
    return open_model(str(source)) if str(source) in EMBEDDED else load_model(source)


def model_file(source: str | Path) -> Path | None:
    """The file that a face model comes from; "open" and "open2" are embedded ones; None for a folder."""
    name = str(source)
    path = _place(name) if name in EMBEDDED else Path(source)
    return path if path.is_file() else None


def _place(name: str) -> Path:
    """Place of an embedded model's file."""
    return OPEN_MODEL_PATH if name == "open" else OPEN_MODEL_PATH.with_name(EMBEDDED.get(name, name))
