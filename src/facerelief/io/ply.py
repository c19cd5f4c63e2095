"""Binary PLY: the dense surface, one vertex per pixel, with colours.

The few lines are written here because importing trimesh for them would take as long as reconstructing a face.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerelief.geometry.mesh import Mesh
from facerelief.io.atomic import write_bytes


def write_ply(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh as binary little-endian PLY; vertices and faces keep their order.

    Vertices in mm as float32, colours as 8-bit red, green, blue, alpha. Texture coordinates are not written.

    Raises:
        OutputError: the file cannot be written.
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
