"""PLY: writer of binary files with colours, reader of text and binary files.

trimesh is not used because importing it takes as long as reconstructing a face, and because vertices must
keep their order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.mesh import Mesh
from facerelief.io.atomic import write_bytes
from facerelief.io.obj import number_table, polygon_fans
from facerelief.typed import Float64

_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_FACE_LISTS = ("vertex_indices", "vertex_index")


def write_ply(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh as binary little-endian PLY; vertices and faces keep their order.

    Coordinates are float32, colours 8-bit red, green, blue, alpha. Texture coordinates are not written.

    Args:
        path: File to write.
        mesh: Vertices in mm.

    Raises:
        OutputError: The file cannot be written.
    """
    fields: list[tuple[str, str]] = [(axis, "<f4") for axis in "xyz"]
    if mesh.colors is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue", "alpha")]
    vertices = np.zeros(len(mesh.vertices), fields)
    for k, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, k]
    if mesh.colors is not None:
        for k, name in enumerate(("red", "green", "blue")):
            vertices[name] = np.rint(np.clip(mesh.colors[:, k], 0, 1) * 255)
        vertices["alpha"] = 255
    faces = np.zeros(len(mesh.triangles), [("count", "u1"), ("ids", "<i4", (3,))])
    faces["count"], faces["ids"] = 3, mesh.triangles
    words = {"<f4": "float", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment facerelief, mm",
        f"element vertex {len(vertices)}",
        *(f"property {words[kind]} {name}" for name, kind in fields),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    text = "".join(f"{line}\n" for line in header).encode("ascii")
    write_bytes(path, text + vertices.tobytes() + faces.tobytes())


class _Property(NamedTuple):
    name: str
    kind: str
    """NumPy type without byte order."""
    listed: str | None
    """Type of the number of entries, of a list."""


class _Element(NamedTuple):
    name: str
    size: int
    properties: list[_Property]


def parse_ply(data: bytes) -> tuple[Float64, NDArray[np.int64]]:
    """Read vertices and faces of a PLY file.

    Args:
        data: The file's content.

    Returns:
        Vertices (N, 3) in the file's unit; triangles (T, 3), polygons as fans.

    Raises:
        ValueError: damaged, or without vertices.
        KeyError: An unknown type.
    """
    form, elements, body = _ply_header(data)
    if form == "ascii":
        found = _ply_text(elements, body)
    else:
        found = _ply_binary(elements, body, "<" if form == "binary_little_endian" else ">")
    columns, _ = found["vertex"]
    if not {"x", "y", "z"} <= columns.keys():
        raise ValueError("vertices without x, y and z")
    vertices = np.stack([np.asarray(columns[axis], np.float64) for axis in "xyz"], axis=1)
    _, lists = found.get("face", ({}, {}))
    polygons = next((lists[name] for name in _FACE_LISTS if name in lists), [])
    if isinstance(polygons, np.ndarray):
        return vertices, polygons.astype(np.int64)
    return vertices, polygon_fans(polygons)


def _ply_header(data: bytes) -> tuple[str, list[_Element], bytes]:
    end = re.search(rb"^end_header[ \t]*\r?\n", data[: 1 << 20], re.MULTILINE)
    if not data.startswith(b"ply") or end is None:
        raise ValueError("no PLY header")
    form, elements = "", []
    for line in data[: end.start()].decode("latin-1").splitlines()[1:]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format":
            form = words[1]
        elif words[0] == "element":
            size = int(words[2])
            if not 0 <= size <= len(data):
                raise ValueError(f"{size} of {words[1]} cannot be in this file")
            elements.append(_Element(words[1], size, []))
        elif words[0] == "property" and words[1] == "list":
            elements[-1].properties.append(_Property(words[4], _PLY_TYPES[words[3]], _PLY_TYPES[words[2]]))
        elif words[0] == "property":
            elements[-1].properties.append(_Property(words[2], _PLY_TYPES[words[1]], None))
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"PLY format {form!r} is not known")
    if "vertex" not in [e.name for e in elements]:
        raise ValueError("no vertices")
    return form, elements, data[end.end() :]


_Found = dict[str, tuple[dict[str, Any], dict[str, Any]]]
"""Element -> (scalar columns, lists), by name."""


def _ply_text(elements: list[_Element], body: bytes) -> _Found:
    lines = [line for line in body.splitlines() if line.strip()]
    found: _Found = {}
    at = 0
    for element in elements:
        rows = lines[at : at + element.size]
        if len(rows) < element.size:
            raise ValueError(f"breaks off in its {element.name} list")
        at += element.size
        columns: dict[str, Any] = {}
        lists: dict[str, Any] = {}
        if not any(p.listed for p in element.properties):
            table = number_table(b"\n".join(rows), np.float64, len(element.properties))
            columns = {p.name: table[:, k] for k, p in enumerate(element.properties)}
        else:
            for p in element.properties:
                (lists if p.listed else columns)[p.name] = []
            for row in map(bytes.split, rows):
                k = 0
                for p in element.properties:
                    if p.listed:
                        n = int(row[k])
                        if n < 0 or k + 1 + n > len(row):
                            raise ValueError("a list that breaks off")
                        lists[p.name].append([int(field) for field in row[k + 1 : k + 1 + n]])
                        k += 1 + n
                    else:
                        columns[p.name].append(float(row[k]))
                        k += 1
        found[element.name] = columns, lists
    return found


def _ply_binary(elements: list[_Element], body: bytes, order: str) -> _Found:
    found: _Found = {}
    at = 0
    for element in elements:
        columns: dict[str, Any] = {}
        lists: dict[str, Any] = {}
        if not any(p.listed for p in element.properties):
            kind = np.dtype([(f"{k}", order + p.kind) for k, p in enumerate(element.properties)])
            table = np.frombuffer(body, kind, element.size, at)
            at += table.nbytes
            columns = {p.name: table[f"{k}"] for k, p in enumerate(element.properties)}
        else:
            table = _all_triangles(element, body, at, order)
            if table is not None:
                at += table.nbytes
                lists = {p.name: table[f"{k}"] for k, p in enumerate(element.properties) if p.listed}
            else:
                lists, at = _ply_lists(element, body, at, order)
        found[element.name] = columns, lists
    return found


def _all_triangles(element: _Element, body: bytes, at: int, order: str) -> NDArray[Any] | None:
    """The element as one array if each of its lists has three entries, else None."""
    fields: list[Any] = []
    for k, p in enumerate(element.properties):
        if p.listed:
            fields += [(f"n{k}", order + p.listed), (f"{k}", order + p.kind, (3,))]
        else:
            fields.append((f"{k}", order + p.kind))
    kind = np.dtype(fields)
    if at + kind.itemsize * element.size > len(body):
        return None
    table = np.frombuffer(body, kind, element.size, at)
    counts = [name for name in kind.names or () if name.startswith("n")]
    return table if all((table[name] == 3).all() for name in counts) else None


def _ply_lists(element: _Element, body: bytes, at: int, order: str) -> tuple[dict[str, Any], int]:
    lists: dict[str, Any] = {p.name: [] for p in element.properties if p.listed}
    kinds = [
        (p, np.dtype(order + p.kind), np.dtype(order + p.listed) if p.listed else None)
        for p in element.properties
    ]
    for _ in range(element.size):
        for p, kind, count in kinds:
            if count is None:
                at += kind.itemsize
                continue
            n = int(np.frombuffer(body, count, 1, at)[0])
            at += count.itemsize
            if n < 0 or at + n * kind.itemsize > len(body):
                raise ValueError("a list that breaks off")
            lists[p.name].append(np.frombuffer(body, kind, n, at).tolist())
            at += n * kind.itemsize
    return lists, at
