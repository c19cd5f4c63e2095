"""Writers for meshes, maps and parameters. Arrays and `Mesh` in, files out; nothing here knows a face model.

Every writer raises `OutputError`, one line, when the disk will not have it.
"""

from __future__ import annotations

from facerelief.export.atomic import atomic_folder, write_bytes
from facerelief.export.face_json import (
    FaceFileError,
    FaceParameters,
    FitResiduals,
    read_face_json,
    write_face_json,
)
from facerelief.export.glb import Animation, Material, MorphTargets, Part, encode_glb, write_glb
from facerelief.export.images import (
    decode_normals,
    encode_jpeg,
    encode_normals,
    encode_png,
    write_depth,
    write_normals,
    write_png,
)
from facerelief.export.obj import ObjMaterial, write_mtl, write_obj
from facerelief.export.ply import write_ply

__all__ = [
    "Animation",
    "FaceFileError",
    "FaceParameters",
    "FitResiduals",
    "Material",
    "MorphTargets",
    "ObjMaterial",
    "Part",
    "atomic_folder",
    "decode_normals",
    "encode_glb",
    "encode_jpeg",
    "encode_normals",
    "encode_png",
    "read_face_json",
    "write_bytes",
    "write_depth",
    "write_face_json",
    "write_glb",
    "write_mtl",
    "write_normals",
    "write_obj",
    "write_ply",
    "write_png",
]
