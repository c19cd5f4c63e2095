"""Wavefront OBJ: the interchange form of the coarse mesh.

The text is written here rather than by trimesh because the topology is a promise: vertex i of the file is
vertex i of the model, faces keep their order, and texture coordinates have their own indices, so nothing is
split at uv seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.mesh import Mesh
from facerelief.io.atomic import write_bytes

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
        path: file to write.
        mesh: vertices in mm, five decimals; uv and uv_triangles become `vt` and `f a/b`; colours, where there
            are any and no material is given, follow the coordinates (`v x y z r g b`, read by MeshLab and
            Blender).
        material: names the .mtl file and the texture; `write_mtl` makes the former.
        name: object name in the file.

    Raises:
        OutputError: the file cannot be written.
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
    """Write the material library that goes with `write_obj`: the texture as diffuse colour, no highlight."""
    text = f"newmtl {material.name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {material.texture}\n"
    write_bytes(path, text.encode("utf-8"))


def _lines(template: str, rows: NDArray[np.generic]) -> str:
    """One line per row; a single big % is some ten times faster than numpy.savetxt."""
    return (template * len(rows)) % tuple(rows.reshape(-1).tolist())
