"""The result type, passed from reconstruction to files, edits and evaluation.

Tested by tests/pipeline/test_reconstructor.py and tests/face/test_reconstruction.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.face.outline import visible_landmarks
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import ColorPatch, DepthPatch
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32

__all__ = ["ColorPatch", "DepthPatch", "FitResiduals", "Reconstruction"]


@dataclass(frozen=True)
class FitResiduals:
    """Residuals of a fit; their size depends on the photo too."""

    landmark_rms_px: float
    """Robust root mean square distance of detected and fitted landmarks, px."""
    landmark_rms_mm: float
    """The same on the face, mm."""
    photometric_rms_before: float
    """Robust root mean square colour difference, colours in [0, 1], with the shape fitted to landmarks."""
    photometric_rms_after: float
    """The same with the final shape."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One reconstructed face of one image, in the units of docs/conventions.md."""

    image: NDArray[np.uint8]
    """(H, W, 3) upright, RGB."""
    model: FaceModel
    camera: WeakPerspective
    identity: Float32
    """(K,) standard deviations."""
    expression: Float32
    """(E,) weights named by model.expression_names."""
    albedo: Float32
    """(A,) standard deviations."""
    light: Float32
    """(9, 3) spherical-harmonic coefficients per colour channel, normal in camera space."""
    box: tuple[float, float, float, float]
    """Detected box, px: left, top, right, bottom."""
    confidence: float
    """0..1."""
    method: str
    """"fit" or a network's name."""
    coarse: DepthPatch
    """Depth of the model's surface."""
    fine: DepthPatch | None = None
    """Depth with relief; None without relief."""
    skin: ColorPatch | None = None
    """Albedo of the visible face, sRGB-coded, on the pixels of `fine`; None without relief
    and from the tracker."""
    warnings: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
    source: str = ""
    """File name of the image, empty for arrays."""
    source_sha256: str = ""
    """SHA-256 of that file in hexadecimal, empty for arrays; identifies the photo of a saved result."""
    networks: Mapping[str, str] = field(default_factory=dict[str, str])
    """File name of each network that was used -> SHA-256 of the file in hexadecimal."""
    model_sha256: str = ""
    """SHA-256 of the face model's file in hexadecimal, empty where it came from no single file."""
    residuals: FitResiduals | None = None
    """Residuals of the fit; None where the method does not fit."""
    expected_error_mm: float | None = None
    """Root mean square error of the points, mm in camera space, as the network estimates it; None for other
    methods."""

    @cached_property
    def vertices(self) -> Float32:
        """(N, 3) shape with expression, model space, mm; cached, not to be changed in place."""
        return self.model.shape(self.identity, self.expression)

    @cached_property
    def neutral(self) -> Float32:
        """(N, 3) shape without expression, model space, mm; cached, not to be changed in place."""
        return self.model.shape(self.identity)

    @cached_property
    def landmarks68_mm(self) -> Float32:
        """(68, 3) iBUG landmarks on the shape with expression, the jaw's on the visible outline; model space,
        mm; cached, not to be changed in place."""
        return visible_landmarks(self.model, self.vertices, self.camera)

    @property
    def landmarks68_px(self) -> Float32:
        """(68, 2) the same landmarks in the image, px."""
        return self.camera.project(self.landmarks68_mm)[:, :2].astype(np.float32)

    def save(self, folder: str | Path, *, overwrite: bool = False, texture_size: int = 1024) -> Path:
        """Shorthand of `facerelief.save_reconstruction`.

        Args:
            folder: Folder to be written.
            overwrite: Replace an earlier result.
            texture_size: Side of the texture, px.

        Returns:
            The folder.

        Raises:
            OutputError: The folder is taken or cannot be written.
        """
        import facerelief  # on call only: the type itself depends on no writer

        return facerelief.save_reconstruction(self, folder, overwrite=overwrite, texture_size=texture_size)
