"""Laws of the source mesh's polygons; the source itself is only there for developers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.lab.building.scan_head import polygon_islands, read_scan_head, scan_origin, to_triangles

SOURCE = Path(__file__).parents[4] / "shared" / "data" / "ict"


def test_islands_are_polygons_that_share_vertices():
    polygons = np.array(
        [[0, 1, 2, 3], [3, 2, 4, -1], [5, 6, 7, 8], [8, 7, 9, -1], [10, 11, 12, -1]], np.int32
    )
    island = polygon_islands(polygons)
    assert island[0] == island[1]
    assert island[2] == island[3]
    assert len(set(island[[0, 2, 4]])) == 3


def test_quads_are_cut_along_their_shorter_diagonal():
    corners = np.array([[0, 0, 0], [3, 0, 0], [4, 1, 0], [1, 1, 0], [5, 5, 0]], float)
    polygons = np.array([[0, 1, 2, 3], [3, 2, 4, -1]], np.int32)
    triangles, quads = to_triangles(polygons, corners)
    assert quads == 1
    assert {frozenset(t) for t in triangles[:2].tolist()} == {frozenset({0, 1, 3}), frozenset({1, 2, 3})}
    assert triangles[2].tolist() == [3, 2, 4]
    area = np.cross(
        corners[triangles[:, 1]] - corners[triangles[:, 0]],
        corners[triangles[:, 2]] - corners[triangles[:, 0]],
    )
    assert (area[:, 2] > 0).all()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"ict_facekit_light\.npz"):
        read_scan_head(tmp_path / "ict_facekit_light.npz", tmp_path / "ict_facekit_parts.npz")


@pytest.mark.skipif(not SOURCE.is_dir(), reason="the developers' shared data folder is absent")
def test_the_source_has_all_parts_and_its_origin_between_the_eyes():
    head = read_scan_head(SOURCE / "ict_facekit_light.npz", SOURCE / "ict_facekit_parts.npz")
    assert head.identity.shape[2] == 100
    assert set(head.part) >= {"face", "teeth", "tongue", "gums", "mouth", "eyeballs", "lashes"}
    origin = scan_origin(head)
    assert origin[0] == 0
    balls = head.mean[head.vertices_of("eyeballs")] - origin
    assert balls[:, 0].min() == pytest.approx(-balls[:, 0].max(), abs=0.1)
