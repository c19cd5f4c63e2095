"""Laws of coarse samples: labels fit the image, seeds decide alone, nothing leaves its range."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.face.outline import JAW
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.datasets.coarse import CoarseConfig, CoarseMaker, Variation

CONFIG = CoarseConfig(size=128)


@pytest.fixture(scope="module")
def maker(fits, open_model) -> CoarseMaker:
    return CoarseMaker(fits, open_model, CONFIG)


@pytest.fixture(scope="module")
def fit(fits):
    return fits.load("a/eileen")


@pytest.fixture(scope="module")
def ready(maker, fit):
    return maker.prepare(fit)


@pytest.fixture(scope="module")
def samples(maker, fit):
    return list(maker(fit, 6, 7))


def test_labels_agree_with_each_other(samples, open_model):
    for sample in samples:
        labels = sample.labels
        camera = WeakPerspective(*labels["camera"].tolist())
        vertices = open_model.shape(labels["identity"], labels["expression"])
        projected = camera.project(vertices)
        marks = open_model.landmarks["ibug68"].of(projected)
        np.testing.assert_allclose(labels["landmarks68"], marks, atol=0.05)
        face = projected[open_model.face_vertices][:, :2]
        np.testing.assert_allclose(labels["box"], [*face.min(axis=0), *face.max(axis=0)], atol=0.05)
        assert sample.image.shape == (128, 128, 3)
        assert set(np.unique(labels["visible68"])) <= {0, 1}
        assert labels["visible68"][27:36].any()
        assert (labels["expression"] >= 0).all()
        assert (labels["expression"] <= 1).all()
        assert all(np.isfinite(value).all() for value in labels.values())
        assert sample.about["split"] == "train"
        assert sample.about["source"] == "a/eileen.png"


def test_the_seed_and_the_photo_decide_alone(fits, open_model, fit, samples):
    other = CoarseMaker(fits, open_model, CONFIG)
    list(other(fits.load("b/nelliee"), 1, 3))
    again = list(other(fit, 3, 7))
    for one, two in zip(samples, again):
        assert one.key == two.key
        np.testing.assert_array_equal(one.image, two.image)
        for name, value in one.labels.items():
            np.testing.assert_array_equal(value, two.labels[name])
    assert not np.array_equal(samples[0].image, next(iter(other(fit, 1, 8))).image)
    assert len({sample.key for sample in samples}) == len(samples)


def test_identity_stays_and_the_rest_varies(samples, fit):
    for sample in samples:
        np.testing.assert_array_equal(sample.labels["identity"], fit.identity)
    for name in ("camera", "expression", "light"):
        assert np.ptp([s.labels[name] for s in samples], axis=0).max() > 0.05


def test_nothing_changed_gives_the_photo(maker, ready, fit):
    r = ready.reconstruction
    size = CONFIG.size
    corner = (ready.size - size) / 2
    still = Variation(r.camera, r.expression, r.light, np.array([[1, 0, -corner], [0, 1, -corner]], float))
    sample = maker.make(ready, fit, still, 0, 0)
    off = round(corner)
    assert off == corner
    there = r.image[off : off + size, off : off + size].astype(float)
    assert np.abs(sample.image - there).mean() < 2.5
    # labels are vertices; on a reconstruction the jaw's landmarks follow the outline
    inner = [k for k in range(68) if k not in JAW]
    labels = sample.labels["landmarks68"][inner, :2]
    np.testing.assert_allclose(labels, r.landmarks68_px[inner] - corner, atol=0.05)


@pytest.mark.parametrize("angle", [-0.5, 0.0, 1.1, 3.0])
def test_a_moved_picture_is_that_of_the_moved_camera(angle):
    camera = WeakPerspective(0.1, -0.4, 0.3, 60.0, 70.0, 0.8)
    zoom, shift = 1.3, np.array([11.0, -7.0])
    turn = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = np.random.default_rng(0).normal(0, 50, (20, 3))
    expected = camera.project(points)[:, :2] @ turn.T + shift
    found = camera.moved(np.column_stack([turn, shift]))
    np.testing.assert_allclose(found.project(points)[:, :2], expected, atol=1e-4)
    assert -np.pi <= found.roll <= np.pi


def test_the_landmarks_lie_where_the_detector_finds_them(maker, fit, samples):
    from facerelief.detection import detect_faces
    from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE

    errors = []
    for sample in samples:
        large = cv2.resize(sample.image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        for face in detect_faces(large, max_faces=1):
            found = face.landmarks[list(IBUG68_AMONG_MEDIAPIPE)][17:] / 2
            marks = sample.labels["landmarks68"][17:, :2]
            eyes = np.linalg.norm(marks[19:25].mean(axis=0) - marks[25:31].mean(axis=0))
            errors.append(np.linalg.norm(found - marks, axis=1).mean() / eyes)
    assert len(errors) >= 4
    assert np.median(errors) < 0.12


def test_photos_of_no_use_are_refused(maker, fit):
    with pytest.raises(FacereliefError, match=r"confidence 0\.10 is below"):
        maker.prepare(replace(fit, confidence=0.1))
    small = replace(maker.config, smallest_px=500.0)
    with pytest.raises(FacereliefError, match="expected at least 500"):
        CoarseMaker(maker.fits, maker.model, small).prepare(fit)
