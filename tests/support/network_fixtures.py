"""Data sets of a toy head, rendered here and written as shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.inference.crops import fine_crop, tracking_crop
from facerelief.lab.datasets.manifest import RECIPE
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import ShardWriter, encode_sample
from facerelief.rendering.render import render_depth, shade_mesh

SIZE = 96
"""Side of the toy images, px."""


def random_camera(model: Any, rng: np.random.Generator) -> WeakPerspective:
    """A pose that shows the head in an image of `SIZE` px."""
    scale = SIZE / (1.6 * float(np.ptp(model.mean[:, 1]))) * rng.uniform(0.9, 1.1)
    pitch, yaw, roll = (float(rng.normal(0, s)) for s in (0.1, 0.35, 0.1))
    turned = WeakPerspective(pitch, yaw, roll, 0.0, 0.0, scale)
    middle = turned.project(model.mean)[:, :2].mean(axis=0)
    u, v = SIZE / 2 + rng.normal(0, 2, 2) - middle
    return WeakPerspective(pitch, yaw, roll, float(u), float(v), scale)


def face_sample(model: Any, seed: int) -> Sample:
    """An image of the toy head with the labels of coarse data and of pairs."""
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 0.7, model.n_identity).astype(np.float32)
    expression = (rng.random(model.n_expression) * (rng.random(model.n_expression) < 0.2)).astype(np.float32)
    camera = random_camera(model, rng)
    vertices = model.shape(identity, expression)
    image, _ = shade_mesh(Mesh(vertices, model.triangles, model.skin()), camera, SIZE, SIZE)
    uvz = camera.project(vertices)
    previous = [random_camera(model, rng) for _ in range(2)]
    crops = [tracking_crop(vertices, model.face_vertices, c) for c in previous]
    uv = uvz[model.face_vertices, :2]
    labels = {
        "camera": camera.vector,
        "identity": identity,
        "expression": expression,
        "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
        "landmarks68": model.landmarks["ibug68"].of(uvz).astype(np.float32),
        "previous_camera": np.stack([c.vector for c in previous]),
        "previous_expression": np.stack([0.5 * expression] * 2),
        "previous_identity": np.stack([0.9 * identity] * 2),
        "previous_crop": np.stack([crop.corners for crop in crops]).astype(np.float32),
    }
    return Sample(f"toy-{seed:04d}", np.asarray(image, np.uint8), labels, {"seed": seed})


def fine_sample(model: Any, seed: int, size: int = 64) -> Sample:
    """A crop of the toy head with ripples that the image shows."""
    rng = np.random.default_rng(seed)
    vertices = model.mean
    uvz = random_camera(model, rng).project(vertices)
    crop = fine_crop(uvz[model.face_vertices], size)
    camera = crop.camera(random_camera(model, np.random.default_rng(seed)))
    depth = render_depth(vertices, model.triangles, camera, size, size)
    mask = np.isfinite(depth)
    phase = rng.uniform(0, 6)
    ripples = 0.5 * np.sin(np.arange(size) / 3 + phase)[None, :] * mask
    grey = np.where(mask, 128 + 80 * np.cos(np.arange(size) / 3 + phase)[None, :], 20)
    image = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    uv = camera.project(vertices)[:, :2]
    labels = {
        "displacement": ripples.astype(np.float16),
        "depth_coarse": np.where(mask, depth - np.median(depth[mask]), 0).astype(np.float32),
        "mask": mask.astype(np.uint8),
        "camera": camera.vector.astype(np.float32),
        "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
    }
    return Sample(f"fine-{seed:04d}", image, labels, {"seed": seed})


def write_set(folder: Path, kind: str, samples: Callable[[int], Sample], train: int, val: int) -> Path:
    """A data set: two shards to learn from, one held out."""
    folder.mkdir()
    (folder / RECIPE).write_text(json.dumps({"kind": kind}))
    parts = [("train-000000", range(train // 2)), ("train-000001", range(train // 2, train))]
    for name, seeds in [*parts, ("val-000000", range(1000, 1000 + val))]:
        writer = ShardWriter(folder / f"{name}.tar")
        for seed in seeds:
            sample = samples(seed)
            writer.write(sample.key, encode_sample(sample, "png"))
        writer.finish()
    return folder


@pytest.fixture(scope="session")
def face_set(toy_model, tmp_path_factory) -> Path:
    """48 images of the toy head, 12 held out, as pairs, for both CoarseNets."""
    folder = tmp_path_factory.mktemp("sets") / "pairs"
    return write_set(folder, "pairs", lambda seed: face_sample(toy_model, seed), 48, 12)


@pytest.fixture(scope="session")
def face_set_of() -> Callable[..., Path]:
    """Makes a data set of a model's faces: `face_set_of(model, folder, kind, train, val)`."""

    def make(model: Any, folder: Path, kind: str, train: int, val: int) -> Path:
        return write_set(folder, kind, lambda seed: face_sample(model, seed), train, val)

    return make


@pytest.fixture(scope="session")
def fine_set(toy_model, tmp_path_factory) -> Path:
    """24 crops with relief, 6 held out."""
    folder = tmp_path_factory.mktemp("sets") / "fine"
    return write_set(folder, "fine", lambda seed: fine_sample(toy_model, seed), 24, 6)
