"""What drawn faces wear so that they look less like mannequins: a cap of hair, uneven skin."""

from __future__ import annotations

import numpy as np

from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32, Float64


def hair_cap(model: FaceModel) -> Float64:
    """(N, 1) share of hair colour: a cap above the forehead, since detectors have not seen many bald
    heads."""
    eyes = model.landmarks["ibug68"].of(model.mean)[36:48].mean(axis=0)
    height, depth = model.mean[:, 1] - eyes[1], model.mean[:, 2] - eyes[2]
    # the hairline runs from the temples up over the forehead
    line = 66.0 + np.clip(depth, -60, 0) * 1.1
    return (1 / (1 + np.exp(-np.clip((height - line) / 2.0, -30, 30))))[:, None]


def strands(points: Float32, rng: np.random.Generator) -> Float64:
    """(N,) streaks of light and dark hair, mostly between -2 and 2: `blotches` along the head's height."""
    return np.clip(blotches(points * np.array([4, 1, 2], np.float32), rng), -2, 2)


def blotches(points: Float32, rng: np.random.Generator) -> Float64:
    """(N,) smooth noise of unit deviation: a few random waves over the surface, 8 to 60 mm long."""
    direction = rng.standard_normal((24, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.exp(rng.uniform(np.log(8), np.log(60), 24))
    phase = rng.uniform(0, 2 * np.pi, 24)
    waves = np.sin(points @ (2 * np.pi * direction / length[:, None]).T + phase)
    return waves.sum(axis=1) / np.sqrt(12)
