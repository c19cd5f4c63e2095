"""Files of a track: `track.npz` and `track.csv`.

Arrays of `track.npz`, F frames in the order of the video, units and frames of docs/conventions.md, float32
unless stated. Where a frame shows no face its numbers are NaN.

| name | shape | content |
|---|---|---|
| frame | (F,) int64 | number in the video, from 0; numbers of frames that cannot be decoded are left out |
| time | (F,) float64 | seconds since the first frame, rising |
| state | (F,) text | none, found (by the detector), tracked (from the frame before) |
| camera | (F, 6) | pitch, yaw, roll in radians, t_u, t_v in px, s in px/mm |
| rotation | (F, 3, 3) | the camera's rotation, from model to camera space |
| expression | (F, E) | weights, named by expression_names (E,) text |
| light | (F, 9, 3) | spherical harmonics by colour, normal in camera space |
| box | (F, 4) | left, top, right, bottom of the face, px |
| confidence | (F,) | 0 to 1 |
| landmarks68_px | (F, 68, 2) | iBUG landmarks in the image, px; NaN for a model without them |
| person | (F,) int32 | row of identity and albedo; -1 without a face |
| identity | (P, K) | standard deviations |
| albedo | (P, A) | standard deviations |
| meta | bytes | JSON: format and its version, model and its version, image_size, fps, source |

A face that keeps its shape has P = 1. Nothing in the file is pickled.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import VideoError
from facerelief.io.atomic import write_bytes
from facerelief.typed import Float32

FORMAT = "facerelief-track"
FORMAT_VERSION = 1
MAX_BYTES = 4 << 30
"""Largest unpacked size of a file that is read, about 40 hours of video."""

CAMERA_COLUMNS = ("pitch_rad", "yaw_rad", "roll_rad", "t_u_px", "t_v_px", "s_px_per_mm")
_BOX_COLUMNS = ("left_px", "top_px", "right_px", "bottom_px")


@dataclass(frozen=True)
class Gap:
    """A run of frames without a face: numbers of the first and last, and their times in seconds."""

    first: int
    last: int
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Track:
    """Parameters of a face over a video; the arrays are those of the table above."""

    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    state: NDArray[np.str_]
    camera: Float32
    rotation: Float32
    expression: Float32
    expression_names: tuple[str, ...]
    light: Float32
    box: Float32
    confidence: Float32
    landmarks68_px: Float32
    person: NDArray[np.int32]
    identity: Float32
    albedo: Float32
    model: str = ""
    """Name of the face model whose coefficients these are."""
    model_version: str = ""
    expression_kind: str = "blendshape"
    """"blendshape": weights in [0, 1]; "pca": standard deviations."""
    image_size: tuple[int, int] = (0, 0)
    """Width and height of the video, px."""
    fps: float = 0.0
    """Nominal frame rate of the video, Hz."""
    source: str = ""
    networks: Mapping[str, str] = field(default_factory=dict[str, str])
    """File name of each network -> SHA-256 of the file in hexadecimal."""
    model_sha256: str = ""
    """SHA-256 of the face model's file, empty where it came from no single file."""

    @property
    def faces(self) -> NDArray[np.bool_]:
        """(F,) True for frames that show a face."""
        return self.person >= 0

    @property
    def gaps(self) -> list[Gap]:
        """Runs of frames without a face."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self.faces, [True]]).astype(np.int8)))
        return [
            Gap(int(self.frame[a]), int(self.frame[b - 1]), float(self.time[a]), float(self.time[b - 1]))
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]


_META = ("model", "model_version", "expression_kind", "image_size", "fps", "source")
_ORIGIN = ("networks", "model_sha256")
"""Stored in meta if known; files of version 0.1 lack them."""


def write_track(path: str | Path, track: Track) -> None:
    """Write track.npz, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    arrays = {
        f.name: np.asarray(getattr(track, f.name)) for f in fields(Track) if f.name not in (*_META, *_ORIGIN)
    }
    meta = {"format": FORMAT, "format_version": FORMAT_VERSION}
    meta |= {name: getattr(track, name) for name in _META}
    meta |= {name: value for name in _ORIGIN if (value := getattr(track, name))}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    write_bytes(path, data.getbuffer())


def write_track_csv(path: str | Path, track: Track) -> None:
    """Write track.csv: one line per frame, with empty cells where there is no face.

    Columns: frame, time_s, state, the camera (radians, px, px/mm), confidence, the box in px, and the
    expression weights by name.

    Raises:
        OutputError: It cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["frame", "time_s", "state", *CAMERA_COLUMNS, "confidence", *_BOX_COLUMNS, *track.expression_names]
    )
    numbers = np.column_stack([track.camera, track.confidence, track.box, track.expression])
    for i, row in enumerate(numbers.tolist()):
        cells = [f"{x:.7g}" for x in row] if track.person[i] >= 0 else [""] * len(row)
        table.writerow([int(track.frame[i]), f"{track.time[i]:.6f}", track.state[i], *cells])
    write_bytes(path, text.getvalue().encode("utf-8"))


def load_track(path: str | Path) -> Track:
    """Read a track.npz; nothing is unpickled.

    Raises:
        VideoError: The file is missing or damaged, or is no track.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES >> 30} GiB")
            arrays = {e.filename.removesuffix(".npy"): _array(archive.read(e)) for e in entries}
        return _assembled(arrays)
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file; expected a track.npz of `facerelief track`") from None
    except KeyError as error:
        raise VideoError(f"{path}: lacks {error}; expected a track.npz of `facerelief track`") from error
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VideoError(
            f"{path}: not a readable track file ({why}); expected a track.npz of `facerelief track`"
        ) from error


def _array(data: bytes) -> NDArray[Any]:
    """Decode an array in NumPy's format: no pickled objects, no more memory than the bytes themselves."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"array format {version}")
    try:
        shape, fortran, dtype = read_header(file)
    except Exception as error:  # NumPy parses it as Python text: any exception may come
        raise ValueError("an array without a readable header") from error
    body = data[file.tell() :]
    if dtype.hasobject or np.prod([float(n) for n in shape]) * dtype.itemsize != len(body):
        raise ValueError("an array is not what its header says")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C").copy()


def _assembled(arrays: dict[str, NDArray[Any]]) -> Track:
    meta = json.loads(arrays["meta"].tobytes().decode())
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError("no format mark")
    if meta.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"format {meta.get('format_version')}, this facerelief reads {FORMAT_VERSION}: upgrade it"
        )
    names = tuple(str(name) for name in arrays["expression_names"])
    f, e, p = len(arrays["time"]), len(names), len(arrays["identity"])
    shapes: dict[str, tuple[tuple[int | None, ...], type]] = {
        "frame": ((f,), np.int64),
        "time": ((f,), np.float64),
        "camera": ((f, 6), np.float32),
        "rotation": ((f, 3, 3), np.float32),
        "expression": ((f, e), np.float32),
        "light": ((f, 9, 3), np.float32),
        "box": ((f, 4), np.float32),
        "confidence": ((f,), np.float32),
        "landmarks68_px": ((f, 68, 2), np.float32),
        "person": ((f,), np.int32),
        "identity": ((p, None), np.float32),
        "albedo": ((p, None), np.float32),
    }
    values: dict[str, Any] = {}
    for name, (shape, kind) in shapes.items():
        array = arrays[name]
        fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape))
        if not fits or array.dtype.kind not in "fiu":
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
        values[name] = array.astype(kind, copy=False)
    if not np.all((values["person"] >= -1) & (values["person"] < max(p, 1))):
        raise ValueError("person points at no row of identity")
    state = arrays["state"].astype(str)
    if state.shape != (f,) or not np.isin(state, ("none", "found", "tracked")).all():
        raise ValueError("state is not none, found or tracked")
    width, height = (int(n) for n in meta["image_size"])
    return Track(
        **values,
        state=state,
        expression_names=names,
        model=str(meta["model"]),
        model_version=str(meta["model_version"]),
        expression_kind=str(meta["expression_kind"]),
        image_size=(width, height),
        fps=float(meta["fps"]),
        source=str(meta["source"]),
        networks={str(file): str(digest) for file, digest in meta.get("networks", {}).items()},
        model_sha256=str(meta.get("model_sha256", "")),
    )
