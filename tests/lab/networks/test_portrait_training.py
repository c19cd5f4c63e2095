"""Training on portraits: the learning rate follows the clock, the pool keeps the newest canvases."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from facerelief.lab.networks.portrait_training import (  # noqa: E402
    CanvasPool,
    mirror_of_points,
    rate_at,
)
from facerelief.morphable import open_model  # noqa: E402
from facerelief.morphable.dense_points import dense_points  # noqa: E402


def test_the_rate_rises_and_falls():
    rates = [rate_at(t, 0.1) for t in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0)
    assert np.argmax(rates) == 10
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates[-1] == pytest.approx(0.01)


def test_mirrored_points_are_each_others():
    model = open_model("open2")
    mirror = mirror_of_points(model, dense_points(model, 100))
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))


def test_a_full_pool_replaces_its_oldest_canvases():
    pool = CanvasPool(5, 1, torch.device("cpu"))
    for k in range(3):
        images = np.full((3, *pool.images.shape[1:]), k, np.uint8)
        pool.add(images, np.full((3, 1, 2), k, np.float32))
    assert len(pool) == 5
    assert sorted(pool.points[:, 0, 0].tolist()) == [1, 1, 2, 2, 2]
    assert (pool.images[:, 0, 0, 0] == pool.points[:, 0, 0]).all()
