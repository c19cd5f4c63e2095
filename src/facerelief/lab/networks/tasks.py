"""The kinds of training: which net, which data, which loss, which measures."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from facerelief.lab.networks.augment import FINE_AUGMENT, AugmentConfig
from facerelief.lab.networks.data import (
    CoarseData,
    CoarseItem,
    CropConfig,
    FineData,
    FineItem,
    Shards,
    TrackingData,
    TrackingItem,
)
from facerelief.lab.networks.e2far import (
    E2far,
    E2farConfig,
    E2farLoss,
    E2farOutput,
    E2farTarget,
    ShapeError,
    e2far_loss,
)
from facerelief.lab.networks.guo import (
    CoarseNet,
    CoarseNetConfig,
    CoarseOutput,
    FineNet,
    FineNetConfig,
    TrackingNet,
    TrackingOutput,
)
from facerelief.lab.networks.layer import MorphableLayer
from facerelief.lab.networks.losses import (
    CoarseLoss,
    CoarseTarget,
    FineLoss,
    Score,
    coarse_loss,
    fine_loss,
    tracking_loss,
)
from facerelief.lab.networks.measures import CoarseMeasures, E2farMeasures, FineMeasures, TrackingMeasures
from facerelief.morphable.model import FaceModel

NetKind = Literal["coarse", "tracking", "fine", "e2far"]


@dataclass(frozen=True)
class TaskConfig:
    """What is trained, on what it sees, and how it is scored. Parts of other kinds are not looked at."""

    kind: NetKind = "coarse"
    coarse: CoarseNetConfig = field(default_factory=CoarseNetConfig)
    """CoarseNet or Tracking CoarseNet."""
    fine: FineNetConfig = field(default_factory=FineNetConfig)
    coarse_loss: CoarseLoss = field(default_factory=CoarseLoss)
    fine_loss: FineLoss = field(default_factory=FineLoss)
    crop: CropConfig = field(default_factory=CropConfig)
    augment: float = 1.0
    """Share of the usual spoiling of pictures (`augment.AugmentConfig`)."""
    flip: bool = True
    """Half of the pictures are mirrored, where the face model has a mirror."""
    every: int = 8
    """Every so manieth vertex of the face is compared."""
    landmark_weight: float = 4.0
    """How much more a landmark counts than another point."""
    e2far: E2farConfig = field(default_factory=E2farConfig)
    e2far_loss: E2farLoss = field(default_factory=E2farLoss)
    frozen: float = 0.0
    """Share of the steps in which UH-E2FAR's trunk stays as it began: the first of its two phases."""


class Task(ABC):
    """One kind of training."""

    def __init__(self, config: TaskConfig, model: FaceModel) -> None:
        self.config, self.model = config, model

    @abstractmethod
    def data(self, shards: Shards, seed: int, training: bool) -> Dataset[Any]:
        """Samples; spoilt ones for training."""

    @abstractmethod
    def net(self, data: Dataset[Any] | None) -> nn.Module:
        """An untrained net, scaled by the training data where they are given."""

    @abstractmethod
    def forward(self, net: nn.Module, batch: Any) -> Any:
        """The net's output for a batch."""

    @abstractmethod
    def loss(self, net: nn.Module, batch: Any, out: Any) -> Score:
        """How wrong it is. net: the bare one, for its constants."""

    @abstractmethod
    def measures(self, net: nn.Module) -> CoarseMeasures | FineMeasures | E2farMeasures:
        """A fresh collector of measures."""

    def phase(self, net: nn.Module, done: float) -> None:  # noqa: B027 - most have one alone
        """Told before each step how much of the training is done, 0 to 1."""

    def to(self, device: torch.device) -> None:  # noqa: B027 - not all have something to move
        """Move what losses need."""

    def _spoil(self, usual: AugmentConfig, training: bool) -> AugmentConfig | None:
        return usual.strength(self.config.augment) if training and self.config.augment > 0 else None


def picture(image: Tensor) -> Tensor:
    """(B, 3, S, S) float32 in [0, 1], channels last in memory, from (B, S, S, 3) uint8."""
    return image.permute(0, 3, 1, 2).float() / 255


class _ShapeTask(Task):
    """What both CoarseNets share."""

    def __init__(self, config: TaskConfig, model: FaceModel) -> None:
        counts = {"identity": model.n_identity, "expression": model.n_expression}
        super().__init__(replace(config, coarse=replace(config.coarse, **counts)), model)
        self.layer = MorphableLayer(model, config.every, config.landmark_weight)

    def to(self, device: torch.device) -> None:
        self.layer.to(device)


class CoarseTask(_ShapeTask):
    """CoarseNet."""

    def data(self, shards: Shards, seed: int, training: bool) -> Dataset[Any]:
        c = self.config
        crop = replace(c.crop, size=c.coarse.size)
        if not training:
            crop = replace(crop, roll=0.0)
        spoil = self._spoil(AugmentConfig(), training)
        return CoarseData(shards, self.model, crop, seed, spoil, c.flip and training)

    def net(self, data: Dataset[Any] | None) -> nn.Module:
        net = CoarseNet(self.config.coarse)
        if isinstance(data, CoarseData):
            expression, pose = data.spreads()
            net.expression_scale.set(expression)
            net.pose_scale.set(pose)
        return net

    def forward(self, net: nn.Module, batch: CoarseItem) -> CoarseOutput:
        return net(picture(batch.image))

    def loss(self, net: nn.Module, batch: CoarseItem, out: CoarseOutput) -> Score:
        assert isinstance(net, CoarseNet)
        truth = CoarseTarget(batch.identity, batch.expression, batch.pose)
        found, true = (
            torch.cat(
                [x.identity, net.expression_scale.inverse(x.expression), net.pose_scale.inverse(x.pose)],
                dim=1,
            )
            for x in (out, truth)
        )
        return coarse_loss(out, truth, self.layer, (found, true), self.config.coarse_loss)

    def measures(self, net: nn.Module) -> CoarseMeasures:
        assert isinstance(net, CoarseNet)
        mean = (net.expression_scale.mean.cpu(), net.pose_scale.mean.cpu())
        return CoarseMeasures(self.model, self.config.coarse.size, mean)


class TrackingTask(_ShapeTask):
    """Tracking CoarseNet."""

    def data(self, shards: Shards, seed: int, training: bool) -> Dataset[Any]:
        spoil = self._spoil(AugmentConfig(), training)
        flip = self.config.flip and training
        return TrackingData(shards, self.model, self.config.coarse.size, seed, spoil, flip)

    def net(self, data: Dataset[Any] | None) -> nn.Module:
        net = TrackingNet(self.config.coarse)
        if isinstance(data, TrackingData):
            net.scale.set(data.spread())
        return net

    def forward(self, net: nn.Module, batch: TrackingItem) -> TrackingOutput:
        pncc = batch.pncc.permute(0, 3, 1, 2)
        return net(picture(batch.image), pncc, batch.previous_expression, batch.previous_pose)

    def loss(self, net: nn.Module, batch: TrackingItem, out: TrackingOutput) -> Score:
        assert isinstance(net, TrackingNet)
        change = torch.cat(
            [batch.expression - batch.previous_expression, batch.pose - batch.previous_pose], dim=1
        )
        truth = CoarseTarget(batch.identity, batch.expression, batch.pose)
        scaled = (out.delta, net.scale.inverse(change))
        return tracking_loss(out, truth, self.layer, scaled, self.config.coarse_loss)

    def measures(self, net: nn.Module) -> TrackingMeasures:
        return TrackingMeasures(self.model, self.config.coarse.size)


class FineTask(Task):
    """FineNet."""

    def data(self, shards: Shards, seed: int, training: bool) -> Dataset[Any]:
        spoil = self._spoil(FINE_AUGMENT, training)
        return FineData(shards, self.model, seed, spoil, self.config.flip and training)

    def net(self, data: Dataset[Any] | None) -> nn.Module:
        return FineNet(self.config.fine)

    def forward(self, net: nn.Module, batch: FineItem) -> Tensor:
        return net(picture(batch.image), batch.depth, batch.mask, batch.face_width, batch.cues)

    def loss(self, net: nn.Module, batch: FineItem, out: Tensor) -> Score:
        truth = batch.displacement / (0.01 * batch.face_width[:, None, None])
        return fine_loss(
            out, truth, batch.depth, batch.mask, batch.face_width, batch.scale, self.config.fine_loss
        )

    def measures(self, net: nn.Module) -> FineMeasures:
        return FineMeasures()


class E2farTask(Task):
    """UH-E2FAR."""

    def __init__(self, config: TaskConfig, model: FaceModel) -> None:
        counts = {"identity": model.n_identity, "expression": model.n_expression}
        super().__init__(replace(config, e2far=replace(config.e2far, **counts)), model)
        self.error = ShapeError(model, config.e2far_loss.size)

    def data(self, shards: Shards, seed: int, training: bool) -> Dataset[Any]:
        c = self.config
        crop = replace(c.crop, size=c.e2far.size)
        if not training:
            crop = replace(crop, roll=0.0)
        spoil = self._spoil(AugmentConfig(), training)
        return CoarseData(shards, self.model, crop, seed, spoil, c.flip and training)

    def net(self, data: Dataset[Any] | None) -> nn.Module:
        net = E2far(self.config.e2far)
        if isinstance(data, CoarseData):
            net.expression_scale.set(data.spreads()[0])
        return net

    def phase(self, net: nn.Module, done: float) -> None:
        assert isinstance(net, E2far)
        net.hold(done < self.config.frozen)

    def forward(self, net: nn.Module, batch: CoarseItem) -> E2farOutput:
        return net(picture(batch.image))

    def loss(self, net: nn.Module, batch: CoarseItem, out: E2farOutput) -> Score:
        truth = E2farTarget(batch.identity, batch.expression)
        return e2far_loss(out, truth, self.error, self.config.e2far_loss)

    def measures(self, net: nn.Module) -> E2farMeasures:
        assert isinstance(net, E2far)
        return E2farMeasures(self.model, net.expression_scale.mean.cpu())

    def to(self, device: torch.device) -> None:
        self.error.to(device)


def make_task(config: TaskConfig, model: FaceModel) -> Task:
    """The task of a configuration."""
    kinds: dict[str, type[Task]] = {
        "coarse": CoarseTask,
        "tracking": TrackingTask,
        "fine": FineTask,
        "e2far": E2farTask,
    }
    return kinds[config.kind](config, model)


def task_config(fields: dict[str, Any]) -> TaskConfig:
    """Inverse of `dataclasses.asdict`. Raises TypeError for other fields."""
    parts: dict[str, Any] = {
        "coarse": CoarseNetConfig,
        "fine": FineNetConfig,
        "coarse_loss": CoarseLoss,
        "fine_loss": FineLoss,
        "e2far": E2farConfig,
        "e2far_loss": E2farLoss,
        "crop": CropConfig,
    }
    return TaskConfig(**{k: parts[k](**v) if k in parts else v for k, v in fields.items()})
