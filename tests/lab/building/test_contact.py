"""Laws of contact: rims are found, closed lids meet on every identity and stay out of the eyeball."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from facerelief.lab.building import contact
from facerelief.lab.building.contact import (
    CLEARANCE_MM,
    OVERLAP_MM,
    Contact,
    Rims,
    inside_ball,
    lip_line,
    mesh_edges,
    regress,
    rims_of,
)

BALL = 12.0
"""Radius of the made-up eyeball, mm, about the origin."""


def grid_quads(rows: int, columns: int) -> np.ndarray:
    """Quads of a grid of ids, counter-clockwise seen from the front where rows go up and columns right."""
    ids = np.arange(rows * columns).reshape(rows, columns)
    corners = (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1])
    return np.stack(corners, axis=-1).reshape(-1, 4)


def split(quads: np.ndarray) -> np.ndarray:
    """Triangles 2 q and 2 q + 1 of quad q."""
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.int32)


@dataclass(frozen=True)
class Eye:
    """A sheet with an almond opening before a ball, a unit that closes it on the mean face alone."""

    mean: np.ndarray
    closing: np.ndarray
    identity: np.ndarray
    triangles: np.ndarray
    skin: np.ndarray
    ball: np.ndarray
    rims: Rims

    def contact(self) -> Contact:
        shut = self.mean + self.closing
        return Contact.prepare(self.mean, shut, self.triangles, self.skin, self.rims, self.ball)


@pytest.fixture(scope="module")
def eye() -> Eye:
    y, x = np.meshgrid(np.linspace(-20, 20, 21), np.linspace(-24, 24, 25), indexing="ij")
    quads = grid_quads(21, 25)
    # the row in the middle lies twice, as the upper and the lower rim
    middle = 10 * 25 + np.arange(25)
    inner = np.abs(x[10]) < 11
    twin = np.full(525, -1)
    twin[middle[inner]] = 525 + np.arange(inner.sum())
    below = quads.max(axis=1) <= middle.max()
    quads[below] = np.where(twin[quads[below]] >= 0, twin[quads[below]], quads[below])
    flat = np.stack([x.ravel(), y.ravel()], axis=1)
    flat = np.concatenate([flat, flat[middle[inner]]])
    upper = np.append((y >= 0).ravel(), np.zeros(inner.sum(), bool))
    # the almond: rims part by up to 10 mm
    part = 5.0 * np.clip(1 - (flat[:, 0] / 12) ** 2, 0, None) * np.exp(-np.abs(flat[:, 1]) / 4)
    flat[:, 1] += np.where(upper, part, -part)
    depth = np.sqrt(np.maximum((BALL + 2) ** 2 - 0.5 * (flat**2).sum(axis=1), 40))
    skin = np.column_stack([flat, depth])
    lat, lon = np.meshgrid(
        np.linspace(0, np.pi, 25), np.linspace(0, 2 * np.pi, 40, endpoint=False), indexing="ij"
    )
    sphere = BALL * np.stack([np.sin(lat) * np.sin(lon), np.cos(lat), np.sin(lat) * np.cos(lon)], axis=-1)
    ids = len(skin) + np.arange(25 * 40).reshape(25, 40)
    right = np.roll(ids, -1, axis=1)
    balls = split(np.stack([ids[:-1], ids[1:], right[1:], right[:-1]], axis=-1).reshape(-1, 4))
    mean = np.concatenate([skin, sphere.reshape(-1, 3)])
    closing = np.zeros_like(mean)
    closing[: len(skin), 1] = np.where(upper, -part, part)
    closing[: len(skin), 2] = 0.06 * np.abs(closing[: len(skin), 1])
    rng = np.random.default_rng(0)
    waves = rng.uniform(0.02, 0.08, (6, 3, 2))
    identity = np.stack(
        [
            0.8
            * np.sin(mean[:, :2] @ wave.T + rng.uniform(0, 6))
            * (np.arange(len(mean)) < len(skin))[:, None]
            for wave in waves
        ],
        axis=2,
    )
    triangles = np.concatenate([split(quads), balls])
    rims = rims_of(mean, split(quads), np.array([0.0, 0.0, BALL]))
    return Eye(mean, closing, identity, triangles, np.arange(len(mean)) < len(skin), balls, rims)


def heights(shape: np.ndarray, rims: Rims) -> np.ndarray:
    """Height of the upper rim over the lower one, mm, away from the corners."""
    upper, lower = shape[rims.upper[1:-1]], shape[rims.lower]
    return upper[:, 1] - np.interp(upper[:, 0], lower[:, 0], lower[:, 1])


class TestRims:
    def test_they_run_from_corner_to_corner_and_make_up_the_hole(self, eye):
        upper, lower = eye.rims.upper, eye.rims.lower
        assert upper[0] == lower[0]
        assert upper[-1] == lower[-1]
        for rim in (upper, lower):
            assert (np.diff(eye.mean[rim, 0]) > 0).all()
        assert (eye.mean[upper[1:-1], 1] > 0).all()
        assert (eye.mean[lower[1:-1], 1] < 0).all()
        assert not set(upper[1:-1]) & set(lower[1:-1])

    def test_the_nearest_hole_is_taken(self, eye):
        outer = rims_of(eye.mean, eye.triangles[eye.skin[eye.triangles].all(axis=1)], np.array([0, 0, -90.0]))
        assert len(outer.upper) > 0
        assert set(eye.rims.upper) == set(
            rims_of(
                eye.mean,
                eye.triangles[eye.skin[eye.triangles].all(axis=1)],
                eye.mean[eye.rims.upper].mean(axis=0),
            ).upper
        )


class TestMeshEdges:
    def test_the_sides_of_quads_without_their_diagonals(self):
        quads = grid_quads(5, 7)
        edges = mesh_edges(split(quads), len(quads))
        sides = {tuple(sorted((q[k], q[(k + 1) % 4]))) for q in quads.tolist() for k in range(4)}
        assert set(map(tuple, edges.tolist())) == sides

    def test_triangles_that_stand_alone_keep_all_sides(self):
        triangles = np.concatenate([split(grid_quads(3, 3)), [[8, 9, 10]]]).astype(np.int32)
        edges = set(map(tuple, mesh_edges(triangles, 4).tolist()))
        assert {(8, 9), (9, 10), (8, 10)} <= edges
        assert len(edges) == 12 + 3


class TestInsideBall:
    def test_depth_in_a_sphere_is_radius_minus_distance(self, eye):
        rng = np.random.default_rng(1)
        way = rng.normal(size=(300, 3))
        way[:, 2] = np.abs(way[:, 2]) + 0.5
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        radius = rng.uniform(BALL - 2, BALL + 4, 300)
        depth, out = inside_ball(way * radius[:, None], eye.mean, eye.ball)
        known = way[:, 2] * radius > 3
        np.testing.assert_allclose(depth[known], np.maximum(BALL - radius, 0)[known], atol=0.1)
        known &= radius < BALL - 0.1
        np.testing.assert_allclose(np.linalg.norm(out[known], axis=1), 1, atol=1e-6)
        assert (out * way).sum(axis=1)[known].min() > 0.98

    def test_clearance_is_added_near_the_surface(self, eye):
        near = np.array([[0.0, 0, BALL + 0.3], [0, 0, BALL + 2.0], [0, 0, BALL - 1.0]])
        depth, _ = inside_ball(near, eye.mean, eye.ball, 0.9)
        np.testing.assert_allclose(depth, [0.6, 0.0, 1.9], atol=0.1)

    def test_points_behind_the_border_count_as_outside(self, eye):
        """The back of an eyeball is left out: what is inside is known before its border only."""
        centres = eye.mean[eye.ball].mean(axis=1)
        cap = eye.ball[centres[:, 2] > 2.0]
        points = np.array([[0.0, 0, 1], [0, BALL - 1, 1.5], [BALL * 0.8 - 0.5, 0, BALL * 0.6 - 0.3]])
        depth, _ = inside_ball(points, eye.mean, cap)
        assert not depth[:2].any()
        assert depth[2] > 0.3

    def test_sides_of_the_eyeball_count_too(self, eye):
        """Not its front half alone."""
        way = np.array([[0.9, 0.0, 0.43], [-0.9, 0.0, 0.43], [0.0, 0.9, 0.43]])
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        depth, _ = inside_ball((BALL - 1.0) * way, eye.mean, eye.ball[eye.mean[eye.ball, 2].min(axis=1) > 0])
        np.testing.assert_allclose(depth, 1.0, atol=0.1)


class TestClosing:
    def test_pull_is_linear_and_brings_the_rims_together(self, eye):
        lids = eye.contact()
        rng = np.random.default_rng(2)
        one, two = rng.normal(size=(2, *eye.mean.shape))
        both = lids.pull(2 * one - 3 * two)
        np.testing.assert_allclose(both, 2 * lids.pull(one) - 3 * lids.pull(two), atol=1e-9)
        moved = eye.mean.copy()
        moved[lids.patch] += lids.pull(eye.mean)
        assert np.abs(heights(eye.mean, eye.rims)).max() > 8
        assert np.abs(heights(moved, eye.rims)).max() < 0.3

    def test_pull_fades_out_and_leaves_the_rest_alone(self, eye):
        lids = eye.contact()
        far = np.min(np.linalg.norm(eye.mean[lids.patch][:, None] - eye.mean[lids.rim][None], axis=2), axis=1)
        pull = np.linalg.norm(lids.pull(eye.mean), axis=1)
        assert far.max() < contact.LID_REACH_MM
        assert pull[far > 0.9 * contact.LID_REACH_MM].max() < 0.15 * pull.max()
        assert eye.skin[lids.patch].all()

    def test_gaps_only_leaves_overlaps(self, eye):
        lids = eye.contact()
        crossed = eye.mean + 2.5 * eye.closing
        assert heights(crossed, eye.rims).max() < 0.2
        assert np.abs(lids.pull(crossed, gaps_only=True)).max() < 0.2
        assert np.abs(lids.pull(crossed)).max() > 1
        np.testing.assert_allclose(lids.pull(eye.mean, gaps_only=True), lids.pull(eye.mean), atol=1e-9)

    def test_corrected_lids_overlap_a_little_and_lie_before_the_ball(self, eye):
        lids = eye.contact()
        shut = eye.mean + eye.closing
        pushed = shut + (3.0 * eye.skin)[:, None] * [0, 0, -1]
        assert inside_ball(pushed[lids.patch], pushed, eye.ball)[0].max() > 0.3
        done = pushed.copy()
        for _ in range(5):
            done[lids.patch] += lids.correction(done)
        assert inside_ball(done[lids.patch], done, eye.ball)[0].max() < 0.1
        inner = heights(done, eye.rims)[2:-2]
        assert inner.max() < 0.05
        assert inner.min() > -3 * OVERLAP_MM

    def test_lids_meet_on_random_identities(self, eye, monkeypatch):
        """With constant and linear part added, on identities that the regression has not seen."""
        monkeypatch.setattr(contact, "IDENTITIES", 150)
        lids = eye.contact()
        shut = eye.mean + eye.closing
        constant, linear = regress(lids, shut, eye.identity)
        assert constant.shape == (len(lids.patch), 3)
        assert linear.shape == (len(lids.patch), 3, eye.identity.shape[2])
        rng = np.random.default_rng(99)
        before, after, depth = [], [], []
        for draw in rng.standard_normal((40, eye.identity.shape[2])):
            shape = shut + eye.identity @ draw
            before.append(heights(shape, eye.rims).max())
            shape[lids.patch] += constant + linear @ draw
            after.append(heights(shape, eye.rims).max())
            depth.append(inside_ball(shape[lids.patch], shape, eye.ball)[0].max())
        assert max(before) > 1
        assert max(after) < 0.3
        assert max(depth) < 0.45 < CLEARANCE_MM

    def test_lids_stay_before_the_ball_with_other_units(self, eye, monkeypatch):
        monkeypatch.setattr(contact, "IDENTITIES", 60)
        monkeypatch.setattr(contact, "MARGIN_IDENTITIES", 40)
        lids = eye.contact()
        shut = eye.mean + eye.closing
        other = np.zeros_like(shut)
        other[eye.skin, 2] = -2.5
        deepest = []
        for together in ((), (other,)):
            constant, linear = regress(lids, shut, eye.identity, together)
            worst = []
            for draw in np.random.default_rng(98).standard_normal((20, eye.identity.shape[2])):
                shape = shut + other + eye.identity @ draw
                shape[lids.patch] += constant + linear @ draw
                worst.append(inside_ball(shape[lids.patch], shape, eye.ball)[0].max())
            deepest.append(max(worst))
        assert deepest[1] < 0.7 * deepest[0]

    def test_regression_is_the_same_each_time(self, eye, monkeypatch):
        monkeypatch.setattr(contact, "IDENTITIES", 20)
        monkeypatch.setattr(contact, "MARGIN_IDENTITIES", 10)
        lids = eye.contact()
        one, two = (regress(lids, eye.mean + eye.closing, eye.identity, rounds=1) for _ in range(2))
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


class TestLipLine:
    """A mouth as a sheet folded inward: the rings of a tube whose third ring is the one that is shut."""

    COUNT, RINGS, TOUCHING = 40, 7, 3

    def mouth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        around = 2 * np.pi * np.arange(self.COUNT) / self.COUNT
        height = np.array([6.0, 4.0, 2.0, 0.05, 1.5, 5.0, 9.0])
        ring = np.stack([25 * np.cos(around), np.sin(around)], axis=1)
        points = [
            np.column_stack([ring[:, 0], -70 + h * ring[:, 1], np.full(self.COUNT, 10 + 4.0 * k)])
            for k, h in enumerate(height)
        ]
        ids = np.arange(self.RINGS * self.COUNT).reshape(self.RINGS, self.COUNT)
        right = np.roll(ids, -1, axis=1)
        quads = np.stack([ids[:-1], ids[1:], right[1:], right[:-1]], axis=-1).reshape(-1, 4)
        mean = np.concatenate(points)
        jaw = np.where(np.tile(np.sin(around) < 0, self.RINGS)[:, None], [0.0, -20.0, 0.0], 0.0)
        return mean, quads, jaw

    def test_the_touching_ring_is_found(self):
        mean, quads, jaw = self.mouth()
        triangles = split(quads)
        rims = lip_line(mean, mesh_edges(triangles, len(quads)), triangles, jaw)
        wanted = self.TOUCHING * self.COUNT + np.arange(self.COUNT)
        assert set(rims.upper) | set(rims.lower) == set(wanted)
        assert not set(rims.upper) & set(rims.lower)

    def test_the_lower_lip_is_what_the_jaw_moves(self):
        mean, quads, jaw = self.mouth()
        triangles = split(quads)
        rims = lip_line(mean, mesh_edges(triangles, len(quads)), triangles, jaw)
        assert (jaw[rims.lower, 1] < -10).all()
        assert (jaw[rims.upper, 1] == 0).all()
        for rim in (rims.upper, rims.lower):
            assert (np.diff(mean[rim, 0]) >= 0).all()
