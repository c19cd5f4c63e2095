"""Reads ICT-FaceKit (MIT): its folder of OBJ files, or the same packed in one .npz.

Folder (`FaceXModel/` of the repository): `generic_neutral_mesh.obj` with quads and texture coordinates;
`identity000.obj`, ... each the neutral plus one deviation of one component; every other OBJ an expression
at weight 1, named by its file. All in cm, one vertex order; only the neutral mesh's faces are read.
`vertex_indices.json` holds the 68 landmarks.

Packed: mean_cm (N, 3), identity int16 (K, N, 3) x identity_scale_cm (K,), expression int16 (E, N, 3) x
expression_scale_cm (E,), expression_names, triangles, uv, uv_triangles; beside it, if wanted,
`vertex_indices.json` and `mediapipe478_to_ict.npz` (tri (478, 3), bary (478, 3)).

Names: `mouthSmile_L` becomes ARKit's `mouthSmileLeft` (_L is the person's left, x > 0). Where ARKit has no
such name (browInnerUp and cheekPuff are not split there; cheekRaiser and PupilDilate do not exist) ICT's
name stays: see `arkit_name`.

Result: mm, x to the person's left, y up, z to the front; no colours (a mid skin everywhere). Texture
coordinates are the model's, v up, and run past 1 in u: teeth, eyes and so on lie on further tiles. Regions
by the repository's vertex ranges.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.io.obj import ObjContent, fans, parse_obj
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.morphable.readers._assembly import (
    DAMAGED,
    Float32,
    Int32,
    beside,
    checked,
    need,
    open_npz,
    outward,
    skin_of,
)

NEUTRAL = "generic_neutral_mesh.obj"
MM_PER_CM = 10.0
LICENCE = "ICT-FaceKit Light, (c) 2020 USC Institute for Creative Technologies, MIT licence"
VERTEX_COUNTS = (24_591, 26_719)
"""Without and with lacrimal fluid, eye occlusion and eyelashes; the rest is numbered alike."""

REGIONS = {
    "narrow_face": (0, 6706),
    "face": (0, 9409),
    "head_and_neck": (9409, 11248),
    "mouth_socket": (11248, 13294),
    "eye_sockets": (13294, 14062),
    "gums_and_tongue": (14062, 17039),
    "teeth": (17039, 21451),
    "eyeballs": (21451, 24591),
}
"""First and last (excluded) vertex of each part."""

# fmt: off
IBUG68 = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509,
    978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
    5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)
# fmt: on


def arkit_name(name: str) -> str:
    """ICT-FaceKit's expression name -> ARKit's where there is one, else unchanged."""
    stem, _, side = name.rpartition("_")
    arkit = stem + {"L": "Left", "R": "Right"}.get(side, "")
    return arkit if arkit in ARKIT_NAMES else name


def load_ict_folder(folder: str | Path) -> FaceModel:
    """The model in a folder of OBJ files (FaceXModel, or the repository that holds it).

    About 160 files of 3 MB: some seconds; convert it once with `save_model`. Raises ModelError naming the
    file.
    """
    folder = Path(folder)
    if not (folder / NEUTRAL).is_file() and (folder / "FaceXModel" / NEUTRAL).is_file():
        folder = folder / "FaceXModel"
    neutral = _read(folder / NEUTRAL, faces=True)
    vertices = neutral.vertices
    others = [file for file in sorted(folder.glob("*.obj")) if file.name != NEUTRAL]
    identity = [file for file in others if file.stem.startswith("identity")]
    expression = [file for file in others if not file.stem.startswith("identity")]
    if not identity or not expression:
        raise ModelError(
            f"{folder}: no {'expression' if identity else 'identity000.obj'} files; copy all of FaceXModel"
        )

    def basis(files: list[Path]) -> Float32:
        out = np.empty((len(vertices), 3, len(files)), np.float32)
        for k, file in enumerate(files):
            shape = _read(file, faces=False).vertices
            if len(shape) != len(vertices):
                raise ModelError(
                    f"{file}: {len(shape)} vertices, {NEUTRAL} has {len(vertices)}; copy the file again"
                )
            out[:, :, k] = (shape - vertices) * MM_PER_CM
        return out

    return _model(
        folder / NEUTRAL,
        mean=np.ascontiguousarray(vertices * MM_PER_CM, np.float32),
        identity=basis(identity),
        expression=basis(expression),
        names=[file.stem for file in expression],
        faces=_faces(folder / NEUTRAL, neutral),
    )


def load_ict_npz(path: str | Path) -> FaceModel:
    """The packed model. Raises ModelError naming the file and what it lacks."""
    path = Path(path)
    parts = ("identity", "identity_scale_cm", "expression", "expression_scale_cm", "expression_names")
    names = ("mean_cm", *parts, "triangles", "uv", "uv_triangles")
    arrays = open_npz(path, names)
    need(arrays, names, path, "a packed ICT-FaceKit")

    def basis(label: str) -> Float32:
        steps, scale = arrays[label], arrays[f"{label}_scale_cm"].reshape(-1)
        expected = (len(scale), *arrays["mean_cm"].shape)
        if steps.shape != expected:
            raise ModelError(
                f"{path}: {label} has shape {steps.shape}, expected {expected}; convert it again"
            )
        out = np.empty((*expected[1:], len(scale)), np.float32)
        np.multiply(steps.transpose(1, 2, 0), (scale * MM_PER_CM).astype(np.float32), out=out)
        return out

    return _model(
        path,
        mean=np.ascontiguousarray(arrays["mean_cm"] * MM_PER_CM, np.float32),
        identity=basis("identity"),
        expression=basis("expression"),
        names=[str(name) for name in arrays["expression_names"]],
        faces=tuple(
            np.ascontiguousarray(arrays[name], kind)
            for name, kind in (("triangles", np.int32), ("uv", np.float32), ("uv_triangles", np.int32))
        ),
    )


def _model(
    path: Path,
    *,
    mean: Float32,
    identity: Float32,
    expression: Float32,
    names: list[str],
    faces: tuple[NDArray[Any], ...],
) -> FaceModel:
    triangles, uv, uv_triangles = faces
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(mean)):
        raise ModelError(
            f"{path}: triangles refer to vertices outside 0..{len(mean) - 1}; copy the file again"
        )
    turned = outward(mean, triangles)
    if len(uv_triangles) and not np.array_equal(turned, triangles):
        uv_triangles = uv_triangles[:, ::-1]
    model = FaceModel(
        name="ict-facekit",
        mean=mean,
        identity=identity,
        expression=expression,
        expression_names=tuple(arkit_name(name) for name in names),
        expression_kind="blendshape",
        triangles=turned,
        albedo_mean=skin_of(len(mean)),
        albedo=np.zeros((len(mean), 3, 0), np.float32),
        uv=np.ascontiguousarray(uv, np.float32),
        uv_triangles=np.ascontiguousarray(uv_triangles, np.int32),
        landmarks=_landmarks(path, len(mean)),
        regions=_regions(len(mean)),
        version="light",
        licence=LICENCE,
    )
    return checked(model, path)


def _regions(n: int) -> dict[str, NDArray[np.bool_]]:
    if n not in VERTEX_COUNTS:
        return {}
    ids = np.arange(n)
    return {name: (ids >= first) & (ids < end) for name, (first, end) in REGIONS.items()}


def _landmarks(path: Path, n: int) -> dict[str, SurfacePoints]:
    found: dict[str, SurfacePoints] = {}
    ids = list(IBUG68) if n in VERTEX_COUNTS else []
    table = beside(path, ("vertex_indices.json",))
    try:
        if table is not None:
            ids = [int(i) for i in json.loads(table.read_text("utf-8"))["idx_to_landmark_verts"]]
        if ids:
            found["ibug68"] = SurfacePoints.at_vertices(ids)
        table = beside(path, ("mediapipe478_to_ict.npz",))
        if table is not None:
            arrays = open_npz(table, ("tri", "bary"))
            weights = arrays["bary"].reshape(-1, 3)
            corners = arrays["tri"].reshape(len(weights), 3)
            found["mediapipe478"] = SurfacePoints(corners.astype(np.int32), weights.astype(np.float32))
    except DAMAGED as error:
        raise ModelError(f"{table}: not a landmark table ({error}); remove or replace it") from error
    return found


def _read(path: Path, *, faces: bool) -> ObjContent:
    try:
        return parse_obj(path.read_bytes(), faces=faces, uv=faces)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); copy all of FaceXModel") from error
    except DAMAGED as error:
        raise ModelError(f"{path}: {error}; copy the file again") from error


def _faces(path: Path, mesh: ObjContent) -> tuple[Int32, Float32, Int32]:
    """Triangles (T, 3), uv (M, 2), uv triangles (T, 3) or (0, 3) of the neutral mesh."""
    try:
        for ids, count in ((mesh.corners, len(mesh.vertices)), (mesh.uv_corners, len(mesh.uv))):
            if ids.size and (ids.min() < 0 or ids.max() >= count):
                raise ValueError(f"ids outside 1..{count}")
        triangles = fans(mesh.corners, mesh.sizes)
        uv_triangles = fans(mesh.uv_corners, mesh.sizes) if mesh.uv_corners.size else triangles[:0]
    except ValueError as error:
        raise ModelError(f"{path}: malformed faces: {error}; copy the file again") from error
    uv = mesh.uv if len(uv_triangles) else mesh.uv[:0]
    return triangles.astype(np.int32), uv.astype(np.float32), uv_triangles.astype(np.int32)


def is_ict_folder(folder: Path) -> bool:
    """Whether the folder, or its FaceXModel, holds the neutral mesh."""
    return any((place / NEUTRAL).is_file() for place in (folder, folder / "FaceXModel"))
