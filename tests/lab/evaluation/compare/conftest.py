"""States of the toy model, and faces whose landmarks are theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.evaluation.compare.images import MEASURES, ImageRow
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE

SIZE = 120


def random_state(model: Any, seed: int, yaw: float = 0.2) -> FaceState:
    rng = np.random.default_rng(seed)
    camera = WeakPerspective(float(rng.normal(0, 0.1)), yaw, 0.05, SIZE / 2, SIZE / 2, 0.45)
    expression = np.zeros(model.n_expression, np.float32)
    return FaceState(camera, rng.normal(0, 0.7, model.n_identity).astype(np.float32), expression)


@pytest.fixture(scope="module")
def states(toy_model) -> list[FaceState]:
    return [random_state(toy_model, seed, yaw) for seed, yaw in enumerate((0.0, 0.1, -0.4, 0.6, 0.9, 0.0))]


def _face_of(model: Any, state: FaceState) -> Any:
    """A detector that sees the state's own landmarks."""
    marks = np.full((478, 2), np.nan)
    vertices = model.shape(state.identity, state.expression)
    marks[list(IBUG68_AMONG_MEDIAPIPE)] = state.camera.project(model.landmarks["ibug68"].of(vertices))[:, :2]
    return SimpleNamespace(box=(10.0, 10.0, 110.0, 110.0), landmarks=marks)


@pytest.fixture
def face_of() -> Any:
    """(model, state) -> a detected face with the state's own landmarks."""
    return _face_of


def _rows_of(count: int = 24) -> list[ImageRow]:
    rng = np.random.default_rng(0)

    def errors(scale: float) -> dict[str, float]:
        return {name: scale * float(rng.gamma(4, 0.25)) for name in MEASURES}

    return [
        ImageRow(
            f"p{k % 9}",
            "",
            float(rng.uniform(-60, 60)),
            ("smile",) if k % 2 else ("neutral",),
            {"net": errors(1.0), "net_fine": errors(1.0), "mean_face": errors(2.0)},
            {"net": 5.0, "net_fine": 9.0, "mean_face": 1.0},
        )
        for k in range(count)
    ]


@pytest.fixture
def rows_of() -> Any:
    """(count) -> rows of labelled images with random errors, of nine subjects."""
    return _rows_of
