"""The result type, passed from reconstruction to files, edits and evaluation.

Tested by tests/pipeline/test_reconstructor.py and tests/face/test_reconstruction.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.face.outline import visible_landmarks
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
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


@dataclass(frozen=True, eq=False, repr=False)
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
    trust: DepthPatch | None = None
    """Mask of trust in [0, 1] on the pixels of `fine`; None where the method has none. It is not saved."""
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

    @cached_property
    def mesh(self) -> Mesh:
        """The head with its expression, model space, mm, with uv where the model has one; cached."""
        whole = len(self.model.uv_triangles) == len(self.model.triangles)
        uv = (self.model.uv, self.model.uv_triangles) if whole else (None, None)
        return Mesh(self.vertices, self.model.triangles, None, *uv)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        left, top, right, bottom = self.box
        relief = "with relief" if self.fine is not None else "without relief"
        return (
            f"<Reconstruction: {self.method}, model {self.model.name}, face {right - left:.0f} x "
            f"{bottom - top:.0f} px in {width} x {height}, yaw {np.degrees(self.camera.yaw):+.0f} deg, "
            f"confidence {self.confidence:.2f}, {relief}>"
        )

    def texture(self, size: int = 2048) -> Float32:
        """Albedo in the model's uv, as in texture.png.

        Args:
            size: Side S, texels.

        Returns:
            (S, S, 3) sRGB in [0, 1].

        Raises:
            FacereliefError: The model has no uv.
        """
        import facerelief  # on call only: the type itself depends on no writer

        return facerelief.face_texture(self, size)

    def write_glb(
        self,
        path: str | Path,
        *,
        texture_size: int = 2048,
        visemes: bool = False,
        normal_map: bool = True,
        morph_normals: bool = True,
    ) -> Path:
        """Write the head as a .glb file, as face.glb of `save`.

        Args:
            path: File to be written.
            texture_size: Side of texture and normal map, texels.
            visemes: Add 15 Oculus visemes and five more keys of avatars, mixes of the 52.
            normal_map: Write the relief as a normal map.
            morph_normals: Write the change of the normals by each morph target.

        Returns:
            The file.

        Raises:
            OutputError: The file cannot be written.
        """
        import facerelief

        return facerelief.write_face_glb(
            self,
            path,
            texture_size=texture_size,
            visemes=visemes,
            normal_map=normal_map,
            morph_normals=morph_normals,
        )

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        texture_size: int = 2048,
        files: Sequence[str] | None = None,
    ) -> Path:
        """Shorthand of `facerelief.save_reconstruction`.

        Args:
            folder: Folder to be written.
            overwrite: Replace an earlier result.
            texture_size: Side of the texture, texels.
            files: Which files: some of "json", "obj", "glb", "ply", "depth", "texture", "preview", "photo",
                "displaced"; all but the last unless given. face.json is always written.

        Returns:
            The folder.

        Raises:
            OutputError: The folder is taken or cannot be written.
            FacereliefError: `files` has an unknown name.
        """
        import facerelief

        return facerelief.save_reconstruction(
            self, folder, overwrite=overwrite, texture_size=texture_size, files=files
        )
