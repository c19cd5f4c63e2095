"""Laws of the measures about a face's image: right for known causes, steady, blind to side and skin."""

from __future__ import annotations

from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from degradations import (
    DEGRADATIONS,
    GELS,
    cast_shadow,
    dark_glasses,
    face_mask,
    gain,
    grey,
    hair,
    sepia,
)
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.inverse.conditions import SIDE, Conditions, measure_conditions, places
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric_term import Appearance
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering.lighting import directional_light
from facerelief.rendering.render import shade_mesh

SIZE = 200
LIGHT = directional_light((-0.25, 0.3, 1.0), color=0.5, ambient=0.45)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model().truncated(identity=5)


@pytest.fixture(scope="module")
def state(model) -> FaceState:
    camera = WeakPerspective(pitch=0.05, yaw=0.0, roll=0.0, translation_u=100, translation_v=95, scale=1.0)
    return FaceState(camera, np.zeros(model.n_identity, np.float32), np.zeros(model.n_expression, np.float32))


@pytest.fixture(scope="module")
def appearance(model) -> Appearance:
    return Appearance(np.zeros(model.n_albedo, np.float32), LIGHT.astype(np.float32))


def draw(model: FaceModel, state: FaceState, skin: np.ndarray, light: np.ndarray = LIGHT) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8, with a little noise, as photos have."""
    mesh = Mesh(model.shape(state.identity, state.expression), model.triangles, colors=np.clip(skin, 0, 1))
    image, _ = shade_mesh(mesh, state.camera, SIZE, SIZE, light=light, background=(0.4, 0.45, 0.5))
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(model, state) -> np.ndarray:
    return draw(model, state, model.skin())


@pytest.fixture(scope="module")
def marks(model, state) -> np.ndarray:
    points = model.landmarks["ibug68"].of(model.shape(state.identity, state.expression))
    return state.camera.project(points)[:, :2]


@pytest.fixture
def measured(model, state, appearance):
    return lambda image: measure_conditions(model, np.asarray(image, np.uint8), state, appearance)


def test_an_ordinary_picture(measured, picture):
    seen = measured(picture)
    assert 2000 < seen.pixels < SIDE**2
    assert seen.chroma > 0.024
    assert 0.4 < seen.brightness < 1
    assert seen.clipped == seen.cast == 0
    assert seen.unexplained < 0.05
    assert seen.edge < 0.3
    assert seen.eyes > 0.6
    assert seen.mouth > 0.6
    assert seen.mouth_contrast > 0.05


def test_grey_and_toned_pictures_have_no_chroma(measured, picture):
    assert measured(grey(picture)).chroma < 0.002
    assert measured(sepia(picture)).chroma < 0.006
    spread = []
    for share in (0, 0.4, 0.8, 1):
        mixed = picture * (1.0 - share) + grey(picture) * share
        spread.append(measured(mixed).chroma)
    assert spread == sorted(spread, reverse=True)


def test_more_exposure_clips_more_and_less_is_darker(measured, picture):
    bright = [measured(gain(picture, factor)).clipped for factor in (1, 1.6, 2.2, 3, 5)]
    assert bright == sorted(bright)
    assert bright[0] == 0
    assert bright[-1] > 0.9
    dark = [measured(gain(picture, factor)).brightness for factor in (1, 0.5, 0.25, 0.12, 0.05)]
    assert dark == sorted(dark, reverse=True)
    assert dark[3] < 0.15


@pytest.mark.parametrize("gel", GELS)
def test_stronger_gels_cast_more(measured, picture, gel):
    casts = [measured(gain(picture, np.array(GELS[gel]) ** power)).cast for power in (0, 0.6, 1, 1.4)]
    assert casts[0] == 0
    assert casts == sorted(casts)
    assert casts[2] > 0.3


def test_lamps_of_two_colours_do_not_average_to_skin(measured, picture):
    image = picture.copy()
    image[:, : SIZE // 2] = gain(picture[:, : SIZE // 2], GELS["red"])
    image[:, SIZE // 2 :] = gain(picture[:, SIZE // 2 :], GELS["blue"])
    assert measured(image).cast > 0.4


@pytest.mark.parametrize("angle", [0.0, np.pi, 0.7, -np.pi / 2])
def test_a_shadows_edge_is_as_strong_as_the_shadow(measured, picture, marks, angle):
    edges = []
    for strength in (0.8, 0.5, 0.35):
        seen = measured(cast_shadow(picture, marks, angle, strength))
        assert seen.edge == pytest.approx(-np.log(strength), abs=0.25)
        edges.append(seen.edge)
    assert edges == sorted(edges)
    assert 0.2 < seen.shaded < 0.65
    assert seen.grain < 1.5


def test_hair_is_grained_and_shadows_are_not(measured, picture, marks):
    seen = measured(hair(picture, marks, np.random.default_rng(0)))
    assert seen.edge > 0.7
    assert seen.grain > 1.7


def test_glasses_and_masks_hide_what_they_hide(measured, picture, marks):
    rng = np.random.default_rng(0)
    clean = measured(picture)
    glasses = measured(dark_glasses(picture, marks, rng))
    assert glasses.eyes < 0.45 < clean.eyes
    assert glasses.eyes_darker > 0.8
    assert glasses.mouth == pytest.approx(clean.mouth, abs=0.02)
    mask = measured(face_mask((228, 230, 232))(picture, marks, rng))
    assert mask.mouth < 0.2
    assert mask.mouth_contrast < 0.5 * clean.mouth_contrast
    assert mask.unexplained > clean.unexplained


def flipped(state: FaceState, appearance: Appearance) -> tuple[FaceState, Appearance]:
    """Of the mirrored image of a symmetric face."""
    camera = state.camera
    other = WeakPerspective(
        camera.pitch,
        -camera.yaw,
        -camera.roll,
        SIZE - camera.translation_u,
        camera.translation_v,
        camera.scale,
    )
    # the harmonics that are odd in x: x, xy, xz
    sign = np.ones((9, 1), np.float32)
    sign[[3, 4, 7]] = -1
    return replace(state, camera=other), replace(appearance, light=appearance.light * sign)


@pytest.mark.parametrize("name", [None, "grey", "dark", "blue light", "shadow, slanting", "mask, blue"])
def test_a_mirrored_picture_measures_the_same(model, state, appearance, picture, marks, name):
    image = picture
    if name is not None:
        image = DEGRADATIONS[name](picture, marks, np.random.default_rng(0))
    one = asdict(measure_conditions(model, image, state, appearance))
    other = asdict(
        measure_conditions(model, np.ascontiguousarray(image[:, ::-1]), *flipped(state, appearance))
    )
    assert other.pop("pixels") == pytest.approx(one.pop("pixels"), rel=0.02)
    if one["edge"] < 0.5:
        # weak edges lie anywhere, and so do their sides
        for key in ("shaded", "grain"):
            one.pop(key)
    for key, value in one.items():
        # cells are a little different pixels, seen from the other side; smooth skin has hardly any grain
        assert other[key] == pytest.approx(value, rel=0.15, abs=0.5 if key == "grain" else 0.05), key


@pytest.mark.parametrize(
    "skin", [(0.30, 0.24, 0.23), (0.42, 0.33, 0.30), (0.75, 0.76, 0.76), (1.15, 1.2, 1.25), (1.0, 1.0, 0.85)]
)
def test_skin_tones_are_neither_darkness_nor_coloured_light(model, state, appearance, skin):
    """Factors on the mean skin, from very dark to very light."""
    seen = measure_conditions(model, draw(model, state, model.skin() * skin), state, appearance)
    assert seen.cast == 0
    assert seen.brightness > 0.15
    assert seen.chroma > 0.02
    assert seen.clipped < 0.02
    assert seen.edge < 0.4


@pytest.mark.parametrize("width", [15, 40, 80])
def test_small_faces_measure_alike(model, state, appearance, picture, width):
    zoom = width / 130  # the face is about 130 px wide and high
    size = round(SIZE * zoom)
    small = np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))
    camera = state.camera.in_crop(0, 0, size / SIZE)
    seen = measure_conditions(model, small, replace(state, camera=camera), appearance)
    assert all(np.isfinite(v) for v in asdict(seen).values())
    assert seen.cast == seen.clipped == 0
    assert seen.chroma > 0.024
    assert seen.edge < 0.4
    if width >= 40:
        assert seen.mouth > 0.4


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_plain_pictures_are_finite(measured, value):
    seen = measured(np.full((SIZE, SIZE, 3), value, np.uint8))
    assert all(np.isfinite(v) for v in asdict(seen).values())
    assert seen.pixels > 0
    assert seen.clipped == (value == 255)


@pytest.mark.parametrize("channels", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_pictures_without_a_channel_are_finite(measured, picture, channels):
    image = picture.copy()
    image[..., channels] = 0
    seen = measured(image)
    assert all(np.isfinite(v) for v in asdict(seen).values())
    assert seen.cast > 0.4


def test_noise_is_finite(measured):
    seen = measured(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)))
    assert all(np.isfinite(v) for v in asdict(seen).values())
    assert seen.unexplained > 0.3


@pytest.mark.parametrize("left", [-160, -100, -60, 60, 100, 160, 5000])
def test_faces_beyond_the_frame_are_finite(model, state, appearance, picture, left):
    moved = replace(state, camera=state.camera.in_crop(left, 0, 1))
    seen = measure_conditions(model, picture, moved, appearance)
    assert all(np.isfinite(v) for v in asdict(seen).values())
    if abs(left) >= 160:
        assert seen.pixels < 500
    if left == 5000:
        assert seen == Conditions()


def test_a_state_that_is_not_finite_tells_nothing(model, state, appearance, picture):
    broken = replace(state, identity=np.full(model.n_identity, np.nan, np.float32))
    assert measure_conditions(model, picture, broken, appearance) == Conditions()


def test_models_without_landmarks_have_places(model):
    full = places(model)
    mediapipe = {"mediapipe478": model.landmarks["mediapipe478"]}
    for bare in (replace(model, landmarks=mediapipe, contours={}), replace(model, landmarks={}, contours={})):
        guessed = places(bare)
        assert np.abs(guessed.eyes - full.eyes).max() < 12
        assert np.abs(guessed.mouth - full.mouth).max() < 12


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_keep_the_picture_and_are_the_same_each_time(picture, marks, name):
    before = picture.copy()
    first = DEGRADATIONS[name](picture, marks, np.random.default_rng(1))
    again = DEGRADATIONS[name](picture, marks, np.random.default_rng(1))
    assert first.shape == picture.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, picture)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(picture, before)
