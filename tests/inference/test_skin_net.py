"""The skin net's mask: skin and not hair, in the place of the face however the image lies."""

from __future__ import annotations

import numpy as np
import pytest

import facerelief
from facerelief.detection import detect_faces
from facerelief.errors import ModelError
from facerelief.examples import astronaut_path
from facerelief.inference import landmark_net
from facerelief.inference.skin_net import SkinRunner, balanced


@pytest.fixture(scope="module")
def runner():
    return SkinRunner(threads=1)


@pytest.fixture(scope="module")
def portrait():
    image = facerelief.read_image(astronaut_path())
    return image, detect_faces(image, max_faces=1)[0]


def test_cheeks_and_forehead_are_bare_hair_and_eyes_are_not(runner, portrait):
    image, face = portrait
    share = runner(image, face.landmarks)
    assert share.shape == image.shape[:2]
    assert 0 <= share.min() <= share.max() <= 1

    def at(points):
        u, v = np.asarray(points).mean(axis=0).astype(int)
        return share[v - 1 : v + 2, u - 1 : u + 2].mean()

    marks = face.landmarks
    assert at(marks[[50, 205]]) > 0.6  # a cheek
    assert at(marks[[280, 425]]) > 0.6
    assert at(marks[[151, 9]]) > 0.6  # between the brows and the fringe
    assert at(marks[468:473]) < 0.4  # an iris
    top, chin = marks[10], marks[152]
    assert at([top + 0.2 * (top - chin)]) < 0.3  # hair


def test_the_mask_turns_with_the_image(runner, portrait):
    image, face = portrait
    upright = runner(image, face.landmarks)
    turned = np.ascontiguousarray(np.rot90(image))
    marks = np.stack([face.landmarks[:, 1], image.shape[1] - face.landmarks[:, 0]], axis=1)
    found = np.rot90(runner(turned, marks), -1)
    u, v = face.landmarks.min(axis=0).astype(int), face.landmarks.max(axis=0).astype(int)
    part = (slice(u[1], v[1]), slice(u[0], v[0]))
    assert np.abs(found[part] - upright[part]).mean() < 0.03


def test_another_net_is_refused():
    with pytest.raises(ModelError, match="no skin net"):
        SkinRunner(landmark_net.NET_FILE, threads=1)


def test_a_cast_of_light_is_taken_out_and_usual_colours_stay(runner, portrait):
    image, face = portrait
    tinted = (image * [0.55, 0.7, 1.0]).astype(np.uint8)
    low, high = face.landmarks.min(axis=0).astype(int), face.landmarks.max(axis=0).astype(int)
    part = (slice(low[1], high[1]), slice(low[0], high[0]))
    plain, found = runner(image, face.landmarks)[part], runner(tinted, face.landmarks)[part]
    assert np.abs(found - plain).mean() < 0.1
    skin = np.full((16, 16, 3), (180, 140, 110), np.uint8)
    assert balanced(skin) is skin
