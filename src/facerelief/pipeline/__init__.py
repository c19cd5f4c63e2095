"""Pictures in, reconstructions out."""

from facerelief.pipeline.load import load_reconstruction
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig, reconstruct
from facerelief.pipeline.result import ColorPatch, DepthPatch, FitResiduals, Reconstruction

__all__ = [
    "ColorPatch",
    "DepthPatch",
    "FitResiduals",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorConfig",
    "load_reconstruction",
    "reconstruct",
]
