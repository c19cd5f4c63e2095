"""Depth to mesh and back, and normals of a depth grid."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import camera_normals, depth_to_mesh, normals_from_depth
from facerelief.geometry.normals import face_normals, vertex_normals
from facerelief.rendering.rasterizer import rasterize

CAMERA = WeakPerspective(0.2, -0.4, 0.1, 47.0, 52.0, 0.8)
LEFT, TOP = 12, 7


def ball_depth(size: int = 90, scale: float = 0.8, radius: float = 40.0) -> np.ndarray:
    """Front of a ball centred in a (size, size) grid, NaN off it."""
    x = (np.arange(size) + 0.5 - size / 2) / scale
    squared = radius**2 - x[None, :] ** 2 - x[:, None] ** 2
    return np.where(squared > 0, np.sqrt(np.maximum(squared, 0)), np.nan).astype(np.float32)


def test_depth_to_mesh_to_depth() -> None:
    depth = ball_depth()
    mesh = depth_to_mesh(depth, CAMERA, LEFT, TOP, max_jump_mm=1e9)
    height, width = depth.shape
    seen = CAMERA.project(mesh.vertices.astype(np.float64)) - [LEFT, TOP, 0]
    rows, columns = np.nonzero(np.isfinite(depth))
    np.testing.assert_allclose(seen[:, 0], columns + 0.5, atol=1e-4)
    np.testing.assert_allclose(seen[:, 1], rows + 0.5, atol=1e-4)
    # a nudge so that pixel centres do not lie exactly on vertices
    drawn = rasterize(seen - [0.01, 0.01, 0], mesh.triangles, height, width, cull_backfaces=True)
    both = drawn.mask & np.isfinite(depth)
    inner = np.isfinite(normals_from_depth(depth, CAMERA.scale)[..., 0]) & (depth > 15)
    assert both[inner].mean() > 0.99
    np.testing.assert_allclose(drawn.depth[both & inner], depth[both & inner], atol=0.1)


def test_triangles_face_the_viewer_and_use_every_square() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0, 1, (8, 9))
    mesh = depth_to_mesh(depth, CAMERA)
    assert len(mesh.triangles) == 2 * 7 * 8
    assert face_normals(CAMERA.to_camera(mesh.vertices), mesh.triangles)[:, 2].min() > 0


def test_no_triangle_across_gaps_or_jumps() -> None:
    depth = np.zeros((6, 6))
    depth[:, 3:] = 30.0
    depth[1, 1] = np.nan
    mesh = depth_to_mesh(depth, WeakPerspective(0, 0, 0, 0, 0, 1.0), max_jump_mm=5.0)
    assert np.ptp(mesh.vertices[mesh.triangles][:, :, 2], axis=1).max() == 0
    assert np.isfinite(mesh.vertices).all()
    assert len(mesh.vertices) == 35
    # 5 x 4 squares do not cross the jump; the hole takes one triangle... of each of its four squares
    assert len(mesh.triangles) == 2 * 5 * 4 - 4


def test_default_jump_scales_with_the_pixels() -> None:
    step = np.zeros((4, 4))
    step[:, 2:] = 10.0
    fine, coarse = WeakPerspective(0, 0, 0, 0, 0, 4.0), WeakPerspective(0, 0, 0, 0, 0, 0.5)
    assert len(depth_to_mesh(step, fine).triangles) < len(depth_to_mesh(step, coarse).triangles) == 18


def test_lies_on_the_model_it_came_from() -> None:
    depth = ball_depth()
    mesh = depth_to_mesh(depth, CAMERA.in_crop(-3, -5, 1.0), LEFT, TOP)
    again = CAMERA.project(mesh.vertices.astype(np.float64))
    assert np.abs(again[:, 2] - depth[np.isfinite(depth)]).max() < 1e-3


def test_colors_go_along() -> None:
    depth = ball_depth()
    image = np.random.default_rng(0).integers(0, 256, (*depth.shape, 3), dtype=np.uint8)
    mesh = depth_to_mesh(depth, CAMERA, colors=image)
    assert mesh.colors is not None
    np.testing.assert_allclose(mesh.colors, image[np.isfinite(depth)] / 255.0, atol=1e-6)
    with pytest.raises(ValueError, match="colors"):
        depth_to_mesh(depth, CAMERA, colors=image[1:])


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 5), (5, 1)])
def test_tiny_grids(shape: tuple[int, int]) -> None:
    mesh = depth_to_mesh(np.zeros(shape), CAMERA)
    assert mesh.vertices.shape == (shape[0] * shape[1], 3)
    assert mesh.triangles.shape == (0, 3)
    assert normals_from_depth(np.zeros(shape), 1.0).shape == (*shape, 3)


def test_nothing_but_gaps() -> None:
    mesh = depth_to_mesh(np.full((5, 5), np.nan), CAMERA)
    assert len(mesh.vertices) == len(mesh.triangles) == 0
    assert np.isnan(normals_from_depth(np.full((5, 5), np.nan), 1.0)).all()


class TestNormals:
    def test_of_a_plane_are_exact(self) -> None:
        scale, slope_x, slope_y = 2.0, 0.3, -0.7
        x, y = np.meshgrid(np.arange(12) / scale, -np.arange(10) / scale)
        normals = normals_from_depth(slope_x * x + slope_y * y, scale)
        expected = np.array([-slope_x, -slope_y, 1.0])
        np.testing.assert_allclose(
            normals, np.broadcast_to(expected / np.linalg.norm(expected), (10, 12, 3)), atol=1e-5
        )

    def test_of_a_ball_point_along_the_radius(self) -> None:
        depth = ball_depth(180, 1.6)
        x = (np.arange(180) + 0.5 - 90) / 1.6
        radial = (
            np.stack([np.broadcast_to(x, (180, 180)), np.broadcast_to(-x[:, None], (180, 180)), depth], -1)
            / 40.0
        )
        normals = normals_from_depth(depth, 1.6)
        inner = depth > 12
        assert np.abs(normals - radial)[inner].max() < 0.01
        finite = np.isfinite(depth)
        np.testing.assert_allclose(np.linalg.norm(normals[finite], axis=1), 1.0, atol=1e-5)
        assert np.isnan(normals[~finite]).all()

    def test_agree_with_the_mesh(self) -> None:
        depth = ball_depth()
        camera = WeakPerspective(0, 0, 0, 45, 45, 0.8)
        mesh = depth_to_mesh(depth, camera)
        grid = normals_from_depth(depth, camera.scale)[np.isfinite(depth)]
        steep = depth[np.isfinite(depth)] > 20
        assert (vertex_normals(mesh.vertices, mesh.triangles) * grid).sum(axis=1)[steep].min() > 0.999

    def test_a_lone_pixel_faces_the_viewer(self) -> None:
        depth = np.full((3, 3), np.nan)
        depth[1, 1] = 5.0
        np.testing.assert_allclose(normals_from_depth(depth, 1.0)[1, 1], [0, 0, 1])

    def test_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match="scale"):
            normals_from_depth(np.zeros((2, 2)), 0.0)
        with pytest.raises(ValueError, match="depth"):
            normals_from_depth(np.zeros(4), 1.0)
        with pytest.raises(ValueError, match="depth"):
            depth_to_mesh(np.zeros(4), CAMERA)


@pytest.mark.parametrize("distance", [300.0, 1000.0, np.inf])
def test_normals_of_a_sphere_under_perspective(distance):
    """Every pixel's normal is the direction from the sphere's centre to its point."""
    camera = WeakPerspective(0.0, 0.0, 0.0, 140.0, 90.0, 2.0, 1 / distance)
    left, top = 60, 20
    v, u = np.mgrid[0:150, 0:170] + 0.5
    # the ray through a pixel is C + t d, with C the camera's centre; its nearer point on the sphere
    place = np.stack([(u + left - 140.0) / 2.0, (90.0 - v - top) / 2.0], axis=-1)
    centre, radius = np.array([5.0, -4.0, 10.0]), 40.0
    low, high = np.full(u.shape, 0.0), np.full(u.shape, 60.0)

    def outside(z):
        point = np.concatenate([place * (1 - z / distance)[..., None], z[..., None]], axis=-1)
        return np.linalg.norm(point - centre, axis=-1) > radius

    for _ in range(50):  # the front: outside for larger z
        middle = (low + high) / 2
        far = outside(middle)
        high, low = np.where(far, middle, high), np.where(far, low, middle)
    depth = np.where(outside(np.full(u.shape, 12.0)), np.nan, low).astype(np.float32)
    normals = camera_normals(depth, camera, left, top)
    point = np.concatenate([place * (1 - low / distance)[..., None], low[..., None]], axis=-1)
    expected = (point - centre) / radius
    inner = np.isfinite(depth) & (expected[..., 2] > 0.5)
    assert inner.sum() > 1000
    assert np.abs(normals - expected)[inner].max() < 0.02
