"""Rendered images whose 3D truth is known: model instances of random shape, expression, pose, skin, light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.alignment import procrustes
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.lab.scenes import LightRanges, hair_cap, random_light, skin_noise, smooth_background
from facerelief.morphable.model import FaceModel
from facerelief.morphable.statistics import sample_expressions
from facerelief.rendering.render import shade_mesh
from facerelief.typed import Float32, Float64, Image

_LIGHTS = LightRanges((0.3, 0.8), (0.25, 0.5), strength_first=True)


@dataclass(frozen=True)
class TruthConfig:
    """Settings of the images. Angles in degrees, since people type them."""

    size: int = 512
    """Side of the image, px."""
    face_px: float = 300.0
    """Approximate side of the face box, px."""
    yaw: float = 60.0
    """Yaw is uniform within plus and minus this."""
    pitch: float = 15.0
    """Standard deviation of pitch is half of this, cut at it."""
    roll: float = 15.0
    """Likewise for roll."""
    expressions: bool = True
    """Random expressions; else every face is neutral."""
    texture: float = 0.03
    """Amplitude of random blotches on the skin."""
    seed: int = 0
    """Seed of everything."""


@dataclass(frozen=True, eq=False)
class TruthCase:
    """One image and its truth."""

    image: NDArray[np.uint8]
    camera: WeakPerspective
    identity: Float32
    expression: Float32
    vertices: Float32
    """(N, 3) model space, mm, with expression."""
    neutral: Float32
    """(N, 3) model space, mm, without expression."""
    albedo: Float32
    """(N, 3) per vertex, sRGB-coded."""
    light: Float32
    """(9, 3)"""


def truth_cases(
    model: FaceModel, count: int, config: TruthConfig | None = None, colors: Float32 | None = None
) -> Iterator[TruthCase]:
    """`count` random images of a model; the same seed gives the same images, whatever `count` is.

    Args:
        colors: (N, 3) mean skin, for models without their own.
    """
    config = config or TruthConfig()
    for index in range(count):
        yield _case(model, np.random.default_rng([config.seed, index]), config, colors)


def _case(
    model: FaceModel, rng: np.random.Generator, config: TruthConfig, colors: Float32 | None
) -> TruthCase:
    identity = np.clip(rng.standard_normal(model.n_identity), -2.5, 2.5).astype(np.float32)
    expression = np.zeros(model.n_expression, np.float32)
    seed = int(rng.integers(2**31))
    if config.expressions:
        expression = sample_expressions(model.expression_names, 1, seed)[0].astype(np.float32)
    neutral, vertices = model.shape(identity), model.shape(identity, expression)
    angles = rng.standard_normal(2) * 0.5
    pitch = float(np.clip(angles[0], -1, 1)) * np.radians(config.pitch)
    roll = float(np.clip(angles[1], -1, 1)) * np.radians(config.roll)
    yaw = np.radians(rng.uniform(-config.yaw, config.yaw))
    face = model.face_vertices
    extent = np.ptp(vertices[face], axis=0)
    scale = config.face_px / float(max(extent[:2])) * rng.uniform(0.85, 1.15)
    camera = WeakPerspective(pitch, yaw, roll, 0.0, 0.0, scale)
    middle = camera.project(vertices[face]).mean(axis=0)
    shift = config.size / 2 - middle[:2] + rng.uniform(-0.05, 0.05, 2) * config.size
    camera = WeakPerspective(pitch, yaw, roll, float(shift[0]), float(shift[1]), scale)
    skin = (
        model.skin(rng.standard_normal(model.n_albedo) * 0.8) if colors is None else colors.copy()
    ).astype(np.float64)
    skin += config.texture * skin_noise(model.mean, rng)[:, None]
    hair = hair_cap(model)
    skin = skin * (1 - hair) + hair * np.outer(rng.uniform(0.05, 0.5) * np.ones(len(skin)), [1.0, 0.8, 0.65])
    light = random_light(rng, _LIGHTS)
    background = _background(rng, config.size)
    albedo = np.clip(skin, 0.02, 1).astype(np.float32)
    mesh = Mesh(vertices, model.triangles, colors=albedo)
    image, _ = shade_mesh(mesh, camera, config.size, config.size, light=light, background=background)
    noise = rng.normal(0, 2.0, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return TruthCase(image, camera, identity, expression, vertices, neutral, albedo, light)


def _background(rng: np.random.Generator, size: int) -> Image:
    return smooth_background(rng.uniform(0.1, 0.9, (5, 5, 3)), size)


def vertex_error(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_]
) -> Float64:
    """(M,) mm between corresponding vertices of one topology inside `mask`, after the best similarity of
    those vertices."""
    aligned = procrustes(predicted[mask], truth[mask]).apply(predicted[mask].astype(np.float64))
    return np.linalg.norm(aligned - truth[mask], axis=1)


def rotation_error(a: WeakPerspective, b: WeakPerspective) -> float:
    """Angle in degrees between two poses' rotations."""
    cosine = (np.trace(a.rotation.T @ b.rotation) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
