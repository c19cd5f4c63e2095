"""Reader of meshes from other systems and scanners: OBJ, PLY (text and binary), the VRML files of BU-3DFE.

Vertex i of the file is vertex i of the result: nothing is merged, sorted or left out, since landmarks and
known correspondence depend on the order. Colours, normals, texture coordinates and anything else are
ignored. Polygons become triangle fans. A file without faces gives a mesh without triangles.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import MeshError
from facerelief.geometry.mesh import Mesh
from facerelief.io.obj import fans, parse_obj, polygon_fans
from facerelief.io.ply import parse_ply
from facerelief.typed import Float64

MESH_SUFFIXES = (".obj", ".ply", ".wrl")
"""Suffixes of mesh files, in the order of preference."""
MAX_BYTES = 1 << 30


def read_mesh(path: str | Path, scale: float = 1.0) -> Mesh:
    """Read the mesh of an .obj, .ply or .wrl file.

    Args:
        path: File; its suffix decides the format.
        scale: Factor of the coordinates, mm per unit of the file.

    Raises:
        MeshError: The file cannot be read, is damaged, has no vertices, has coordinates that are not finite,
            or triangles that refer to missing vertices.
    """
    path = Path(path)
    readers = {".obj": _obj, ".ply": parse_ply, ".wrl": _vrml}
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


def _obj(data: bytes) -> tuple[Float64, NDArray[np.int64]]:
    content = parse_obj(data, uv=False)
    return content.vertices, fans(content.corners, content.sizes)


def _vrml(data: bytes) -> tuple[Float64, NDArray[np.int64]]:
    """The first indexed face set of a VRML 2 file."""
    text = re.sub(rb"#[^\n]*", b"", data)
    # texture coordinates are points too: only those of a Coordinate node count
    points = re.search(rb"\bCoordinate\s*\{\s*point\s*\[([^\]]*)\]", text)
    if points is None:
        raise ValueError("no Coordinate points")
    vertices = np.array([float(x) for x in points[1].replace(b",", b" ").split()]).reshape(-1, 3)
    faces = re.search(rb"\bcoordIndex\s*\[([^\]]*)\]", text)
    if faces is None:
        return vertices, np.zeros((0, 3), np.int64)
    ids = np.array([int(x) for x in faces[1].replace(b",", b" ").split()], np.int64)
    polygons = [p[p >= 0].tolist() for p in np.split(ids, np.flatnonzero(ids < 0) + 1)]
    return vertices, polygon_fans([p for p in polygons if p])
