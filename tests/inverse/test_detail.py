"""Laws of detail: a drawing of the model gives the model back, a relief in it is found, any image does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.patch import DepthPatch
from facerelief.inverse.detail import (
    Detail,
    DetailConfig,
    bare_trust,
    blended_albedo,
    coarse_depth,
    face_outline,
    find_detail,
    rounded,
)
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric_term import Appearance
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import directional_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.render import render_depth

SHAPE = (210, 180)
CAMERA = WeakPerspective(pitch=0.05, yaw=0.15, roll=-0.1, translation_u=88, translation_v=104, scale=1.0)
LIGHT = directional_light((-0.4, 0.4, 1.0), color=(0.62, 0.6, 0.58), ambient=0.4).astype(np.float32)

# the drawings show the toy's triangles as they are
FACETS = DetailConfig(facets_mm=0)


@pytest.fixture(scope="module")
def model(toy_model) -> FaceModel:
    """The toy head with eyeballs, which its face does not include, and lids around them."""
    x, y, z = toy_model.mean.T
    away = np.where(z > 0, np.hypot(np.abs(x) - 30, y - 30), np.inf)
    balls = away < 14
    regions = {"face": toy_model.regions["face"] & ~balls, "eyeballs": balls, "eyes": away < 28}
    return replace(toy_model, regions=regions)


@pytest.fixture(scope="module")
def state(model) -> FaceState:
    identity = np.array([1.0, -0.5, 0.5, 1.0, -1.0], np.float32)
    return FaceState(CAMERA, identity, np.zeros(model.n_expression, np.float32))


@pytest.fixture(scope="module")
def appearance() -> Appearance:
    return Appearance(np.array([0.5, -0.5, 0.5], np.float32), LIGHT)


@pytest.fixture(scope="module")
def coarse(model, state) -> DepthPatch:
    return coarse_depth(model, model.shape(state.identity), CAMERA, SHAPE)


@pytest.fixture(scope="module")
def albedo(model, state, appearance, coarse) -> np.ndarray:
    """(h, w, 3) on the pixels of `coarse`."""
    uvz = CAMERA.in_crop(coarse.left, coarse.top, 1.0).project(model.shape(state.identity))
    fragments = rasterize(uvz, model.triangles, *coarse.depth.shape, cull_backfaces=True)
    return interpolate(fragments, model.triangles, model.skin(appearance.albedo))


def photo(coarse: DepthPatch, albedo: np.ndarray, relief: np.ndarray | float = 0.0) -> np.ndarray:
    """(H, W, 3) uint8: the face, shaded by its own depth and a relief, on grey."""
    image = np.full((*SHAPE, 3), 120, np.uint8)
    height, width = coarse.depth.shape
    part = image[coarse.top : coarse.top + height, coarse.left : coarse.left + width]
    known = np.isfinite(coarse.depth)
    color = albedo * shade(np.nan_to_num(normals_from_depth(coarse.depth + relief, CAMERA.scale)), LIGHT)
    part[known] = np.rint(np.clip(255 * color, 0, 255))[known]
    return image


@pytest.fixture(scope="module")
def found(model, state, appearance, coarse, albedo) -> Detail:
    return find_detail(model, photo(coarse, albedo), state, appearance, FACETS)


class TestItsOwnDrawing:
    def test_coarse_depth_is_the_rasterised_model(self, model, state, coarse, found):
        np.testing.assert_array_equal(found.coarse.depth, coarse.depth)
        assert (found.coarse.left, found.coarse.top) == (coarse.left, coarse.top)
        whole = render_depth(model.shape(state.identity), model.triangles, CAMERA, *SHAPE)
        height, width = coarse.depth.shape
        there = whole[coarse.top : coarse.top + height, coarse.left : coarse.left + width]
        known = np.isfinite(coarse.depth)
        np.testing.assert_allclose(coarse.depth[known], there[known], atol=1e-3)
        # the face's region and the eyes, and not the whole head; the outline may move by less than an edge
        uvz = CAMERA.in_crop(coarse.left, coarse.top, 1.0).project(model.shape(state.identity))
        fragments = rasterize(uvz, model.triangles, height, width, cull_backfaces=True)
        face, eyes = model.face_vertices, model.regions["eyeballs"]
        inner, outer = ~reach(~face, model.triangles, 1), reach(face | eyes, model.triangles, 1)
        for sure in (inner, eyes):
            assert known[interpolate(fragments, model.triangles, sure.astype(np.float32)) > 0.999].all()
        assert not known[interpolate(fragments, model.triangles, outer.astype(np.float32)) == 0].any()

    def test_all_maps_lie_on_the_same_pixels(self, found):
        known = np.isfinite(found.coarse.depth)
        np.testing.assert_array_equal(np.isfinite(found.fine.depth), known)
        np.testing.assert_array_equal(np.isfinite(found.skin.color), np.repeat(known[..., None], 3, 2))
        for patch in (found.fine, found.skin):
            assert (patch.left, patch.top) == (found.coarse.left, found.coarse.top)

    def test_no_relief(self, found):
        assert np.nanmax(np.abs(found.fine.depth - found.coarse.depth)) < 0.05

    def test_albedo_is_the_true_one(self, found, albedo):
        facing = np.nan_to_num(normals_from_depth(found.coarse.depth, CAMERA.scale)[..., 2]) > 0.5
        assert np.abs(found.skin.color - albedo)[facing].max() < 0.02

    def test_a_tint_is_seen_to_the_extent_of_beta(self, model, state, appearance, coarse, albedo):
        tint = np.float32([0.9, 0.95, 0.85])
        image = photo(coarse, albedo * tint)
        facing = np.nan_to_num(normals_from_depth(coarse.depth, CAMERA.scale)[..., 2]) > 0.5
        for beta in (0.0, 0.3, 1.0):
            skin = find_detail(model, image, state, appearance, replace(FACETS, beta=beta)).skin.color
            expected = albedo * (1 + beta * (tint - 1))
            assert np.abs(skin - expected)[facing].mean() < 0.005

    def test_moved_in_a_larger_picture_the_maps_move_along(self, model, state, appearance, coarse, albedo):
        wide = np.pad(photo(coarse, albedo), ((13, 5), (7, 9), (0, 0)), constant_values=120)
        camera = replace(
            CAMERA, translation_u=CAMERA.translation_u + 7, translation_v=CAMERA.translation_v + 13
        )
        moved = find_detail(model, wide, replace(state, camera=camera), appearance, FACETS)
        assert (moved.fine.left, moved.fine.top) == (coarse.left + 7, coarse.top + 13)
        known = np.isfinite(coarse.depth) & np.isfinite(moved.coarse.depth)
        assert known.sum() > 0.999 * np.isfinite(coarse.depth).sum()
        np.testing.assert_allclose(moved.coarse.depth[known], coarse.depth[known], atol=1e-3)
        np.testing.assert_allclose(moved.skin.color[known], albedo[known], atol=0.05)


@pytest.fixture(scope="module")
def ripples(coarse) -> np.ndarray:
    """(h, w) mm: folds across the middle of the face."""
    height, width = coarse.depth.shape
    v, u = np.mgrid[:height, :width].astype(np.float32)
    bump = np.exp(-((u - 0.5 * width) ** 2 + (v - 0.45 * height) ** 2) / (2 * 22.0**2))
    return (0.5 * bump * np.sin(v / 2.5)).astype(np.float32)


class TestRelief:
    def test_folds_are_found(self, model, state, appearance, coarse, albedo, ripples):
        image = photo(coarse, albedo, ripples)
        fine = find_detail(model, image, state, appearance, FACETS).fine.depth
        strong = np.isfinite(coarse.depth) & (np.abs(ripples) > 0.1)
        relief = fine - coarse.depth
        assert np.corrcoef(relief[strong], ripples[strong])[0, 1] > 0.8
        assert relief[strong].std() > 0.3 * ripples[strong].std()

    def test_none_where_the_surface_turns_away_nor_on_the_eyes(
        self, model, state, appearance, coarse, albedo, ripples
    ):
        noise = np.random.default_rng(0).normal(0, 12, (*SHAPE, 3))
        image = np.clip(photo(coarse, albedo) + noise, 0, 255).astype(np.uint8)
        config = DetailConfig(facing=0.8)
        found = find_detail(model, image, state, appearance, config)
        relief = found.fine.depth - found.coarse.depth
        away = normals_from_depth(coarse.depth, CAMERA.scale)[..., 2] <= config.facing
        eyes = model.landmarks["ibug68"].of(model.shape(state.identity))[36:48].reshape(2, 6, 3)
        rows, columns = (
            (CAMERA.project(eyes.mean(axis=1))[:, k] - start).astype(int)
            for k, start in ((1, coarse.top), (0, coarse.left))
        )
        assert away.any()
        assert not relief[away & np.isfinite(coarse.depth)].any()
        assert not relief[rows, columns].any()
        assert np.nanmax(np.abs(relief)) > 0.01

    def test_a_coarser_working_grid_gives_maps_on_the_photos_pixels(
        self, model, state, appearance, coarse, albedo, ripples
    ):
        image = photo(coarse, albedo, ripples)
        whole = find_detail(model, image, state, appearance, FACETS)
        half = find_detail(model, image, state, appearance, replace(FACETS, resolution=110))
        np.testing.assert_array_equal(half.coarse.depth, whole.coarse.depth)
        known = np.isfinite(coarse.depth)
        np.testing.assert_array_equal(np.isfinite(half.fine.depth), known)
        np.testing.assert_array_equal(np.isfinite(half.skin.color).all(axis=2), known)
        facing = known & (np.nan_to_num(normals_from_depth(coarse.depth, CAMERA.scale)[..., 2]) > 0.5)
        assert np.abs(half.skin.color - albedo)[facing].mean() < 0.03
        # the same folds in the same place, though blurred
        ours, theirs = (d.fine.depth - coarse.depth for d in (half, whole))
        strong = known & (np.abs(ripples) > 0.1)
        assert np.corrcoef(ours[strong], theirs[strong])[0, 1] > 0.7

    def test_resolution_beyond_the_photos_changes_nothing(self, model, state, appearance, coarse, albedo):
        image = photo(coarse, albedo)
        one, two = (
            find_detail(model, image, state, appearance, DetailConfig(resolution=r)) for r in (300, 3000)
        )
        np.testing.assert_array_equal(one.fine.depth, two.fine.depth)
        np.testing.assert_array_equal(one.skin.color, two.skin.color)


class TestRounded:
    def test_a_plane_stays(self):
        v, u = np.mgrid[:60, :70].astype(np.float32)
        plane, mask = 0.7 * u - 1.3 * v + 200, np.hypot(u - 30, v - 30) < 27
        np.testing.assert_allclose(rounded(plane, mask, 2.0), plane, atol=0.01)

    def test_ridges_go_and_the_border_stays(self):
        v, u = np.mgrid[:60, :70]
        ridges = np.abs((u + v) % 4 - 2).astype(np.float32)
        mask = np.hypot(u - 30, v - 30) < 27
        out = rounded(np.where(mask, ridges, np.nan), mask, 2.0)
        assert out[25:35, 25:35].std() < 0.1 * ridges.std()
        edge = np.hypot(u - 30, v - 30) > 23
        np.testing.assert_array_equal(out[edge & mask], ridges[edge & mask])
        assert np.isnan(out[~mask]).all()

    def test_nothing_to_do(self):
        depth = np.full((5, 6), np.nan, np.float32)
        assert rounded(depth, np.zeros((5, 6), bool), 1.0) is depth
        assert rounded(depth, np.ones((5, 6), bool), 0.0) is depth


class TestAnyPicture:
    @pytest.mark.parametrize("resolution", [512, 80])
    @pytest.mark.parametrize("kind", ["black", "white", "noise"])
    def test_maps_are_finite_and_albedo_in_range(self, model, state, appearance, kind, resolution):
        image = {
            "black": np.zeros((*SHAPE, 3), np.uint8),
            "white": np.full((*SHAPE, 3), 255, np.uint8),
            "noise": np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8),
        }[kind]
        config = DetailConfig(resolution=resolution)
        found = find_detail(model, image, state, appearance, config)
        known = np.isfinite(found.coarse.depth)
        assert known.any()
        assert np.isfinite(found.fine.depth[known]).all()
        assert 0 <= found.skin.color[known].min() <= found.skin.color[known].max() <= config.brightest

    @pytest.mark.parametrize("at", [(0, 0), (180, 104), (88, 212), (-400, 104), (88, 9000)])
    def test_a_face_partly_or_wholly_beside_the_picture(self, model, state, appearance, at):
        camera = replace(CAMERA, translation_u=at[0], translation_v=at[1])
        image = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), np.uint8)
        found = find_detail(model, image, replace(state, camera=camera), appearance)
        height, width = found.fine.depth.shape
        assert 0 <= found.fine.left < found.fine.left + width <= SHAPE[1]
        assert 0 <= found.fine.top < found.fine.top + height <= SHAPE[0]
        np.testing.assert_array_equal(np.isfinite(found.fine.depth), np.isfinite(found.coarse.depth))

    @pytest.mark.parametrize("value", [0.0, -3.0])
    def test_odd_lights(self, model, state, appearance, coarse, albedo, value):
        dark = replace(appearance, light=np.full((9, 3), value, np.float32))
        found = find_detail(model, photo(coarse, albedo), state, dark)
        assert np.isfinite(found.fine.depth[np.isfinite(coarse.depth)]).all()


class TestBlendedAlbedo:
    def test_known_answers(self):
        def blend(photo: float, parametric: float, shading: float) -> float:
            values = (np.full((1, 1, 3), v, np.float32) for v in (photo, parametric, shading))
            config = DetailConfig(beta=0.6, darkest=0.1, brightest=1.2)
            return float(blended_albedo(*values, config)[0, 0, 0])

        assert blend(0.4, 0.5, 0.8) == pytest.approx(0.6 * 0.5 + 0.4 * 0.5)
        assert blend(0.02, 0.5, 0.0) == pytest.approx(0.6 * 0.2 + 0.4 * 0.5)  # as if shaded by 0.1
        assert blend(0.9, 0.5, 0.3) == pytest.approx(0.6 * 1.2 + 0.4 * 0.5)  # held at 1.2

    def test_inputs_stay_as_they_are(self):
        rng = np.random.default_rng(0)
        given = [rng.random((4, 5, 3)).astype(np.float32) for _ in range(3)]
        before = [x.copy() for x in given]
        blended_albedo(*given)
        for x, y in zip(given, before):
            np.testing.assert_array_equal(x, y)


class TestFaceOutline:
    def test_inside_is_inside_and_outside_outside(self, toy_model):
        lower = replace(toy_model, regions={"face": toy_model.mean[:, 1] < 0})
        share, whole, eyes = face_outline(lower)
        face, triangles = lower.face_vertices, lower.triangles
        assert len(whole) == len(eyes) == len(triangles) + 1
        assert not whole[-1]  # of pixels without a triangle
        assert not eyes.any()
        assert 0 <= share.min() <= share.max() <= 1
        # twelve rounds reach no farther than twelve edges
        deep, far = reach(~face, triangles, 12), reach(face, triangles, 12)
        assert (~deep).any()
        assert (~far).any()
        np.testing.assert_allclose(share[~deep], 1, atol=1e-5)
        np.testing.assert_allclose(share[~far], 0, atol=1e-5)
        assert whole[:-1][(~deep)[triangles].all(axis=1)].all()
        assert not whole[:-1][(~far)[triangles].all(axis=1)].any()
        # smoothing moves the outline by less than an edge
        assert (share[~reach(~face, triangles, 1)] >= 0.5).all()
        assert (share[~reach(face, triangles, 1)] < 0.5).all()

    def test_a_larger_face_has_an_outline_farther_out(self, toy_model):
        before = np.zeros(toy_model.n_vertices)
        for low in (80, 60, 40, 20):
            face = toy_model.regions["face"] & (toy_model.mean[:, 2] > low)
            share, _, _ = face_outline(replace(toy_model, regions={"face": face}))
            assert (share >= before - 1e-6).all()
            assert share.sum() > before.sum()
            before = share

    def test_eyes_and_lips_end_at_their_own_edges(self, toy_model):
        x, y, z = toy_model.mean.T
        lids = (z > 0) & ((np.abs(x) - 30) ** 2 + (y - 30) ** 2 < 300)
        hole = (z > 0) & ((np.abs(x) - 30) ** 2 + (y - 30) ** 2 < 100)
        face = toy_model.regions["face"] & ~hole
        sharp = replace(toy_model, regions={"face": face, "eyes": lids, "eyeballs": hole})
        share, whole, eyes = face_outline(sharp)
        np.testing.assert_array_equal(share[lids], face[lids])
        touching = lids[sharp.triangles].any(axis=1)
        np.testing.assert_array_equal(whole[:-1][touching], face[sharp.triangles].all(axis=1)[touching])
        np.testing.assert_array_equal(eyes[:-1], hole[sharp.triangles].all(axis=1))

    def test_vertices_that_no_triangle_uses_do_no_harm(self, toy_model):
        def more(values: np.ndarray) -> np.ndarray:
            return np.concatenate([values, np.zeros((2, *values.shape[1:]), values.dtype)])

        loose = replace(
            toy_model,
            **{
                k: more(getattr(toy_model, k))
                for k in ("mean", "identity", "expression", "albedo_mean", "albedo")
            },
            regions={"face": more(toy_model.regions["face"])},
            symmetry=None,
        )
        share, whole, _ = face_outline(loose)
        expected = face_outline(toy_model)
        np.testing.assert_array_equal(share[:-2], expected[0])
        np.testing.assert_array_equal(whole, expected[1])


def reach(start: np.ndarray, triangles: np.ndarray, edges: int) -> np.ndarray:
    """(N,) vertices at most so many edges from those of `start` (N,)."""
    reached = start.copy()
    for _ in range(edges):
        touched = reached[triangles].any(axis=1)
        reached[triangles[touched]] = True
    return reached


def test_trust_follows_the_area_of_bare_skin_not_its_lines():
    share = np.zeros((80, 80), np.float32)
    share[:, 40:] = 1
    share[::4, 40:] = 0.3  # shadows of wrinkles
    trust = bare_trust(share, (40, 40), 1.0)
    assert trust.shape == (40, 40)
    assert trust[:, :19].max() < 0.01  # up to the border
    assert trust[:, 26:].min() > 0.95
