"""Relief in uv: known heights come back, and known slopes become known normals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.facefolder.relief_uv import faded, normal_map, relief_in_uv
from facerelief.geometry.camera import WeakPerspective
from facerelief.morphable.model import FaceModel

SIZE = 256


def _plane(side_mm: float = 100.0, cells: int = 10) -> FaceModel:
    """A square that faces the viewer, uv over all of it."""
    x = np.linspace(-side_mm / 2, side_mm / 2, cells + 1)
    grid = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    ids = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    n = len(grid)
    return FaceModel(
        name="plane",
        mean=np.column_stack([grid, np.zeros(n)]).astype(np.float32),
        identity=np.zeros((n, 3, 0), np.float32),
        expression=np.zeros((n, 3, 0), np.float32),
        expression_names=(),
        triangles=triangles,
        albedo_mean=np.full((n, 3), 0.5, np.float32),
        albedo=np.zeros((n, 3, 0), np.float32),
        uv=(grid / side_mm + 0.5).astype(np.float32),
        uv_triangles=triangles,
    )


def _face(model: FaceModel, camera: WeakPerspective, relief: np.ndarray) -> Reconstruction:
    height, width = relief.shape
    flat = DepthPatch(np.zeros_like(relief), 0, 0)
    none = np.zeros(0, np.float32)
    return Reconstruction(
        image=np.full((height, width, 3), 128, np.uint8),
        model=model,
        camera=camera,
        identity=none,
        expression=none,
        albedo=none,
        light=np.zeros((9, 3), np.float32),
        box=(0, 0, width, height),
        confidence=1.0,
        method="fit",
        coarse=flat,
        fine=DepthPatch(relief, 0, 0),
    )


def _bump(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A hill of 2 mm, deviation 10 mm, beside the middle."""
    return 2.0 * np.exp(-((x - 8) ** 2 + (y + 5) ** 2) / 200)


def _texel_places() -> tuple[np.ndarray, np.ndarray]:
    at = (np.arange(SIZE) + 0.5) / SIZE * 100 - 50
    return np.meshgrid(at, -at)


def test_a_bump_on_a_plane_comes_back_as_height():
    camera = WeakPerspective(0, 0, 0, 120, 120, 2.0)
    column, row = np.meshgrid(np.arange(240) + 0.5, np.arange(240) + 0.5)
    relief = _bump((column - 120) / 2, (120 - row) / 2).astype(np.float32)
    height, weight = relief_in_uv(_face(_plane(), camera, relief), SIZE)
    inner = np.s_[12:-12, 12:-12]
    np.testing.assert_allclose(height[inner], _bump(*_texel_places())[inner], atol=2e-3)
    np.testing.assert_allclose(weight[inner], 1, atol=1e-6)
    assert weight[0].max() < 0.2  # toward the outline it fades


def test_normals_of_a_bump_are_those_of_its_slopes():
    x, y = _texel_places()
    height = _bump(x, y).astype(np.float32)
    coded = normal_map(_plane(), _plane().mean, height)
    slope = np.stack([height * (x - 8) / 100, height * (y + 5) / 100, np.ones_like(height)], axis=-1)
    wanted = slope / np.linalg.norm(slope, axis=-1, keepdims=True)
    np.testing.assert_allclose(coded / 127.5 - 1, wanted, atol=0.01)


def test_normal_map_of_no_relief_is_flat(toy_model):
    coded = normal_map(toy_model, toy_model.mean, np.zeros((64, 64), np.float32))
    np.testing.assert_array_equal(coded.reshape(-1, 3).min(axis=0), [128, 128, 255])
    np.testing.assert_array_equal(coded.reshape(-1, 3).max(axis=0), [128, 128, 255])


def test_a_turned_plane_has_heights_along_its_normal():
    """A plane turned by 40 degrees and lifted by 1 mm along z rises by cos 40 along its normal."""
    camera = WeakPerspective(0, np.radians(40), 0, 120, 120, 2.0)
    model = _plane()
    face = _face(model, camera, np.zeros((240, 240), np.float32))
    from facerelief.rendering.render import render_depth

    depth = render_depth(model.mean, model.triangles, camera, 240, 240)
    lifted = replace(face, coarse=DepthPatch(depth, 0, 0), fine=DepthPatch(depth + np.float32(1), 0, 0))
    height, weight = relief_in_uv(lifted, SIZE)
    np.testing.assert_allclose(height[weight > 0.99], np.cos(np.radians(40)), atol=5e-3)
    assert (weight > 0.99).mean() > 0.5


def test_hidden_and_missing_relief_has_no_weight(toy_reconstruction):
    height, weight = relief_in_uv(toy_reconstruction, 128)
    assert weight[:, :20].max() == 0  # the back of the head
    assert 0.05 < (weight > 0.5).mean() < 0.5
    without = replace(toy_reconstruction, fine=None)
    height, weight = relief_in_uv(without, 128)
    assert height.max() == weight.max() == 0


def test_faded_heights_vanish_without_weight():
    weight = np.linspace(0, 1, 11, dtype=np.float32)[None]
    shown = faded(np.ones_like(weight), weight)
    assert shown[0, 0] == 0
    np.testing.assert_array_equal(shown[0, 3:], 1)
    assert (np.diff(shown[0]) >= 0).all()


def test_maps_need_uv(toy_reconstruction):
    model = replace(
        toy_reconstruction.model, uv=np.zeros((0, 2), np.float32), uv_triangles=np.zeros((0, 3), np.int32)
    )
    with pytest.raises(ValueError, match="no uv"):
        relief_in_uv(replace(toy_reconstruction, model=model), 64)
