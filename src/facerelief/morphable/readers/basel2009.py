"""Reads the Basel Face Model 2009 (`01_MorphableModel.mat`), with the FaceWarehouse expressions that papers
add to it.

The model itself has no expressions. Guo et al. carried FaceWarehouse's to its topology without the inner
mouth: 53,215 of its 53,490 vertices. Four files then make one model; put them in one folder:

    01_MorphableModel.mat   shapeMU (3N, 1) um, shapePC (3N, 199), shapeEV (199, 1); texMU ... alike,
                            0..255; tl (T, 3) triangles, counted from 1
    Exp_Pca.bin             int32 K, float32 mean (3M), float32 basis stored component after component
    std_exp.txt             K standard deviations, um
    model_info.mat          trimIndex (M, 1): which of the N vertices are the M, counted from 1
      or BFM_exp_idx.mat    (the same table as Deep3DFaceReconstruction names it)

`shapeEV` and `texEV` are standard deviations, not variances. Two traps, both tested: the basis in
Exp_Pca.bin is column-major, so NumPy's reshape is (K, 3M); and the model's triangles are clockwise, so they
are turned. The mean expression of Exp_Pca.bin belongs to the mean face (vertices = mu_id + mu_exp + ...),
as in the public CoarseData set.

Result: mm, x to the person's left, y up, z to the front; colours sRGB-coded in [0, 1] as the scanner gave
them. Landmarks: "ibug68" on the 53,215-vertex topology only (51 inner points and 17 static outline points
as the authors gave them, minus 1 for counting from 0).
"""

# SciPy ships no type stubs
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import os
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
    beside,
    checked,
    need,
    outward,
)

KEYS = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
INDEX_FILES = ("model_info.mat", "BFM_exp_idx.mat", "BFM09_model_info.mat")
MM_PER_UM = 1e-3
TRIMMED_VERTICES = 53_215
LICENCE = "Basel Face Model 2009, University of Basel: research use by signed agreement"

# counted from 1, on the trimmed topology; outline, brows, nose, eyes, mouth
# fmt: off
IBUG68_FROM_1 = (
    21874, 22150, 21654, 21037, 43237, 44919, 46167, 47136, 47915,
    48696, 49668, 50925, 52614, 33679, 33006, 32470, 32710,
    27409, 28103, 28493, 28698, 28865, 29604, 29770, 29978, 30372, 31073,
    8162, 8178, 8188, 8193, 6516, 7244, 8205, 9164, 9884,
    2216, 3887, 4921, 5829, 4802, 3641, 10456, 11354, 12384, 14067, 12654, 11493,
    5523, 6026, 7496, 8216, 8936, 10396, 10796, 9556, 8837, 8237, 7637, 6916,
    5910, 7385, 8224, 9065, 10538, 8830, 8230, 7630,
)
# fmt: on


def load_basel2009(
    path: str | Path,
    *,
    expression: str | Path | None = None,
    expression_std: str | Path | None = None,
    index: str | Path | None = None,
) -> FaceModel:
    """The model of `01_MorphableModel.mat`, with expressions when Exp_Pca.bin is given or lies beside it.

    Files not given are looked for in the model's folder. Without Exp_Pca.bin the model has no expressions;
    with it, std_exp.txt and the index table must be found too. Raises ModelError naming the file that is
    missing or malformed.
    """
    path = Path(path)
    arrays = _load_mat(path, KEYS)
    need(arrays, KEYS, path, "the Basel Face Model 2009")
    _check_shapes(arrays, path)
    vertices = arrays["shapeMU"].size // 3
    mean = as_points(arrays["shapeMU"], MM_PER_UM)
    basis_file = Path(expression) if expression else beside(path, ("Exp_Pca.bin",))
    index_file = Path(index) if index else beside(path, INDEX_FILES)

    keep = np.arange(vertices, dtype=np.int64)
    offset, moves = None, np.zeros((0, 3, 0), np.float32)
    if index_file is not None:
        keep = _read_index(index_file, vertices)
    if basis_file is not None:
        std_file = Path(expression_std) if expression_std else beside(path, ("std_exp.txt",))
        offset, moves = _read_expression(basis_file, std_file, path)
        if len(moves) != len(keep):
            hint = (
                f"put one of {', '.join(INDEX_FILES)} beside it"
                if index_file is None
                else "files of two models"
            )
            raise ModelError(
                f"{basis_file}: expressions for {len(moves)} vertices, {path.name} gives {len(keep)}: {hint}"
            )

    rows = (3 * keep[:, None] + np.arange(3)).reshape(-1)
    mean = mean[keep] if offset is None else mean[keep] + offset
    model = FaceModel(
        name="basel2009",
        mean=np.ascontiguousarray(mean, np.float32),
        identity=as_basis(arrays["shapePC"][rows], arrays["shapeEV"].reshape(-1), MM_PER_UM),
        expression=moves if basis_file is not None else np.zeros((len(keep), 3, 0), np.float32),
        expression_names=tuple(f"expression_{i:03d}" for i in range(moves.shape[2])),
        expression_kind="pca",
        triangles=outward(mean, _triangles(arrays["tl"], keep, vertices, path)),
        albedo_mean=as_points(arrays["texMU"], 1 / 255)[keep],
        albedo=as_basis(arrays["texPC"][rows], arrays["texEV"].reshape(-1), 1 / 255),
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        landmarks=ibug68(len(keep)),
        version="2009",
        licence=LICENCE,
    )
    return checked(model, path)


def ibug68(vertices: int) -> dict[str, SurfacePoints]:
    """The landmark sets for a model of that many vertices: "ibug68" on the trimmed topology, else none."""
    if vertices != TRIMMED_VERTICES:
        return {}
    return {"ibug68": SurfacePoints.at_vertices(np.asarray(IBUG68_FROM_1) - 1)}


def _load_mat(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    import scipy.io

    try:
        found = cast("dict[str, Any]", cast(Any, scipy.io).loadmat(path, variable_names=list(names)))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; check the path") from error
    except DAMAGED as error:
        raise ModelError(f"{path}: not a readable MATLAB file ({error}); download it again") from error
    arrays: dict[str, NDArray[Any]] = {}
    for name in names:
        if name in found:
            array = np.asarray(found[name])
            if array.dtype.kind not in "biuf":
                raise ModelError(f"{path}: {name} is not an array of numbers; give the original file")
            arrays[name] = array
    return arrays


def _check_shapes(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    size = arrays["shapeMU"].size
    for mean, basis, deviation in (("shapeMU", "shapePC", "shapeEV"), ("texMU", "texPC", "texEV")):
        expected = (size, arrays[deviation].size)
        if arrays[mean].size != size or size % 3 or arrays[basis].shape != expected:
            raise ModelError(
                f"{path}: {basis} has shape {arrays[basis].shape}, expected {expected}; give the original"
            )
    if arrays["tl"].ndim != 2 or arrays["tl"].shape[1] != 3:
        raise ModelError(
            f"{path}: tl has shape {arrays['tl'].shape}, expected (T, 3); give the original file"
        )


def _triangles(listed: NDArray[Any], keep: NDArray[np.int64], vertices: int, path: Path) -> NDArray[np.int64]:
    """tl, counted from 1, -> those triangles that have all corners in `keep`, in its numbering."""
    ids = listed.astype(np.int64) - 1
    if ids.size and (ids.min() < 0 or ids.max() >= vertices):
        raise ModelError(f"{path}: tl refers to vertices outside 1..{vertices}; give the original file")
    renumbered = np.full(vertices, -1, np.int64)
    renumbered[keep] = np.arange(len(keep))
    ids = renumbered[ids]
    return ids[(ids >= 0).all(axis=1)]


def _read_index(path: Path, vertices: int) -> NDArray[np.int64]:
    arrays = _load_mat(path, ("trimIndex",))
    need(arrays, ("trimIndex",), path, "the index table of the expressions")
    index = arrays["trimIndex"].astype(np.int64).reshape(-1) - 1
    if not index.size or index.min() < 0 or index.max() >= vertices or len(np.unique(index)) != len(index):
        raise ModelError(
            f"{path}: trimIndex must name different vertices in 1..{vertices}; give the original file"
        )
    return index


def _read_expression(path: Path, std_path: Path | None, model: Path) -> tuple[Float32, Float32]:
    """Mean (M, 3) and one-deviation displacements (M, 3, K) of Exp_Pca.bin, mm."""
    if std_path is None:
        raise ModelError(
            f"{model.parent / 'std_exp.txt'}: missing; Exp_Pca.bin needs its standard deviations "
            "(std_exp.txt of Deep3DFaceRecon_pytorch's BFM folder) beside it"
        )
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as handle:
            components = int.from_bytes(handle.read(4), "little", signed=True)
            points, rest = divmod(size - 4, 4 * 3 * (components + 1)) if 0 < components < 10_000 else (0, 1)
            if rest or points == 0:
                raise ModelError(f"{path}: {size} bytes do not hold an expression basis; download it again")
            numbers = np.frombuffer(handle.read(), "<f4")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); put Exp_Pca.bin there") from error
    try:
        deviation = np.loadtxt(std_path, np.float64, ndmin=1).reshape(-1)
    except DAMAGED as error:
        raise ModelError(f"{std_path}: not a list of numbers ({error}); download it again") from error
    if len(deviation) < components:
        raise ModelError(f"{std_path}: {len(deviation)} deviations for the {components} of {path.name}")
    mean = as_points(numbers[: 3 * points], MM_PER_UM)
    # column-major on disk: one component's 3M numbers lie together
    basis = numbers[3 * points :].reshape(components, 3 * points).T
    return mean, as_basis(basis, deviation[:components], MM_PER_UM)
