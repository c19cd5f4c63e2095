"""The face model: its type, the embedded open model, and readers for other models' files."""

from __future__ import annotations

import functools
from pathlib import Path

from facerelief.errors import ModelError
from facerelief.morphable.model import Contour, FaceModel, SurfacePoints
from facerelief.morphable.readers.load import load_model
from facerelief.morphable.storage import load_own_model, save_model

__all__ = ["Contour", "FaceModel", "SurfacePoints", "load_model", "open_model", "save_model"]

OPEN_MODEL_PATH = Path(__file__).parent.parent / "data" / "open_model.npz"
"""File of the embedded open face model."""


@functools.cache
def open_model() -> FaceModel:
    """The open face model that comes with the package (mm, ARKit blendshapes); read once, then shared."""
    if not OPEN_MODEL_PATH.is_file():
        raise ModelError(
            f"{OPEN_MODEL_PATH}: the package's own face model is missing; install facerelief again"
        )
    return load_own_model(OPEN_MODEL_PATH)


def model_file(source: str | Path) -> Path | None:
    """The file that a face model comes from: "open" means the embedded one; None for a folder."""
    path = OPEN_MODEL_PATH if str(source) == "open" else Path(source)
    return path if path.is_file() else None
