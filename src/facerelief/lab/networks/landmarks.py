"""The landmark net: points of a face and the uncertainty of each (Wood et al., ECCV 2022).

A residual net on a crop of 192 px whose last layers keep the place of its features, then a code from which
all points follow linearly, as they do in a face model. Its loss is the negative log likelihood of Gaussians
around the points, one standard deviation each.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerelief.inference.landmark_net import LANDMARK_SIZE
from facerelief.lab.networks.guo import FullPrecisionLinear

_GREY, _CONTRAST = 0.45, 0.25
_LEAST, _MOST = math.log(0.3), math.log(60.0)
"""Bounds of the logarithm of a standard deviation, px."""
_FIRST_SIGMA = 10.0
"""px, of an untrained net."""


@dataclass(frozen=True)
class LandmarkNetConfig:
    """Architecture of a landmark net."""

    size: int = LANDMARK_SIZE
    """Side of the crop, px; a multiple of 32."""
    points: int = 721
    """Number of points."""
    channels: tuple[int, ...] = (24, 32, 64, 112, 144)
    """At 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""
    blocks: tuple[int, ...] = (0, 1, 1, 3, 2)
    """Blocks at each of them after the first layer."""
    squeeze: int = 32
    """Channels of the last features, whose places are kept."""
    hidden: int = 256
    """Features of the whole image."""
    code: int = 144
    """Numbers from which all points follow linearly."""

    def __post_init__(self) -> None:
        if self.size % 32 or self.points < 1 or not len(self.channels) == len(self.blocks) == 5:
            raise ValueError(f"{self}: expected a size that is a multiple of 32, and five levels")


class LandmarkOutput(NamedTuple):
    """Output of a landmark net."""

    points: Tensor
    """(B, N, 2) px of the crop."""
    log_sigma: Tensor
    """(B, N) logarithm of the standard deviation of each coordinate, px."""


class Layer(nn.Sequential):
    """Convolution, norm, and ReLU unless left out."""

    def __init__(
        self, into: int, out: int, side: int = 3, stride: int = 1, groups: int = 1, *, active: bool = True
    ) -> None:
        conv = nn.Conv2d(into, out, side, stride, side // 2, groups=groups, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        parts: list[nn.Module] = [conv, nn.BatchNorm2d(out)]
        super().__init__(*parts, *([nn.ReLU(inplace=True)] if active else []))


class Residual(nn.Module):
    """Basic block of a ResNet (He et al., CVPR 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Layer(width, width), Layer(width, width, active=False))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


class Inverted(nn.Module):
    """Inverted residual with a depthwise convolution (Sandler et al., CVPR 2018)."""

    def __init__(self, width: int, expand: int = 3) -> None:
        super().__init__()
        wide = width * expand
        self.body = nn.Sequential(
            Layer(width, wide, 1), Layer(wide, wide, groups=wide), Layer(wide, width, 1, active=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class LandmarkNet(nn.Module):
    """Points and their standard deviations from an image."""

    vertices: Tensor
    """(N,) ids of the face model's vertices that the points are; saved with the net."""

    def __init__(self, config: LandmarkNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or LandmarkNetConfig()
        parts: list[nn.Module] = []
        into = 3
        for level, (width, count) in enumerate(zip(c.channels, c.blocks)):
            parts.append(Layer(into, width, stride=2))
            # plain convolutions where weights are few, depthwise ones where they would be many
            parts += [Residual(width) if level < 3 else Inverted(width) for _ in range(count)]
            into = width
        self.features = nn.Sequential(*parts, Layer(into, c.squeeze, 1))
        self.gather = nn.Linear(c.squeeze * (c.size // 32) ** 2, c.hidden)
        self.code = FullPrecisionLinear(c.hidden, c.code)
        self.points = FullPrecisionLinear(c.code, 2 * c.points)
        self.unsure = FullPrecisionLinear(c.hidden, 48)
        self.sigma = FullPrecisionLinear(48, c.points)
        self.register_buffer("vertices", torch.arange(c.points))
        nn.init.normal_(self.code.weight, std=0.02)
        nn.init.zeros_(self.sigma.weight)
        nn.init.constant_(self.sigma.bias, math.log(_FIRST_SIGMA))
        nn.init.constant_(self.points.bias, c.size / 2)

    @torch.no_grad()
    def start_from_points(self, points: Tensor) -> None:
        """Take mean and principal components of true points (M, N, 2), px, as the last layer."""
        flat = points.reshape(len(points), -1).double().cpu()
        mean = flat.mean(dim=0)
        count = min(self.config.code, len(flat) - 1)
        variance, basis = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
        self.points.bias.copy_(mean)
        self.points.weight.zero_()
        root = variance[-count:].clamp_min(0).sqrt()
        self.points.weight[:, :count].copy_((basis[:, -count:] * root).flip(1))

    def forward(self, image: Tensor) -> LandmarkOutput:
        """Find the points in images (B, 3, S, S), RGB in [0, 1]."""
        x = self.features((image - _GREY) / _CONTRAST)
        x = functional.relu(self.gather(x.flatten(1))).float()
        points = self.points(self.code(x)).reshape(len(x), -1, 2)
        return LandmarkOutput(points, self.sigma(functional.relu(self.unsure(x))).clamp(_LEAST, _MOST))


@dataclass(frozen=True)
class LandmarkLoss:
    """Loss of a landmark net."""

    distance: float = 0.1
    """Weight of the mean distance, px, beside the likelihood: points of large deviation are learned too."""


def landmark_loss(out: LandmarkOutput, truth: Tensor, config: LandmarkLoss) -> Tensor:
    """Mean negative log likelihood of true points (B, N, 2), px, under isotropic Gaussians, without constant,
    and their distance."""
    square = (out.points - truth).square().sum(dim=2)
    likelihood = 2 * out.log_sigma + 0.5 * square * (-2 * out.log_sigma).exp()
    return (likelihood + config.distance * (square + 1e-4).sqrt()).mean()
