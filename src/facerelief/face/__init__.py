"""The result type: one reconstructed face.

It knows no writer: `facerelief.save_reconstruction` and `facerelief.load_reconstruction` do.
"""

from facerelief.face.reconstruction import ColorPatch, DepthPatch, FitResiduals, Reconstruction

__all__ = ["ColorPatch", "DepthPatch", "FitResiduals", "Reconstruction"]
