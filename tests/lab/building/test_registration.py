"""Laying one head over another: triangles, landmarks on the lids, the drape."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building.registration import EYES, HeadSurface, ScanHeads, split_quads


class TestSplitQuads:
    QUADS = np.array([[0, 1, 4, 3], [1, 2, 5, 4]], np.int32)

    def test_along_the_shorter_diagonal(self):
        points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]])
        points[4] = [0.6, 0.6, 0]
        pairs = split_quads(self.QUADS, points).reshape(2, 2, 3)
        # 0-4 is shorter than 1-3, and 2-4 longer than 1-5
        assert {tuple(sorted(t)) for t in pairs[0].tolist()} == {(0, 1, 4), (0, 3, 4)}
        assert {tuple(sorted(t)) for t in pairs[1].tolist()} == {(1, 2, 5), (1, 4, 5)}

    @pytest.mark.parametrize("seed", range(5))
    def test_winding_area_and_shared_diagonals(self, seed):
        """Both triangles turn as their quad does, cover it, and run along the diagonal in opposite senses."""
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:5, :6].astype(float)
        points = np.stack([x.ravel(), y.ravel(), np.zeros(30)], axis=1)
        points[:, :2] += rng.uniform(-0.2, 0.2, (30, 2))
        ids = np.arange(30).reshape(5, 6)
        corners = (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1])
        quads = np.stack(corners, axis=-1).reshape(-1, 4).astype(np.int32)
        triangles = split_quads(quads, points)
        assert triangles.shape == (2 * len(quads), 3)
        a, b, c = (points[triangles[:, k]] for k in range(3))
        area = 0.5 * np.cross(b - a, c - a)[:, 2]
        assert (area > 0).all()
        diagonals = points[quads[:, 2]] - points[quads[:, 0]], points[quads[:, 3]] - points[quads[:, 1]]
        np.testing.assert_allclose(
            area.reshape(-1, 2).sum(axis=1), 0.5 * np.cross(*diagonals)[:, 2], atol=1e-12
        )
        sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        assert len(np.unique(sides, axis=0)) == len(sides)
        inner = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)[1]
        assert (inner == 2).sum() == len(quads) + 4 * 4 + 3 * 5  # diagonals and inner grid sides

    def test_mirror_images_are_cut_alike(self):
        """Also where the diagonals are equally long but for rounding."""
        points = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
        quad = np.array([[0, 1, 2, 3]], np.int32)
        for noise in (0.0, 1e-9, -1e-9):
            moved = points.copy()
            moved[2, 0] += noise
            assert {tuple(sorted(t)) for t in split_quads(quad, moved).tolist()} == {(0, 1, 2), (0, 2, 3)}


class TestLidLandmarks:
    @pytest.fixture
    def eyes(self):
        """Two round rims of 16 vertices each, in the x-y plane, and a surface that knows only them."""
        t = 2 * np.pi * np.arange(16) / 16
        ring = np.stack([14 * np.cos(t), 6 * np.sin(t), 0 * t], axis=1)
        rest = np.concatenate([ring + [side * 31, 0, 0] for side in (-1, 1)])
        surface = SimpleNamespace(rest=rest, eye_rims=[np.arange(16), 16 + np.arange(16)])
        return surface, rest

    def test_corners_by_shape_and_lids_by_the_nearest(self, eyes):
        surface, rest = eyes
        targets = np.zeros((68, 3))
        for side, (outer, inner, upper, lower) in zip((-1, 1), EYES):
            targets[[outer, inner]] = 99.0  # corners do not ask
            for k, i in enumerate(upper):
                targets[i] = [side * 31 - 5 + 10 * k, 7, 0]
            for k, i in enumerate(lower):
                targets[i] = [side * 31 - 5 + 10 * k, -7, 0]
        found = HeadSurface.eyelid_landmarks(surface, rest, targets)  # type: ignore[arg-type]
        assert sorted(found) == list(range(36, 48))
        for side, (outer, inner, upper, lower) in zip((-1, 1), EYES):
            np.testing.assert_allclose(rest[found[outer]], [side * 45, 0, 0], atol=1e-9)
            np.testing.assert_allclose(rest[found[inner]], [side * 17, 0, 0], atol=1e-9)
            for i in upper:
                assert rest[found[i], 1] > 3
                assert abs(rest[found[i], 0] - targets[i, 0]) < 3
            for i in lower:
                assert rest[found[i], 1] < -3

    def test_upper_landmarks_never_land_on_the_lower_lid(self, eyes):
        surface, rest = eyes
        targets = np.zeros((68, 3))
        targets[:, 1] = -50.0
        found = HeadSurface.eyelid_landmarks(surface, rest, targets)  # type: ignore[arg-type]
        for _, _, upper, lower in EYES:
            assert all(rest[found[i], 1] > 0 for i in upper)
            assert all(rest[found[i], 1] < 0 for i in lower)


class TestScanHeads:
    def test_skin_only_in_the_frame_of_the_eyes(self, toy_scans):
        scans = ScanHeads.from_model(toy_scans)
        assert len(scans.mean) == (~toy_scans.regions["eyeballs"]).sum()
        np.testing.assert_allclose(scans.eyeball_centres.mean(axis=0), 0, atol=1e-6)
        assert scans.eyeball_centres[0, 0] < 0 < scans.eyeball_centres[1, 0]
        np.testing.assert_allclose(scans.mean + scans.origin, toy_scans.mean[: len(scans.mean)], atol=1e-4)
        assert scans.triangles.max() < len(scans.mean)

    def test_samples_are_linear_in_their_coefficients(self, toy_scans):
        scans = ScanHeads.from_model(toy_scans)
        one, two = np.random.default_rng(0).normal(size=(2, scans.identity.shape[2]))
        both = scans.sample(one + two) - scans.mean
        expected = scans.sample(one) + scans.sample(two) - 2 * scans.mean
        np.testing.assert_allclose(both, expected, atol=1e-3)
        np.testing.assert_array_equal(scans.sample(0 * one), scans.mean)

    def test_models_without_its_regions_are_refused(self, toy_scans):
        with pytest.raises(ModelError, match=r"needs regions .*'narrow_face'.*give ICT-FaceKit"):
            ScanHeads.from_model(replace(toy_scans, regions={}))

    def test_skin_must_come_first(self, toy_scans):
        n = toy_scans.n_vertices
        regions = {k: v[::-1].copy() for k, v in toy_scans.regions.items()}
        with pytest.raises(ModelError, match="skin vertices must come first"):
            ScanHeads.from_model(replace(toy_scans, regions=regions))
        assert n == len(regions["face"])


class TestDrape:
    def test_it_lies_on_the_scan(self, toy_build):
        surface, scans, draped = toy_build.surface, toy_build.scans, toy_build.draped
        target = ClosestPoint(scans.mean, scans.triangles)
        skin = surface.skin & ~surface.head.neck & ~surface.ears
        distance = target.query(draped[skin]).distance
        assert np.median(distance) < 0.1
        before = target.query(surface.rest[skin]).distance
        assert np.median(distance) < 0.1 * np.median(before)
        back = ClosestPoint(draped, surface.skin_triangles).query(scans.mean[scans.narrow]).distance
        assert np.median(back) < 0.2

    def test_it_is_symmetric_and_not_crumpled(self, toy_build):
        surface, draped = toy_build.surface, toy_build.draped
        mirror = surface.head.symmetry
        np.testing.assert_allclose(draped[mirror] * [-1, 1, 1], draped, atol=1e-9)
        rest = vertex_normals(surface.rest, surface.skin_triangles)
        now = vertex_normals(draped, surface.skin_triangles)
        assert ((rest * now).sum(axis=1)[surface.skin] > 0.5).all()

    def test_eyeballs_keep_their_shape_and_sit_in_the_scans_eyes(self, toy_build):
        surface, draped = toy_build.surface, toy_build.draped
        for side, centre in zip((-1, 1), toy_build.scans.eyeball_centres):
            ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == side)
            middle = (draped[ball].min(axis=0) + draped[ball].max(axis=0)) / 2
            np.testing.assert_allclose(middle, centre, atol=1e-4)
            np.testing.assert_allclose(
                np.ptp(draped[ball], axis=0), np.ptp(surface.rest[ball], axis=0), atol=1e-4
            )

    def test_two_eye_openings_are_needed(self, toy_build):
        head = toy_build.surface.head
        low = replace(head, base=head.base - [0, 100, 0])
        with pytest.raises(ModelError, match="expected two eye openings in the base mesh, found"):
            HeadSurface(low)
