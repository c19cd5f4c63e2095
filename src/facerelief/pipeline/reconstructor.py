"""Reconstruction of all faces of an image."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.detection import DetectedFace, detect_faces
from facerelief.errors import NoFaceError
from facerelief.face.reconstruction import FitResiduals, Reconstruction
from facerelief.inference.evidence import Evidence, EvidenceRunner
from facerelief.inference.runners import (
    CoarseRunner,
    E2farRunner,
    FineRunner,
    camera_from_landmarks,
    has_shipped_coefficients,
    names_nets,
)
from facerelief.inverse import detail
from facerelief.inverse.conditions import measure_conditions
from facerelief.inverse.fit import FitConfig, InverseFit, fit_face, landmarks_for
from facerelief.inverse.landmark_fit import landmark_residual
from facerelief.inverse.photometric import fit_appearance
from facerelief.io.digest import file_digest, unchanging_digest
from facerelief.io.focal_length import focal_length_px
from facerelief.io.images import as_image, read_image
from facerelief.morphable import FaceModel, model_file, named_model
from facerelief.pipeline.quality import NetAgreement, confidence, warnings_about
from facerelief.runtime.clock import StageClock
from facerelief.runtime.threads import load_linear_algebra
from facerelief.typed import Float32

Method = Literal["net", "fit", "e2far"]


@dataclass(frozen=True)
class ReconstructorConfig:
    """Settings of a reconstructor."""

    method: Method | None = None
    """Method of reconstruction: "fit" by inverse rendering, "net" by CoarseNet and FineNet, "e2far" by
    UH-E2FAR, posed by landmarks, and FineNet. None: "fit", but "net" with open model 1, for which the
    networks are trained, and where `nets` or the variable FACERELIEF_NETS names other networks."""
    max_faces: int | None = None
    """Largest number of faces, best first; None for all."""
    min_confidence: float = 0.5
    """Detections below this are left out."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Weights and schedule of the fit."""
    landmark_net: bool = True
    """Whether the fit holds to the points of the landmark net, where the model has one (open model 2), and
    not to the detector's alone."""
    skin_net: bool = True
    """Whether the fit leaves out what the skin net takes for hair, glasses, hands and other things than bare
    skin."""
    nets: str | None = None
    """Folder of networks in place of the shipped ones: coarse.onnx (or e2far.onnx) and fine.onnx, written by
    `facerelief train export`. Where it lacks one the shipped one is used."""

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in get_args(Method):
            known = ", ".join(repr(name) for name in get_args(Method))
            raise ValueError(f"method is {self.method!r}: expected one of {known}")
        if self.max_faces is not None and self.max_faces < 1:
            raise ValueError(f"max_faces is {self.max_faces}: expected at least 1, or None for all")
        if not 0.0 < self.min_confidence < 1.0:
            raise ValueError(f"min_confidence is {self.min_confidence}: expected a number between 0 and 1")


def default_model(config: ReconstructorConfig) -> str:
    """Name of the embedded face model that a method works with, where none is chosen.

    Networks need the model that they are trained for; inverse rendering takes the better one.
    """
    uses_nets = names_nets(config.nets) if config.method is None else config.method != "fit"
    return "open" if uses_nets else "open2"


class Reconstructor:
    """Reconstructs faces with one model, loaded once for many images."""

    def __init__(
        self, model: FaceModel | str | Path | None = None, config: ReconstructorConfig | None = None
    ) -> None:
        """Load the model. Unusable networks raise at the first image.

        Args:
            model: Face model, a file or folder that `load_model` reads, or "open" or "open2"; that of
                `default_model` unless given.
            config: Settings; the defaults unless given.

        Raises:
            ModelError: The file is no face model.
        """
        self.config = config or ReconstructorConfig()
        model = default_model(self.config) if model is None else model
        if isinstance(model, FaceModel):
            self.model = model
        else:
            self.model = named_model(model)
        self._model_file = None if isinstance(model, FaceModel) else model_file(model)
        self.method: Method = self.config.method or ("net" if has_shipped_coefficients(self.model) else "fit")
        """Method of reconstruction."""
        self._evidence: EvidenceRunner | None = None
        if self.method == "fit":
            self._evidence = EvidenceRunner(
                self.model,
                self.config.nets,
                landmark_net=self.config.landmark_net,
                skin_net=self.config.skin_net,
            )
        if self.method != "fit":
            # compiled while the first image is read and detected: saves a second on two cores
            starter = ThreadPoolExecutor(1, "facerelief")
            self._nets = starter.submit(_nets, self.model, self.config.nets, self.method)
            starter.shutdown(wait=False)
        else:
            # the fit limits linear algebra to one thread, which works only on libraries loaded before
            load_linear_algebra()

    def __call__(self, image: str | os.PathLike[str] | ArrayLike) -> list[Reconstruction]:
        """All faces of an image, best first.

        Args:
            image: A file name, or an array (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or float in [0, 1],
                RGB.

        Raises:
            ImageError: The image is unusable.
            NoFaceError: It shows no face.
            ModelError: The model or a network does not fit the method.
        """
        return [result for result, _ in self.with_landmarks(image)]

    def with_landmarks(
        self, image: str | os.PathLike[str] | ArrayLike
    ) -> list[tuple[Reconstruction, NDArray[np.float32]]]:
        """As a call, but each face with its detected landmarks (L, 2), px."""
        started = time.perf_counter()
        source = digest = ""
        focal: float | None = None
        if isinstance(image, str | os.PathLike):
            source = os.fspath(image)
            pixels = read_image(source)
            digest = file_digest(source)
            focal = focal_length_px(source) if self.method == "fit" else None
        else:
            pixels = as_image(image)
        read = time.perf_counter()
        faces = detect_faces(
            pixels, max_faces=self.config.max_faces, min_confidence=self.config.min_confidence
        )
        if not faces:
            raise NoFaceError(f"{source or 'image'}: no face found; give an image with a visible face")
        timings = {"read": 1e3 * (read - started), "detect": 1e3 * (time.perf_counter() - read)}
        found = (self._face(pixels, face, timings, focal) for face in faces)
        model_digest = "" if self._model_file is None else unchanging_digest(self._model_file)
        named = (
            replace(result, source=source, source_sha256=digest, model_sha256=model_digest)
            for result in found
        )
        return [(result, face.landmarks) for result, face in zip(named, faces, strict=True)]

    def _face(
        self, image: NDArray[np.uint8], face: DetectedFace, timings: dict[str, float], focal: float | None
    ) -> Reconstruction:
        if self.method == "fit":
            return self._by_fit(image, face, timings, focal)
        return self._by_nets(image, face, timings)

    def _by_nets(
        self, image: NDArray[np.uint8], face: DetectedFace, timings: dict[str, float]
    ) -> Reconstruction:
        """Face by a network, light and albedo fitted to the image, relief by FineNet."""
        model, clock = self.model, StageClock()
        error_mm: float | None = None
        around = camera_from_landmarks(model, face.landmarks)
        with clock("coarse_net"):
            shape_net, fine_net = self._nets.result()
            if isinstance(shape_net, E2farRunner):
                state = shape_net.estimate(image, face.landmarks)
            else:
                estimate = shape_net.estimate(image, around)
                state, error_mm = estimate.state, estimate.error_mm
            vertices = model.shape(state.identity, state.expression)
        with clock("appearance"):
            appearance, _ = fit_appearance(model, image, state)
        with clock("fine_net"):
            relief = fine_net(image, state, vertices)
        with clock("depth"):
            coarse = detail.coarse_depth(model, vertices, state.camera, image.shape)
            fine = relief.on(coarse)
        with clock("conditions"):
            seen = measure_conditions(model, image, state, appearance)
        with clock("albedo"):
            skin = detail.photo_albedo(
                model, image, vertices, state.camera, appearance.albedo, appearance.light, fine
            )
        observed, name = landmarks_for(model, face.landmarks)
        spread_mm = landmark_residual(model, observed, state, name=name).rms_px / state.camera.scale
        apart = state.camera.yaw - around.yaw
        net = None if error_mm is None else NetAgreement(error_mm, spread_mm, apart)
        return Reconstruction(
            image=image,
            model=model,
            camera=state.camera,
            identity=state.identity,
            expression=state.expression,
            albedo=appearance.albedo,
            light=appearance.light,
            box=face.box,
            confidence=confidence(face, spread_mm, seen, net),
            method=self.method,
            coarse=coarse,
            fine=fine,
            skin=skin,
            warnings=warnings_about(face, state.camera, spread_mm, seen, net),
            timings_ms={**timings, **clock.ms},
            networks={net.file.name: unchanging_digest(net.file) for net in (shape_net, fine_net)},
            expected_error_mm=error_mm,
        )

    def _by_fit(
        self, image: NDArray[np.uint8], face: DetectedFace, timings: dict[str, float], focal: float | None
    ) -> Reconstruction:
        seen = self.evidence(image, face)
        fit = fit_face(
            self.model,
            image,
            face.box,
            face.landmarks,
            self.config.fit,
            seen.dense,
            focal,
            seen.bare_skin,
        )
        return self.from_fit(image, face, fit, timings, seen.bare_skin)

    def evidence(self, image: NDArray[np.uint8], face: DetectedFace) -> Evidence:
        """Evidence of networks about a face before it is fitted; none with another method."""
        return Evidence() if self._evidence is None else self._evidence(image, face.landmarks)

    def from_fit(
        self,
        image: NDArray[np.uint8],
        face: DetectedFace,
        fit: InverseFit,
        timings: dict[str, float],
        bare_skin: Float32 | None = None,
    ) -> Reconstruction:
        """The face of a finished fit, with its relief.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: Detection that the fit belongs to.
            fit: Fit of this reconstructor's model.
            timings: Milliseconds of earlier stages.
            bare_skin: (H, W) share of bare skin in [0, 1].
        """
        found = detail.find_detail(
            self.model, image, fit.state, fit.appearance, self.config.fit.detail, bare_skin
        )
        started = time.perf_counter()
        seen = measure_conditions(self.model, image, fit.state, fit.appearance)
        spent = {"conditions": 1e3 * (time.perf_counter() - started)}
        left = residuals(fit)
        return Reconstruction(
            image=image,
            model=self.model,
            camera=fit.state.camera,
            identity=fit.state.identity,
            expression=fit.state.expression,
            albedo=fit.appearance.albedo,
            light=fit.appearance.light,
            box=face.box,
            confidence=confidence(face, fit.spread_mm, seen),
            method="fit",
            coarse=found.coarse,
            fine=found.fine,
            skin=found.skin,
            trust=found.trust,
            warnings=warnings_about(face, fit.state.camera, fit.spread_mm, seen),
            timings_ms={**timings, **fit.timings_ms, **found.timings_ms, **spent},
            residuals=left,
        )


def _nets(
    model: FaceModel, folder: str | None, method: Method
) -> tuple[CoarseRunner | E2farRunner, FineRunner]:
    shape_net = E2farRunner if method == "e2far" else CoarseRunner
    return shape_net(model, nets=folder, fall_back=True), FineRunner(model, nets=folder, fall_back=True)


def reconstruct(
    image: str | os.PathLike[str] | ArrayLike,
    *,
    model: FaceModel | str | Path | None = None,
    config: ReconstructorConfig | None = None,
) -> list[Reconstruction]:
    """Reconstruct every face of an image: `facerelief.reconstruct("photo.jpg")[0].save("out")`.

    Arguments as for `Reconstructor`, which is faster for many images.
    """
    return Reconstructor(model, config)(image)


def residuals(fit: InverseFit) -> FitResiduals:
    """Residuals of a fit."""
    last = fit.photometric
    return FitResiduals(
        landmark_rms_px=float(last.landmark_rms_px),
        landmark_rms_mm=float(last.landmark_rms_px / fit.state.camera.scale),
        photometric_rms_before=float(last.residual_before),
        photometric_rms_after=float(last.residual_after),
    )
