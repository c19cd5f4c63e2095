"""From a picture to reconstructions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.detection import DetectedFace, as_image, detect_faces, read_image
from facerelief.errors import NoFaceError
from facerelief.inverse.fit import FitConfig, InverseFit, fit_face
from facerelief.morphable import FaceModel, load_model, open_model
from facerelief.pipeline.result import DepthPatch, Reconstruction
from facerelief.rendering.render import render_depth

Method = Literal["fit"]


@dataclass(frozen=True)
class ReconstructorConfig:
    """What the reconstructor does with a picture."""

    method: Method = "fit"
    """How faces are reconstructed: "fit" is inverse rendering."""
    max_faces: int | None = None
    """At most this many faces, best first; None for all."""
    min_confidence: float = 0.5
    """Detections below this are left out."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Weights and schedule of the fit."""


class Reconstructor:
    """Reconstructs faces with one model; make it once, call it on many pictures."""

    def __init__(
        self, model: FaceModel | str | Path = "open", config: ReconstructorConfig | None = None
    ) -> None:
        """model: a FaceModel, a file or folder of any format `load_model` reads, or "open" for the embedded one."""
        if isinstance(model, FaceModel):
            self.model = model
        else:
            self.model = open_model() if model == "open" else load_model(model)
        self.config = config or ReconstructorConfig()

    def __call__(self, image: str | Path | ArrayLike) -> list[Reconstruction]:
        """All faces of a picture, best first.

        image: a file name, or an array (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or float in [0, 1], RGB. Raises
        ImageError for what is no usable picture and NoFaceError where there is no face.
        """
        started = time.perf_counter()
        source = str(image) if isinstance(image, str | Path) else ""
        picture = read_image(source) if source else as_image(np.asarray(image))
        read = time.perf_counter()
        faces = detect_faces(
            picture, max_faces=self.config.max_faces, min_confidence=self.config.min_confidence
        )
        if not faces:
            raise NoFaceError(f"{source or 'image'}: no face found; give a picture with a visible face")
        timings = {"read": 1e3 * (read - started), "detect": 1e3 * (time.perf_counter() - read)}
        return [self._face(picture, face, source, timings) for face in faces]

    def _face(
        self, picture: NDArray[np.uint8], face: DetectedFace, source: str, timings: dict[str, float]
    ) -> Reconstruction:
        fit = fit_face(self.model, picture, face.box, face.landmarks, self.config.fit)
        result = Reconstruction(
            image=picture,
            model=self.model,
            camera=fit.state.camera,
            identity=fit.state.identity,
            expression=fit.state.expression,
            albedo=fit.appearance.albedo,
            light=fit.appearance.light,
            box=face.box,
            confidence=confidence(face, fit),
            method=self.config.method,
            coarse=DepthPatch(np.zeros((0, 0), np.float32), 0, 0),
            warnings=warnings_about(face, fit),
            timings_ms={**timings, **fit.timings_ms},
            source=source,
        )
        started = time.perf_counter()
        patch = coarse_depth(result)
        spent = 1e3 * (time.perf_counter() - started)
        return replace(result, coarse=patch, timings_ms={**result.timings_ms, "depth": spent})


def reconstruct(
    image: str | Path | ArrayLike,
    *,
    model: FaceModel | str | Path = "open",
    config: ReconstructorConfig | None = None,
) -> list[Reconstruction]:
    """Reconstruct every face of a picture: `facerelief.reconstruct("photo.jpg")[0].save("out")`.

    See `Reconstructor` for the arguments; use that class for many pictures.
    """
    return Reconstructor(model, config)(image)


def coarse_depth(result: Reconstruction) -> DepthPatch:
    """Depth of the model's face region (skin and eyes, no scalp or neck) on the photo's pixels."""
    model = result.model
    shown = model.face_vertices | model.regions.get("eyeballs", np.zeros(model.n_vertices, bool))
    height, width = result.image.shape[:2]
    vertices = result.vertices
    uv = result.camera.project(vertices[shown])[:, :2]
    left, top = (int(x) for x in np.clip(np.floor(uv.min(axis=0)) - 1, 0, (width - 1, height - 1)))
    right, bottom = (int(x) for x in np.clip(np.ceil(uv.max(axis=0)) + 1, (left + 1, top + 1), (width, height)))
    camera = result.camera.in_crop(left, top, 1.0)
    # the whole head hides what lies behind it, but only the face is kept
    whole = render_depth(vertices, model.triangles, camera, bottom - top, right - left)
    face = render_depth(vertices, model.triangles[shown[model.triangles].all(axis=1)], camera, bottom - top, right - left)
    depth = np.where(face >= whole - 1e-3, face, np.float32(np.nan)).astype(np.float32)
    return DepthPatch(depth, left, top)


def confidence(face: DetectedFace, fit: InverseFit) -> float:
    """0..1: the detector's and the landmark net's opinions, less where landmarks and model disagree or the frame cuts."""
    spread_mm = fit.photometric.landmark_rms_px / fit.state.camera.scale
    agreement = 1.0 / (1.0 + (spread_mm / 4.0) ** 4)
    value = face.confidence * face.landmark_confidence * agreement * (1.0 - 0.5 * face.outside)
    return float(np.clip(value, 0.0, 1.0))


def warnings_about(face: DetectedFace, fit: InverseFit) -> tuple[str, ...]:
    """What a user should know about this face."""
    found: list[str] = []
    if face.truncated:
        found.append(f"the picture's frame cuts the face ({100 * face.outside:.0f} % of it lies outside)")
    if face.size < 60:
        found.append(f"the face is small ({face.size:.0f} px); 100 px or more give a better shape")
    yaw = float(np.degrees(fit.state.camera.yaw))
    if abs(yaw) > 55:
        found.append(f"the face is turned far ({yaw:.0f} degrees): its hidden side is a guess")
    if fit.photometric.landmark_rms_px / fit.state.camera.scale > 4.0:
        found.append("model and landmarks disagree: the face may be covered, or no face")
    return tuple(found)
