"""Laws of renders: labels fit the image, seeds decide, the photo gives nothing but the background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.datasets.renders import RenderConfig, RenderMaker

CONFIG = RenderConfig(size=96)


@pytest.fixture(scope="module")
def samples(fits, open_model):
    return list(RenderMaker(fits, open_model, CONFIG)(fits.load("a/eileen"), 12, 3))


def test_labels_agree_with_each_other(samples, open_model):
    for sample in samples:
        labels = sample.labels
        camera = WeakPerspective(*labels["camera"].tolist())
        projected = camera.project(open_model.shape(labels["identity"], labels["expression"]))
        marks = open_model.landmarks["ibug68"].of(projected)
        np.testing.assert_allclose(labels["landmarks68"], marks, atol=0.05)
        # the nose is in the image, and it is not hidden
        assert (labels["landmarks68"][30, :2] > 0).all()
        assert (labels["landmarks68"][30, :2] < 96).all()
        assert labels["visible68"][30] == 1
        assert all(np.isfinite(value).all() for value in labels.values())
        assert sample.image.shape == (96, 96, 3)


def test_no_identity_comes_from_the_photo(samples, fits):
    own = fits.load("a/eileen").identity
    for sample in samples:
        assert abs(np.corrcoef(sample.labels["identity"], own)[0, 1]) < 0.5
    assert np.std([s.labels["identity"] for s in samples]) == pytest.approx(1.0, abs=0.15)
    yaws = [s.labels["camera"][1] for s in samples]
    assert max(yaws) > 0.2 > -0.2 > min(yaws)


def test_the_seed_and_the_photo_decide_alone(samples, fits, open_model):
    again = list(RenderMaker(fits, open_model, CONFIG)(fits.load("a/eileen"), 2, 3))
    for one, two in zip(samples, again):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.labels["light"], two.labels["light"])
    other = next(iter(RenderMaker(fits, open_model, CONFIG)(fits.load("b/nelliee"), 1, 3)))
    assert not np.array_equal(other.labels["identity"], samples[0].labels["identity"])


def test_shaded_folds_darken_pictures_and_change_nothing_else(samples, fits, open_model):
    plain = RenderMaker(fits, open_model, replace(CONFIG, occlusion=0.0))
    for shaded, bright in zip(samples, plain(fits.load("a/eileen"), 4, 3)):
        assert shaded.image.mean() < bright.image.mean()
        for name, value in shaded.labels.items():
            np.testing.assert_array_equal(value, bright.labels[name])
