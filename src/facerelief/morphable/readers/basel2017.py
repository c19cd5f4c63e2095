"""Reads the Basel Face Models 2017 and 2019 (`model2017-1_bfm_nomouth.h5`, `model2019_face12.h5`, ...;
Statismo HDF5).

    shape/model/mean (3N,), pcaBasis (3N, K) orthonormal, pcaVariance (K,)       mm
    shape/representer/cells (3, T), points (3, N)
    color/model/...                                                              0..1
    expression/model/...                                                         mm
    metadata/landmarks/json   list of {"id": name, "coordinates": [x, y, z]}

`pcaVariance` holds variances; their roots are taken. The neutral face is `shape/model/mean` alone: the
expression model has a mean of its own that opens the mouth, which here is the first expression component,
"expression_mean", with 1 the average of the expressions that were scanned. Zero coefficients are thus the
neutral face.

Result: mm, x to the person's left, y up, z to the front; colours sRGB-coded. Landmarks: the file's own, one
set of one point for each name ("center.nose.tip", ...), the nearest vertex. Needs h5py:
`pip install facerelief[models]`.
"""

# h5py ships no type stubs
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.morphable.readers._assembly import (
    DAMAGED,
    Float32,
    as_basis,
    as_points,
    checked,
    need,
    outward,
)

LICENCE = "Basel Face Model 2017/2019, University of Basel: research use by signed agreement"

SHAPE = ("shape/model/mean", "shape/model/pcaBasis", "shape/model/pcaVariance", "shape/representer/cells")
COLOR = ("color/model/mean", "color/model/pcaBasis", "color/model/pcaVariance")
EXPRESSION = ("expression/model/mean", "expression/model/pcaBasis", "expression/model/pcaVariance")


def load_basel2017(path: str | Path) -> FaceModel:
    """The model of a Basel 2017 or 2019 .h5 file. Raises ModelError naming the file and what it lacks."""
    path = Path(path)
    arrays, landmarks = _read(path)
    need(arrays, SHAPE, path, "a Basel Face Model 2017 or 2019")
    cells = arrays["shape/representer/cells"]
    if cells.ndim != 2 or 3 not in cells.shape:
        raise ModelError(f"{path}: cells has shape {cells.shape}, expected (3, T); give the original file")
    triangles = (cells.T if cells.shape[0] == 3 else cells).astype(np.int64)
    mean = as_points(arrays["shape/model/mean"])
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(mean)):
        raise ModelError(
            f"{path}: cells refers to vertices outside 0..{len(mean) - 1}; give the original file"
        )
    albedo_mean, albedo = _part(arrays, COLOR, len(mean), path)
    if albedo_mean is None:
        raise ModelError(f"{path}: lacks color/model, which a Basel Face Model has; give the original file")
    if albedo_mean.max(initial=0.0) > 2.0:
        albedo_mean, albedo = albedo_mean / np.float32(255), albedo / np.float32(255)
    expression_mean, expression = _part(arrays, EXPRESSION, len(mean), path)
    names = [f"expression_{i:03d}" for i in range(expression.shape[2])]
    if expression_mean is not None and bool((np.abs(expression_mean) > 1e-6).any()):
        expression = np.concatenate([expression_mean[:, :, None], expression], axis=2)
        names.insert(0, "expression_mean")
    model = FaceModel(
        name=_name(path, len(mean)),
        mean=mean,
        identity=_basis(arrays, SHAPE, len(mean), path),
        expression=np.ascontiguousarray(expression),
        expression_names=tuple(names),
        expression_kind="pca",
        triangles=outward(mean, triangles),
        albedo_mean=albedo_mean,
        albedo=albedo,
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        landmarks=_nearest(landmarks, mean),
        version=_name(path, len(mean)).removeprefix("basel"),
        licence=LICENCE,
    )
    return checked(model, path)


def _name(path: Path, vertices: int) -> str:
    """The files do not say which release they are; their names and vertex counts do."""
    is_2019 = "2019" in path.name or vertices in (47_439, 27_657, 58_203)
    return "basel2019" if is_2019 else "basel2017"


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, list[float]]]:
    try:
        import h5py
    except ImportError as error:
        raise ModelError(f"{path}: reading HDF5 models needs h5py: pip install facerelief[models]") from error
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with h5py.File(path, "r") as file:
            root = cast(Any, file)
            for name in SHAPE + COLOR + EXPRESSION:
                if name in root:
                    array = np.asarray(root[name][()])
                    if array.dtype.kind not in "biuf":
                        raise ModelError(f"{path}: {name} is not an array of numbers; give the original file")
                    arrays[name] = array
            text = root["metadata/landmarks/json"][()] if "metadata/landmarks/json" in root else b"[]"
            return arrays, _parse_landmarks(text)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; check the path") from error
    except DAMAGED as error:
        raise ModelError(f"{path}: not a readable Basel .h5 file ({error}); download it again") from error


def _parse_landmarks(text: Any) -> dict[str, list[float]]:
    """The JSON is text, bytes, or an array of one of them; a list of records or one dictionary."""
    while isinstance(text, np.ndarray):
        array = cast("NDArray[Any]", text)
        text = array.tobytes() if array.dtype.kind in "iu" else array.reshape(-1)[0]
    data = json.loads(text.decode("utf-8").rstrip("\0") if isinstance(text, bytes) else str(text))
    if isinstance(data, dict):
        return {
            str(name): [float(c) for c in xyz] for name, xyz in cast("dict[str, list[float]]", data).items()
        }
    records = cast("list[dict[str, Any]]", data)
    return {str(record["id"]): [float(c) for c in record["coordinates"]] for record in records}


def _nearest(named: dict[str, list[float]], mean: Float32) -> dict[str, SurfacePoints]:
    return {
        name: SurfacePoints.at_vertices(
            [int(np.square(mean - np.asarray(xyz, np.float32)).sum(axis=1).argmin())]
        )
        for name, xyz in named.items()
        if len(xyz) == 3
    }


def _basis(arrays: dict[str, NDArray[Any]], names: tuple[str, ...], vertices: int, path: Path) -> Float32:
    basis, variance = arrays[names[1]], arrays[names[2]].reshape(-1)
    if basis.shape != (3 * vertices, len(variance)):
        expected = (3 * vertices, len(variance))
        raise ModelError(
            f"{path}: {names[1]} has shape {basis.shape}, expected {expected}; give the original file"
        )
    return as_basis(basis, np.sqrt(np.maximum(variance.astype(np.float64), 0.0)))


def _part(
    arrays: dict[str, NDArray[Any]], names: tuple[str, ...], vertices: int, path: Path
) -> tuple[Float32 | None, Float32]:
    if not all(name in arrays for name in names):
        return None, np.zeros((vertices, 3, 0), np.float32)
    if arrays[names[0]].size != 3 * vertices:
        found = arrays[names[0]].size
        raise ModelError(
            f"{path}: {names[0]} has {found} numbers, expected {3 * vertices}; give the original"
        )
    return as_points(arrays[names[0]]), _basis(arrays, names, vertices, path)
