"""What lies on a head's surface: points, mirrors, outlines, regions, colours, lids."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from eyelids import eyelid_gap
from hypothesis import given
from hypothesis import strategies as st

from facerelief.lab.building import surface as room
from facerelief.lab.building.surface import (
    IBUG_MIRROR,
    JAW_ROWS,
    MAX_LEAP,
    contours,
    eyelid_rims,
    inside,
    iris_points,
    mediapipe_mirror,
    surface_points,
    symmetric,
    with_detected_brows,
)
from facerelief.morphable import open_model
from facerelief.morphable.landmark_sets import OUTLINES
from facerelief.morphable.model import SurfacePoints


class TestSurfacePoints:
    def test_they_are_the_nearest_on_a_ball(self, ball_mesh):
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(50, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        vertices = ball_mesh.vertices.astype(float)
        for radius in (3.0, 10.0, 40.0):
            points = surface_points(radius * directions, vertices, ball_mesh.triangles)
            np.testing.assert_allclose(points.weights.sum(axis=1), 1, atol=1e-6)
            assert points.weights.min() > -1e-6
            at = points.of(vertices)
            along = (at * directions).sum(axis=1) / np.linalg.norm(at, axis=1)
            assert along.min() > (0.9 if radius < 5 else 0.99)
            assert np.linalg.norm(at, axis=1).max() < 10 + 1e-6

    def test_points_of_the_surface_stay(self, ball_mesh):
        vertices = ball_mesh.vertices.astype(float)
        middles = vertices[ball_mesh.triangles].mean(axis=1)
        points = surface_points(middles, vertices, ball_mesh.triangles)
        np.testing.assert_allclose(points.of(vertices), middles, atol=1e-5)
        assert points.vertices.dtype == np.int32
        assert points.weights.dtype == np.float32


class TestInside:
    SQUARE = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])

    def test_a_square(self):
        points = np.array([[2.0, 2], [0.1, 3.9], [5, 2], [-1, 2], [2, 5], [2, -1], [4.1, 0.5]])
        assert inside(points, self.SQUARE).tolist() == [True, True, False, False, False, False, False]

    def test_an_arrowhead_is_not_its_hull(self):
        arrow = np.array([[0.0, 0], [4, 4], [0, 8], [1.5, 4]])
        assert inside(np.array([[1.0, 4], [2, 4], [0.5, 1]]), arrow).tolist() == [False, True, True]

    @given(st.integers(0, 2**32 - 1))
    def test_winding_start_and_place_do_not_matter(self, seed):
        rng = np.random.default_rng(seed)
        angle = np.sort(rng.uniform(0, 2 * np.pi, 7))
        star = rng.uniform(1, 3, (7, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points = rng.uniform(-3, 3, (50, 2))
        expected = inside(points, star)
        np.testing.assert_array_equal(inside(points, star[::-1]), expected)
        np.testing.assert_array_equal(inside(points, np.roll(star, 3, axis=0)), expected)
        np.testing.assert_array_equal(inside(points + [100, -7], star + [100, -7]), expected)

    def test_convex_polygons_by_half_planes(self):
        angle = np.linspace(0, 2 * np.pi, 9)[:-1]
        polygon = np.stack([3 * np.cos(angle), 2 * np.sin(angle)], axis=1)
        points = np.random.default_rng(0).uniform(-4, 4, (500, 2))
        side = np.roll(polygon, -1, axis=0) - polygon
        away = points[:, None] - polygon
        left = side[:, 0] * away[..., 1] - side[:, 1] * away[..., 0] > 0
        np.testing.assert_array_equal(inside(points, polygon), left.all(axis=1))


class TestMirrors:
    def test_ibug(self):
        """An involution; the middle line stays; left and right names change places."""
        np.testing.assert_array_equal(IBUG_MIRROR[IBUG_MIRROR], np.arange(68))
        np.testing.assert_array_equal(
            np.flatnonzero(np.arange(68) == IBUG_MIRROR), [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
        )
        for one, two in (
            (0, 16),
            (17, 26),
            (21, 22),
            (36, 45),
            (39, 42),
            (37, 44),
            (41, 46),
            (48, 54),
            (60, 64),
        ):
            assert IBUG_MIRROR[one] == two

    def test_mediapipe_is_found_from_places(self):
        points = open_model().landmarks["mediapipe478"].of(open_model().mean.astype(float))
        noisy = points + np.random.default_rng(0).normal(0, 0.2, points.shape)
        partner = mediapipe_mirror(noisy)
        np.testing.assert_array_equal(partner[partner], np.arange(478))
        # names that MediaPipe itself gives: eye corners, mouth corners, lids, irises
        for one, two in ((33, 263), (133, 362), (61, 291), (159, 386), (145, 374), (468, 473), (469, 476)):
            assert partner[one] == two
        for middle in (1, 10, 152, 13, 14, 168):
            assert partner[middle] == middle

    def test_symmetric_averages_a_point_with_its_partners_image(self, toy_build):
        surface, draped = toy_build.surface, toy_build.draped
        rng = np.random.default_rng(0)
        first = toy_build.model.landmarks["ibug68"].of(draped)
        off = surface_points(first + rng.normal(0, 2, first.shape), draped, surface.skin_triangles)
        before = off.of(draped)
        after = symmetric(off, surface, draped, IBUG_MIRROR).of(draped)
        # laying them back on the coarse surface moves those on the middle line a little
        np.testing.assert_allclose(after[IBUG_MIRROR] * [-1, 1, 1], after, atol=0.8)
        assert np.abs(before[IBUG_MIRROR] * [-1, 1, 1] - before).max() > 3
        middle = 0.5 * (before + before[IBUG_MIRROR] * [-1, 1, 1])
        # those between the lids or the lips can only go to their rims
        assert np.linalg.norm(after - middle, axis=1)[:36].max() < 1.0


class TestIrises:
    def test_ten_points_in_mediapipes_order(self, toy_build):
        points = iris_points(toy_build.surface, toy_build.draped)
        assert points.shape == (10, 3)
        right, left = points[:5], points[5:]
        assert right[:, 0].max() < 0 < left[:, 0].min()
        for iris in (right, left):
            np.testing.assert_allclose(
                iris[1:] - iris[0], 5.9 * np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
            )


class TestBrows:
    def test_without_mediapipe_points_nothing_changes(self):
        found = {"ibug68": SurfacePoints.at_vertices(np.arange(68))}
        assert with_detected_brows(found) is found

    def test_brows_and_only_brows_move(self):
        found = {
            "ibug68": SurfacePoints.at_vertices(np.arange(68)),
            "mediapipe478": SurfacePoints.at_vertices(1000 + np.arange(478)),
        }
        moved = with_detected_brows(found)["ibug68"].vertices[:, 0]
        np.testing.assert_array_equal(moved[17:27], 1000 + np.array(room.UPPER_BROWS))
        np.testing.assert_array_equal(
            np.delete(moved, range(17, 27)), np.delete(np.arange(68), range(17, 27))
        )


@pytest.fixture(scope="module")
def shipped():
    """The rows as they would be laid on the shipped model's mean."""
    model = open_model()
    masks = model.regions
    vertices = model.mean.astype(float)
    surface = SimpleNamespace(
        skin=~masks["eyeballs"],
        ears=masks["ears"],
        head=SimpleNamespace(neck=masks["neck"]),
        rest=vertices,
    )
    return vertices, model, contours(surface, vertices, dict(model.landmarks))  # type: ignore[arg-type]


class TestContours:
    def test_rows_start_behind_and_end_in_front_of_their_landmark(self, shipped):
        vertices, model, found = shipped
        for name, contour in found.items():
            at = model.landmarks[name].of(vertices)[contour.landmarks]
            rows = vertices[contour.candidates]
            assert rows.shape[1] == JAW_ROWS
            assert set(contour.landmarks.tolist()) < set(OUTLINES[name])
            assert (rows[:, 0, 2] < at[:, 2]).all()
            assert (rows[:, -1, 2] > at[:, 2]).all()

    def test_rows_are_unbroken_and_never_leap_over_the_eye(self, shipped):
        vertices, model, found = shipped
        for name, contour in found.items():
            rows = vertices[contour.candidates]
            assert np.linalg.norm(np.diff(rows, axis=1), axis=2).max() <= MAX_LEAP
            at = model.landmarks[name].of(vertices)[contour.landmarks]
            assert np.linalg.norm(rows - at[:, None], axis=2).max() < 45
            # each stays on its own side
            assert (np.sign(rows[:, :, 0]) == np.sign(at[:, None, 0])).all()

    def test_only_the_sides_slide(self, shipped):
        vertices, model, found = shipped
        for name, contour in found.items():
            at = model.landmarks[name].of(vertices)[contour.landmarks]
            assert (np.abs(at[:, 0]) > 35).all()
            assert 8 not in contour.landmarks or name != "ibug68"
            assert 152 not in contour.landmarks or name != "mediapipe478"


class TestRegions:
    def test_they_are_what_they_say(self, toy_build):
        masks, at = toy_build.model.regions, toy_build.draped
        skin = toy_build.surface.skin
        assert (masks["narrow_face"] <= masks["face"]).all()
        assert (masks["face"] <= skin).all()
        np.testing.assert_array_equal(masks["eyeballs"], ~skin)
        for one, other in (
            ("face", "scalp"),
            ("face", "ears"),
            ("face", "neck"),
            ("scalp", "neck"),
            ("scalp", "ears"),
            ("eyes", "brows"),
            ("eyes", "lips"),
            ("lips", "nose"),
        ):
            assert not (masks[one] & masks[other]).any(), (one, other)
        together = np.any([masks[k] for k in ("face", "scalp", "ears", "neck", "eyeballs")], axis=0)
        assert together.all()
        assert at[masks["brows"], 1].min() > at[masks["lips"], 1].max()
        assert np.abs(at[masks["nose"], 0]).max() < 25

    def test_they_are_symmetric(self, toy_build):
        mirror = toy_build.surface.head.symmetry
        for name, mask in toy_build.model.regions.items():
            assert (mask[mirror] == mask).mean() > 0.99, name


class TestColours:
    def test_eyes_are_white_with_a_dark_pupil(self, toy_build):
        model = toy_build.model
        ball = model.regions["eyeballs"]
        brightness = model.albedo_mean[ball].mean(axis=1)
        assert brightness.max() == pytest.approx(room.SCLERA.mean(), abs=1e-3)
        assert brightness.min() == pytest.approx(room.PUPIL.mean(), abs=1e-3)

    def test_skin_is_skin_and_components_are_gentle(self, toy_build):
        model = toy_build.model
        assert model.albedo_mean.min() >= 0
        assert model.albedo_mean.max() <= 1
        plain = model.regions["neck"]
        np.testing.assert_allclose(model.albedo_mean[plain], np.tile(room.SKIN, (plain.sum(), 1)), atol=1e-3)
        assert np.abs(model.albedo).max() < 0.2
        # none is a copy of another
        flat = model.albedo.reshape(-1, model.n_albedo)
        flat = flat / np.linalg.norm(flat, axis=0)
        assert (np.abs(flat.T @ flat) - np.eye(model.n_albedo)).max() < 0.95

    def test_smoothing_keeps_constants_and_range(self, toy_build):
        surface = toy_build.surface
        n = len(surface.rest)
        np.testing.assert_allclose(room._smooth(surface.triangles, np.ones(n)), 1)
        step = (surface.rest[:, 1] > 0).astype(float)
        smooth = room._smooth(surface.triangles, step)
        assert smooth.min() >= 0
        assert smooth.max() <= 1
        assert ((smooth > 0.05) & (smooth < 0.95)).any()


class TestLids:
    @pytest.mark.parametrize("side", [0, 1])
    def test_rims_run_from_corner_to_corner(self, toy_build, side):
        surface = toy_build.surface
        upper, lower = eyelid_rims(surface, side)
        rest = surface.rest
        assert {upper[0], upper[-1]} == {lower[0], lower[-1]}
        for rim in (upper, lower):
            assert (np.diff(rest[rim, 0]) >= 0).all()
            assert (np.sign(rest[rim, 0]) == (-1, 1)[side]).all()
        (x0, y0), (x1, y1) = rest[upper[[0, -1]], :2]
        for rim, sign in ((upper, 1), (lower, -1)):
            x, y = rest[rim[1:-1], :2].T
            assert (sign * (y - (y0 + (x - x0) / (x1 - x0) * (y1 - y0))) >= 0).all()
        assert len(upper) + len(lower) == len(surface.eye_rims[side]) + 2

    @pytest.mark.parametrize("side", [0, 1])
    def test_gap_is_the_opening_and_moves_with_the_upper_lid(self, toy_build, side):
        surface = toy_build.surface
        upper, _ = eyelid_rims(surface, side)
        gap = eyelid_gap(surface, surface.rest, side)
        np.testing.assert_allclose(gap[[0, -1]], 0, atol=1e-9)
        assert gap[1:-1].min() > 0
        raised = surface.rest.copy()
        raised[upper[1:-1], 1] += 2.0
        np.testing.assert_allclose(eyelid_gap(surface, raised, side)[1:-1], gap[1:-1] + 2.0, atol=1e-9)
        closed = surface.rest * [1, 0, 1]
        np.testing.assert_allclose(eyelid_gap(surface, closed, side), 0, atol=1e-9)
