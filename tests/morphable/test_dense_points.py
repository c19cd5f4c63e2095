"""Dense points come in mirrored pairs, evenly, and hold the 68 landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.morphable import open_model
from facerelief.morphable.dense_points import dense_points


@pytest.fixture(scope="module")
def model():
    return open_model("open2")


@pytest.fixture(scope="module")
def points(model):
    return dense_points(model, 300)


def test_points_are_distinct_and_as_many_as_asked_for(points):
    assert 300 <= len(points) <= 301
    assert len(np.unique(points)) == len(points)


def test_every_point_has_its_mirror_image(model, points):
    assert set(model.symmetry[points].tolist()) == set(points.tolist())


def test_the_landmarks_are_among_them(model, points):
    marks = model.landmarks["ibug68"]
    main = marks.vertices[np.arange(68), marks.weights.argmax(axis=1)]
    assert set(main.tolist()) <= set(points.tolist())


def test_no_skin_of_the_face_is_far_from_a_point(model, points):
    skin = model.mean[model.face_vertices & ~model.region("mouth", "eye_sockets")]
    apart = np.linalg.norm(skin[:, None] - model.mean[points][None], axis=2).min(axis=1)
    assert apart.max() < 14.0


def test_lids_have_more_than_their_share(model, points):
    share = model.region("lids")[points].mean()
    area = model.region("lids").sum() / model.region("face").sum()
    assert share > 0.5 * area
    assert share > 0.05


def test_nothing_inside_the_head(model, points):
    assert not model.region("teeth", "gums", "tongue", "eyeballs", "lashes")[points].any()


def test_a_model_without_mirror_is_refused(model):
    with pytest.raises(ModelError, match="mirrored"):
        dense_points(replace(model, symmetry=None))
