"""face.json: the parameters of a reconstruction, for other programs.

The keys, units and frames are described for machines in `facerelief/data/face.schema.json`. `SCHEMA_VERSION`
grows when a key changes its meaning or goes; new keys alone do not change it, and readers ignore keys they do
not know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from facerelief._version import __version__
from facerelief.errors import FacereliefError, OutputError
from facerelief.face.reconstruction import FitResiduals
from facerelief.geometry.camera import WeakPerspective
from facerelief.io.atomic import write_bytes
from facerelief.typed import Float32

SCHEMA_VERSION = 1


class FaceFileError(FacereliefError):
    """A face.json that cannot be read: missing, damaged, or of another schema version."""


@dataclass(frozen=True, eq=False)
class FaceParameters:
    """The content of a face.json: a face without its image and surfaces."""

    camera: WeakPerspective
    image_size: tuple[int, int]
    """Width and height of the photo, px."""
    model_name: str
    model_version: str
    method: str
    """"fit" or a network's name."""
    box: tuple[float, float, float, float]
    """Detected box, px: left, top, right, bottom."""
    confidence: float
    """0..1."""
    identity: Float32
    """(K,) standard deviations."""
    expression: Mapping[str, float]
    """Weight of each expression by name, in the model's order."""
    albedo: Float32
    """(A,) standard deviations."""
    light: Float32
    """(9, 3) spherical-harmonic coefficients per colour channel, normal in camera space."""
    landmarks68_mm: Float32 | None = None
    """(68, 3) on the shape with expression, model space; None where the model has no such landmarks."""
    landmarks68_px: Float32 | None = None
    """(68, 2) the same in the photo."""
    relief: bool = False
    """True if depth.npy and detail.ply hold relief, False if only the model's surface."""
    expression_kind: str = "blendshape"
    """"blendshape": weights, 0 to 1; "pca": standard deviations."""
    timings_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    warnings: tuple[str, ...] = ()
    source: str = ""
    """File name of the photo, empty for arrays."""
    source_sha256: str = ""
    """SHA-256 of the photo's file in hexadecimal, empty for arrays."""
    networks: Mapping[str, str] = field(default_factory=dict[str, str])
    """File name of each network that was used -> SHA-256 of the file in hexadecimal."""
    model_sha256: str = ""
    """SHA-256 of the face model's file in hexadecimal; empty where it came from no single file."""
    fit: FitResiduals | None = None
    """Residuals of the fit; None where the method does not fit."""
    expected_error_mm: float | None = None
    """Root mean square error of the points, mm, as the method estimates it; None where it does not."""
    displacement_range_mm: float | None = None
    """Height of the largest code of displacement.png, mm; None where there is no such file."""
    tool_version: str = __version__


def encode_face_json(face: FaceParameters) -> str:
    """JSON text of one face: stable key order, one landmark per line, rounded to meaningful digits.

    Raises:
        OutputError: A number is not finite; the message names its key.
    """
    c = face.camera
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "facerelief", "version": face.tool_version},
        "model": {
            "name": face.model_name,
            "version": face.model_version,
            "expression_kind": face.expression_kind,
            **({"sha256": face.model_sha256} if face.model_sha256 else {}),
        },
        **({"networks": networks_document(face.networks)} if face.networks else {}),
        "source": face.source,
        **({"source_sha256": face.source_sha256} if face.source_sha256 else {}),
        "image_size": {"width": face.image_size[0], "height": face.image_size[1]},
        "method": face.method,
        "relief": face.relief,
        "box_px": _numbers(face.box, 2),
        "confidence": _numbers(face.confidence, 4),
        "pose": {
            "rotation_matrix": _numbers(c.rotation, 9),
            "scale_px_per_mm": _numbers(c.scale, 9),
            "translation_px": _numbers([c.translation_u, c.translation_v], 5),
            "pitch": _numbers(c.pitch, 9),
            "yaw": _numbers(c.yaw, 9),
            "roll": _numbers(c.roll, 9),
            "inverse_distance_per_mm": _numbers(c.inverse_distance, 9),
        },
        "identity": _numbers(face.identity, 6),
        "expression": {name: _numbers(weight, 6) for name, weight in face.expression.items()},
        "albedo": _numbers(face.albedo, 6),
        "light": _numbers(face.light, 6),
        "landmarks68_mm": None if face.landmarks68_mm is None else _numbers(face.landmarks68_mm, 4),
        "landmarks68_px": None if face.landmarks68_px is None else _numbers(face.landmarks68_px, 3),
        **({} if face.fit is None else {"fit": {k: _numbers(v, 5) for k, v in asdict(face.fit).items()}}),
        **(
            {}
            if face.expected_error_mm is None
            else {"expected_error_mm": _numbers(face.expected_error_mm, 3)}
        ),
        **(
            {}
            if face.displacement_range_mm is None
            else {"displacement_range_mm": _numbers(face.displacement_range_mm, 4)}
        ),
        "timings_ms": {name: _numbers(ms, 3) for name, ms in face.timings_ms.items()},
        "warnings": list(face.warnings),
    }
    bad = _not_finite(document)
    if bad:
        raise OutputError(
            f"face.json: {bad} holds a number that is not finite; the fit went wrong, report it"
        )
    return _layout(document) + "\n"


def decode_face_json(text: str, where: str = "face.json") -> FaceParameters:
    """Inverse of `encode_face_json`, up to the rounding. The angles, not the matrix, give the rotation.

    Raises:
        FaceFileError: No JSON, another schema version, a number that is not finite, or a key is missing or
            of the wrong shape; the message begins with `where`.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FaceFileError(
            f"{where}: not valid JSON ({error}); expected a face.json written by facerelief"
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        found = "no schema_version" if version is None else f"schema version {version!r}"
        raise FaceFileError(
            f"{where}: {found}, this facerelief reads version {SCHEMA_VERSION}; "
            "reconstruct the photo again or use the matching release"
        )
    if bad := _not_finite(document):
        raise FaceFileError(
            f"{where}: damaged ({bad} holds a number that is not finite); reconstruct the photo again"
        )
    try:
        return _parameters(document)
    except KeyError as error:
        raise FaceFileError(
            f"{where}: key {error.args[0]!r} is missing; reconstruct the photo again"
        ) from error
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise FaceFileError(f"{where}: damaged ({error}); reconstruct the photo again") from error


def networks_document(networks: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The key `networks` of face.json and track.json, of file name -> SHA-256."""
    return {Path(file).stem: {"file": file, "sha256": digest} for file, digest in networks.items()}


def write_face_json(path: str | Path, face: FaceParameters) -> None:
    """Write `encode_face_json(face)`; raises OutputError."""
    write_bytes(path, encode_face_json(face).encode("utf-8"))


def read_face_json(path: str | Path) -> FaceParameters:
    """Read a face.json; raises FaceFileError, one line that names the file."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise FaceFileError(f"{path}: no such file; expected a face.json written by facerelief") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FaceFileError(f"{path}: cannot be read ({error})") from error
    return decode_face_json(text, str(path))


def _parameters(d: dict[str, Any]) -> FaceParameters:
    pose = d["pose"]
    u, v = pose["translation_px"]
    left, top, right, bottom = (_number(x) for x in d["box_px"])
    return FaceParameters(
        camera=WeakPerspective(
            _number(pose["pitch"]),
            _number(pose["yaw"]),
            _number(pose["roll"]),
            _number(u),
            _number(v),
            _number(pose["scale_px_per_mm"]),
            _number(pose.get("inverse_distance_per_mm", 0.0)),
        ),
        image_size=(int(d["image_size"]["width"]), int(d["image_size"]["height"])),
        model_name=str(d["model"]["name"]),
        model_version=str(d["model"]["version"]),
        method=str(d["method"]),
        box=(left, top, right, bottom),
        confidence=_number(d["confidence"]),
        identity=_array(d, "identity", (-1,)),
        expression={str(name): _number(weight) for name, weight in d["expression"].items()},
        albedo=_array(d, "albedo", (-1,)),
        light=_array(d, "light", (9, 3)),
        landmarks68_mm=None if d["landmarks68_mm"] is None else _array(d, "landmarks68_mm", (68, 3)),
        landmarks68_px=None if d["landmarks68_px"] is None else _array(d, "landmarks68_px", (68, 2)),
        relief=bool(d["relief"]),
        expression_kind=str(d["model"]["expression_kind"]),
        timings_ms={str(name): _number(ms) for name, ms in d["timings_ms"].items()},
        warnings=tuple(str(w) for w in d["warnings"]),
        source=str(d["source"]),
        source_sha256=str(d.get("source_sha256", "")),
        networks={str(n["file"]): str(n["sha256"]) for n in d.get("networks", {}).values()},
        model_sha256=str(d["model"].get("sha256", "")),
        fit=_residuals(d.get("fit")),
        expected_error_mm=_number(d["expected_error_mm"]) if "expected_error_mm" in d else None,
        displacement_range_mm=_number(d["displacement_range_mm"]) if "displacement_range_mm" in d else None,
        tool_version=str(d["tool"]["version"]),
    )


def _residuals(d: Any) -> FitResiduals | None:
    return None if d is None else FitResiduals(**{f.name: _number(d[f.name]) for f in fields(FitResiduals)})


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} where a number is expected")
    return float(value)


def _array(d: dict[str, Any], key: str, shape: tuple[int, ...]) -> Float32:
    array = np.asarray(d[key], dtype=np.float32)
    if (shape != (-1,) and array.shape != shape) or array.ndim != len(shape):
        raise ValueError(f"{key} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{key} holds a number that is not finite")
    return array


def _numbers(values: Any, digits: int) -> Any:
    """Nested lists (or one number) of floats with `digits` decimals; -0 becomes 0."""
    rounded = np.round(np.asarray(values, dtype=np.float64), digits) + 0.0
    return rounded.tolist()


def _not_finite(value: Any, key: str = "") -> str:
    """Path of the first number that is not finite, or an empty string."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else key
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        found = _not_finite(item, f"{key}.{name}" if key else str(name))
        if found:
            return found
    return ""


def _layout(value: Any, indent: str = "") -> str:
    """JSON with one line per key of an object and per row of numbers."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(str(k))}: {_layout(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        rows = [f"{inner}{json.dumps(row, allow_nan=False)}" for row in value]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
