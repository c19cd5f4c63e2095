"""Images in, reconstructions out: the reconstructor, quality warnings, batches."""

from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig, reconstruct

__all__ = ["Reconstructor", "ReconstructorConfig", "reconstruct"]
