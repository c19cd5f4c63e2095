"""A landmark net is trained, resumed, exported and run."""

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
    LandmarkTrainConfig,
    load_landmark_net,
    train_landmarks,
)
from facerelief.lab.networks.landmarks import LandmarkNetConfig  # noqa: E402
from facerelief.lab.networks.portrait_training import PortraitMachine  # noqa: E402
from facerelief.morphable import open_model  # noqa: E402

SMALL = LandmarkNetConfig(channels=(8, 8, 8, 8, 8), blocks=(0, 0, 0, 0, 0), squeeze=4, hidden=16, code=16)
CONFIG = LandmarkTrainConfig(100, net=SMALL, minutes=0.02, batch=4, pool=40, first=16, validation=16)


@pytest.mark.slow
def test_train_resume_export_and_run(tmp_path):
    model, run = open_model("open2"), tmp_path / "run"
    about = train_landmarks(CONFIG, run, model, PortraitMachine(checkpoint_every=1))
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
