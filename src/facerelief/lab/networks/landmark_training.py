"""Training of the landmark net (`lab.networks.portrait_training`)."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerelief.lab.datasets.portraits import CANVAS
from facerelief.lab.networks.landmark_augment import Batch
from facerelief.lab.networks.landmarks import (
    LandmarkLoss,
    LandmarkNet,
    LandmarkNetConfig,
    landmark_loss,
)
from facerelief.lab.networks.portrait_training import (
    PortraitMachine,
    PortraitTrainConfig,
    PortraitTraining,
    Progress,
    averaged_net,
)
from facerelief.morphable.dense_points import dense_points
from facerelief.morphable.model import FaceModel


@dataclass(frozen=True)
class LandmarkTrainConfig(PortraitTrainConfig):
    """All that decides a training of a landmark net."""

    net: LandmarkNetConfig = field(default_factory=LandmarkNetConfig)
    loss: LandmarkLoss = field(default_factory=LandmarkLoss)


def train_landmarks(
    config: LandmarkTrainConfig,
    out: str | Path,
    model: FaceModel,
    machine: PortraitMachine | None = None,
    *,
    backgrounds: NDArray[np.uint8] | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    checkpointed: Callable[[PortraitTraining], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a landmark net into a folder.

    Args:
        config: The training.
        out: Folder of the run.
        model: Face model, whose dense points it learns.
        machine: Devices and processes.
        backgrounds: (M, h, w, 3) parts of photos to put behind the heads.
        resume: Go on from the folder's last checkpoint.
        progress: Called every `log_every` seconds.
        checkpointed: Called after every checkpoint.

    Returns:
        The content of metrics.json.

    Raises:
        FacereliefError: A loss that is not finite, or renderers that fail.
        OutputError: `out` cannot be written, or holds a run and `resume` is off.
    """
    training = LandmarkTraining(config, Path(out), model, machine or PortraitMachine(), resume)
    try:
        return training(backgrounds, progress, checkpointed)
    finally:
        training.renderers.close()


class LandmarkTraining(PortraitTraining):
    """One run of a landmark net."""

    kind = "landmarks"
    config: LandmarkTrainConfig

    def __init__(
        self, config: LandmarkTrainConfig, out: Path, model: FaceModel, machine: PortraitMachine, resume: bool
    ) -> None:
        # the net learns as many points as there are
        count = len(dense_points(model, config.points))
        config = replace(config, net=replace(config.net, points=count))
        super().__init__(config, out, model, machine, resume)

    def make_net(self) -> nn.Module:
        net = LandmarkNet(self.config.net)
        net.vertices.copy_(torch.from_numpy(self.vertices))
        if self.found is None:
            index = torch.randint(len(self.pool), (4096,), device=self.device)
            net.start_from_points(self.augmenter.crop(self.pool.points[index], CANVAS)[1])
        return net

    def loss(self, batch: Batch) -> Tensor:
        out = self.called(batch.image.contiguous(memory_format=torch.channels_last))
        return landmark_loss(out, batch.points, self.config.loss)

    def about(self) -> dict[str, Any]:
        return {"points": len(self.vertices)}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Errors of the averaged net on the held-out canvases:

        "error_px" mean distance, px of the crop; "percent" the same in % of the distance of the outer eye
        corners; "calibration" mean squared error over the stated variance, 1 where sigma is right.
        """
        net, marks = self.mean.module, self.model.landmarks["ibug68"]
        ids = marks.vertices[[36, 45], marks.weights[[36, 45]].argmax(axis=1)]
        corners = np.searchsorted(self.vertices, ids).tolist()
        error, percent, ratio = [], [], []
        for batch in self.held_out_batches():
            out = net(batch.image)
            square = (out.points - batch.points).square().sum(dim=2)
            eyes = (batch.points[:, corners[0]] - batch.points[:, corners[1]]).norm(dim=1)
            error.append(square.sqrt().mean(dim=1))
            percent.append(100 * square.sqrt().mean(dim=1) / eyes.clamp_min(8.0))
            ratio.append((0.5 * square * (-2 * out.log_sigma).exp()).mean(dim=1))
        names = {"error_px": error, "percent": percent, "calibration": ratio}
        return {name: float(torch.cat(values).mean()) for name, values in names.items()}


def load_landmark_net(run: str | Path) -> tuple[LandmarkNet, dict[str, Any]]:
    """The averaged net of a run, in evaluation mode on the CPU, and the whole checkpoint.

    Raises:
        FacereliefError: There is no checkpoint of a landmark net.
    """
    net, found = averaged_net(run, "landmarks", lambda fields: LandmarkNet(LandmarkNetConfig(**fields)))
    return cast(LandmarkNet, net), found
