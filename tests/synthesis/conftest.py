"""A rendered head with a known relief, for the tests of relief transfer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facerelief.geometry import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.inverse.detail import coarse_depth
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering import directional_light
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.relief_photo import ReliefPhoto

CAMERA = WeakPerspective(0.05, 0.1, 0.0, 150.0, 130.0, 1.25)


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return open_model()


@pytest.fixture(scope="session")
def lamp() -> np.ndarray:
    """(9, 3) the light of `photo`."""
    return directional_light((-0.6, 0.5, 0.8), color=0.7, ambient=0.3).astype(np.float32)


@pytest.fixture(scope="session")
def photo(model, lamp) -> Callable[..., ReliefPhoto]:
    """A face of plain skin before a wall, with waves across the forehead and cheeks."""

    def make(
        camera: WeakPerspective = CAMERA,
        identity: tuple[float, ...] = (),
        wrinkles: float = 0.3,
        paint: Callable[[np.ndarray], None] | None = None,
    ) -> ReliefPhoto:
        vertices = model.shape(identity)
        rendered = rasterize(camera.project(vertices), model.triangles, 300, 300, cull_backfaces=True)
        color = interpolate(rendered, model.triangles, model.albedo_mean) * 0.8
        rng = np.random.default_rng(1)
        image = np.where(rendered.mask[..., None], color, 0.5) + rng.normal(0, 0.01, (300, 300, 1))
        if paint is not None:
            paint(image)
        depth = coarse_depth(model, vertices, camera, image.shape)
        rows = np.arange(depth.depth.shape[0], dtype=np.float32)[:, None]
        relief = np.where(np.isfinite(depth.depth), wrinkles * np.sin(rows / 3), np.nan).astype(np.float32)
        return ReliefPhoto(
            model,
            (255 * np.clip(image, 0, 1)).astype(np.uint8),
            camera,
            identity,
            (),
            np.zeros(model.n_albedo),
            lamp,
            DepthPatch(relief, depth.left, depth.top),
        )

    return make
