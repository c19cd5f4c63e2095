"""Pictures in, reconstructions out."""

from facerelief.pipeline.load import load_reconstruction
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig, reconstruct
from facerelief.pipeline.result import ColorPatch, DepthPatch, FitResiduals, Reconstruction
from facerelief.pipeline.tracked import TrackedFrame
from facerelief.pipeline.tracker import Tracker, TrackerConfig, track

__all__ = [
    "ColorPatch",
    "DepthPatch",
    "FitResiduals",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorConfig",
    "TrackedFrame",
    "Tracker",
    "TrackerConfig",
    "load_reconstruction",
    "reconstruct",
    "track",
]
