"""facerelief: dense 3D faces from photos on an ordinary CPU.

    import facerelief
    face = facerelief.reconstruct("photo.jpg")[0]
    face.save("out/face0")

Units and frames are in docs/conventions.md: millimetres, radians, x to the image's right, y up, z toward the
viewer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from facerelief._version import __version__
from facerelief.errors import (
    FacereliefError,
    ImageError,
    ModelError,
    NoFaceError,
    OutputError,
    VideoError,
)

if TYPE_CHECKING:
    from facerelief.detection import detect_faces
    from facerelief.face import Reconstruction
    from facerelief.facefolder import (
        face_texture,
        load_reconstruction,
        save_reconstruction,
        write_face_glb,
    )
    from facerelief.geometry import Mesh, WeakPerspective
    from facerelief.io import read_image
    from facerelief.morphable import FaceModel, load_model, open_model, save_model
    from facerelief.pipeline import (
        Reconstructor,
        ReconstructorConfig,
        SubjectReconstruction,
        reconstruct,
        reconstruct_subject,
    )
    from facerelief.synthesis import edit
    from facerelief.tracking import TrackedFrame, Tracker, TrackerConfig, track

__all__ = [
    "FaceModel",
    "FacereliefError",
    "ImageError",
    "Mesh",
    "ModelError",
    "NoFaceError",
    "OutputError",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorConfig",
    "SubjectReconstruction",
    "TrackedFrame",
    "Tracker",
    "TrackerConfig",
    "VideoError",
    "WeakPerspective",
    "__version__",
    "detect_faces",
    "edit",
    "face_texture",
    "load_model",
    "load_reconstruction",
    "open_model",
    "read_image",
    "reconstruct",
    "reconstruct_subject",
    "save_model",
    "save_reconstruction",
    "track",
    "write_face_glb",
]

# rooms are imported when first used: `import facerelief` stays quick
_HOME = {
    "FaceModel": "morphable",
    "Mesh": "geometry",
    "Reconstruction": "face",
    "Reconstructor": "pipeline",
    "ReconstructorConfig": "pipeline",
    "SubjectReconstruction": "pipeline",
    "TrackedFrame": "tracking",
    "Tracker": "tracking",
    "TrackerConfig": "tracking",
    "WeakPerspective": "geometry",
    "detect_faces": "detection",
    "edit": "synthesis",
    "face_texture": "facefolder",
    "load_model": "morphable",
    "load_reconstruction": "facefolder",
    "open_model": "morphable",
    "read_image": "io",
    "reconstruct": "pipeline",
    "reconstruct_subject": "pipeline",
    "save_model": "morphable",
    "save_reconstruction": "facefolder",
    "track": "tracking",
    "write_face_glb": "facefolder",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"facerelief.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'facerelief' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
