"""Wavefront OBJ read and written: vertex i of the file is vertex i of the mesh.

trimesh is not used because topology must be kept: faces keep their order, and texture coordinates have their
own indices, so nothing is merged, or split at uv seams.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.mesh import Mesh
from facerelief.io.atomic import write_bytes
from facerelief.typed import Float64

_HEADER = "# facerelief: millimetres; right-handed, x to the image's right, y up, z toward the viewer\n"


@dataclass(frozen=True)
class ObjMaterial:
    """A textured material: `library` and `texture` are file names relative to the OBJ."""

    library: str
    texture: str
    name: str = "face"


def write_obj(path: str | Path, mesh: Mesh, material: ObjMaterial | None = None, name: str = "face") -> None:
    """Write a mesh as OBJ text.

    Args:
        path: File to write.
        mesh: Vertices in mm, five decimals; uv and uv_triangles become `vt` and `f a/b`; colours, where there
            are any and no material is given, follow the coordinates (`v x y z r g b`, read by MeshLab and
            Blender).
        material: Names the .mtl file and the texture; `write_mtl` makes the former.
        name: Object name in the file.

    Raises:
        OutputError: The file cannot be written.
    """
    with_uv = mesh.uv is not None and mesh.uv_triangles is not None and len(mesh.uv_triangles) > 0
    parts = [_HEADER]
    if material is not None:
        parts.append(f"mtllib {material.library}\n")
    parts.append(f"o {name}\n")
    if mesh.colors is not None and material is None:
        colors = np.clip(mesh.colors, 0, 1)
        parts.append(_lines("v %.5f %.5f %.5f %.4f %.4f %.4f\n", np.hstack([mesh.vertices, colors])))
    else:
        parts.append(_lines("v %.5f %.5f %.5f\n", mesh.vertices))
    if with_uv and mesh.uv is not None:
        parts.append(_lines("vt %.6f %.6f\n", mesh.uv))
    if material is not None:
        parts.append(f"usemtl {material.name}\n")
    parts.append("s 1\n")
    faces = mesh.triangles.astype(np.int64) + 1
    if with_uv and mesh.uv_triangles is not None:
        both = np.stack([faces, mesh.uv_triangles.astype(np.int64) + 1], axis=2)
        parts.append(_lines("f %d/%d %d/%d %d/%d\n", both.reshape(-1, 6)))
    else:
        parts.append(_lines("f %d %d %d\n", faces))
    write_bytes(path, "".join(parts).encode("utf-8"))


def write_mtl(path: str | Path, material: ObjMaterial) -> None:
    """Write the material library of `write_obj`: the texture as diffuse colour, no highlight."""
    text = f"newmtl {material.name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {material.texture}\n"
    write_bytes(path, text.encode("utf-8"))


def _lines(template: str, rows: NDArray[np.generic]) -> str:
    """One line per row; a single big % is some ten times faster than numpy.savetxt."""
    return (template * len(rows)) % tuple(rows.reshape(-1).tolist())


@dataclass(frozen=True, eq=False)
class ObjContent:
    """Geometry of an OBJ file. Indices count from 0 and are not checked against the number of points."""

    vertices: Float64
    """(N, 3) in the file's unit; colours after the coordinates are dropped."""
    uv: Float64
    """(M, 2), v up."""
    corners: NDArray[np.int64]
    """(C,) vertex of each corner of the faces, one face after the other."""
    uv_corners: NDArray[np.int64]
    """(C,) texture coordinate of each corner; (0,) unless all corners have one."""
    sizes: NDArray[np.int64]
    """(F,) corners of each face."""
    groups: tuple[str, ...]
    """Name of each face's group, "" before the first."""


def parse_obj(data: bytes, *, faces: bool = True, uv: bool = True) -> ObjContent:
    """Read vertices, faces and texture coordinates; anything else is ignored.

    Args:
        data: The file's content.
        faces: Read faces too.
        uv: Read texture coordinates too; they are left out where the faces' are malformed.

    Raises:
        ValueError: Malformed lines; the message names their kind.
    """
    rows: dict[bytes, list[bytes]] = {b"v": []} | ({b"f": []} if faces else {}) | ({b"vt": []} if uv else {})
    groups: list[bytes] = []
    group = b""
    for line in data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines():
        word, *rest = line.split(None, 1) or [b""]
        if word in rows:
            rows[word].append(b"".join(rest))
        if word == b"f":
            groups.append(group)
        elif word == b"g":
            group = b"".join(rest).strip()
    lines = {word: b"\n".join(found) for word, found in rows.items()}
    try:
        vertices = number_table(lines[b"v"], np.float64, 3)
        points = number_table(lines.get(b"vt", b""), np.float64, 2)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"malformed v lines: {error}") from error
    text = lines.get(b"f", b"")
    try:
        corners, sizes = _corners(re.sub(rb"/\S*", b"", text), len(vertices))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"malformed faces: {error}") from error
    uv_corners = corners[:0]
    if uv and b"/" in text:
        with suppress(ValueError, OverflowError):
            # the second of vertex/uv/normal
            found, found_sizes = _corners(re.sub(rb"[^\s/]+/?([^\s/]*)\S*", rb"\1", text), len(points))
            uv_corners = found if np.array_equal(sizes, found_sizes) else uv_corners
    names = tuple(name.decode("utf-8", "replace") for name in groups)
    return ObjContent(vertices, points, corners, uv_corners, sizes, names)


def number_table(text: bytes, kind: Any, width: int | None) -> NDArray[Any]:
    """Read lines of numbers, the first `width` of each, or all where that is None.

    Raises:
        ValueError: No numbers, too few in a line, or uneven lines.
    """
    if not text.strip():
        return np.zeros((0, width or 3), kind)
    columns = None if width is None else tuple(range(width))
    return np.loadtxt(io.BytesIO(text), kind, comments=None, usecols=columns, ndmin=2)


def polygon_fans(polygons: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """`fans` of polygons that are lists of vertices."""
    corners = np.array([vertex for polygon in polygons for vertex in polygon], np.int64)
    return fans(corners, np.array([len(polygon) for polygon in polygons], np.int64))


def fans(corners: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Split polygons into fans of triangles about their first corners: (T, 3), in order.

    Args:
        corners: (C,) vertices, one polygon after the other.
        sizes: (F,) corners of each polygon.

    Raises:
        ValueError: A polygon of less than three corners.
    """
    if len(sizes) and sizes.min() < 3:
        raise ValueError("a face with less than three corners")
    pieces = sizes - 2
    first = np.repeat(np.cumsum(sizes) - sizes, pieces)
    step = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], axis=1)


def _corners(text: bytes, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners of one of `count` points each, and their number in each line."""
    try:
        table = number_table(text, np.int64, None)
        ids, sizes = table.reshape(-1), np.full(len(table), table.shape[1])
    except ValueError:  # faces of several sizes
        fields = [line.split() for line in text.split(b"\n")]
        ids = np.array([int(field) for line in fields for field in line], np.int64)
        sizes = np.array([len(line) for line in fields], np.int64)
    if (ids == 0).any():
        raise ValueError("vertex 0; OBJ counts from 1")
    return np.where(ids > 0, ids - 1, count + ids), sizes  # negative indices count from the end
