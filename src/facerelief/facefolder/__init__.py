"""One saved face: its folder of meshes, maps, texture and face.json, written and read."""

from facerelief.facefolder.face_json import FaceFileError, FaceParameters, read_face_json, write_face_json
from facerelief.facefolder.load import load_reconstruction
from facerelief.facefolder.save import save_reconstruction

__all__ = [
    "FaceFileError",
    "FaceParameters",
    "load_reconstruction",
    "read_face_json",
    "save_reconstruction",
    "write_face_json",
]
