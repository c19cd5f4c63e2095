"""Rendered images without photo-realism: random instances of the model before parts of photos.

After Dou et al. (CVPR 2017), for comparison with images of which every pixel comes from a photo. A photo
gives the background only; shape, expression, skin and light are random.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.lab.datasets.coarse import image_labels
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.samples import Sample, about_source, photo_rng, sample_key
from facerelief.lab.scenes import (
    LightRanges,
    hair_cap,
    hair_noise,
    photo_background,
    random_light,
    skin_noise,
)
from facerelief.morphable.model import FaceModel
from facerelief.morphable.statistics import sample_expressions
from facerelief.rendering.occlusion import seen_share
from facerelief.rendering.render import shade_mesh
from facerelief.typed import Float32

_LIGHTS = LightRanges(
    (0.2, 0.9), (0.2, 0.6), fill=0.3, sideways=0.9, from_above=False, tint=0.06, ambient_tint=0.04
)


@dataclass(frozen=True)
class RenderConfig:
    """Ranges of random faces."""

    size: int = 256
    """Side of the image, px."""
    margin: float = 1.6
    """Side of the image over the face's longer side, before jitter."""
    identity: float = 1.0
    """Standard deviation of identity coefficients, cut at 2.5."""
    albedo: float = 0.9
    """Standard deviation of albedo coefficients, cut at 2.5."""
    yaw: float = 80.0
    """Yaw in degrees is uniform within plus and minus this."""
    pitch: float = 12.0
    """Standard deviation of pitch in degrees, cut at 30."""
    roll: float = 10.0
    """Standard deviation of roll in degrees, cut at 35."""
    shift: float = 0.05
    """Standard deviation of the face's place, as a share of the image's side."""
    zoom: float = 0.10
    """Standard deviation of the logarithm of the face's size."""
    noise: float = 2.0
    """Standard deviation of camera noise, of 255."""
    occlusion: float = 1.0
    """Folds and sockets are darker by the share of their surroundings that they see to a power between 0
    and this, sampled for each face."""


class RenderMaker:
    """Makes renders; see `samples.Maker`. Labels as `CoarseMaker`'s."""

    def __init__(self, fits: FitFolder, model: FaceModel, config: RenderConfig | None = None) -> None:
        self.fits, self.model, self.config = fits, model, config or RenderConfig()
        self.spent_ms: dict[str, float] = {}
        self._hair = hair_cap(model)
        self._seen = np.clip(seen_share(model.mean, model.triangles), 0.1, 1)[:, None]

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        """`count` random faces before parts of one photo."""
        photo = self.fits.image(fit)
        for number in range(count):
            yield self._sample(fit, photo, number, seed)

    def _sample(self, fit: Fit, photo: NDArray[np.uint8], number: int, seed: int) -> Sample:
        started = time.perf_counter()
        c, model, rng = self.config, self.model, photo_rng(seed, fit.name, number)
        identity = _clipped_normal(rng, model.n_identity, c.identity)
        expression = sample_expressions(model.expression_names, 1, int(rng.integers(2**31)))[0]
        albedo = _clipped_normal(rng, model.n_albedo, c.albedo)
        vertices = model.shape(identity, expression)
        pitch, roll = (
            np.radians(float(np.clip(rng.normal(0, sigma), -most, most)))
            for sigma, most in ((c.pitch, 30), (c.roll, 35))
        )
        yaw = np.radians(rng.uniform(-c.yaw, c.yaw))
        camera = WeakPerspective(float(pitch), float(yaw), float(roll), 0.0, 0.0, 1.0)
        face = camera.project(vertices[model.face_vertices])[:, :2]
        side = float(np.ptp(face, axis=0).max())
        scale = c.size / (c.margin * side) * float(np.exp(np.clip(rng.normal(0, c.zoom), -0.25, 0.25)))
        middle = (face.min(axis=0) + face.max(axis=0)) / 2 * scale
        u, v = c.size / 2 + np.clip(rng.normal(0, c.shift, 2), -0.12, 0.12) * c.size - middle
        camera = WeakPerspective(float(pitch), float(yaw), float(roll), float(u), float(v), scale)
        light = random_light(rng, _LIGHTS)
        skin = model.skin(albedo) + 0.03 * skin_noise(model.mean, rng)[:, None]
        tone = rng.uniform(0.03, 0.5) * np.array([1.0, rng.uniform(0.7, 0.95), rng.uniform(0.5, 0.9)])
        streaks = hair_noise(model.mean, rng)[:, None]
        tone = tone * (1 + rng.uniform(0, 0.25) * streaks)
        skin = skin * self._seen ** rng.uniform(0, c.occlusion)
        skin = skin * (1 - self._hair) + self._hair * tone
        mesh = Mesh(vertices, model.triangles, np.clip(skin, 0.02, 1).astype(np.float32))
        behind = photo_background(photo, c.size, rng)
        image, _ = shade_mesh(mesh, camera, c.size, c.size, light=light, background=behind)
        noisy = image + rng.normal(0, c.noise, image.shape)
        image = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
        labels = image_labels(model, camera, vertices, identity, expression, albedo, light, c.size)
        self.spent_ms["render"] = self.spent_ms.get("render", 0.0) + 1e3 * (time.perf_counter() - started)
        about = about_source(fit, "renders", number, seed)
        return Sample(sample_key(fit, "renders", number), image, labels, about)


def _clipped_normal(rng: np.random.Generator, count: int, sigma: float) -> Float32:
    return np.clip(rng.standard_normal(count) * sigma, -2.5, 2.5).astype(np.float32)
