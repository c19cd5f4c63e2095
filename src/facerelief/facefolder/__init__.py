"""Writer and reader of a saved face: a folder of meshes, maps, texture and face.json."""

from facerelief.facefolder.face_json import FaceFileError, FaceParameters, read_face_json, write_face_json
from facerelief.facefolder.load import load_reconstruction
from facerelief.facefolder.save import face_texture, save_reconstruction, write_face_glb

__all__ = [
    "FaceFileError",
    "FaceParameters",
    "face_texture",
    "load_reconstruction",
    "read_face_json",
    "save_reconstruction",
    "write_face_glb",
    "write_face_json",
]
