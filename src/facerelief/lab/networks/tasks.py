"""Kinds of training: net, data, loss and measures of each network."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from facerelief.lab.networks import guo, losses
from facerelief.lab.networks.augment import FINE_AUGMENT, AugmentConfig
from facerelief.lab.networks.data import (
    CoarseData,
    CoarseItem,
    CropConfig,
    FineData,
    FineItem,
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
from facerelief.lab.networks.layer import MorphableLayer
from facerelief.lab.networks.measures import CoarseMeasures, E2farMeasures, FineMeasures, TrackingMeasures
from facerelief.lab.networks.order import Shards
from facerelief.morphable.model import FaceModel

NetKind = Literal["coarse", "tracking", "fine", "e2far"]


@dataclass(frozen=True)
class TaskConfig:
    """Net, data and loss of a training. Fields of other kinds are ignored."""

    kind: NetKind = "coarse"
    coarse: guo.CoarseNetConfig = field(default_factory=guo.CoarseNetConfig)
    """CoarseNet or Tracking CoarseNet."""
    fine: guo.FineNetConfig = field(default_factory=guo.FineNetConfig)
    coarse_loss: losses.CoarseLoss = field(default_factory=losses.CoarseLoss)
    fine_loss: losses.FineLoss = field(default_factory=losses.FineLoss)
    crop: CropConfig = field(default_factory=CropConfig)
    augment: float = 1.0
    """Factor of the usual shares of augmentation (`augment.AugmentConfig`)."""
    flip: bool = True
    """Mirror half of the images, where the face model has a mirror."""
    every: int = 8
    """Compare every n-th vertex of the face."""
    landmark_weight: float = 4.0
    """Weight of a landmark over that of another point."""
    e2far: E2farConfig = field(default_factory=E2farConfig)
    e2far_loss: E2farLoss = field(default_factory=E2farLoss)
    frozen: float = 0.0
    """Share of the steps in which UH-E2FAR's trunk is fixed: the first of its two phases."""


class Task(ABC):
    """One kind of training. A batch is an item of the task's data with a batch axis first."""

    def __init__(self, config: TaskConfig, model: FaceModel) -> None:
        self.config, self.model = config, model

    @abstractmethod
    def data(self, shards: Shards, seed: int, training: bool) -> Dataset[Any]:
        """Samples; augmented and flipped for training."""

    @abstractmethod
    def net(self, data: Dataset[Any] | None) -> nn.Module:
        """An untrained net, standardized by the moments of the training data where they are given."""

    @abstractmethod
    def forward(self, net: nn.Module, batch: Any) -> Any:
        """The net's output for a batch."""

    @abstractmethod
    def loss(self, net: nn.Module, batch: Any, out: Any) -> losses.LossTerms:
        """Loss of an output. net: the bare one, for its constants."""

    @abstractmethod
    def measures(self, net: nn.Module) -> CoarseMeasures | FineMeasures | E2farMeasures:
        """A new collector of measures."""

    def phase(self, net: nn.Module, done: float) -> None:  # noqa: B027 - most have one alone
        """Prepare the net for a step; done: share of the steps before it, 0 to 1."""

    def to(self, device: torch.device) -> None:  # noqa: B027 - not all have something to move
        """Move the constants of the loss to a device."""

    def _augmentation(self, usual: AugmentConfig, training: bool) -> AugmentConfig | None:
        return usual.strength(self.config.augment) if training and self.config.augment > 0 else None

    def _coarse_data(self, shards: Shards, seed: int, training: bool, size: int) -> CoarseData:
        """Samples in random crops of `size` px; in those to be measured faces are upright."""
        c = self.config
        crop = replace(c.crop, size=size) if training else replace(c.crop, size=size, roll=0.0)
        augmentation = self._augmentation(AugmentConfig(), training)
        return CoarseData(shards, self.model, crop, seed, augmentation, c.flip and training)


def image_tensor(image: Tensor) -> Tensor:
    """(B, 3, S, S) float32 in [0, 1], channels last in memory, from (B, S, S, 3) uint8."""
    return image.permute(0, 3, 1, 2).float() / 255


class _ShapeTask(Task):
    """Common parts of CoarseNet and Tracking CoarseNet."""

    def __init__(self, config: TaskConfig, model: FaceModel) -> None:
        counts = {"identity": model.n_identity, "expression": model.n_expression}
        super().__init__(replace(config, coarse=replace(config.coarse, **counts)), model)
        self.layer = MorphableLayer(model, config.every, config.landmark_weight)

    def to(self, device: torch.device) -> None:
        """Move the points of the loss to a device."""
        self.layer.to(device)


class CoarseTask(_ShapeTask):
    """CoarseNet."""

    def data(self, shards: Shards, seed: int, training: bool) -> CoarseData:
        """Samples in random crops; augmented and flipped for training."""
        return self._coarse_data(shards, seed, training, self.config.coarse.size)

    def net(self, data: Dataset[Any] | None) -> guo.CoarseNet:
        """An untrained CoarseNet, standardized by the data's expressions and poses."""
        net = guo.CoarseNet(self.config.coarse)
        if isinstance(data, CoarseData):
            expression, pose = data.moments()
            net.expression_scale.set(expression)
            net.pose_scale.set(pose)
        return net

    def forward(self, net: nn.Module, batch: CoarseItem) -> guo.CoarseOutput:
        """The net's output for a batch."""
        return net(image_tensor(batch.image))

    def loss(self, net: nn.Module, batch: CoarseItem, out: guo.CoarseOutput) -> losses.LossTerms:
        """`losses.coarse_loss` of an output."""
        assert isinstance(net, guo.CoarseNet)
        truth = losses.CoarseTarget(batch.identity, batch.expression, batch.pose)
        found, true = (
            torch.cat(
                [x.identity, net.expression_scale.inverse(x.expression), net.pose_scale.inverse(x.pose)],
                dim=1,
            )
            for x in (out, truth)
        )
        return losses.coarse_loss(out, truth, self.layer, (found, true), self.config.coarse_loss)

    def measures(self, net: nn.Module) -> CoarseMeasures:
        """Collector whose baseline is the mean expression and pose of the training data."""
        assert isinstance(net, guo.CoarseNet)
        mean = (net.expression_scale.mean.cpu(), net.pose_scale.mean.cpu())
        return CoarseMeasures(self.model, self.config.coarse.size, mean)


class TrackingTask(_ShapeTask):
    """Tracking CoarseNet."""

    def data(self, shards: Shards, seed: int, training: bool) -> TrackingData:
        """Pairs of states in the previous one's crop; augmented and flipped for training."""
        augmentation = self._augmentation(AugmentConfig(), training)
        flip = self.config.flip and training
        return TrackingData(shards, self.model, self.config.coarse.size, seed, augmentation, flip)

    def net(self, data: Dataset[Any] | None) -> guo.TrackingNet:
        """An untrained Tracking CoarseNet, standardized by the data's changes."""
        net = guo.TrackingNet(self.config.coarse)
        if isinstance(data, TrackingData):
            net.scale.set(data.moments())
        return net

    def forward(self, net: nn.Module, batch: TrackingItem) -> guo.TrackingOutput:
        """The net's output for a batch."""
        pncc = batch.pncc.permute(0, 3, 1, 2)
        return net(image_tensor(batch.image), pncc, batch.previous_expression, batch.previous_pose)

    def loss(self, net: nn.Module, batch: TrackingItem, out: guo.TrackingOutput) -> losses.LossTerms:
        """`losses.tracking_loss` of an output."""
        assert isinstance(net, guo.TrackingNet)
        change = torch.cat(
            [batch.expression - batch.previous_expression, batch.pose - batch.previous_pose], dim=1
        )
        truth = losses.CoarseTarget(batch.identity, batch.expression, batch.pose)
        scaled = (out.delta, net.scale.inverse(change))
        return losses.tracking_loss(out, truth, self.layer, scaled, self.config.coarse_loss)

    def measures(self, net: nn.Module) -> TrackingMeasures:
        """Collector whose baseline is the previous state."""
        return TrackingMeasures(self.model, self.config.coarse.size)


class FineTask(Task):
    """FineNet."""

    def data(self, shards: Shards, seed: int, training: bool) -> FineData:
        """Crops with depth and relief; augmented and flipped for training."""
        augmentation = self._augmentation(FINE_AUGMENT, training)
        return FineData(shards, seed, augmentation, self.config.flip and training)

    def net(self, data: Dataset[Any] | None) -> guo.FineNet:
        """An untrained FineNet."""
        return guo.FineNet(self.config.fine)

    def forward(self, net: nn.Module, batch: FineItem) -> guo.FineOutput:
        """The net's output for a batch."""
        return net(image_tensor(batch.image), batch.depth, batch.mask, batch.face_width, batch.cues)

    def loss(self, net: nn.Module, batch: FineItem, out: guo.FineOutput) -> losses.LossTerms:
        """`losses.fine_loss` of an output, and the cross-entropy of its trust."""
        b, config = batch, self.config.fine_loss
        truth = b.displacement / (0.01 * b.face_width[:, None, None])
        score = losses.fine_loss(
            out.displacement, truth, b.depth, b.mask, b.face_width, b.scale, config, b.known
        )
        if out.trust is None or not config.trust:
            return score
        unsure = losses.trust_loss(out.trust, b.trust, b.mask, b.trusted)
        return losses.LossTerms(score.loss + config.trust * unsure, score.parts | {"trust": unsure.detach()})

    def measures(self, net: nn.Module) -> FineMeasures:
        """Collector whose baseline is the coarse surface."""
        return FineMeasures()


class E2farTask(Task):
    """UH-E2FAR."""

    def __init__(self, config: TaskConfig, model: FaceModel) -> None:
        counts = {"identity": model.n_identity, "expression": model.n_expression}
        super().__init__(replace(config, e2far=replace(config.e2far, **counts)), model)
        self.error = ShapeError(model, config.e2far_loss.size)

    def data(self, shards: Shards, seed: int, training: bool) -> CoarseData:
        """Samples in random crops; augmented and flipped for training."""
        return self._coarse_data(shards, seed, training, self.config.e2far.size)

    def net(self, data: Dataset[Any] | None) -> E2far:
        """An untrained UH-E2FAR network, standardized by the data's expressions."""
        net = E2far(self.config.e2far)
        if isinstance(data, CoarseData):
            net.expression_scale.set(data.moments()[0])
        return net

    def phase(self, net: nn.Module, done: float) -> None:
        """Fix the trunk in the first share of the steps."""
        assert isinstance(net, E2far)
        net.hold(done < self.config.frozen)

    def forward(self, net: nn.Module, batch: CoarseItem) -> E2farOutput:
        """The net's output for a batch."""
        return net(image_tensor(batch.image))

    def loss(self, net: nn.Module, batch: CoarseItem, out: E2farOutput) -> losses.LossTerms:
        """`e2far.e2far_loss` of an output."""
        truth = E2farTarget(batch.identity, batch.expression)
        return e2far_loss(out, truth, self.error, self.config.e2far_loss)

    def measures(self, net: nn.Module) -> E2farMeasures:
        """Collector whose baseline is the mean expression of the training data."""
        assert isinstance(net, E2far)
        return E2farMeasures(self.model, net.expression_scale.mean.cpu())

    def to(self, device: torch.device) -> None:
        """Move the Gram matrix of the loss to a device."""
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
        "coarse": guo.CoarseNetConfig,
        "fine": guo.FineNetConfig,
        "coarse_loss": losses.CoarseLoss,
        "fine_loss": losses.FineLoss,
        "e2far": E2farConfig,
        "e2far_loss": E2farLoss,
        "crop": CropConfig,
    }
    return TaskConfig(**{k: parts[k](**v) if k in parts else v for k, v in fields.items()})
