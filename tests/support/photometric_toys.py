"""Toy faces, images and steps in the unknowns for tests of the photometric term and its solver."""

from __future__ import annotations

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.image_level import ImageLevel
from facerelief.inverse.landmark_fit import POSE_UNKNOWNS, FaceState, LandmarkTerm
from facerelief.inverse.photometric_term import Appearance
from facerelief.morphable import FaceModel
from facerelief.rendering.lighting import directional_light

Box = tuple[float, float, float, float]
HEIGHT, WIDTH = 160, 120


def toy_state(model: FaceModel, camera: WeakPerspective, seed: int = 0) -> FaceState:
    """Coefficients in the middle of their range, so that small steps stay inside."""
    rng = np.random.default_rng(seed)
    expression = rng.uniform(0.2, 0.6, model.n_expression) * (rng.random(model.n_expression) < 0.3) + 0.1
    return FaceState(
        camera, rng.normal(0, 0.7, model.n_identity).astype(np.float32), expression.astype(np.float32)
    )


def toy_appearance(model: FaceModel, seed: int = 0) -> Appearance:
    light = directional_light((-0.5, 0.4, 1.0), color=(0.6, 0.55, 0.5), ambient=(0.4, 0.42, 0.45))
    albedo = np.random.default_rng(seed).normal(0, 0.6, model.n_albedo)
    return Appearance(albedo.astype(np.float32), light.astype(np.float32))


def level_of(color: np.ndarray, du: np.ndarray, dv: np.ndarray) -> ImageLevel:
    height, width = color.shape[:2]
    arrays = (np.ascontiguousarray(a, np.float32) for a in (color, du, dv))
    return ImageLevel(*arrays, 0.0, 0.0, 1.0, (slice(1, height - 1), slice(1, width - 1)))


def ramp_level() -> ImageLevel:
    """Channels that rise by known amounts a pixel: bilinear sampling and differences of them are exact."""
    slopes = np.array([[0.004, -0.002], [-0.003, 0.001], [0.002, 0.003]])
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    color = 0.3 + u[..., None] * slopes[:, 0] + v[..., None] * slopes[:, 1]
    flat = np.ones((HEIGHT, WIDTH, 1))
    return level_of(color, flat * slopes[:, 0], flat * slopes[:, 1])


def wavy_level(seed: int = 0) -> ImageLevel:
    """Smooth waves of 30 px and more, differenced as `image_level` does."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    color = np.full((HEIGHT, WIDTH, 3), 0.45)
    for _ in range(6):
        a, b = rng.uniform(-1, 1, 2) * 2 * np.pi / 40
        color += 0.05 * np.sin(a * u + b * v + rng.uniform(0, 7))[..., None] * rng.uniform(0.5, 1, 3)
    dv, du = np.gradient(color, axis=(0, 1))
    return level_of(color, du, dv)


def unknowns(model: FaceModel) -> int:
    return POSE_UNKNOWNS + model.n_identity + model.n_expression + model.n_albedo + 27


def moved(
    marks: LandmarkTerm, state: FaceState, appearance: Appearance, step: np.ndarray
) -> tuple[FaceState, Appearance]:
    size, a = POSE_UNKNOWNS + marks.n_identity + marks.n_expression, len(appearance.albedo)
    return marks.moved(state, step[:size]), Appearance(
        (appearance.albedo + step[size : size + a]).astype(np.float32),
        (appearance.light + step[size + a :].reshape(3, 9).T).astype(np.float32),
    )


def step_lengths(model: FaceModel) -> np.ndarray:
    """Long where the residual is linear, for rounding's sake; short where it bends."""
    out = np.full(unknowns(model), 0.05)
    out[:4], out[4:6], out[6] = 2e-3, 0.3, 0.1
    return out
