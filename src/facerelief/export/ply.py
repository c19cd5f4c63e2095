"""Binary PLY: the dense surface, one vertex per pixel, with colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerelief.export.atomic import write_bytes
from facerelief.geometry.mesh import Mesh


def write_ply(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh as binary little-endian PLY through trimesh; vertices and faces keep their order.

    Vertices in mm as float32, colours as 8-bit red, green, blue, alpha. Texture coordinates are not written.

    Raises:
        OutputError: the file cannot be written.
    """
    import trimesh

    colors = None
    if mesh.colors is not None:
        colors = np.rint(np.clip(mesh.colors, 0, 1) * 255).astype(np.uint8)
    solid = trimesh.Trimesh(
        mesh.vertices, mesh.triangles, vertex_colors=colors, process=False, validate=False
    )
    data = solid.export(file_type="ply")
    if not isinstance(data, bytes):
        raise TypeError(f"trimesh gave {type(data).__name__} instead of bytes for a PLY")
    write_bytes(path, data)
