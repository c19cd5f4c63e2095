"""The skin net and its images: masks follow what is drawn before the skin; a net is trained and exported."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from facerelief.errors import FacereliefError  # noqa: E402
from facerelief.inference.skin_net import SkinRunner  # noqa: E402
from facerelief.lab.networks.export import export_net  # noqa: E402
from facerelief.lab.networks.landmark_augment import CanvasAugment, CanvasAugmenter  # noqa: E402
from facerelief.lab.networks.landmark_training import load_landmark_net  # noqa: E402
from facerelief.lab.networks.portrait_training import PortraitMachine  # noqa: E402
from facerelief.lab.networks.skin import SkinNet, SkinNetConfig  # noqa: E402
from facerelief.lab.networks.skin_training import SkinTrainConfig, train_skin  # noqa: E402
from facerelief.morphable import open_model  # noqa: E402


def canvases(count: int = 4) -> torch.Tensor:
    """Grey squares that are bare skin on their left half."""
    out = torch.full((count, 96, 96, 5), 128, dtype=torch.uint8)
    out[..., 3] = 255
    out[..., 4] = 0
    out[:, :, :48, 4] = 255
    return out


def augmented(**config: float):
    points = torch.tensor([[[10.0, 10], [80, 80]]]).expand(4, 2, 2)
    augmenter = CanvasAugmenter(
        torch.arange(2), torch.zeros(0, 8, 8, 3, dtype=torch.uint8), CanvasAugment(size=64, **config)
    )
    return augmenter(canvases(), points)


def test_a_net_gives_a_logit_for_each_pixel():
    out = SkinNet(SkinNetConfig(64, (4, 4, 8, 8), (0, 1, 1, 1))).eval()(torch.rand(2, 3, 64, 64))
    assert out.shape == (2, 1, 64, 64)


def test_the_mask_is_cropped_with_the_image_and_ends_at_occluders():
    plain, hidden = augmented(occluder=0.0), augmented(occluder=1.0)
    assert plain.skin.shape == (4, 1, 64, 64)
    assert 0.3 < float(plain.skin.mean()) < 0.7
    assert float(hidden.skin.mean()) < float(plain.skin.mean())


def test_wrinkles_change_the_skin_alone():
    quiet = {"occluder": 0.0, "coarse": 0.0, "noise": 0.0, "jpeg": 0.0, "grey": 0.0}
    batch = augmented(wrinkles=1.0, **quiet)
    spread = [
        np.std([float(p) for p in batch.image[k, 0][batch.skin[k, 0] == share]])
        for k in range(4)
        for share in (0.0, 1.0)
    ]
    assert max(spread[::2]) < 1e-3 < min(spread[1::2])


def test_canvases_without_a_mask_give_none():
    points = torch.tensor([[[10.0, 10], [80, 80]]]).expand(4, 2, 2)
    augmenter = CanvasAugmenter(torch.arange(2), torch.zeros(0, 8, 8, 3, dtype=torch.uint8))
    assert augmenter(canvases()[..., :4], points).skin is None


@pytest.mark.slow
def test_train_export_and_run(tmp_path):
    model, run = open_model("open2"), tmp_path / "run"
    net = SkinNetConfig(64, (4, 4, 8, 8), (0, 1, 1, 1))
    config = SkinTrainConfig(
        100, CanvasAugment(size=64), minutes=0.02, batch=4, pool=40, first=16, validation=16, net=net
    )
    about = train_skin(config, run, model, PortraitMachine(checkpoint_every=1))
    assert 0 <= about["metrics"]["overlap"] <= 1
    export_net(run, tmp_path / "skin.onnx", model)
    runner = SkinRunner(tmp_path / "skin.onnx", threads=1)
    assert runner.size == 64
    with pytest.raises(FacereliefError, match="no net of kind landmarks"):
        load_landmark_net(run)
