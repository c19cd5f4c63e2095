"""A new light on the whole head: the same light changes nothing, and light is linear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.synthesis.photo import PhotoFace
from facerelief.synthesis.relight import Gain, HeadLight


@pytest.fixture(scope="module")
def photo(toy_reconstruction):
    return PhotoFace(toy_reconstruction, 64, 0.35)


def relit(photo, light):
    height, width = photo.reconstruction.image.shape[:2]
    maps = tuple(x.astype(np.float32) for x in np.meshgrid(np.arange(width), np.arange(height)))
    floor = photo.least_shading(photo.normals, light)
    return HeadLight(photo)(photo.uvz, photo.normals, light, floor, maps)


def test_the_photos_own_light_changes_nothing(photo):
    gain = relit(photo, photo.reconstruction.light)
    np.testing.assert_allclose(gain.factor, 1, atol=1e-5)
    image = photo.reconstruction.image.copy()
    gain.apply(image)
    np.testing.assert_array_equal(image, photo.reconstruction.image)


def test_twice_the_light_is_twice_the_head_and_leaves_the_wall(photo):
    gain = relit(photo, 2 * photo.reconstruction.light)
    left, top, right, bottom = gain.box
    matte = HeadLight(photo).matte[top:bottom, left:right]
    np.testing.assert_allclose(gain.factor[matte == 255], 2, atol=0.01)
    np.testing.assert_array_equal(gain.factor[matte == 0], 1)
    assert gain.factor.max() <= 2.01


def test_a_head_outside_the_image_has_no_gain(photo, toy_reconstruction):
    away = replace(toy_reconstruction.camera, translation_u=5000.0)
    uvz = away.project(photo.vertices.astype(float))
    assert HeadLight(photo)(uvz, photo.normals, photo.reconstruction.light, photo.floor, ()) is None


def test_a_window_of_a_gain_is_its_factors_and_one_outside():
    rng = np.random.default_rng(0)
    gain = Gain(rng.uniform(0.5, 2, (6, 8, 3)).astype(np.float32), (10, 20, 18, 26))
    np.testing.assert_array_equal(gain.window(gain.box), gain.factor)
    wide = gain.window((8, 18, 20, 28))
    np.testing.assert_array_equal(wide[2:8, 2:10], gain.factor)
    wide[2:8, 2:10] = 1
    np.testing.assert_array_equal(wide, 1)
    np.testing.assert_array_equal(gain.window((40, 40, 44, 43)), np.ones((3, 4, 3)))


def test_apply_multiplies_the_box_alone():
    image = np.full((10, 10, 3), 100, np.uint8)
    Gain(np.full((2, 3, 3), 3.0, np.float32), (4, 5, 7, 7)).apply(image)
    expected = np.full((10, 10, 3), 100, np.uint8)
    expected[5:7, 4:7] = 255
    np.testing.assert_array_equal(image, expected)
