"""Laws of light in an albedo model: what follows the normals goes, marks and tones stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.geometry.adjacency import vertex_links
from facerelief.lab.building.skin_light import (
    SkinAreas,
    filled_cavities,
    hair_free,
    light_share,
    skin_areas,
    vertex_areas,
    without_light,
)
from facerelief.morphable.model import FaceModel

SKIN = np.array([0.62, 0.47, 0.41])


@pytest.fixture(scope="module")
def areas(toy_model) -> SkinAreas:
    return skin_areas(toy_model)


@pytest.fixture(scope="module")
def face(toy_model) -> np.ndarray:
    return np.flatnonzero(toy_model.face_vertices)


@pytest.fixture(scope="module")
def weight(toy_model, face) -> np.ndarray:
    return vertex_areas(toy_model)[face]


@pytest.fixture(scope="module")
def light(areas) -> np.ndarray:
    """(F,) a factor around 1 that harmonics of the normals and the ambient visibility make."""
    slopes = np.array([0, 0.04, 0.12, 0.05, 0, 0.03, 0.02, 0, 0.03, 0.2])
    field = areas.features @ slopes
    return 1 + field - field[areas.plain].mean()


def mark(model: FaceModel, face: np.ndarray) -> np.ndarray:
    """(F,) a small dark spot on the plain skin of one cheek."""
    x, y, _ = model.mean[face].T
    return np.exp(-((x - 32) ** 2 + (y - 12) ** 2) / (2 * 4.0**2))


def with_mean(model: FaceModel, face: np.ndarray, colors: np.ndarray) -> FaceModel:
    mean = model.albedo_mean.copy()
    mean[face] = colors
    return replace(model, albedo_mean=mean)


class TestAreas:
    def test_plain_skin_has_no_other_area_in_it(self, areas):
        assert areas.plain.sum() > 50
        assert not (areas.plain & areas.cavity).any()

    def test_features_are_ten_and_finite(self, areas, face):
        assert areas.features.shape == (len(face), 10)
        assert np.isfinite(areas.features).all()
        assert (areas.features[:, 9] >= 0).all()
        assert (areas.features[:, 9] <= 1).all()

    def test_regions_that_are_marked_are_not_plain(self, toy_model, face):
        brows = (toy_model.mean[:, 1] > 30) & toy_model.regions["face"]
        marked = skin_areas(replace(toy_model, regions={**toy_model.regions, "brows": brows}))
        assert not (marked.plain & brows[face]).any()

    def test_a_model_without_landmarks_is_refused(self, toy_model):
        with pytest.raises(ModelError, match="no 68 landmarks"):
            skin_areas(replace(toy_model, landmarks={}))


class TestLightShare:
    def test_pure_light_is_explained_and_marks_are_not(self, toy_model, face, areas, light):
        lit = light_share(with_mean(toy_model, face, SKIN * light[:, None]))
        assert lit.explained > 0.999
        rng = np.random.default_rng(0)
        noise = light_share(with_mean(toy_model, face, SKIN + rng.normal(0, 0.03, (len(face), 3))))
        # ten numbers explain a tenth of what a hundred vertices do by chance
        assert noise.explained < 0.1 + 10 / areas.plain.sum()

    def test_one_colour_has_no_light(self, toy_model, face):
        share = light_share(with_mean(toy_model, face, np.tile(SKIN, (len(face), 1))))
        assert share.deviation < 1e-6
        assert share.asymmetry == 0
        assert share.darkest == pytest.approx(SKIN.min(), abs=1e-6)

    def test_asymmetry_and_darkest_value(self, toy_model, face):
        colors = np.tile(SKIN, (len(face), 1))
        one = int(np.argmax(toy_model.mean[face, 0]))
        colors[one] -= 0.2
        share = light_share(with_mean(toy_model, face, colors))
        assert share.asymmetry == pytest.approx(0.2, abs=1e-5)
        assert share.darkest == pytest.approx(SKIN.min() - 0.2, abs=1e-5)


class TestWithoutLight:
    def test_even_skin_stays(self, face, areas, weight):
        even = np.tile(SKIN, (len(face), 1))
        components = np.tile(np.array([0.07, 0.08, 0.08])[:, None], (len(face), 1, 1))
        mean, parts = without_light(even, components, areas, weight)
        np.testing.assert_allclose(mean, even, rtol=1e-4)
        np.testing.assert_allclose(parts, components, rtol=1e-3)

    def test_a_field_of_light_goes_and_a_mark_stays(self, toy_model, face, areas, weight, light):
        spot = mark(toy_model, face)
        true = SKIN * (1 - 0.3 * spot[:, None])
        assert light[areas.plain].std() > 0.02
        mean, _ = without_light(true * light[:, None], np.zeros((len(face), 3, 0)), areas, weight)
        plain = areas.plain & (spot < 0.01)
        ratio = (mean / SKIN)[plain]
        assert (ratio / ratio.mean()).std() < 0.25 * (light[plain] / light[plain].mean()).std()
        middle = spot.argmax()
        assert mean[middle, 0] / mean[plain, 0].mean() == pytest.approx(0.7, abs=0.06)
        after = light_share(with_mean(toy_model, face, mean))
        before = light_share(with_mean(toy_model, face, true * light[:, None]))
        assert after.explained < 0.1 < before.explained

    def test_what_is_left_has_no_more_light_to_give(self, face, areas, weight, light):
        none = np.zeros((len(face), 3, 0))
        once, _ = without_light(SKIN * light[:, None], none, areas, weight)
        twice, _ = without_light(once, none, areas, weight)
        np.testing.assert_allclose(twice[areas.plain], once[areas.plain], atol=2e-3)

    def test_components_keep_tone_and_marks_and_lose_light(self, toy_model, face, areas, weight, light):
        tone = np.full((len(face), 3), -0.07)
        spot = -0.05 * mark(toy_model, face)[:, None] * np.ones(3)
        shade = 0.2 * (light - 1)[:, None] * np.ones(3)
        even = np.tile(SKIN, (len(face), 1))
        _, found = without_light(even, np.stack([tone, spot, shade], axis=2), areas, weight)
        w = (weight * areas.plain)[:, None]
        size = [np.sqrt((w * c**2).sum()) for c in (tone, spot, shade)]
        left = [np.sqrt((w * found[:, :, k] ** 2).sum()) for k in range(3)]
        assert left[0] == pytest.approx(size[0], rel=1e-2)
        assert left[1] > 0.8 * size[1]
        centred = shade - (w * shade).sum(axis=0) / w.sum()
        assert np.sqrt((w * (found[:, :, 2] - found[areas.plain, :, 2].mean()) ** 2).sum()) < 0.2 * np.sqrt(
            (w * centred**2).sum()
        )


class TestFilledCavities:
    def test_known_rows_stay_and_hidden_ones_are_harmonic(self, toy_model, face):
        links = vertex_links(toy_model.triangles, toy_model.n_vertices)[face][:, face]
        rng = np.random.default_rng(0)
        values = rng.uniform(0.2, 0.8, (len(face), 3))
        hidden = np.hypot(*toy_model.mean[face, :2].T) < 25
        filled = filled_cavities(values, links, hidden)
        np.testing.assert_array_equal(filled[~hidden], values[~hidden])
        degree = np.asarray(links.sum(axis=1)).ravel()
        mean = (links @ filled) / degree[:, None]
        np.testing.assert_allclose(filled[hidden], mean[hidden], atol=1e-3)
        assert filled[hidden].min() >= values[~hidden].min()
        assert filled[hidden].max() <= values[~hidden].max()

    def test_what_is_hidden_does_not_count(self, toy_model, face):
        links = vertex_links(toy_model.triangles, toy_model.n_vertices)[face][:, face]
        hidden = np.hypot(*toy_model.mean[face, :2].T) < 25
        values = np.full((len(face), 2), 0.5)
        values[hidden] = -7
        np.testing.assert_allclose(filled_cavities(values, links, hidden), 0.5, atol=1e-3)


class TestHairFree:
    def test_dark_sides_lose_their_weight_and_nothing_else_does(self, toy_model, face, areas):
        x = np.abs(toy_model.mean[face, 0])
        sides = x > 40
        albedo = np.tile(SKIN.astype(np.float32), (2, len(face), 1))
        hair = sides & (toy_model.mean[face, 1] > 0)
        albedo[0, hair] *= 0.4
        spot = areas.plain & ~sides & (x < 12)
        albedo[:, spot] *= 0.4
        weight = np.full((2, len(face)), 0.8, np.float32)
        found = hair_free(albedo, weight, areas, sides)
        assert hair.any()
        assert (found[0, hair] == 0).all()
        np.testing.assert_array_equal(found[0, ~hair], weight[0, ~hair])
        np.testing.assert_array_equal(found[1], weight[1])
        assert (weight == np.float32(0.8)).all()

    def test_dark_skin_is_no_hair(self, face, areas):
        sides = np.ones(len(face), bool) & ~areas.plain
        albedo = np.tile((0.25 * SKIN).astype(np.float32), (1, len(face), 1))
        weight = np.ones((1, len(face)), np.float32)
        np.testing.assert_array_equal(hair_free(albedo, weight, areas, sides), weight)

    def test_subjects_of_whom_little_is_seen_are_left_alone(self, face, areas):
        weight = np.zeros((1, len(face)), np.float32)
        weight[0, np.flatnonzero(areas.plain)[:10]] = 1
        albedo = np.random.default_rng(0).random((1, len(face), 3)).astype(np.float32)
        np.testing.assert_array_equal(hair_free(albedo, weight, areas, ~areas.plain), weight)


def test_areas_of_vertices_add_up_to_the_surface(toy_model):
    corners = toy_model.mean[toy_model.triangles].astype(float)
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    assert vertex_areas(toy_model).sum() == pytest.approx(area.sum(), rel=1e-5)
