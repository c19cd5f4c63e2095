"""A landmark net is trained, resumed, exported and run; its learning rate follows the clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from facerelief.errors import FacereliefError  # noqa: E402
from facerelief.inference.landmark_net import LandmarkRunner  # noqa: E402
from facerelief.lab.networks.export import export_net  # noqa: E402
from facerelief.lab.networks.landmark_training import (  # noqa: E402
    CanvasPool,
    LandmarkMachine,
    LandmarkTrainConfig,
    load_landmark_net,
    mirror_of_points,
    rate_at,
    train_landmarks,
)
from facerelief.lab.networks.landmarks import LandmarkNetConfig  # noqa: E402
from facerelief.morphable import open_model  # noqa: E402
from facerelief.morphable.dense_points import dense_points  # noqa: E402

SMALL = LandmarkNetConfig(channels=(8, 8, 8, 8, 8), blocks=(0, 0, 0, 0, 0), squeeze=4, hidden=16, code=16)
CONFIG = LandmarkTrainConfig(100, SMALL, minutes=0.02, batch=4, pool=40, first=16, validation=16)


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


@pytest.mark.slow
def test_train_resume_export_and_run(tmp_path):
    model, run = open_model("open2"), tmp_path / "run"
    about = train_landmarks(CONFIG, run, model, LandmarkMachine(checkpoint_every=1))
    assert about["points"] == 101
    assert about["canvases"] >= 16
    with pytest.raises(FacereliefError):  # it is there, and other minutes are another training
        train_landmarks(replace(CONFIG, minutes=0.03), run, model, resume=True)
    train_landmarks(CONFIG, run, model, resume=True)
    net, _ = load_landmark_net(run)
    export_net(run, tmp_path / "landmarks.onnx", model)
    runner = LandmarkRunner(model, tmp_path / "landmarks.onnx", threads=1)
    np.testing.assert_array_equal(runner.vertices, net.vertices.numpy())
    points = model.landmarks["mediapipe478"].of(model.mean)[:, :2] * [1, -1] + 120
    found = runner(np.full((240, 240, 3), 90, np.uint8), points)
    assert np.isfinite(found.points).all()
    assert (found.sigma > 0).all()
