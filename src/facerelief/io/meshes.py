"""Meshes of other systems and of scanners: OBJ, PLY (text and binary) and the VRML files of BU-3DFE.

Vertex i of the file is vertex i of the result: nothing is merged, sorted or left out, since landmarks and
known correspondence count on the order. Colours, normals, texture coordinates and anything else are read
past. Polygons become fans. A file without faces gives a mesh without triangles: points that can be measured,
but nothing to measure against.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import MeshError
from facerelief.geometry.mesh import Mesh

MESH_SUFFIXES = (".obj", ".ply", ".wrl")
"""What is read, in the order in which it is looked for."""
MAX_BYTES = 1 << 30

_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_FACE_LISTS = ("vertex_indices", "vertex_index")


def read_mesh(path: str | Path, scale: float = 1.0) -> Mesh:
    """The mesh of an .obj, .ply or .wrl file, its coordinates times `scale` (mm per unit of the file).

    Raises MeshError for a file that cannot be read, is damaged, has no vertices, has coordinates that
    are not finite, or triangles with vertices that are not there.
    """
    path = Path(path)
    readers = {".obj": _read_obj, ".ply": _read_ply, ".wrl": _read_wrl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise MeshError(f"{path}: not a known mesh file; give {', '.join(MESH_SUFFIXES)}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MeshError(f"{path}: over {MAX_BYTES >> 20} MB; give a coarser mesh")
        data = path.read_bytes()
    except OSError as error:
        raise MeshError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        vertices, triangles = reader(data)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise MeshError(f"{path}: damaged mesh file ({reason}); export it again") from error
    if len(vertices) == 0:
        raise MeshError(f"{path}: a mesh without vertices; export it again")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(axis=1).sum())
        raise MeshError(f"{path}: {bad} vertices are not finite; repair the mesh")
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        raise MeshError(f"{path}: triangles refer to vertices outside 1..{len(vertices)}; export it again")
    return Mesh((vertices * scale).astype(np.float32), np.ascontiguousarray(triangles, np.int32))


def open_edges(triangles: NDArray[np.integer]) -> NDArray[np.int64]:
    """(E, 2) edges that only one triangle has: the rims of the mesh and of its holes."""
    edges, counts = _edges(triangles)
    return edges[counts == 1]


def non_manifold_edges(triangles: NDArray[np.integer]) -> int:
    """How many edges belong to more than two triangles."""
    return int((_edges(triangles)[1] > 2).sum())


def _edges(triangles: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    t = np.asarray(triangles, np.int64).reshape(-1, 3)
    t = t[(t != np.roll(t, 1, axis=1)).all(axis=1)]  # triangles with a doubled corner have no area
    edges = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)
    if not len(edges):
        return edges, np.zeros(0, np.int64)
    high = int(edges.max()) + 1
    keys, counts = np.unique(edges[:, 0] * high + edges[:, 1], return_counts=True)
    return np.stack([keys // high, keys % high], axis=1), counts


# ---------------------------------------------------------------- OBJ


def _read_obj(data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    lines = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines()
    lines = [line.strip() for line in lines]
    points = b"\n".join(line[2:] for line in lines if line.startswith((b"v ", b"v\t")))
    vertices = _table(points, np.float64, (0, 1, 2))
    faces = b"\n".join(line[2:] for line in lines if line.startswith((b"f ", b"f\t")))
    faces = re.sub(rb"/\S*", b"", faces)  # only the first of v/vt/vn counts
    try:
        triangles = _table(faces, np.int64, None)
    except ValueError:  # of several sizes
        triangles = np.zeros((0, 0), np.int64)
    if triangles.shape[1] != 3:
        triangles = _fans([row.split() for row in faces.split(b"\n") if row.strip()])
    if (triangles == 0).any():
        raise ValueError("face with vertex 0; OBJ counts from 1")
    return vertices, np.where(triangles > 0, triangles - 1, len(vertices) + triangles)


def _table(text: bytes, kind: Any, columns: tuple[int, ...] | None) -> NDArray[Any]:
    """Rows of numbers; ValueError where they are no numbers, too few, or of different counts."""
    if not text.strip():
        return np.zeros((0, 3), kind)
    return np.loadtxt(io.BytesIO(text), kind, comments=None, usecols=columns, ndmin=2)


def _fans(polygons: list[Any]) -> NDArray[np.int64]:
    """Polygons as lists of ids -> (T, 3); in the order of the file."""
    if not polygons:
        return np.zeros((0, 3), np.int64)
    if all(len(p) == 3 for p in polygons):
        return np.array(polygons).astype(np.int64)
    if any(len(p) < 3 for p in polygons):
        raise ValueError("a face with less than three corners")
    return np.array([(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]).astype(np.int64)


# ---------------------------------------------------------------- PLY


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


def _read_ply(data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
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
    return vertices, _fans(polygons)


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
        rows = [line.split() for line in lines[at : at + element.size]]
        if len(rows) < element.size:
            raise ValueError(f"breaks off in its {element.name} list")
        at += element.size
        columns: dict[str, Any] = {}
        lists: dict[str, Any] = {}
        if not any(p.listed for p in element.properties):
            table = np.array([row[: len(element.properties)] for row in rows], "S").astype(np.float64)
            columns = (
                {p.name: table[:, k] for k, p in enumerate(element.properties)}
                if rows
                else {p.name: [] for p in element.properties}
            )
        else:
            for p in element.properties:
                (lists if p.listed else columns)[p.name] = []
            for row in rows:
                k = 0
                for p in element.properties:
                    if p.listed:
                        n = int(row[k])
                        if n < 0 or k + 1 + n > len(row):
                            raise ValueError("a list that breaks off")
                        lists[p.name].append(row[k + 1 : k + 1 + n])
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


# ---------------------------------------------------------------- VRML


def _read_wrl(data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The first indexed face set of a VRML 2 file."""
    text = re.sub(rb"#[^\n]*", b"", data)
    # texture coordinates are points too: those of a Coordinate node are wanted
    points = re.search(rb"\bCoordinate\s*\{\s*point\s*\[([^\]]*)\]", text)
    if points is None:
        raise ValueError("no Coordinate points")
    vertices = np.array(points[1].replace(b",", b" ").split(), "S").astype(np.float64).reshape(-1, 3)
    faces = re.search(rb"\bcoordIndex\s*\[([^\]]*)\]", text)
    if faces is None:
        return vertices, np.zeros((0, 3), np.int64)
    ids = np.array(faces[1].replace(b",", b" ").split(), "S").astype(np.int64)
    polygons = [p[p >= 0].tolist() for p in np.split(ids, np.flatnonzero(ids < 0) + 1)]
    return vertices, _fans([p for p in polygons if p])
