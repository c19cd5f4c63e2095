"""Files of images, meshes and maps, read and written; nothing here knows a face model.

Readers treat every file as hostile and raise an error of one line. Writers raise `OutputError` when
writing fails, and leave nothing half-written.
"""

from __future__ import annotations

from facerelief.io.atomic import atomic_folder, write_bytes
from facerelief.io.glb import Animation, Joint, Material, MorphTargets, Part, Skeleton, encode_glb, write_glb
from facerelief.io.images import as_image, is_image, read_image
from facerelief.io.meshes import read_mesh
from facerelief.io.npz import write_npz
from facerelief.io.obj import ObjMaterial, write_mtl, write_obj
from facerelief.io.ply import write_ply
from facerelief.io.write_images import (
    decode_normals,
    encode_jpeg,
    encode_normals,
    encode_png,
    write_depth,
    write_normals,
    write_png,
)

__all__ = [
    "Animation",
    "Joint",
    "Material",
    "MorphTargets",
    "ObjMaterial",
    "Part",
    "Skeleton",
    "as_image",
    "atomic_folder",
    "decode_normals",
    "encode_glb",
    "encode_jpeg",
    "encode_normals",
    "encode_png",
    "is_image",
    "read_image",
    "read_mesh",
    "write_bytes",
    "write_depth",
    "write_glb",
    "write_mtl",
    "write_normals",
    "write_npz",
    "write_obj",
    "write_ply",
    "write_png",
]
