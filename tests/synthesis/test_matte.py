"""The matte of a head: within its range, whole inside, nothing far away, hair by its colour."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.synthesis.matte import head_matte

BOX = (10, 5, 190, 195)


@pytest.fixture(scope="module")
def scene():
    """(200, 200, 3) skin disc with a cap of dark hair before a bright wall, and the labels over BOX."""
    y, x = np.mgrid[0:200, 0:200]
    image = np.full((200, 200, 3), (200, 210, 220), np.uint8)
    hair = (np.hypot(x - 100, y - 90) < 62) & (y < 90)
    head = np.hypot(x - 100, y - 100) < 45
    image[hair] = (40, 30, 25)
    image[head] = (200, 150, 120)
    noise = np.random.default_rng(0).integers(-6, 7, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    left, top, right, bottom = BOX
    return image, (2 * head).astype(np.uint8)[top:bottom, left:right], hair & ~head


def test_the_head_is_whole_and_the_wall_is_nothing(scene):
    image, labels, _ = scene
    matte = head_matte(image, labels, BOX, 1.0)
    assert matte.shape == (200, 200)
    assert matte.dtype == np.uint8
    y, x = np.mgrid[0:200, 0:200]
    assert (matte[np.hypot(x - 100, y - 100) < 38] == 255).all()
    assert not matte[np.hypot(x - 100, y - 95) > 95].any()


def test_hair_belongs_to_the_head_and_the_wall_beside_it_does_not(scene):
    image, labels, hair = scene
    matte = head_matte(image, labels, BOX, 1.0).astype(float)
    assert matte[hair].mean() > 200
    y, x = np.mgrid[0:200, 0:200]
    beside = (np.abs(y - 110) < 15) & (np.hypot(x - 100, y - 100) > 55)
    assert matte[beside].mean() < 25


def test_nothing_lies_outside_the_box(scene):
    image, labels, _ = scene
    matte = head_matte(image, labels, BOX, 1.0)
    left, top, right, bottom = BOX
    matte[top:bottom, left:right] = 0
    assert not matte.any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("label", "least", "most"), [(0, 0, 0), (1, 0, 0), (2, 255, 255)])
def test_labels_without_head_or_without_background(scene, label, least, most):
    image, labels, _ = scene
    left, top, right, bottom = BOX
    found = head_matte(image, np.full_like(labels, label), BOX, 0.3)[top:bottom, left:right]
    assert (found.min(), found.max()) == (least, most)


def test_the_same_photo_gives_the_same_matte(scene):
    image, labels, _ = scene
    np.testing.assert_array_equal(head_matte(image, labels, BOX, 1.0), head_matte(image, labels, BOX, 1.0))
