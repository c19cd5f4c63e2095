"""Fixtures for every room: a small procedural face model that needs no data file."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.rendering.lighting import directional_light
from facerelief.rendering.render import render_depth, shade_mesh

pytest_plugins = ["dataset_fixtures", "network_fixtures", "toy_head"]
"""Fixtures of tests/support that several folders of tests use."""

ROWS, COLUMNS = 40, 56


@pytest.fixture(scope="session")
def toy_model() -> FaceModel:
    """A symmetric, head-like egg: 2,242 vertices, 5 identity, 52 ARKit and 3 albedo components, ibug68."""
    return make_toy_model()


@pytest.fixture(scope="session")
def toy_camera() -> WeakPerspective:
    """A pose that shows the toy head turned a little, 120 x 160 px fits it."""
    return WeakPerspective(pitch=0.1, yaw=0.3, roll=-0.1, translation_u=60, translation_v=80, scale=0.6)


@pytest.fixture(scope="session")
def toy_reconstruction(toy_model, toy_camera) -> Reconstruction:
    """The toy head in a 160 x 120 px drawing of itself, smiling, with a relief of ripples."""
    return make_toy_reconstruction(toy_model, toy_camera)


def make_toy_reconstruction(model: FaceModel, camera: WeakPerspective) -> Reconstruction:
    rng = np.random.default_rng(3)
    identity = rng.normal(size=model.n_identity).astype(np.float32)
    expression = np.zeros(model.n_expression, np.float32)
    expression[:4] = (0.2, 0.8, 0.0, 0.5)
    albedo = rng.normal(size=model.n_albedo).astype(np.float32)
    light = directional_light((-0.4, 0.5, 1.0), color=0.6, ambient=0.5).astype(np.float32)
    vertices = model.shape(identity, expression)
    mesh = Mesh(vertices, model.triangles, model.skin(albedo))
    image, _ = shade_mesh(mesh, camera, 160, 120, light=light, background=(0.3, 0.4, 0.3))
    whole = render_depth(vertices, model.triangles, camera, 160, 120)
    rows, columns = (np.flatnonzero(np.isfinite(whole).any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    coarse = whole[top : rows[-1] + 1, left : columns[-1] + 1]
    ripples = 0.3 * np.sin(np.arange(coarse.shape[1]) / 2, dtype=np.float32)
    return Reconstruction(
        image=image,
        model=model,
        camera=camera,
        identity=identity,
        expression=expression,
        albedo=albedo,
        light=light,
        box=(left, top, left + coarse.shape[1], top + coarse.shape[0]),
        confidence=0.9,
        method="fit",
        coarse=DepthPatch(coarse, left, top),
        fine=DepthPatch(coarse + ripples, left, top),
        warnings=("a toy",),
        timings_ms={"fit": 1.25},
        source="photos/toy.png",
    )


def make_toy_model(rows: int = ROWS, columns: int = COLUMNS) -> FaceModel:
    """`rows` circles of `columns` (even) vertices between two poles; the uv seam runs down the back."""
    polar = np.pi * (np.arange(rows) + 1) / (rows + 1)
    around = -np.pi + 2 * np.pi * np.arange(columns) / columns
    theta, phi = np.meshgrid(polar, around, indexing="ij")
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=-1)
    unit = np.concatenate([unit.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]])
    mean = unit * [72, 105, 88]
    mean[:, 0] *= 1 - 0.25 * (mean[:, 1] < 0) * (mean[:, 1] / 105) ** 2  # a narrower chin
    nose = np.exp(-(mean[:, 0] ** 2) / 150 - (mean[:, 1] + 8) ** 2 / 500) * (mean[:, 2] > 0)
    mean[:, 2] += 16 * nose

    ids = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(ids, -1, axis=1)
    quads = np.stack([ids[:-1], ids[1:], right[1:], right[:-1]], axis=-1).reshape(-1, 4)
    top, bottom = rows * columns, rows * columns + 1
    caps = [np.stack([np.full(columns, top), ids[0], right[0]], axis=1)]
    caps.append(np.stack([np.full(columns, bottom), right[-1], ids[-1]], axis=1))
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *caps])

    # the same grid with one more column, so that the back has a left and a right edge in the texture
    wide = columns + 1
    uv_grid = np.stack(np.meshgrid(np.linspace(0, 1, wide), 1 - polar / np.pi), axis=-1).reshape(-1, 2)
    middle = (np.arange(columns) + 0.5) / columns
    uv = np.concatenate([uv_grid, np.c_[middle, np.ones(columns)], np.c_[middle, np.zeros(columns)]])
    uv_ids = np.arange(rows * wide).reshape(rows, wide)
    a, b, c, d = uv_ids[:-1, :-1], uv_ids[1:, :-1], uv_ids[1:, 1:], uv_ids[:-1, 1:]
    uv_quads = np.stack([a, b, c, d], axis=-1).reshape(-1, 4)
    pole = rows * wide + np.arange(columns)
    uv_caps = [np.stack([pole, uv_ids[0, :-1], uv_ids[0, 1:]], axis=1)]
    uv_caps.append(np.stack([pole + columns, uv_ids[-1, 1:], uv_ids[-1, :-1]], axis=1))
    uv_triangles = np.concatenate([uv_quads[:, [0, 1, 2]], uv_quads[:, [0, 2, 3]], *uv_caps])

    mirror = np.concatenate([ids[:, (-np.arange(columns)) % columns].ravel(), [top, bottom]])
    return FaceModel(
        name="toy",
        mean=mean.astype(np.float32),
        identity=_identity(unit, mean).astype(np.float32),
        expression=_expressions(unit, mean).astype(np.float32),
        expression_names=ARKIT_NAMES,
        triangles=triangles.astype(np.int32),
        albedo_mean=_skin(mean).astype(np.float32),
        albedo=np.stack(
            [
                np.full_like(mean, 0.05),
                np.outer(mean[:, 1] / 105, [0.04, 0.02, 0.01]),
                np.outer(nose, [0.1, 0, 0]),
            ],
            axis=2,
        ).astype(np.float32),
        uv=uv.astype(np.float32),
        uv_triangles=uv_triangles.astype(np.int32),
        landmarks={"ibug68": SurfacePoints.at_vertices(_nearest(mean, _ibug68()))},
        regions={"face": (mean[:, 2] > 20) & (mean[:, 1] < 80)},
        symmetry=mirror.astype(np.int32),
        licence="none needed",
    )


def _identity(unit: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(N, 3, 5) smooth displacements of a few mm: width, height, depth, jaw, brow."""
    jaw = np.exp(-((mean[:, 1] + 80) ** 2) / 900)[:, None]
    brow = np.exp(-((mean[:, 1] - 35) ** 2) / 300)[:, None] * (mean[:, 2:] > 0)
    parts = [
        unit * [3, 0, 0],
        unit * [0, 4, 0],
        unit * [0, 0, 3],
        unit * jaw * [4, 2, 3],
        unit * brow * [0, 0, 2],
    ]
    return np.stack(parts, axis=2)


def _expressions(unit: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(N, 3, 52) local bumps on the front, each name in its own place, Right the mirror image of Left."""
    out = np.zeros((len(mean), 3, len(ARKIT_NAMES)))
    for k, name in enumerate(ARKIT_NAMES):
        pair = min(ARKIT_NAMES.index(name), ARKIT_NAMES.index(mirrored(name)))
        side = 1 if name.endswith("Left") else -1 if name.endswith("Right") else 0
        x, y = side * (15 + 4 * (pair % 7)), 40 - 100 * pair / len(ARKIT_NAMES)
        distance = (mean[:, 0] - x) ** 2 + (mean[:, 1] - y) ** 2
        bump = np.exp(-distance / 250) * (mean[:, 2] > 10)
        bump[bump < 0.01] = 0
        out[:, :, k] = bump[:, None] * (unit * 5 + [side * 2.0, -3.0, 0.0])
    return out


def _skin(mean: np.ndarray) -> np.ndarray:
    """(N, 3) skin colour with darker hair, eyes and red lips, so that images are worth looking at."""
    color = np.tile([0.78, 0.60, 0.50], (len(mean), 1))
    color[(mean[:, 1] > 62) | (mean[:, 2] < -5)] = [0.25, 0.18, 0.14]
    front = mean[:, 2] > 0
    for x, y, r, paint in [
        (30, 30, 7, (0.1, 0.1, 0.1)),
        (-30, 30, 7, (0.1, 0.1, 0.1)),
        (0, -48, 12, (0.7, 0.3, 0.3)),
    ]:
        color[front & ((mean[:, 0] - x) ** 2 / 2 + (mean[:, 1] - y) ** 2 < r * r / 2)] = paint
    return color


def _ibug68() -> np.ndarray:
    """(68, 2) rough places of the iBUG landmarks, mm in the frontal plane, in their usual order."""

    def arc(count: int, start: float, end: float, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        t = np.linspace(start, end, count)
        return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)

    pi = np.pi
    eye = [(-42, 30), (-35, 35), (-26, 35), (-18, 30), (-26, 26), (-35, 26)]
    return np.concatenate(
        [
            arc(17, pi, 2 * pi, 0, 10, 62, 95),
            arc(5, 0.9 * pi, 0.1 * pi, -30, 42, 18, 8),
            arc(5, 0.9 * pi, 0.1 * pi, 30, 42, 18, 8),
            np.stack([np.zeros(4), np.linspace(28, -4, 4)], axis=1),
            arc(5, 1.1 * pi, 1.9 * pi, 0, -14, 13, 4),
            np.array(eye),
            np.array([(-x, y) for x, y in (eye[3], eye[2], eye[1], eye[0], eye[5], eye[4])]),
            arc(7, pi, 0, 0, -48, 24, 8),
            arc(5, -0.2 * pi, -0.8 * pi, 0, -48, 24, 9),
            arc(5, pi, 0, 0, -48, 18, 3),
            arc(3, -0.25 * pi, -0.75 * pi, 0, -48, 18, 3),
        ]
    )


def _nearest(mean: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(L,) the front vertex nearest to each (x, y) place."""
    distance = ((mean[None, :, :2] - places[:, None]) ** 2).sum(axis=2)
    distance[:, mean[:, 2] < 0] = np.inf
    return distance.argmin(axis=1)
