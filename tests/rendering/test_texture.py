"""Textures: what the photo shows comes back, what it does not is filled without a trace."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import directional_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.texture import complete_texture, sample_texture

SIZE = 128
CAMERA = WeakPerspective(0.05, 0.0, 0.0, 110, 150, 1.2)
H, W = 300, 220


@pytest.fixture(scope="module")
def head(toy_model: FaceModel) -> Mesh:
    return Mesh(toy_model.mean, toy_model.triangles, None, toy_model.uv, toy_model.uv_triangles)


def painted(symmetric: bool = False) -> np.ndarray:
    """A smooth, colourful (SIZE, SIZE, 3) texture."""
    v, u = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    across = np.cos(2 * np.pi * (u - 0.5)) if symmetric else np.sin(2 * np.pi * u)
    across = across * np.sin(np.pi * v)  # one colour at each pole
    red, green = 0.6 + 0.2 * across, 0.5 + 0.2 * np.sin(5 * v)
    return np.stack([red, green, 0.45 + 0.15 * across * np.cos(7 * v)], -1).astype(np.float32)


def photograph(
    mesh: Mesh,
    camera: WeakPerspective,
    texture: np.ndarray,
    height: int = H,
    width: int = W,
    light: np.ndarray | None = None,
) -> np.ndarray:
    """The mesh with its texture in front of a magenta wall, as a float image."""
    assert mesh.uv is not None
    assert mesh.uv_triangles is not None
    drawn = rasterize(camera.project(mesh.vertices.astype(np.float64)), mesh.triangles, height, width)
    uv = interpolate(drawn, mesh.uv_triangles, mesh.uv) * len(texture)
    image = cv2.remap(
        texture,
        uv[..., 0] - 0.5,
        len(texture) - uv[..., 1] - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if light is not None:
        normals = vertex_normals(camera.to_camera(mesh.vertices), mesh.triangles)
        image = image * shade(interpolate(drawn, mesh.triangles, normals), light)
    return np.where(drawn.mask[..., None], image, [1.0, 0.0, 1.0]).astype(np.float32)


class TestSample:
    @pytest.mark.parametrize("yaw", [0.0, 0.6, -0.9])
    def test_render_then_sample_gives_the_texture_back(self, head: Mesh, yaw: float) -> None:
        camera = WeakPerspective(0.1, yaw, 0.05, 110, 150, 1.2)
        texture = painted()
        found, weight = sample_texture(photograph(head, camera, texture), head, camera, SIZE)
        assert found.shape == (SIZE, SIZE, 3)
        assert found.dtype == weight.dtype == np.float32
        assert (weight > 0.5).mean() > 0.15
        error = np.abs(found - texture).max(axis=2)[weight > 0.3]
        assert np.median(error) < 2e-3
        assert error.max() < 0.04

    def test_bytes_and_floats_agree(self, head: Mesh) -> None:
        image = photograph(head, CAMERA, painted())
        whole = (image * 255 + 0.5).astype(np.uint8)
        one, weight = sample_texture(image, head, CAMERA, SIZE)
        two, same = sample_texture(whole, head, CAMERA, SIZE)
        np.testing.assert_array_equal(weight, same)
        np.testing.assert_allclose(one, two, atol=1.01 / 255)

    @pytest.mark.parametrize("zoom", [0.4, 3.0])
    def test_does_not_depend_on_the_size_of_the_photo(self, head: Mesh, zoom: float) -> None:
        texture = painted()
        camera = CAMERA.in_crop(0, 0, zoom)
        image = photograph(head, camera, texture, int(H * zoom), int(W * zoom))
        found, weight = sample_texture(image, head, camera, SIZE)
        np.testing.assert_allclose(found[weight > 0.4], texture[weight > 0.4], atol=0.04)
        _, usual = sample_texture(photograph(head, CAMERA, texture), head, CAMERA, SIZE)
        assert (weight > 0.5).mean() == pytest.approx((usual > 0.5).mean(), rel=0.1)

    def test_fine_patterns_in_a_fine_photo_do_not_alias(self, head: Mesh) -> None:
        camera = CAMERA.in_crop(0, 0, 8.0)
        noise = np.random.default_rng(0).random((H * 8, W * 8, 3)).astype(np.float32)
        found, weight = sample_texture(noise, head, camera, SIZE)
        assert found[weight > 0.9].std() < 0.1  # the noise itself has 0.29

    def test_what_faces_away_or_lies_outside_is_not_seen(self, head: Mesh, toy_model: FaceModel) -> None:
        image = photograph(head, CAMERA, painted())
        _, weight = sample_texture(image, head, CAMERA, SIZE)
        normals = vertex_normals(CAMERA.to_camera(head.vertices), head.triangles)
        corner = np.zeros(len(head.vertices), int)
        corner[toy_model.triangles.ravel()] = toy_model.uv_triangles.ravel()
        texel = np.clip((toy_model.uv[corner] * [1, -1] + [0, 1]) * SIZE, 0, SIZE - 1).astype(int)
        at_vertex = weight[texel[:, 1], texel[:, 0]]
        assert at_vertex[normals[:, 2] < 0].max() < 0.05
        assert at_vertex[normals[:, 2] > 0.75].min() > 0.5
        # half the head outside the image
        _, half = sample_texture(image[:, : W // 2], head, CAMERA, SIZE)
        assert half.sum() == pytest.approx(weight.sum() / 2, rel=0.1)
        away, none = sample_texture(image, head, CAMERA.in_crop(5000, 0, 1), SIZE)
        assert not none.any()
        assert not away.any()

    def test_a_screen_in_front_hides(self, head: Mesh) -> None:
        assert head.uv is not None
        assert head.uv_triangles is not None
        board = np.array([[0, -300, 120], [300, -300, 120], [300, 300, 120], [0, 300, 120]], np.float32)
        n = len(head.vertices)
        both = Mesh(
            np.r_[head.vertices, board],
            np.r_[head.triangles, [[n, n + 1, n + 2], [n, n + 2, n + 3]]].astype(np.int32),
            None,
            np.r_[head.uv, np.full((4, 2), -1, np.float32)],
            np.r_[head.uv_triangles, [[len(head.uv)] * 3] * 2].astype(np.int32),
        )
        image = np.ones((H, W, 3), np.uint8)
        _, weight = sample_texture(image, both, WeakPerspective(0, 0, 0, 110, 150, 1.2), SIZE)
        middle = SIZE // 2
        assert weight[30:-30, middle - 20 : middle - 6].min() > 0.3  # person's right, free
        assert not weight[:, middle + 3 :].any()

    def test_needs_uv(self, head: Mesh) -> None:
        with pytest.raises(ValueError, match="uv"):
            sample_texture(np.zeros((4, 4, 3)), Mesh(head.vertices, head.triangles), CAMERA)
        with pytest.raises(ValueError, match="image"):
            sample_texture(np.zeros((4, 4)), head, CAMERA)


class TestComplete:
    @pytest.fixture
    def seen(self, head: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A symmetric texture, and what a photo from the side shows of it."""
        texture = painted(symmetric=True)
        camera = WeakPerspective(0.05, 0.7, 0.0, 110, 150, 1.2)
        return texture, *sample_texture(photograph(head, camera, texture), head, camera, SIZE)

    def test_seen_texels_stay(self, head: Mesh, toy_model: FaceModel, seen: tuple[np.ndarray, ...]) -> None:
        _, texture, weight = seen
        full = complete_texture(texture, weight, head, toy_model.symmetry, keep=0.5, feather=4)
        seen_part = cv2.distanceTransform(
            np.pad((weight > 0).astype(np.uint8), 1, constant_values=1), cv2.DIST_L2, 5
        )
        firm = (weight >= 0.5) & (seen_part[1:-1, 1:-1] > 4.5)
        assert firm.mean() > 0.1
        np.testing.assert_array_equal(full[firm], texture[firm])
        assert full.dtype == np.float32
        assert np.isfinite(full).all()
        assert full.min() >= 0
        assert full.max() <= 1

    def test_the_hidden_side_mirrors_the_seen_one(
        self, head: Mesh, toy_model: FaceModel, seen: tuple[np.ndarray, ...]
    ) -> None:
        truth, texture, weight = seen
        full = complete_texture(texture, weight, head, toy_model.symmetry)
        mirrored = np.minimum(weight[:, ::-1], 1 - weight) > 0.9
        assert mirrored.mean() > 0.05
        assert np.abs(full - truth)[mirrored].max() < 0.06
        assert np.median(np.abs(full - truth)[mirrored]) < 0.01
        without = complete_texture(texture, weight, head)
        assert np.abs(without - truth)[mirrored].mean() > 2 * np.abs(full - truth)[mirrored].mean()

    def test_no_step_where_the_light_falls_from_one_side(self, head: Mesh, toy_model: FaceModel) -> None:
        texture = np.full((SIZE, SIZE, 3), 0.7, np.float32)
        camera = WeakPerspective(0.05, 0.5, 0.0, 110, 150, 1.2)
        light = directional_light((1.0, 0.2, 0.6), 0.6, 0.35)
        found, weight = sample_texture(photograph(head, camera, texture, light=light), head, camera, SIZE)
        full = complete_texture(found, weight, head, toy_model.symmetry, feather=6)
        rows = slice(SIZE // 4, 3 * SIZE // 4)
        steps = np.abs(np.diff(full[rows], axis=1)).max(axis=2)
        filled = weight[rows, 1:] < 0.9  # where the photo does not have its own way
        assert found[weight > 0.5].max() > 2 * found[weight > 0.5].min()
        assert steps[filled].max() < 0.08, "a visible seam"

    def test_nothing_seen_gives_the_fallback(self, head: Mesh, toy_model: FaceModel) -> None:
        nothing = np.zeros((SIZE, SIZE, 3), np.float32)
        skin = np.tile(np.array([0.8, 0.6, 0.5], np.float32), (len(head.vertices), 1))
        full = complete_texture(nothing, nothing[..., 0], head, toy_model.symmetry, skin)
        np.testing.assert_allclose(full, np.broadcast_to([0.8, 0.6, 0.5], full.shape), atol=1e-5)
        assert np.isfinite(complete_texture(nothing, nothing[..., 0], head)).all()

    def test_fallback_takes_the_tone_of_the_photo(self, head: Mesh) -> None:
        v = (np.arange(SIZE) + 0.5) / SIZE
        weight = np.zeros((SIZE, SIZE), np.float32)
        weight[:, SIZE // 3 : 2 * SIZE // 3] = 1
        skin = np.tile(np.array([0.8, 0.6, 0.5]), (len(head.vertices), 1))
        tone = np.array([0.5, 0.75, 0.9])
        photo = np.broadcast_to(tone * [0.8, 0.6, 0.5], (SIZE, SIZE, 3)).astype(np.float32)
        full = complete_texture(photo * weight[..., None], weight, head, None, skin)
        assert v.shape == (SIZE,)
        np.testing.assert_allclose(full, photo, atol=0.01)

    def test_nan_where_nothing_was_seen_does_not_spread(
        self, head: Mesh, toy_model: FaceModel, seen: tuple[np.ndarray, ...]
    ) -> None:
        _, texture, weight = seen
        holes = np.where(weight[..., None] > 0, texture, np.nan)
        full = complete_texture(holes, weight, head, toy_model.symmetry)
        np.testing.assert_array_equal(full, complete_texture(texture, weight, head, toy_model.symmetry))

    def test_texels_beyond_the_islands_repeat_the_nearest(self, toy_model: FaceModel) -> None:
        shrunk = 0.25 + 0.5 * toy_model.uv
        island = Mesh(toy_model.mean, toy_model.triangles, None, shrunk, toy_model.uv_triangles)
        texture = np.zeros((SIZE, SIZE, 3), np.float32)
        inside = np.zeros((SIZE, SIZE), np.float32)
        inside[SIZE // 4 : 3 * SIZE // 4, SIZE // 4 : 3 * SIZE // 4] = 1
        texture[inside > 0] = (0.9, 0.5, 0.1)
        full = complete_texture(texture, inside, island)
        np.testing.assert_allclose(full, np.broadcast_to([0.9, 0.5, 0.1], full.shape), atol=1e-5)

    def test_bad_arguments(self, head: Mesh) -> None:
        square, flat = np.zeros((8, 8, 3)), np.zeros((8, 8))
        with pytest.raises(ValueError, match="texture"):
            complete_texture(square, np.zeros((9, 8)), head)
        with pytest.raises(ValueError, match="symmetry"):
            complete_texture(square, flat, head, np.zeros(3, int))
        with pytest.raises(ValueError, match="fallback"):
            complete_texture(square, flat, head, None, np.zeros((3, 3)))
        with pytest.raises(ValueError, match="uv"):
            complete_texture(square, flat, Mesh(head.vertices, head.triangles))


def test_hair_does_not_colour_unseen_skin(head: Mesh, toy_model: FaceModel) -> None:
    """Unseen skin takes the seen skin's tone and unseen scalp the hair's, though the edge shows hair."""
    size = 64
    scalp = toy_model.mean[:, 1] > 50
    front = toy_model.mean[:, 2] > 10
    skin = np.full((len(scalp), 3), 0.5)
    flat = np.column_stack([head.uv[:, 0], 1 - head.uv[:, 1], np.zeros(len(head.uv))]) * [size, size, 1]
    islands = rasterize(flat, head.uv_triangles, size, size)
    colors = np.where(scalp[:, None], 0.1, 0.6) * np.ones(3)
    weight = (interpolate(islands, head.triangles, front.astype(float)) > 0.99).astype(np.float32)
    texture = interpolate(islands, head.triangles, colors)
    out = complete_texture(texture, weight, head, None, skin, hair=scalp.astype(np.float32))
    back = interpolate(islands, head.triangles, (toy_model.mean[:, 2] < -20).astype(float)) > 0.99
    hair = interpolate(islands, head.triangles, scalp.astype(float))
    np.testing.assert_allclose(out[back & (hair < 0.01)], 0.6, atol=0.03)
    np.testing.assert_allclose(out[back & (hair > 0.99)], 0.1, atol=0.03)
