"""Pictures in, reconstructions out."""

from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig, reconstruct
from facerelief.pipeline.result import DepthPatch, FitResiduals, Reconstruction

__all__ = [
    "DepthPatch",
    "FitResiduals",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorConfig",
    "reconstruct",
]
