"""The rasteriser against slow exact arithmetic, and the laws that any drawing keeps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.normals import vertex_normals
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import interpolate, rasterize, visible_vertices

SEEDS = st.integers(0, 2**32 - 1)


def reference(uvz: np.ndarray, triangles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Exact rational drawing, pixel by pixel: a centre on an edge counts as if nudged right, then down.

    Returns triangle ids, barycentrics and depths (float32, the nearer one of which wins, then the lower id).
    """
    exact = [[Fraction(round(float(x) * 65536), 65536) for x in p[:2]] for p in uvz]
    ids = np.full((height, width), -1)
    weights = np.zeros((height, width, 3))
    depth = np.full((height, width), np.nan, np.float32)
    for t, corners in enumerate(triangles):
        (ax, ay), (bx, by), (cx, cy) = (exact[k] for k in corners)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        sides = [(bx, by, cx, cy), (cx, cy, ax, ay), (ax, ay, bx, by)]
        for i in range(height):
            y = Fraction(2 * i + 1, 2)
            if not min(ay, by, cy) <= y <= max(ay, by, cy):
                continue
            for j in range(width):
                x = Fraction(2 * j + 1, 2)
                share = []
                for px, py, qx, qy in sides:
                    value = (qx - px) * (y - py) - (qy - py) * (x - px)
                    # of a centre on the line: how the value changes to the right, else downward
                    nudge = [value, -(qy - py), qx - px]
                    decisive = next((n for n in nudge if n != 0), 0)
                    if decisive * area < 0:
                        break
                    share.append(float(value / area))
                if len(share) < 3:
                    continue
                z = np.float32(np.dot(share, np.asarray(uvz)[corners, 2].astype(np.float64)))
                if ids[i, j] < 0 or z > depth[i, j]:
                    ids[i, j], depth[i, j], weights[i, j] = t, z, share
    return ids, weights, depth


def planar_mesh(
    rng: np.random.Generator, low: float, high: float, snap: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that cover [low, high]^2 once, wound at random; snapped corners hit pixel centres."""
    corners = np.array([[low, low], [low, high], [high, low], [high, high]])
    inner = rng.uniform(low, high, (60, 2))
    points = np.unique(np.r_[corners, np.round(inner / snap) * snap if snap else inner], axis=0)
    triangles = Delaunay(points).simplices.astype(np.int32)
    flip = rng.random(len(triangles)) < 0.5
    triangles[flip] = triangles[flip][:, ::-1]
    return np.column_stack([points, rng.normal(size=len(points))]), triangles


def count_hits(uvz: np.ndarray, triangles: np.ndarray, height: int, width: int) -> np.ndarray:
    return sum(
        (rasterize(uvz, t[None], height, width).mask.astype(int) for t in triangles),
        np.zeros((height, width), int),
    )


@given(SEEDS)
@settings(max_examples=12)
def test_random_soups_match_exact_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    uvz = np.column_stack([rng.uniform(-6, 18, (24, 2)), rng.normal(0, 10, 24)])
    if seed % 2:
        uvz[:, :2] = np.round(uvz[:, :2] * 2) / 2  # many centres on edges and corners
    triangles = rng.integers(0, 24, (25, 3))
    drawn = rasterize(uvz, triangles, 12, 11)
    ids, weights, depth = reference(uvz, triangles, 12, 11)
    # depths that agree to rounding may go either way; nothing else may differ
    differ = drawn.triangle != ids
    assert (np.abs(drawn.depth - depth)[differ] < 1e-5).all()
    assert differ.mean() < 0.02
    np.testing.assert_array_equal(drawn.mask, ids >= 0)
    np.testing.assert_allclose(drawn.barycentric[~differ], weights[~differ], atol=1e-6)
    np.testing.assert_allclose(drawn.depth, depth, rtol=1e-5, atol=1e-5)


@given(SEEDS, st.sampled_from([None, 0.5, 0.25, 1.0]))
@settings(max_examples=30)
def test_a_closed_plane_covers_each_pixel_exactly_once(seed: int, snap: float | None) -> None:
    rng = np.random.default_rng(seed)
    uvz, triangles = planar_mesh(rng, -2.0, 26.0, snap)
    assert (count_hits(uvz, triangles, 24, 24) == 1).all()
    assert rasterize(uvz, triangles, 24, 24).mask.all()


@given(SEEDS, st.sampled_from([1e3, 3.2e4, 5e4, 1e6, 1e9]))
@settings(max_examples=40)
def test_huge_triangles_leave_no_crack(seed: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.3, 1, (4, 2)) * reach
    fan = np.column_stack([np.r_[rng.uniform(2, 14, (1, 2)), corners], np.zeros(5)])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
    assert (count_hits(fan, triangles, 16, 16) == 1).all()
    field = interpolate(rasterize(fan, triangles, 16, 16), triangles, fan[:, 0])
    np.testing.assert_allclose(field, np.broadcast_to(np.arange(16) + 0.5, (16, 16)), atol=1e-6 * reach)


def test_edges_belong_to_the_lower_and_the_right_side() -> None:
    # a square whose sides pass through pixel centres: top and left ones count, bottom and right ones do not
    square = np.array([[1.5, 1.5, 0], [4.5, 1.5, 0], [4.5, 4.5, 0], [1.5, 4.5, 0]])
    for triangles in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 1], [0, 3, 2]], [[0, 1, 3], [1, 2, 3]]):
        mask = rasterize(square, triangles, 6, 6).mask
        expected = np.zeros((6, 6), bool)
        expected[1:4, 1:4] = True
        np.testing.assert_array_equal(mask, expected)


@given(SEEDS)
@settings(max_examples=25)
def test_weights_are_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    uvz = np.column_stack([rng.uniform(-20, 60, (40, 2)), rng.normal(0, 10, 40)])
    drawn = rasterize(uvz, rng.integers(0, 40, (30, 3)), 40, 40)
    seen = drawn.barycentric[drawn.mask]
    assert (seen >= 0).all()
    assert (seen <= 1).all()
    np.testing.assert_allclose(seen.sum(axis=1), 1.0, atol=1e-6)
    assert not drawn.barycentric[~drawn.mask].any()
    np.testing.assert_array_equal(np.isnan(drawn.depth), ~drawn.mask)


@given(SEEDS)
@settings(max_examples=25)
def test_interpolation_reproduces_linear_functions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    uvz, triangles = planar_mesh(rng, -3.0, 35.0, None)
    drawn = rasterize(uvz, triangles, 32, 32)
    slope, offset = rng.normal(size=(2, 3)), rng.normal(size=3)
    field = interpolate(drawn, triangles, uvz[:, :2] @ slope + offset)
    v, u = np.mgrid[:32, :32] + 0.5
    np.testing.assert_allclose(field, np.stack([u, v], -1) @ slope + offset, atol=2e-4)
    one = interpolate(drawn, triangles, uvz[:, 0])
    assert one.shape == (32, 32)
    np.testing.assert_allclose(one, u, atol=2e-4)


def test_interpolation_through_another_index() -> None:
    uvz = np.array([[-1.0, -1, 0], [20, -1, 0], [-1, 20, 0]])
    drawn = rasterize(uvz, [[0, 1, 2]], 4, 4)
    np.testing.assert_allclose(
        interpolate(drawn, [[4, 2, 0]], [3.0, 0, 2.0, 0, 1.0]),
        interpolate(drawn, [[0, 1, 2]], [1.0, 2.0, 3.0]),
    )


@given(SEEDS)
@settings(max_examples=25)
def test_the_order_of_triangles_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    uvz = np.column_stack([rng.uniform(-5, 35, (40, 2)), rng.normal(0, 10, 40)])
    triangles = np.array([rng.choice(40, 3, replace=False) for _ in range(50)])
    order = rng.permutation(50)
    one, two = rasterize(uvz, triangles, 30, 30), rasterize(uvz, triangles[order], 30, 30)
    np.testing.assert_array_equal(one.depth, two.depth)
    np.testing.assert_array_equal(one.mask, two.mask)
    # the same set of corners at every pixel (a set drawn twice may come from either triangle)
    for fragments in (one, two):
        assert fragments.triangle.dtype == np.int32
    a = np.sort(triangles[one.triangle[one.mask]], axis=1)
    b = np.sort(triangles[order][two.triangle[two.mask]], axis=1)
    np.testing.assert_array_equal(a, b)


def test_nearer_wins_and_equal_depth_goes_to_the_lower_id() -> None:
    corners = np.array([[-1.0, -1], [20, -1], [-1, 20]])
    uvz = np.r_[np.c_[corners, [1.0] * 3], np.c_[corners, [2.0] * 3], np.c_[corners, [2.0] * 3]]
    drawn = rasterize(uvz, [[0, 1, 2], [3, 4, 5], [6, 7, 8]], 4, 4)
    assert (drawn.triangle == 1).all()
    assert (drawn.depth == 2.0).all()


def test_culling_drops_what_faces_away(toy_model: FaceModel) -> None:
    camera = WeakPerspective(0.1, 0.4, 0.0, 40, 50, 0.4)
    uvz = camera.project(toy_model.mean)
    whole = rasterize(uvz, toy_model.triangles, 100, 80)
    front = rasterize(uvz, toy_model.triangles, 100, 80, cull_backfaces=True)
    np.testing.assert_array_equal(
        whole.triangle, front.triangle
    )  # the back of a closed head is hidden anyway
    assert not rasterize(uvz, toy_model.triangles[:, ::-1], 100, 80, cull_backfaces=True).mask[50, 40] or (
        rasterize(uvz, toy_model.triangles[:, ::-1], 100, 80, cull_backfaces=True).depth[50, 40]
        < whole.depth[50, 40]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_vertices_that_are_not_finite_draw_nothing(bad: float) -> None:
    uvz = np.array([[0.0, 0, 1], [9, 0, 1], [0, 9, 1], [9, 9, 1]])
    for column in range(2 if bad == 1e30 else 3):
        broken = uvz.copy()
        broken[3, column] = bad
        drawn = rasterize(broken, [[1, 2, 3], [0, 1, 2]], 8, 8)
        assert set(np.unique(drawn.triangle)) == {-1, 1}


def test_triangles_without_area_draw_nothing() -> None:
    uvz = np.array([[0.5, 0.5, 0], [3.5, 3.5, 0], [6.5, 6.5, 0], [0.5, 0.5, 0]])
    assert not rasterize(uvz, [[0, 1, 2], [0, 3, 1], [2, 2, 2]], 8, 8).mask.any()


@pytest.mark.parametrize("shift", [(-30, 0), (30, 0), (0, -30), (0, 30), (1e5, 1e5), (-1e12, 0)])
def test_outside_the_image(shift: tuple[float, float]) -> None:
    uvz = np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]]) + np.array([*shift, 0])
    assert not rasterize(uvz, [[0, 1, 2]], 8, 8).mask.any()


def test_partly_outside_is_the_crop_of_a_larger_image(toy_model: FaceModel) -> None:
    uvz = WeakPerspective(0.1, 0.4, 0.2, 60, 70, 0.7).project(toy_model.mean.astype(np.float64))
    large = rasterize(uvz, toy_model.triangles, 140, 120)
    small = rasterize(uvz - [48, 32, 0], toy_model.triangles, 50, 40)
    np.testing.assert_array_equal(small.triangle, large.triangle[32:82, 48:88])
    np.testing.assert_allclose(small.depth, large.depth[32:82, 48:88], atol=1e-4)


def test_single_and_double_precision_agree(toy_model: FaceModel) -> None:
    uvz = WeakPerspective(0.1, 0.4, 0.2, 60, 70, 0.7).project(toy_model.mean)
    assert uvz.dtype == np.float32
    one = rasterize(uvz, toy_model.triangles, 140, 120)
    two = rasterize(uvz.astype(np.float64), toy_model.triangles.astype(np.int64), 140, 120)
    np.testing.assert_array_equal(one.triangle, two.triangle)
    np.testing.assert_array_equal(one.depth, two.depth)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_tiny_images(size: tuple[int, int]) -> None:
    drawn = rasterize([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]], [[0, 1, 2]], *size)
    assert drawn.triangle.shape == size
    assert interpolate(drawn, [[0, 1, 2]], np.ones((3, 2))).shape == (*size, 2)


def test_no_triangles() -> None:
    assert not rasterize(np.zeros((3, 3)), np.zeros((0, 3), int), 4, 4).mask.any()
    assert not rasterize(np.zeros((0, 3)), np.zeros((0, 3), int), 4, 4).mask.any()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="uvz"):
        rasterize(np.zeros((3, 2)), [[0, 1, 2]], 4, 4)
    with pytest.raises(ValueError, match="triangles"):
        rasterize(np.zeros((3, 3)), [[0, 1, 3]], 4, 4)
    with pytest.raises(ValueError, match="negative"):
        rasterize(np.zeros((3, 3)), [[0, 1, 2]], -4, 4)
    drawn = rasterize([[-9.0, -9, 0], [99, -9, 0], [-9, 99, 0]], [[0, 1, 2]], 4, 4)
    with pytest.raises(ValueError, match="fragments"):
        interpolate(drawn, np.zeros((0, 3), int), np.ones(3))
    with pytest.raises(ValueError, match="triangles"):
        interpolate(drawn, [[0, 1, 2]], np.ones(2))
    with pytest.raises(ValueError, match="attributes"):
        interpolate(drawn, [[0, 1, 2]], np.ones((3, 2, 2)))


class TestVisibleVertices:
    def test_of_a_head_are_those_that_face_the_viewer(self, toy_model: FaceModel) -> None:
        camera = WeakPerspective(0.1, 0.5, 0.0, 100, 130, 1.0)
        uvz = camera.project(toy_model.mean)
        drawn = rasterize(uvz, toy_model.triangles, 260, 200)
        seen = visible_vertices(uvz, toy_model.triangles, drawn)
        facing = vertex_normals(camera.to_camera(toy_model.mean), toy_model.triangles)
        assert seen[facing[:, 2] > 0.25].mean() > 0.97  # the nose may hide a few
        assert not seen[facing[:, 2] < -0.25].any()
        strict = visible_vertices(uvz, toy_model.triangles, drawn, facing)
        assert not strict[facing[:, 2] <= 0].any()
        assert (strict <= seen).all()

    def test_behind_a_screen(self) -> None:
        screen = np.array([[-1.0, -1, 9], [30, -1, 9], [-1, 30, 9]])
        behind = np.array([[2.0, 2, 0], [6, 2, 0], [2, 6, 8.5]])
        uvz = np.r_[screen, behind]
        triangles = np.array([[0, 1, 2], [3, 4, 5]])
        drawn = rasterize(uvz, triangles, 10, 10)
        assert visible_vertices(uvz, triangles, drawn).tolist()[3:] == [False, False, True]
        assert visible_vertices(uvz, triangles, drawn, tolerance_mm=10).tolist()[3:] == [True] * 3
        # corners outside the image are not seen
        assert visible_vertices(uvz, triangles, drawn).tolist()[:3] == [False] * 3

    def test_normals_must_match(self) -> None:
        uvz = np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]])
        drawn = rasterize(uvz, [[0, 1, 2]], 4, 4)
        with pytest.raises(ValueError, match="normals"):
            visible_vertices(uvz, [[0, 1, 2]], drawn, np.zeros((2, 3)))
