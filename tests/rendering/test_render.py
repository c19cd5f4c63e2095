"""Images of meshes: coverage, light, depth, overlays."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import ambient_light, directional_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.render import overlay, render_depth, shade_mesh

H, W = 120, 100
CAMERA = WeakPerspective(0.1, 0.3, 0.0, 50, 60, 0.5)


@pytest.fixture(scope="module")
def head(toy_model: FaceModel) -> Mesh:
    return Mesh(toy_model.mean, toy_model.triangles)


class TestShadeMesh:
    def test_a_head_on_paper(self, head: Mesh) -> None:
        image, coverage = shade_mesh(head, CAMERA, H, W)
        assert image.shape == (H, W, 3)
        assert image.dtype == np.uint8
        assert coverage.dtype == np.float32
        assert (image[coverage == 0] == 255).all()
        assert 0.2 < coverage.mean() < 0.8
        # key light from the upper left
        assert image[40:60, 35:45].mean() > image[80:95, 60:70].mean() + 20

    def test_coverage_is_the_share_of_samples(self, head: Mesh) -> None:
        _, coverage = shade_mesh(head, CAMERA, H, W, samples=2)
        large = rasterize(
            CAMERA.in_crop(0, 0, 2).project(head.vertices.astype(np.float64)), head.triangles, 2 * H, 2 * W
        ).mask
        np.testing.assert_allclose(coverage, large.reshape(H, 2, W, 2).mean(axis=(1, 3)))

    def test_harmonic_light_is_colour_times_shading(self, head: Mesh) -> None:
        light = directional_light((-0.3, 0.4, 1.0), (0.7, 0.6, 0.5), 0.2)
        image, _ = shade_mesh(head, CAMERA, H, W, color=(0.8, 0.7, 0.6), light=light, samples=1)
        drawn = rasterize(CAMERA.project(head.vertices.astype(np.float64)), head.triangles, H, W)
        normals = interpolate(
            drawn, head.triangles, vertex_normals(CAMERA.to_camera(head.vertices), head.triangles)
        )
        inner = drawn.mask & (normals[..., 2] > 0.1)
        n = normals[inner] / np.linalg.norm(normals[inner], axis=1, keepdims=True)
        expected = np.clip(shade(n, light) * [0.8, 0.7, 0.6], 0, 1) * 255
        np.testing.assert_allclose(image[inner], expected, atol=0.6)

    def test_colours_of_the_mesh_show_plainly_in_ambient_light(self, head: Mesh) -> None:
        colors = np.tile(np.array([0.2, 0.4, 0.6], np.float32), (len(head.vertices), 1))
        image, coverage = shade_mesh(
            Mesh(head.vertices, head.triangles, colors), CAMERA, H, W, light=ambient_light()
        )
        assert (np.abs(image[40:70, 40:60].astype(int) - [51, 102, 153]) <= 1).all()
        assert (image[coverage == 0] == 255).all()

    def test_edges_mix_with_the_background(self, head: Mesh) -> None:
        background = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
        black, coverage = shade_mesh(head, CAMERA, H, W, background=(0, 0, 0))
        image, _ = shade_mesh(head, CAMERA, H, W, background=background)
        expected = black + (1 - coverage[..., None]) * background
        assert np.abs(image - expected).max() <= 1.5

    def test_the_inside_is_dark(self, head: Mesh) -> None:
        turned = Mesh(head.vertices, head.triangles[:, ::-1].copy())
        outside, _ = shade_mesh(head, CAMERA, H, W, background=(0, 0, 0))
        inside, _ = shade_mesh(turned, CAMERA, H, W, background=(0, 0, 0))
        assert inside.mean() < 0.7 * outside.mean()

    def test_empty_meshes_are_all_background(self) -> None:
        nothing = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
        image, coverage = shade_mesh(nothing, CAMERA, 5, 6, background=(0.2, 0.4, 0.6))
        assert (image == [51, 102, 153]).all()
        assert not coverage.any()

    def test_bad_arguments(self, head: Mesh) -> None:
        with pytest.raises(ValueError, match="background"):
            shade_mesh(head, CAMERA, H, W, background=np.zeros((3, 3, 3)))
        with pytest.raises(ValueError, match="samples"):
            shade_mesh(head, CAMERA, H, W, samples=0)
        with pytest.raises(ValueError, match="colours"):
            shade_mesh(Mesh(head.vertices, head.triangles, np.zeros((2, 3), np.float32)), CAMERA, H, W)


class TestRenderDepth:
    def test_is_the_height_of_the_surface(self, head: Mesh) -> None:
        depth = render_depth(head.vertices, head.triangles, CAMERA, H, W)
        assert depth.dtype == np.float32
        i, j = 60, 50
        expected = depth[i, j]
        point = CAMERA.unproject(np.array([[j + 0.5, i + 0.5, expected]]))
        np.testing.assert_allclose(CAMERA.project(point)[0, 2], expected, rtol=1e-5)
        assert expected > 60
        assert np.isnan(depth[0, 0])

    def test_surfaces_from_behind_do_not_count(self, head: Mesh) -> None:
        back = head.vertices[head.triangles].mean(axis=1)[:, 2] < 0
        half = head.triangles[back]
        assert (
            np.isnan(render_depth(head.vertices, half, WeakPerspective(0, 0, 0, 50, 60, 0.5), H, W)).mean()
            > 0.97
        )
        both = render_depth(
            head.vertices, half, WeakPerspective(0, 0, 0, 50, 60, 0.5), H, W, cull_backfaces=False
        )
        assert np.isfinite(both).mean() > 0.3


class TestOverlay:
    def test_blends_by_mask_and_alpha(self) -> None:
        image = np.zeros((2, 2, 3), np.uint8)
        render = np.full((2, 2, 3), 200, np.uint8)
        mask = np.array([[0.0, 0.5], [1.0, 1.0]])
        np.testing.assert_array_equal(overlay(image, render, mask)[..., 0], [[0, 100], [200, 200]])
        np.testing.assert_array_equal(overlay(image, render, mask > 0, 0.5)[..., 1], [[0, 100], [100, 100]])

    def test_floats_and_bytes_mix(self) -> None:
        image, render = np.full((1, 1, 3), 0.5), np.full((1, 1, 3), 255, np.uint8)
        assert overlay(image, render, np.ones((1, 1)), 0.5)[0, 0, 0] == 191

    def test_shapes_must_match(self) -> None:
        with pytest.raises(ValueError, match="match"):
            overlay(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)), np.zeros((3, 2)))


def test_depth_of_a_tilted_wall_under_perspective() -> None:
    """Each pixel's depth lies on the wall, however large its triangles are."""
    camera = WeakPerspective(0.0, 0.0, 0.0, 40.0, 30.0, 1.0, 1 / 250)
    wall = np.array([[-60, -60, -50], [60, -60, 70], [60, 60, 70], [-60, 60, -50]], np.float64)
    depth = render_depth(wall, [[0, 1, 2], [0, 2, 3]], camera, 60, 80)
    rows, columns = np.nonzero(np.isfinite(depth))
    assert len(rows) > 3000
    points = camera.unproject(
        np.column_stack([columns + 0.5, rows + 0.5, depth[rows, columns].astype(float)])
    )
    np.testing.assert_allclose(points[:, 2], points[:, 0] + 10, atol=1e-3)
