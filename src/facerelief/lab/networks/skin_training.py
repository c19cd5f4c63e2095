"""Training of the skin net (`lab.networks.portrait_training`).

Tested by tests/lab/networks/test_skin.py.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facerelief.inference.skin_net import SKIN_SIZE
from facerelief.lab.networks.landmark_augment import Batch, CanvasAugment
from facerelief.lab.networks.portrait_training import (
    PortraitMachine,
    PortraitTrainConfig,
    PortraitTraining,
    Progress,
    averaged_net,
)
from facerelief.lab.networks.skin import SkinNet, SkinNetConfig
from facerelief.morphable.model import FaceModel


@dataclass(frozen=True)
class SkinTrainConfig(PortraitTrainConfig):
    """All that decides a training of a skin net."""

    net: SkinNetConfig = field(default_factory=SkinNetConfig)
    augment: CanvasAugment = field(default_factory=lambda: CanvasAugment(size=SKIN_SIZE, wrinkles=0.4))
    batch: int = 16
    lr: float = 3e-3
    pool: int = 12000


class SkinTraining(PortraitTraining):
    """One run of a skin net."""

    kind = "skin"
    skin = True
    config: SkinTrainConfig

    def make_net(self) -> nn.Module:
        return SkinNet(self.config.net)

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the share of bare skin."""
        assert batch.skin is not None
        logits = self.called(batch.image.contiguous(memory_format=torch.channels_last))
        return functional.binary_cross_entropy_with_logits(logits.float(), batch.skin)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Errors of the averaged net on the held-out canvases:

        "error" mean difference of the share of bare skin; "overlap" intersection over union of the pixels
        that are more skin than not.
        """
        net = self.mean.module
        apart, both, either = [], 0.0, 0.0
        for batch in self.held_out_batches():
            assert batch.skin is not None
            found = net(batch.image).sigmoid()
            apart.append((found - batch.skin).abs().mean(dim=(1, 2, 3)))
            one, other = found > 0.5, batch.skin > 0.5
            both += float((one & other).sum())
            either += float((one | other).sum())
        return {"error": float(torch.cat(apart).mean()), "overlap": both / max(either, 1.0)}


def train_skin(
    config: SkinTrainConfig,
    out: str | Path,
    model: FaceModel,
    machine: PortraitMachine | None = None,
    *,
    backgrounds: NDArray[np.uint8] | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a skin net into a folder; arguments, results and errors as for `train_landmarks`."""
    training = SkinTraining(config, Path(out), model, machine or PortraitMachine(), resume)
    try:
        return training(backgrounds, progress, lambda _: None)
    finally:
        training.renderers.close()


def load_skin_net(run: str | Path) -> tuple[SkinNet, dict[str, Any]]:
    """The averaged net of a run, in evaluation mode on the CPU, and the whole checkpoint.

    Raises:
        FacereliefError: There is no checkpoint of a skin net.
    """
    net, found = averaged_net(run, "skin", lambda fields: SkinNet(SkinNetConfig(**fields)))
    return cast(SkinNet, net), found
