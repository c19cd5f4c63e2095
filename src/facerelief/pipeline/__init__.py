"""Pictures in, reconstructions out."""

from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig, reconstruct
from facerelief.pipeline.result import DepthPatch, Reconstruction

__all__ = ["DepthPatch", "Reconstruction", "Reconstructor", "ReconstructorConfig", "reconstruct"]
