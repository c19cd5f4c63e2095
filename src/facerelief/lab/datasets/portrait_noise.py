"""Noise on rendered heads, and the place of their irises.

Tested by tests/lab/datasets/test_portraits.py.
"""

from __future__ import annotations

import numpy as np

from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32, Float64


def waves(points: Float64, low: float, high: float, rng: np.random.Generator) -> Float64:
    """(N,) smooth noise of unit deviation: random waves of `low` to `high` mm."""
    way = rng.standard_normal((16, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    length = np.exp(rng.uniform(np.log(low), np.log(high), 16))
    phase = rng.uniform(0, 2 * np.pi, 16)
    return np.sin(points @ (2 * np.pi * way / length[:, None]).T + phase).sum(axis=1) / np.sqrt(8)


def grain(rng: np.random.Generator) -> list[Float32]:
    """Fine noise of several sizes, (128, 128) each, unit deviation."""
    import cv2

    out: list[Float32] = []
    for blur in (0.6, 0.9, 1.4, 2.2):
        field = rng.standard_normal((128, 128)).astype(np.float32)
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), blur))
        out.append((field / field.std()).astype(np.float32))
    return out


def iris(model: FaceModel) -> Float64:
    """(N,) 1 on the irises of the mean face."""
    out = np.zeros(model.n_vertices)
    ids = np.flatnonzero(model.eyeballs)
    for side in (-1, 1):
        ball = ids[np.sign(model.mean[ids, 0]) == side]
        if len(ball):
            points = model.mean[ball].astype(np.float64)
            away = points - (points.min(axis=0) + points.max(axis=0)) / 2
            forward = away[:, 2] / np.linalg.norm(away, axis=1)
            out[ball] = np.clip((forward - np.cos(np.radians(26))) / 0.03, 0, 1)
    return out
