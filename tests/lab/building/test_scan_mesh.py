"""Laws of the scan-based mesh: mirrors, triangles of quads, the cut through the neck and its rim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from facerelief.errors import ModelError
from facerelief.geometry.adjacency import open_edges
from facerelief.lab.building import scan_mesh
from facerelief.lab.building.scan_head import ScanHead, polygon_islands, to_triangles
from facerelief.lab.building.scan_mesh import (
    NECK_BACK,
    NECK_FRONT,
    HeadMesh,
    mirror_map,
    nearest_mirror,
    triangulated,
)

ROWS, COLUMNS = 30, 24


def bust() -> ScanHead:
    """An open tube about a vertical axis through the neck's plane, of quads."""
    around = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    height = np.linspace(-260, 0, ROWS)
    x, z = 55 * np.sin(around), -85 + 55 * np.cos(around)
    mean = np.stack([np.tile(x, ROWS), np.repeat(height, COLUMNS), np.tile(z, ROWS)], axis=1)
    ids = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    right = np.roll(ids, -1, axis=1)
    polygons = np.stack([ids[:-1], right[:-1], right[1:], ids[1:]], axis=-1).reshape(-1, 4).astype(np.int32)
    uv = np.random.default_rng(0).random((len(mean), 2)) + [1, 0]
    rng = np.random.default_rng(1)
    return ScanHead(
        mean,
        rng.normal(size=(len(mean), 3, 2)),
        np.zeros((len(mean), 3, 0)),
        (),
        polygons,
        uv,
        polygons,
        np.full(len(polygons), "bust"),
    )


@pytest.fixture(scope="module")
def cut() -> tuple[ScanHead, HeadMesh]:
    head = bust()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_mesh, "lash_strands", lambda head: [])
        return head, scan_mesh._Cut(head, head.mean, np.arange(len(head.polygons))).mesh()


def above(points: np.ndarray) -> np.ndarray:
    """(N,) height over the neck's plane, mm."""
    (y0, z0), (y1, z1) = NECK_FRONT, NECK_BACK
    normal = np.array([0.0, z0 - z1, y1 - y0]) / np.hypot(z0 - z1, y0 - y1)
    return (points - [0.0, y0, z0]) @ normal


class TestCut:
    def test_nothing_is_left_below_the_plane(self, cut):
        head, mesh = cut
        assert above(head.mean).min() < -50
        assert above(mesh.positions(head.mean)).min() > -1e-6

    def test_rows_sum_to_one_and_only_the_rim_is_moved(self, cut):
        head, mesh = cut
        np.testing.assert_allclose(np.asarray(mesh.operator.sum(axis=1)).ravel(), 1, atol=1e-12)
        moved = np.linalg.norm(mesh.offset, axis=1) > 0
        assert np.abs(above(mesh.positions(head.mean))[moved]).max() < 1e-6

    def test_mean_and_displacements_go_through_the_same_operator(self, cut):
        head, mesh = cut
        way = head.identity[:, :, 0]
        np.testing.assert_allclose(
            mesh.positions(head.mean + way) - mesh.positions(head.mean),
            mesh.displacements(head.identity)[:, :, 0],
            atol=1e-9,
        )

    def test_the_rim_closes_the_cut_all_round(self, cut):
        """All open edges are the tube's upper end, or the rim's inner side: one closed ring."""
        head, mesh = cut
        triangles, _, _ = triangulated(mesh, mesh.positions(head.mean))
        edges = open_edges(triangles)
        points = mesh.positions(head.mean)
        low = edges[(points[edges, 1] < -1).all(axis=1)]
        ring = np.unique(low)
        assert len(low) == len(ring) > COLUMNS - 1
        assert (np.bincount(low.ravel())[ring] == 2).all()
        axis = points[ring].mean(axis=0)
        outer = np.flatnonzero(np.abs(above(points)) < 1e-6)
        outer = np.setdiff1d(outer, ring)
        far = [np.linalg.norm(points[ids] - axis, axis=1).min() for ids in (ring, outer)]
        assert far[1] - far[0] == pytest.approx(scan_mesh.RIM_MM, abs=1.5)

    def test_quads_come_first_and_uv_lies_in_the_square(self, cut):
        _, mesh = cut
        quads = mesh.polygons[:, 3] >= 0
        assert (np.diff(quads.astype(int)) <= 0).all()
        np.testing.assert_array_equal(quads, mesh.uv_polygons[:, 3] >= 0)
        assert mesh.uv.min() >= 0
        assert mesh.uv.max() <= 1

    def test_normals_stay_outward(self, cut):
        head, mesh = cut
        points = mesh.positions(head.mean)
        triangles, _, _ = triangulated(mesh, points)
        a, b, c = points[triangles].transpose(1, 0, 2)
        normal, middle = np.cross(b - a, c - a), (a + b + c) / 3
        side = np.linalg.norm(normal * [1, 0, 1], axis=1) > 5 * np.abs(normal[:, 1])
        assert ((normal * (middle - [0, 0, -85]) * [1, 0, 1]).sum(axis=1)[side] > 0).all()


class TestTriangles:
    def polygons(self) -> tuple[np.ndarray, np.ndarray]:
        """A bumpy grid of quads, and two triangles."""
        ids = np.arange(30).reshape(5, 6)
        quads = np.stack([ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]], axis=-1).reshape(-1, 4)
        y, x = np.mgrid[:5, :6]
        points = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3) + np.random.default_rng(0).uniform(
            -0.2, 0.2, (30, 3)
        ) * [1, 1, 0]
        alone = np.array([[0, 1, 30, -1], [1, 2, 31, -1]])
        points = np.concatenate([points, [[0.5, -1, 0], [1.5, -1, 0]]])
        return np.concatenate([quads, alone]).astype(np.int32), points

    def test_pairs_cover_each_quad_along_its_shorter_diagonal(self):
        polygons, points = self.polygons()
        triangles, quads = to_triangles(polygons, points)
        assert quads == 20
        assert len(triangles) == 42
        for quad, pair in zip(polygons, triangles[:40].reshape(-1, 2, 3)):
            assert set(pair.ravel()) == set(quad)
            shared = sorted(set(pair[0]) & set(pair[1]))
            other = sorted(set(quad) - set(shared))
            length = [np.linalg.norm(points[p[0]] - points[p[1]]) for p in (shared, other)]
            assert length[0] <= length[1] + 1e-12

    def test_area_and_winding_stay(self):
        polygons, points = self.polygons()
        triangles, _ = to_triangles(polygons, points)

        def area(corners: np.ndarray) -> np.ndarray:
            x, y = corners[..., 0], corners[..., 1]
            return 0.5 * (x * np.roll(y, -1, axis=-1) - y * np.roll(x, -1, axis=-1)).sum(axis=-1)

        signed = area(points[triangles])
        np.testing.assert_allclose(signed[:40].reshape(-1, 2).sum(axis=1), area(points[polygons[:20]]))

    def test_uv_is_cut_along_the_same_diagonals(self):
        polygons, points = self.polygons()
        uv_polygons = np.where(polygons >= 0, 100 - polygons, -1).astype(np.int32)
        mesh = HeadMesh(
            sparse.identity(32).tocsr(),
            np.zeros((32, 3)),
            polygons,
            np.zeros((101, 2)),
            uv_polygons,
            np.full(len(polygons), "face"),
        )
        triangles, uv, quads = triangulated(mesh, points)
        np.testing.assert_array_equal(uv, 100 - triangles)
        assert quads == 20


class TestMirrors:
    def test_partners_are_each_others(self):
        half = np.random.default_rng(0).uniform(0.5, 9, (200, 3))
        points = np.concatenate([half, half * [-1, 1, 1], [[0, 1, 2]]])
        order = np.random.default_rng(1).permutation(len(points))
        points = points[order]
        for partner in (nearest_mirror(points), mirror_map(points, points * [-1, 1, 1])):
            np.testing.assert_array_equal(partner[partner], np.arange(401))
            np.testing.assert_allclose(points[partner], points * [-1, 1, 1])

    def test_motion_tells_apart_what_touches_at_rest(self):
        half = np.random.default_rng(0).uniform(0.5, 9, (50, 3))
        rest = np.concatenate([half, half, half * [-1, 1, 1], half * [-1, 1, 1]])
        moves = np.repeat([1.0, -1.0, 1.0, -1.0], 50)[:, None] * [0, 5.0, 0]
        mirror = [-1, 1, 1]
        partner = mirror_map(np.hstack([rest, moves]), np.hstack([rest * mirror, moves * mirror]))
        np.testing.assert_array_equal(partner[partner], np.arange(200))
        np.testing.assert_array_equal(moves[partner], moves)

    def test_what_is_not_symmetric_is_refused(self):
        points = np.random.default_rng(0).uniform(-9, 9, (300, 3))
        with pytest.raises(ModelError, match="not symmetric"):
            mirror_map(points, points * [-1, 1, 1])


def test_islands_are_connected_polygons():
    polygons = np.array([[0, 1, 2, 3], [4, 5, 6, -1], [3, 2, 8, 9], [6, 5, 7, -1]], np.int32)
    island = polygon_islands(polygons)
    assert island[0] == island[2] != island[1] == island[3]
