"""The atlas holds each point of the face once, and plain skin leaves out what is not skin."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.rendering.rasterizer import interpolate
from facerelief.synthesis.face_map import face_map, facing, plain_skin, ramp


def test_the_atlas_shows_each_vertex_of_the_front_once(model):
    known = face_map(model)
    height, width = known.shape
    assert face_map(model) is known
    column, row = known.places[known.plain > 0.5].T
    assert min(column.min(), row.min()) > 0
    assert column.max() < width
    assert row.max() < height
    back = interpolate(known.fragments, known.triangles, known.places)
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    assert np.abs((back - grid)[known.front]).max() < 0.05


def test_the_bridge_runs_down_the_nose(model):
    bridge = face_map(model).bridge
    assert bridge.shape[1:] == (11, 2)
    assert (np.diff(bridge[..., 1], axis=0) > 0).all()
    assert (np.diff(bridge[..., 0], axis=1) > 0).all()


def test_mirrored_vertices_lie_at_mirrored_places(toy_model):
    known = face_map(toy_model)
    column, row = known.places[toy_model.face_vertices].T
    other_column, other_row = known.places[toy_model.symmetry][toy_model.face_vertices].T
    np.testing.assert_allclose(row, other_row, atol=1e-3)
    assert np.ptp(column + other_column) < 1e-3
    apart = np.abs(known.plain - known.plain[toy_model.symmetry])
    assert (apart < 1e-4).mean() > 0.97  # the diagonals of the toy's quads are not mirrored


def test_plain_skin_is_a_weight_on_the_face_alone(toy_model):
    plain = plain_skin(toy_model)
    assert 0 <= plain.min() <= plain.max() <= 1
    assert not plain[~toy_model.face_vertices].any()
    assert plain.max() == 1


@pytest.mark.parametrize(("x", "y"), [(-1.0, 0.0), (2.0, 0.0), (3.0, 0.5), (4.0, 1.0), (np.inf, 1.0)])
def test_the_ramp_rises_from_begin_to_end(x, y):
    assert ramp(x, 2.0, 4.0) == pytest.approx(y)


def test_skin_facing_the_viewer_counts_fully_and_slanted_skin_not_at_all():
    z = np.linspace(0, 1, 101, dtype=np.float32)
    normals = np.stack([np.sqrt(1 - z * z), 0 * z, z], axis=-1)[None]
    weight = facing(normals)[0]
    assert (np.diff(weight) >= 0).all()
    assert not weight[z <= 0.3].any()
    assert (weight[z >= 0.56] == 1).all()
