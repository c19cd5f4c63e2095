"""Images in, reconstructions out: the reconstructor, quality warnings, batches."""

from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig, reconstruct
from facerelief.pipeline.subject import SubjectReconstruction, reconstruct_subject

__all__ = [
    "Reconstructor",
    "ReconstructorConfig",
    "SubjectReconstruction",
    "reconstruct",
    "reconstruct_subject",
]
