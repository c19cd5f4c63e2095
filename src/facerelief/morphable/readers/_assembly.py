"""Helpers shared by the readers of foreign models: winding, units, bases, sidecar files, placeholders.

Tested by tests/morphable/readers/test_load.py, test_basel2009.py, test_basel2017.py and test_ict.py.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32, Int32

MID_SKIN = (0.76, 0.58, 0.49)
"""sRGB-coded colour of every vertex where a model brings no colours."""

PLAUSIBLE_EXTENT_MM = (60.0, 1500.0)
"""Largest extent of a face, head or bust; outside it the units are not what the reader takes them for."""

DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    zipfile.BadZipFile,
)
"""Errors of NumPy, SciPy, h5py and zipfile on damaged or hostile files."""


def skin_of(n: int) -> Float32:
    """(n, 3) float32, the same mid skin everywhere."""
    return np.tile(np.asarray(MID_SKIN, np.float32), (n, 1))


def as_basis(columns: NDArray[Any], deviation: NDArray[Any] | float, unit: float = 1.0) -> Float32:
    """(3N, K) components, (K,) deviations -> (N, 3, K) float32 displacements of one deviation, x `unit`."""
    scaled = np.asarray(columns, np.float32) * np.asarray(deviation, np.float32) * np.float32(unit)
    return np.ascontiguousarray(scaled.reshape(len(scaled) // 3, 3, -1))


def as_points(vector: NDArray[Any], unit: float = 1.0) -> Float32:
    """3N numbers -> (N, 3) float32, x `unit`."""
    return np.ascontiguousarray(np.asarray(vector, np.float64).reshape(-1, 3) * unit, np.float32)


def outward(vertices: NDArray[Any], triangles: NDArray[Any]) -> Int32:
    """The triangles, all reversed if most of the surface faces inward: (T, 3) int32, counter-clockwise from
    outside.

    Decided by the signed volume that the surface spans with the centroid (right for heads and for face
    masks); a nearly flat patch by which way it faces, since a face looks toward +z.
    """
    ids = np.ascontiguousarray(triangles, np.int32)
    if not ids.size or not np.isfinite(vertices).all():  # `checked` reports the latter
        return ids
    corners = np.asarray(vertices, np.float64)[ids]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    reach = corners.mean(axis=1) - corners.mean(axis=(0, 1))
    volume = float((normals * reach).sum())
    bound = float((np.linalg.norm(normals, axis=1) * np.linalg.norm(reach, axis=1)).sum())
    side = volume if abs(volume) > 0.02 * bound else float(normals[:, 2].sum())
    return ids if side >= 0 else np.ascontiguousarray(ids[:, ::-1])


def checked(model: FaceModel, path: Path) -> FaceModel:
    """The model, if its numbers are finite and its size is a head's; ModelError otherwise."""
    for label in ("mean", "identity", "expression", "albedo_mean", "albedo"):
        if not np.isfinite(getattr(model, label)).all():
            raise ModelError(f"{path}: {label} holds numbers that are not finite; download the file again")
    extent = float(np.ptp(model.mean, axis=0).max()) if model.n_vertices else 0.0
    low, high = PLAUSIBLE_EXTENT_MM
    if not low <= extent <= high:
        raise ModelError(
            f"{path}: read as {model.name!r} the face would be {extent:.3g} mm across, "
            f"expected {low:g} to {high:g}; the file is in other units: give the original"
        )
    return model


def beside(path: Path, names: Sequence[str]) -> Path | None:
    """The first of `names` that lies in the folder of `path`."""
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def open_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that an .npz holds, without object arrays; ModelError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names if name in archive.files}
        # a member that is not an array comes as its bytes
        return {name: array for name, array in arrays.items() if not isinstance(cast(object, array), bytes)}
    except DAMAGED as error:
        raise ModelError(f"{path}: damaged .npz ({error}); download or convert it again") from error


def need(arrays: dict[str, NDArray[Any]], names: Sequence[str], path: Path, what: str) -> None:
    """ModelError unless all the named arrays are there."""
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ModelError(f"{path}: lacks {', '.join(missing)}, which {what} has; give the original file")
