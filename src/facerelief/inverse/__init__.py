"""Inverse rendering: from an image to pose, shape, expression, albedo and light."""

from facerelief.inverse.fit import FitConfig, InverseFit, fit_face
from facerelief.inverse.landmark_fit import FaceState, LandmarkFit, LandmarkFitConfig, fit_landmarks
from facerelief.inverse.photometric import PhotometricConfig, PhotometricFit, fit_photometric
from facerelief.inverse.photometric_term import Appearance

__all__ = [
    "Appearance",
    "FaceState",
    "FitConfig",
    "InverseFit",
    "LandmarkFit",
    "LandmarkFitConfig",
    "PhotometricConfig",
    "PhotometricFit",
    "fit_face",
    "fit_landmarks",
    "fit_photometric",
]
