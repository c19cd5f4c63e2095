"""Laws of the learned skin: a drawn population's mean and components come back, light stays out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.building.albedo import (
    AlbedoConfig,
    AlbedoLearner,
    AlbedoStatistics,
    Skin,
    observe_skin,
    with_albedo,
)
from facerelief.lab.building.skin_light import without_light
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import LUMA, directional_light, shade
from facerelief.rendering.render import shade_mesh
from facerelief.rendering.spherical_harmonics import sh_basis

CONFIG = AlbedoConfig(components=4, rounds=2, imputations=3)
PERSONS = 48


class Population:
    """Persons with skins of known mean and components (F, 3, 3): tone, red cheeks, a mark on one cheek."""

    def __init__(self, model: FaceModel) -> None:
        self.face = np.flatnonzero(model.face_vertices)
        x, y, _ = model.mean[self.face].T.astype(np.float64)
        self.normal = vertex_normals(model.mean, model.triangles)[self.face].astype(np.float64)

        def spot(u: float, v: float, wide: float) -> np.ndarray:
            return np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * wide**2))[:, None]

        lips = spot(0, -48, 9)
        self.mean = np.array([0.62, 0.47, 0.41]) * (1 - lips * [0.05, 0.3, 0.25])
        tone = -0.07 * np.ones((len(x), 3)) * [0.9, 1.0, 1.0]
        cheeks = (spot(35, -15, 12) + spot(-35, -15, 12)) * [0.02, -0.04, -0.03]
        mark = spot(25, 5, 10) * [-0.03, -0.05, -0.05]
        self.components = np.stack([tone, cheeks, mark], axis=2)
        self.coefficients = np.random.default_rng(0).normal(size=(PERSONS, 3))

    def albedo(self, person: int) -> np.ndarray:
        return self.mean + self.components @ self.coefficients[person]

    def photo(self, person: int, light: np.ndarray, studio: str = "", seen: np.ndarray | float = 1.0) -> Skin:
        color = self.albedo(person) * (sh_basis(self.normal) @ light.reshape(3, 9).T)
        weight = np.clip((self.normal[:, 2] - 0.2) / 0.5, 0, 1) * seen
        return Skin(
            f"p{person:02}",
            studio,
            color.astype(np.float16),
            self.normal.astype(np.float16),
            weight.astype(np.float16),
        )


@pytest.fixture(scope="module")
def population(toy_model) -> Population:
    return Population(toy_model)


@pytest.fixture(scope="module")
def studio_light() -> np.ndarray:
    """(27,) brighter and more from one side than the prior's mean."""
    return CONFIG.prior.mean() * 1.05 + np.tile([0, 0, 0, 0.08, 0, 0, 0, 0, 0], 3)


@pytest.fixture(scope="module")
def learned(toy_model, population, studio_light) -> AlbedoLearner:
    """From one studio, half of the persons with one side of the face unseen."""
    x = toy_model.mean[population.face, 0]
    sides = (1.0, x > -20, 1.0, x < 20)
    photos = [population.photo(k, studio_light, "studio", sides[k % 4]) for k in range(PERSONS)]
    learner = AlbedoLearner(toy_model, photos, CONFIG)
    learner.learn()
    return learner


def explained(component: np.ndarray, basis: np.ndarray, weight: np.ndarray) -> float:
    """Share of a component's (F, 3) energy that lies in the span of a basis (F, 3, A), by weight (F,)."""
    root = np.sqrt(weight)[:, None]
    target, rows = (component * root).ravel(), (basis * root[..., None]).reshape(-1, basis.shape[2])
    left_over = target - rows @ np.linalg.lstsq(rows, target, rcond=None)[0]
    return 1 - (left_over**2).sum() / (target**2).sum()


def lightless(learned: AlbedoLearner, population: Population) -> np.ndarray:
    """The population's components without what normals and occlusion explain of them: that is light."""
    return without_light(population.mean, population.components, learned.areas, learned.area)[1]


class TestLearning:
    def test_the_mean_comes_back_but_for_one_factor(self, learned, population):
        """How bright the studio was cannot be told from photos that are all its own."""
        plain = learned.areas.plain
        ratio = learned.statistics.mean[plain] / population.mean[plain]
        assert np.median(ratio) == pytest.approx(1, abs=0.2)
        assert (ratio / np.median(ratio)).std() < 0.03

    def test_the_span_of_the_components_comes_back(self, learned, population):
        weight = learned.area * learned.areas.plain
        for k, least in ((0, 0.97), (1, 0.85), (2, 0.85)):
            found = explained(lightless(learned, population)[:, :, k], learned.statistics.components, weight)
            assert found > least

    def test_a_mark_on_one_side_may_be_on_the_other_too(self, learned, population):
        weight = learned.area * learned.areas.plain
        other = lightless(learned, population)[learned.mirror, :, 2]
        assert explained(other, learned.statistics.components, weight) > 0.85

    def test_their_size_is_one_standard_deviation(self, learned, population):
        rms = np.sqrt((learned.statistics.components[learned.areas.plain] ** 2).sum(axis=(0, 1)))
        truth = np.sqrt((population.components[learned.areas.plain, :, 0] ** 2).sum())
        deviation = np.sqrt((population.coefficients[:, 0] ** 2).mean())
        assert rms.max() == pytest.approx(truth * deviation, rel=0.2)

    def test_mirrored_symmetry(self, learned):
        """Half of the population is the mirror image of the other half."""
        mean, components, mirror = learned.statistics.mean, learned.statistics.components, learned.mirror
        # the toy's normals, by which the mean is levelled, are symmetric but for its diagonals
        np.testing.assert_allclose(mean[mirror], mean, atol=0.01)
        for k in range(3):
            one, other = components[:, :, k], components[mirror, :, k]
            scale = np.abs(one).max()
            even, odd = np.abs(one - other).max(), np.abs(one + other).max()
            assert min(even, odd) < 0.1 * scale

    def test_signs_and_number_of_persons(self, learned):
        assert (learned.statistics.components.sum(axis=(0, 1)) >= 0).all()
        assert learned.statistics.persons == PERSONS
        assert learned.statistics.truncated(2).components.shape[2] == 2

    def test_learning_explains_the_photos_better(self, toy_model, learned):
        before = AlbedoLearner(toy_model, learned.photos, CONFIG)
        before.find_lights()
        assert learned.rms() < 0.25 * before.rms()

    def test_photos_of_one_studio_share_their_light(self, learned):
        np.testing.assert_array_equal(learned.lights, np.tile(learned.lights[0], (PERSONS, 1)))

    def test_tone_among_persons_of_one_studio_is_albedo(self, learned, population):
        """Coefficients of the darkest and the lightest differ, their lights do not."""
        albedos = learned.statistics.mean + np.einsum(
            "fca,pa->pfc", learned.statistics.components, learned.coefficients
        )
        found = (albedos[:, learned.areas.plain] @ LUMA).mean(axis=1)
        truth = np.array([(population.albedo(k)[learned.areas.plain] @ LUMA).mean() for k in range(PERSONS)])
        assert np.corrcoef(found, truth)[0, 1] > 0.99
        assert np.polyfit(np.log(truth), np.log(found), 1)[0] == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def learner(toy_model, population) -> AlbedoLearner:
    """Knows the truth, and hardly pulls coefficients to zero."""
    light, config = CONFIG.prior.mean(), replace(CONFIG, regularisation=1e-7)
    learner = AlbedoLearner(toy_model, [population.photo(k, light) for k in range(3)], config)
    learner.statistics = AlbedoStatistics(population.mean, population.components, 3)
    return learner


class TestOnePhoto:
    def test_the_mean_in_usual_light_is_explained_by_nothing(self, learner, population):
        photo = population.photo(0, CONFIG.prior.mean())
        shading = sh_basis(population.normal) @ CONFIG.prior.mean().reshape(3, 9).T
        plain = replace(photo, color=population.mean * shading, normal=population.normal)
        light, coefficients = learner.explain(plain)
        np.testing.assert_allclose(light, CONFIG.prior.mean(), atol=1e-6)
        np.testing.assert_allclose(coefficients, 0, atol=1e-6)

    def test_light_and_skin_are_told_apart(self, learner, population):
        wanted = CONFIG.prior.mean() + np.tile([0, 0.1, 0, -0.15, 0, 0, 0, 0, 0], 3)
        light, coefficients = learner.explain(population.photo(1, wanted))
        np.testing.assert_allclose(light, wanted, atol=0.06)
        np.testing.assert_allclose(coefficients[1:], population.coefficients[1, 1:], atol=0.3)
        error, weight = learner.residual(population.photo(1, wanted), light, coefficients)
        assert (weight * error).sum() / weight.sum() < 0.005

    def test_a_light_that_is_known_stays(self, learner, population):
        wanted = CONFIG.prior.mean() * 1.2
        light, coefficients = learner.explain(population.photo(2, wanted), wanted, fixed_light=True)
        np.testing.assert_array_equal(light, wanted)
        np.testing.assert_allclose(coefficients, population.coefficients[2], atol=0.1)

    def test_regularisation_pulls_to_the_mean(self, learner, population):
        photo, before = population.photo(2, CONFIG.prior.mean()), learner.config
        sizes = []
        for strength in (1e-7, 5e-5, 1e-2):
            learner.config = replace(before, regularisation=strength)
            _, coefficients = learner.explain(photo, CONFIG.prior.mean(), fixed_light=True)
            sizes.append(np.linalg.norm(coefficients))
        learner.config = before
        assert sizes[0] > sizes[1] > 5 * sizes[2]

    def test_too_little_seen_tells_nothing(self, learner, population):
        light, coefficients = learner.explain(population.photo(0, CONFIG.prior.mean(), seen=0.0))
        np.testing.assert_array_equal(light, CONFIG.prior.mean())
        assert not coefficients.any()

    def test_what_covers_the_skin_counts_little(self, learner, population):
        photo = population.photo(1, CONFIG.prior.mean())
        covered = photo.color.copy()
        covered[::8] = 0.02
        clean, hidden = (learner.explain(replace(photo, color=c))[1] for c in (photo.color, covered))
        np.testing.assert_allclose(hidden, clean, atol=0.3)

    def test_colour_over_shading_is_albedo(self, learner, population):
        learner.lights[:] = CONFIG.prior.mean()
        learner.coefficients = population.coefficients[:3].copy()
        albedo, weight = learner.person_albedos()
        for k in range(3):
            seen = weight[k] > 0.1
            np.testing.assert_allclose(albedo[k, seen], population.albedo(k)[seen], atol=0.01)
            known = ~learner.areas.cavity
            np.testing.assert_allclose(weight[k, known], learner.photos[k].weight[known], atol=0.02)
            assert not weight[k, ~known].any()


class TestBookkeeping:
    def test_photos_of_one_person_are_averaged(self, toy_model, population):
        light = CONFIG.prior.mean()
        x = toy_model.mean[population.face, 0]
        photos = [population.photo(0, light, seen=x > 0), population.photo(0, light, seen=x <= 0)]
        photos += [population.photo(1, light)]
        learner = AlbedoLearner(toy_model, photos, CONFIG)
        assert learner.persons == ["p00", "p01"]
        learner.statistics = AlbedoStatistics(population.mean, population.components, 2)
        learner.coefficients = population.coefficients[[0, 0, 1]]
        albedo, weight = learner.person_albedos()
        assert albedo.shape == (2, len(population.face), 3)
        seen = (population.normal[:, 2] > 0.4) & ~learner.areas.cavity
        assert (weight[0, seen] > 0.2).all()
        np.testing.assert_allclose(albedo[0, seen], population.albedo(0)[seen], atol=0.01)

    def test_what_is_unseen_comes_from_the_other_side_or_the_mean(self, learned):
        learner, count = learned, len(learned.face)
        rng = np.random.default_rng(0)
        albedo = rng.uniform(0.3, 0.8, (1, count, 3)).astype(np.float32)
        mean = rng.uniform(0.3, 0.8, (count, 3)).astype(np.float32)
        everything = np.ones((1, count), np.float32)
        np.testing.assert_allclose(learner._completed(albedo, everything, mean), albedo, atol=1e-6)
        off_middle = learner.mirror != np.arange(count)
        half = (off_middle & (learner.mirror > np.arange(count))).astype(np.float32)[None]
        filled = learner._completed(albedo, half, mean)[0]
        np.testing.assert_allclose(filled[off_middle], filled[learner.mirror][off_middle], atol=1e-6)
        np.testing.assert_allclose(filled[half[0] > 0], albedo[0, half[0] > 0], atol=1e-6)
        # a person half as bright as the mean has half the mean's colour where neither side is seen
        none = np.where(rng.random((1, count)) < 0.3, 1, 0).astype(np.float32)
        none *= none[:, learner.mirror]
        dark = learner._completed(0.5 * mean[None], none, mean)[0]
        np.testing.assert_allclose(dark, 0.5 * mean, atol=1e-5)

    def test_models_and_populations_that_will_not_do(self, toy_model, population):
        photos = [population.photo(0, CONFIG.prior.mean())]
        with pytest.raises(ModelError, match="'toy' has no mirror symmetry"):
            AlbedoLearner(replace(toy_model, symmetry=None), photos, CONFIG)
        with pytest.raises(ModelError, match="1 persons are too few for 4 albedo components; give more"):
            AlbedoLearner(toy_model, photos, CONFIG)
        half = {"face": toy_model.regions["face"] & (toy_model.mean[:, 0] > 1)}
        with pytest.raises(ModelError, match="face's region is not symmetric"):
            AlbedoLearner(replace(toy_model, regions=half), photos * 2, replace(CONFIG, components=1))


@pytest.fixture(scope="module")
def model(toy_model) -> FaceModel:
    """The toy head and a loose triangle, like an eyeball."""

    def more(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values[:3]])

    n = toy_model.n_vertices
    return replace(
        toy_model,
        **{
            k: more(getattr(toy_model, k))
            for k in ("mean", "identity", "expression", "albedo_mean", "albedo")
        },
        triangles=np.concatenate([toy_model.triangles, [[n, n + 1, n + 2]]]).astype(np.int32),
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        regions={"face": np.append(toy_model.regions["face"], np.zeros(3, bool))},
        symmetry=None,
    )


@pytest.fixture(scope="module")
def statistics(model) -> AlbedoStatistics:
    rng = np.random.default_rng(0)
    count = int(model.face_vertices.sum())
    return AlbedoStatistics(
        rng.uniform(0.2, 0.9, (count, 3)).astype(np.float32),
        rng.normal(0, 0.05, (count, 3, 2)).astype(np.float32),
        7,
    )


class TestWithAlbedo:
    def test_geometry_stays(self, model, statistics):
        made = with_albedo(model, statistics)
        for name in ("mean", "identity", "expression", "triangles", "landmarks", "regions", "version"):
            assert getattr(made, name) is getattr(model, name)

    def test_the_face_gets_what_was_learned(self, model, statistics):
        made = with_albedo(model, statistics)
        face = model.face_vertices
        np.testing.assert_array_equal(made.albedo_mean[face], statistics.mean)
        np.testing.assert_array_equal(made.albedo[face], statistics.components)

    def test_beyond_the_face_colours_lie_among_their_neighbours(self, model, statistics):
        made = with_albedo(model, statistics)
        skin = np.append(np.ones(model.n_vertices - 3, bool), np.zeros(3, bool))
        for values, learned in ((made.albedo_mean, statistics.mean), (made.albedo, statistics.components)):
            low, high = learned.min(axis=0) - 1e-5, learned.max(axis=0) + 1e-5
            assert ((values[skin] >= low) & (values[skin] <= high)).all()

    def test_one_colour_goes_on_as_that_colour(self, model, statistics):
        even = replace(statistics, mean=np.full_like(statistics.mean, 0.5))
        made = with_albedo(model, even)
        np.testing.assert_allclose(made.albedo_mean[:-3], 0.5, atol=1e-5)

    def test_what_hangs_on_nothing_keeps_its_colours(self, model, statistics):
        made = with_albedo(model, statistics)
        np.testing.assert_array_equal(made.albedo_mean[-3:], model.albedo_mean[-3:])
        assert not made.albedo[-3:].any()


@pytest.fixture(scope="module")
def colors(toy_model) -> np.ndarray:
    """(N, 3) smooth, so that a pixel more or less does not matter."""
    x, y, _ = toy_model.mean.T / 100
    return np.stack([0.7 + 0.1 * x, 0.5 + 0.1 * y, np.full_like(x, 0.45)], axis=1).astype(np.float32)


class TestObserveSkin:
    CAMERA = WeakPerspective(0.0, 0.2, 0.0, 130, 150, 1.25)
    LIGHT = directional_light((0.3, 0.3, 1.0), color=0.5, ambient=0.45)

    def seen(self, model: FaceModel, colors: np.ndarray, camera: WeakPerspective) -> Skin:
        mesh = Mesh(model.mean, model.triangles, colors)
        image, _ = shade_mesh(mesh, camera, 300, 260, light=self.LIGHT, background=(0, 1, 0))
        uv = camera.project(model.mean[model.face_vertices])[:, :2]
        state = FaceState(camera, np.zeros(0, np.float32), np.zeros(0, np.float32))
        (left, top), (right, bottom) = uv.min(axis=0).tolist(), uv.max(axis=0).tolist()
        return observe_skin(model, image, (left, top, right, bottom), state, "anna", "studio")

    def test_a_drawing_gives_its_colours_back(self, toy_model, colors):
        skin = self.seen(toy_model, colors, self.CAMERA)
        face = toy_model.face_vertices
        assert (skin.person, skin.studio) == ("anna", "studio")
        assert len(skin.color) == len(skin.normal) == len(skin.weight) == face.sum()
        normal = self.CAMERA.to_camera(vertex_normals(toy_model.mean, toy_model.triangles))[face]
        np.testing.assert_allclose(skin.normal, normal, atol=2e-3)
        expected = colors[face] * shade(normal, self.LIGHT)
        seen = skin.weight > 0.3
        assert seen.mean() > 0.4
        assert np.abs(skin.color - expected)[seen].mean() < 0.01
        assert np.abs(skin.color - expected)[seen].max() < 0.06

    def test_what_is_turned_away_or_outside_weighs_nothing(self, toy_model, colors):
        skin = self.seen(toy_model, colors, self.CAMERA)
        assert 0 <= skin.weight.min() <= skin.weight.max() <= 1
        assert not skin.weight[skin.normal[:, 2] < 0.2].any()
        aside = replace(self.CAMERA, translation_u=10.0)
        half = self.seen(toy_model, colors, aside)
        outside = aside.project(toy_model.mean[toy_model.face_vertices])[:, 0] < -1
        assert outside.any()
        assert not half.weight[outside].any()
        assert half.weight.any()
