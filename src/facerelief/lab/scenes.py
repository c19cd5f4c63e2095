"""Procedural parts of rendered images: hair, uneven skin, random lights and backgrounds."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from facerelief.geometry.rotation import matrix_from_euler
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import ambient_light, directional_light
from facerelief.typed import Float, Float32, Float64, Image, Int32


def hair_cap(model: FaceModel) -> Float64:
    """(N, 1) share of hair colour: a cap above the forehead, since detectors miss some bald heads."""
    eyes = model.landmarks["ibug68"].of(model.mean)[36:48].mean(axis=0)
    height, depth = model.mean[:, 1] - eyes[1], model.mean[:, 2] - eyes[2]
    # the hairline runs from the temples up over the forehead
    line = 66.0 + np.clip(depth, -60, 0) * 1.1
    return (1 / (1 + np.exp(-np.clip((height - line) / 2.0, -30, 30))))[:, None]


def hair_noise(points: Float32, rng: np.random.Generator) -> Float64:
    """(N,) light and dark vertical streaks, clipped to -2..2; points (N, 3) mm."""
    return np.clip(skin_noise(points * np.array([4, 1, 2], np.float32), rng), -2, 2)


def skin_noise(points: Float32, rng: np.random.Generator) -> Float64:
    """(N,) smooth noise of unit deviation: random waves of 8 to 60 mm over the surface; points (N, 3) mm."""
    direction = rng.standard_normal((24, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.exp(rng.uniform(np.log(8), np.log(60), 24))
    phase = rng.uniform(0, 2 * np.pi, 24)
    waves = np.sin(points @ (2 * np.pi * direction / length[:, None]).T + phase)
    return waves.sum(axis=1) / np.sqrt(12)


@dataclass(frozen=True)
class LightRanges:
    """Ranges of a random light: a key light, a weaker one from the other side, and ambient light."""

    key: tuple[float, float]
    """Strength of the key light, uniform."""
    ambient: tuple[float, float]
    """Strength of the ambient light, uniform."""
    fill: float = 0.25
    """Strength of the light from the other side, uniform from 0 to this."""
    sideways: float = 0.8
    """Standard deviation of the key light's direction to the side, relative to 1 toward the viewer."""
    from_above: bool = True
    """The key light never comes from below."""
    tint: float = 0.05
    """Standard deviation of the key light's colour."""
    ambient_tint: float = 0.03
    """Standard deviation of the ambient light's colour."""
    strength_first: bool = False
    """Sample the key light's strength before its colour: the order determines the light of a seed."""


def random_light(rng: np.random.Generator, ranges: LightRanges) -> Float32:
    """(9, 3) a random light, camera space."""
    side, height = rng.normal(0, ranges.sideways), rng.normal(0.4, 0.5)
    direction = np.array([side, abs(height) if ranges.from_above else height, 1.0])
    strength = rng.uniform(*ranges.key) if ranges.strength_first else 0.0
    tint = 1 + rng.normal(0, ranges.tint, 3)
    strength = strength if ranges.strength_first else rng.uniform(*ranges.key)
    light = directional_light(direction, strength * tint)
    light = light + directional_light([-side, 0.1, 0.4], rng.uniform(0, ranges.fill))
    ambient = rng.uniform(*ranges.ambient) * (1 + rng.normal(0, ranges.ambient_tint, 3))
    return (light + ambient_light(ambient)).astype(np.float32)


def photo_background(photo: Image, size: int, rng: np.random.Generator, least: float = 0.35) -> Image:
    """A random square of a photo, mirrored half of the time.

    Args:
        photo: (H, W, 3) RGB.
        size: Side of the result, px.
        rng: Source of randomness.
        least: Smallest side of the square, as a share of the photo's shorter side.

    Returns:
        (size, size, 3) RGB.
    """
    import cv2

    height, width = photo.shape[:2]
    side = max(2, int(rng.uniform(least, 1.0) * min(height, width)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = photo[top : top + side, left : left + side]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=method), np.uint8)


def smooth_background(colors: Float, size: int) -> Image:
    """(size, size, 3) smooth interpolation of a coarse grid of colours (h, w, 3), 0 to 1."""
    import cv2

    smooth = cv2.resize(colors.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return (np.clip(smooth, 0, 1) * 255).astype(np.uint8)


def shoulders(skin: Float, pitch: float, yaw: float, roll: float) -> tuple[Float64, Int32]:
    """A flat ellipsoid that the neck ends in, turned half as far as the head.

    Args:
        skin: (n, 3) head and neck, model space, mm.
        pitch: Of the head, radians.
        yaw: Likewise.
        roll: Likewise.

    Returns:
        (B, 3) vertices, model space, mm, and (M, 3) triangles.
    """
    low = skin[:, 1].min()
    neck = skin[skin[:, 1] < low + 40].mean(axis=0)
    ball, triangles = _ball()
    back = matrix_from_euler(-0.7 * pitch, -0.5 * yaw, -0.7 * roll)
    return ball @ back.T + [neck[0], low + 42 - 150, neck[2] - 10], triangles


@functools.cache
def _ball() -> tuple[Float64, Int32]:
    """Vertices and triangles of the ellipsoid of `shoulders`."""
    v, u = np.meshgrid(np.linspace(0, np.pi, 25), np.linspace(0, 2 * np.pi, 49)[:-1], indexing="ij")
    ball = np.stack([np.sin(v) * np.sin(u), np.cos(v), np.sin(v) * np.cos(u)], axis=2).reshape(-1, 3)
    ball = np.sign(ball) * np.abs(ball) ** [0.9, 0.9, 0.9] * [230, 150, 112]
    rows, columns = np.arange(24)[:, None] * 48, np.arange(48)[None]
    right = (columns + 1) % 48
    quads = np.stack([rows + columns, rows + 48 + columns, rows + 48 + right, rows + right], axis=2)
    quads = quads.reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return ball, triangles
