"""Reads FLAME 2019, 2020 and 2023 (`generic_model.pkl`, `flame2023.pkl`, or an .npz with the same names).

    v_template (N, 3) m    shapedirs (N, 3, 400): 300 identity, then 100 expression components, each at
                           one deviation
    f (T, 3)               J_regressor (5, N), weights (N, 5): joints root, neck, jaw, left eye, right eye

FLAME's mesh also turns at joints, with corrections (`posedirs`) that depend on the pose. A `FaceModel` is
linear: joints and `posedirs` are not used. So that mouths can open, the jaw's rotation is offered as one
more expression, "jawOpen": the displacement of turning the jaw of the mean face by `jaw_angle`, 0.1 radians
(5.7 degrees) unless said otherwise, by the file's skinning weights. It is a chord of the true arc: exact at
that angle, a tenth of the jaw's motion off at three times it. Head and eye rotation are left to the camera.

Result: mm, x to the person's left, y up, z to the front; no colours (a mid skin everywhere). Landmarks,
from a table beside the model: "ibug68" from DECA's `landmark_embedding.npy`, "ibug51" from
`flame_static_embedding.pkl`. Pickles are never executed (see `safe_pickle`), and chumpy is not needed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.morphable.readers._assembly import (
    DAMAGED,
    Float32,
    beside,
    checked,
    need,
    open_npz,
    outward,
    skin_of,
)
from facerelief.morphable.readers.safe_pickle import load_npy, load_pickle

NEEDED = ("v_template", "shapedirs", "f")
OPTIONAL = ("J_regressor", "weights")
IDENTITY_COMPONENTS = 300
JAW = 2
MM_PER_M = 1000.0
LICENCE = "FLAME, Max Planck Institute for Intelligent Systems: under the licence that came with the file"


def load_flame(path: str | Path, *, jaw_angle: float = 0.1) -> FaceModel:
    """The linear part of a FLAME file; `jaw_angle` in radians is what "jawOpen" = 1 means, 0 leaves it out.

    Raises ModelError naming the file: not FLAME, damaged, or a pickle that asks for anything but data.
    """
    path = Path(path)
    arrays = _arrays(path)
    need(arrays, NEEDED, path, "a FLAME model")
    template, directions = arrays["v_template"], arrays["shapedirs"]
    n = len(template)
    if template.shape != (n, 3) or directions.ndim != 3 or directions.shape[:2] != (n, 3):
        raise ModelError(
            f"{path}: v_template {template.shape} and shapedirs {directions.shape}, expected (N, 3) and "
            "(N, 3, 400); give the original file"
        )
    faces = arrays["f"].astype(np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or (faces.size and (faces.min() < 0 or faces.max() >= n)):
        raise ModelError(f"{path}: f has shape {faces.shape} or leaves 0..{n - 1}; give the original file")
    mean = np.ascontiguousarray(template * MM_PER_M, np.float32)
    basis = np.ascontiguousarray(directions * MM_PER_M, np.float32)
    expression = basis[:, :, IDENTITY_COMPONENTS:]
    names = [f"expression_{i:03d}" for i in range(expression.shape[2])]
    jaw = _jaw(arrays, mean, jaw_angle)
    if jaw is not None:
        expression = np.concatenate([expression, jaw[:, :, None]], axis=2)
        names.append("jawOpen")
    model = FaceModel(
        name="flame",
        mean=mean,
        identity=np.ascontiguousarray(basis[:, :, :IDENTITY_COMPONENTS]),
        expression=np.ascontiguousarray(expression),
        expression_names=tuple(names),
        expression_kind="pca",
        triangles=outward(mean, faces),
        albedo_mean=skin_of(n),
        albedo=np.zeros((n, 3, 0), np.float32),
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        landmarks=_landmarks(path, faces),
        version=path.stem,
        licence=LICENCE,
    )
    return checked(model, path)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() == ".npz":
        arrays = open_npz(path, NEEDED)
        for name in OPTIONAL:
            try:
                arrays |= open_npz(path, (name,))
            except ModelError:  # an object array: the jaw is then left out, the rest is sound
                continue
    else:
        content = load_pickle(path)
        if not isinstance(content, dict):
            raise ModelError(
                f"{path}: holds a {type(content).__name__}, not a FLAME model; give generic_model.pkl"
            )
        arrays = {}
        for name in NEEDED + OPTIONAL:
            value = cast("dict[object, object]", content).get(name)
            if value is not None:
                arrays[name] = _dense(value, name, path)
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ModelError(f"{path}: {name} is not an array of numbers; give the original file")
    return arrays


def _dense(value: object, name: str, path: Path) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return cast("NDArray[Any]", value)
    matrix = cast(Any, value)
    if hasattr(value, "toarray") and math.prod(matrix.shape) < 1 << 24:
        return cast("NDArray[Any]", matrix.toarray())
    raise ModelError(f"{path}: {name} is not an array; give the original file")


def _jaw(arrays: dict[str, NDArray[Any]], mean: Float32, angle: float) -> Float32 | None:
    """(N, 3) mm displacement of turning the jaw by `angle` about the axis to the person's left, or None."""
    n = len(mean)
    regressor, weights = arrays.get("J_regressor"), arrays.get("weights")
    if angle == 0.0 or regressor is None or weights is None:
        return None
    if regressor.shape[1:] != (n,) or len(regressor) <= JAW or weights.shape != (n, len(regressor)):
        return None
    centre = regressor[JAW].astype(np.float64) @ mean
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    moved = (mean - centre) @ (turn - np.eye(3)).T
    return (weights[:, JAW, None] * moved).astype(np.float32)


def _landmarks(path: Path, faces: NDArray[np.int64]) -> dict[str, SurfacePoints]:
    found: dict[str, SurfacePoints] = {}
    table = beside(path, ("landmark_embedding.npy",))
    if table is not None:
        content = cast(Any, load_npy(table))
        if getattr(content, "size", 0) == 1:  # np.save wraps a dictionary in an array
            content = content.item()
        keys = ("full_lmk_faces_idx", "full_lmk_bary_coords")
        found["ibug68"] = _embedded(content, keys, 68, faces, table)
    table = beside(path, ("flame_static_embedding.pkl",))
    if table is not None:
        keys = ("lmk_face_idx", "lmk_b_coords")
        found["ibug51"] = _embedded(load_pickle(table), keys, 51, faces, table)
    return found


def _embedded(
    content: object, keys: tuple[str, str], count: int, faces: NDArray[np.int64], path: Path
) -> SurfacePoints:
    """Triangle ids and barycentric weights -> points; in the file's own corner order."""
    table = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    try:
        ids = np.asarray(table[keys[0]]).reshape(count).astype(np.int64)
        weights = np.asarray(table[keys[1]]).reshape(count, 3).astype(np.float32)
        if ids.min() < 0:
            raise IndexError("negative triangle id")
        return SurfacePoints(faces[ids].astype(np.int32), weights)
    except DAMAGED as error:
        raise ModelError(
            f"{path}: not a table of {count} landmarks for this model ({error}); remove or replace it"
        ) from error
