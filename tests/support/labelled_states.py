"""Samples whose labels are random states of a model, networks that know them, and a data set of them."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.inference.crops import tracking_crop
from facerelief.inference.runners import Estimate
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import encode_sample
from facerelief.morphable import open_model
from facerelief.rendering.render import shade_mesh

SIZE = 96


def random_state(model: Any, seed: int, yaw: float | None = None) -> FaceState:
    rng = np.random.default_rng(seed)
    scale = SIZE / (1.6 * float(np.ptp(model.mean[:, 1])))
    yaw = float(rng.normal(0, 0.35)) if yaw is None else yaw
    camera = WeakPerspective(float(rng.normal(0, 0.1)), yaw, 0.05, SIZE / 2 + 1, SIZE / 2 - 2, scale)
    identity = rng.normal(0, 0.7, model.n_identity).astype(np.float32)
    expression = (rng.random(model.n_expression) * (rng.random(model.n_expression) < 0.2)).astype(np.float32)
    return FaceState(camera, identity, expression)


def labelled(model: Any, state: FaceState, number: int = 0, image: Any = None) -> Sample:
    """A sample of the kinds coarse and pairs; two previous states, the second one lost."""
    vertices = model.shape(state.identity, state.expression)
    uvz = state.camera.project(vertices)
    uv = uvz[model.face_vertices, :2]
    before = [replace(state.camera, translation_u=state.camera.translation_u + d) for d in (3.0, 12.0)]
    crops = [tracking_crop(vertices, model.face_vertices, c) for c in before]
    labels = {
        "camera": state.camera.vector,
        "identity": state.identity,
        "expression": state.expression,
        "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
        "previous_camera": np.stack([c.vector for c in before]),
        "previous_identity": np.stack([0.9 * state.identity] * 2),
        "previous_expression": np.stack([state.expression] * 2),
        "previous_crop": np.stack([crop.corners for crop in crops]),
        "previous_frames": np.array([2, 0], np.uint8),
        "blur": np.array([0.0], np.float32),
    }
    image = np.full((SIZE, SIZE, 3), number, np.uint8) if image is None else image
    return Sample(f"toy-{number:04d}", image, labels, {"number": number})


class Oracle:
    """A network that knows the states of images by the colour of their first pixel, and may change them."""

    size = SIZE

    def __init__(self, states: list[FaceState], change: Any = lambda state: state) -> None:
        self.states, self.change = states, change

    def __call__(self, image: Any, *where: Any) -> Any:
        estimate = Estimate(self.change(self.states[int(image[0, 0, 0])]), 1.0)
        return estimate if len(where) == 1 else (estimate, np.zeros(58))

    def estimate(self, image: Any, around: WeakPerspective) -> Estimate:
        return self(image, around)


def write_pairs_set(folder: Path) -> Path:
    """A data set of the kind pairs: two images of the open model in the split "val"."""
    folder.mkdir()
    model = open_model()
    recipe = {
        "schema": "facerelief dataset 1",
        "kind": "pairs",
        "model": {"name": model.name, "version": str(model.version)},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with tarfile.open(folder / "val-000000.tar", "w") as tar:
        for number in range(2):
            state = replace(random_state(model, number), identity=np.zeros(model.n_identity, np.float32))
            vertices = model.shape(state.identity, state.expression)
            image, _ = shade_mesh(Mesh(vertices, model.triangles, model.skin()), state.camera, SIZE, SIZE)
            sample = labelled(model, state, number, np.asarray(image, np.uint8))
            for ending, data in encode_sample(sample, "png").items():
                entry = tarfile.TarInfo(f"{sample.key}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    record = {"name": "val-000000", "split": "val", "sha256": "", "bytes": 0, "samples": 2, "seconds": 0.0}
    photos = [{"name": "a", "group": "g", "samples": 2}]
    (folder / "val-000000.json").write_text(json.dumps({**record, "photos": photos, "failures": {}}))
    return folder
