"""CoarseNet, Tracking CoarseNet and FineNet (Guo et al., TPAMI 2019).

As in the paper: ResNet-18 on a crop of 224 px, for the coefficients and the pose of a linear model; the same
with six channels for video, whose input shows the previous face as a PNCC image and whose output is the
change; a U-Net on a crop of 256 px, for the relief of the coarse surface. Our additions: 52 expression
weights, the identity of our model, parameters in units of their standard deviations in the data, a
confidence, variable widths, and half the resolution inside the U-Net.

Frames and units: images are RGB in [0, 1], (B, 3, S, S); poses are (pitch, yaw, roll, t_u, t_v, log s) in
radians, px of the crop and log px/mm (`geometry.camera`). Euler angles have no jump for |yaw| < 90 degrees,
and the crops show no other faces.

The names of modules inside the networks are the keys of checkpoints.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerelief.inference.crops import CONTRAST_SIZES

POSE = 6
"""Size of a pose vector."""
_GREY, _CONTRAST = 0.45, 0.25
"""Approximate mean and standard deviation of photos' pixels."""
_FIRST_GAIN = 0.6
"""First gain of a Tracking CoarseNet that starts from a CoarseNet."""
_CUES = 3
"""Channels of `inference.shading_cues.shading_cues`."""
_DETAIL = 4
"""Channels of FineNet at full resolution, before the last layer."""


@dataclass(frozen=True)
class CoarseNetConfig:
    """Architecture of a CoarseNet or Tracking CoarseNet."""

    size: int = 224
    """Side of the crop, px."""
    width: float = 1.0
    """Channels of every stage over those of ResNet-18."""
    identity: int = 100
    """Identity coefficients of the model."""
    expression: int = 52
    """Expression weights of the model."""

    def __post_init__(self) -> None:
        if self.size < 32 or self.width <= 0 or self.identity < 1 or self.expression < 1:
            raise ValueError(f"{self}: expected a size of at least 32 and positive numbers")


@dataclass(frozen=True)
class FineNetConfig:
    """Architecture of a FineNet."""

    size: int = 256
    """Side of the crop, px; a multiple of 16 and of 2 ** levels."""
    width: int = 32
    """Channels of the first level, at half resolution; doubled from level to level."""
    levels: int = 4
    """Resolutions: 4 are 128, 64, 32 and 16 px."""
    widest: int = 256
    """Largest number of channels."""
    trust: bool = False
    """State a mask of trust too."""

    def __post_init__(self) -> None:
        unit = max(2**self.levels, *CONTRAST_SIZES)
        if self.width < 1 or self.levels < 1 or self.size < 2 or self.size % unit:
            raise ValueError(f"{self}: expected a size that is a multiple of {unit}")


class CoarseOutput(NamedTuple):
    """Output of a CoarseNet."""

    identity: Tensor
    """(B, K) standard deviations of the model."""
    expression: Tensor
    """(B, E) weights, not clipped to [0, 1]."""
    pose: Tensor
    """(B, 6) in the crop; see the module."""
    log_variance: Tensor
    """(B,) log mm^2, expected squared error of the projected points."""


class TrackingOutput(NamedTuple):
    """Output of a Tracking CoarseNet."""

    expression: Tensor
    """(B, E) weights in this frame."""
    pose: Tensor
    """(B, 6) in the crop, in this frame."""
    delta: Tensor
    """(B, E + 6) changes since the previous frame, in their standard deviations."""
    log_variance: Tensor
    """(B,) log mm^2."""


class FineOutput(NamedTuple):
    """Output of a FineNet."""

    displacement: Tensor
    """(B, S, S) along camera z, toward the viewer; 1 is 1 % of the face's width."""
    trust: Tensor | None
    """(B, S, S) logit of the mask of trust; None where the net states none."""


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of parameters over a data set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Standardizer(nn.Module):
    """From standardized parameters z to mean + std z; the constants are saved with the net."""

    mean: Tensor
    std: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    def set(self, moments: Moments) -> None:
        """Take the constants. Raises ValueError for other counts, or deviations that are not positive."""
        mean, std = torch.tensor(moments.mean), torch.tensor(moments.std)
        if mean.shape != self.mean.shape or std.shape != self.std.shape or not bool((std > 0).all()):
            raise ValueError(f"expected {len(self.mean)} means and positive deviations, got {len(mean)}")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, z: Tensor) -> Tensor:
        """Parameters (B, n) from standardized ones."""
        return self.mean + self.std * z

    def inverse(self, x: Tensor) -> Tensor:
        """Standardized parameters (B, n)."""
        return (x - self.mean) / self.std


def _convolution(into: int, out: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(into, out, side, stride, side // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class _Block(nn.Module):
    """Basic block of a ResNet (He et al., CVPR 2016)."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(into, out, 3, stride), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = _convolution(out, out), nn.BatchNorm2d(out)
        same = stride == 1 and into == out
        self.short = (
            nn.Identity() if same else nn.Sequential(_convolution(into, out, 1, stride), nn.BatchNorm2d(out))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.short(x), inplace=True)


class Backbone(nn.Module):
    """ResNet-18 (He et al., CVPR 2016) up to the pooled features."""

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        sizes = [max(8, 8 * round(width * n / 8)) for n in (64, 128, 256, 512)]
        self.features = sizes[-1]
        self.stem, self.norm = _convolution(channels, sizes[0], 7, 2), nn.BatchNorm2d(sizes[0])
        blocks: list[nn.Module] = []
        into = sizes[0]
        for k, out in enumerate(sizes):
            blocks += [_Block(into, out, 1 if k == 0 else 2), _Block(out, out, 1)]
            into = out
        self.stages = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, n) of an image (B, C, S, S)."""
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        return self.stages(x).mean(dim=(2, 3))


class FullPrecisionLinear(nn.Linear):
    """A linear layer in float32, also under autocast: half precision is too coarse for px of the crop."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, out) from (B, in)."""
        if torch.is_autocast_enabled(input.device.type):
            with torch.autocast(input.device.type, enabled=False):
                return super().forward(input.float())
        return super().forward(input)


def regressor(features: int, out: int) -> FullPrecisionLinear:
    """A last layer whose first outputs are small."""
    layer = FullPrecisionLinear(features, out)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class UncertaintyHead(FullPrecisionLinear):
    """Expected squared error of the projected points. Its gradient does not reach the features."""

    def __init__(self, features: int, error: float) -> None:
        """A head that predicts `error`, mm, for every input."""
        super().__init__(features, 1)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, 2 * math.log(error))

    def forward(self, input: Tensor) -> Tensor:
        """(B,) log mm^2 from features (B, n)."""
        return super().forward(input.detach()).squeeze(1)


class CoarseNet(nn.Module):
    """Identity, expression and pose from one image (Guo et al.: ResNet-18 and one linear layer)."""

    def __init__(self, config: CoarseNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or CoarseNetConfig()
        self.backbone = Backbone(3, c.width)
        self.head = regressor(self.backbone.features, c.identity + c.expression + POSE)
        self.unsure = UncertaintyHead(self.backbone.features, 10.0)
        self.expression_scale, self.pose_scale = Standardizer(c.expression), Standardizer(POSE)

    def forward(self, image: Tensor) -> CoarseOutput:
        """Estimate the state of the face in an image (B, 3, S, S), RGB in [0, 1]."""
        c = self.config
        features = self.backbone((image - _GREY) / _CONTRAST)
        identity, expression, pose = self.head(features).split([c.identity, c.expression, POSE], dim=1)
        return CoarseOutput(
            identity, self.expression_scale(expression), self.pose_scale(pose), self.unsure(features)
        )

    @torch.no_grad()
    def start_from(self, other: CoarseNet) -> None:
        """Copy the weights of a trained CoarseNet; its crops may be of another size. Raises ValueError for
        another width or face model."""
        _take(self, other)
        zoom = self.config.size / other.config.size
        for part in (self.pose_scale.mean, self.pose_scale.std):
            part[3:5] *= zoom
        self.pose_scale.mean[5] += math.log(zoom)


class TrackingNet(nn.Module):
    """Change of expression and pose since the previous frame.

    The change is a correction of the previous state (Guo et al.), plus a share of the difference between the
    previous state and an estimate from this image alone (ours). The share is learned for each parameter, like
    the gain of a Kalman filter. An untrained net returns the previous state: its last layer and its gains are
    zero.
    """

    def __init__(self, config: CoarseNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or CoarseNetConfig()
        self.backbone = Backbone(6, c.width)
        self.head = FullPrecisionLinear(self.backbone.features, c.expression + POSE)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.alone = regressor(self.backbone.features, c.expression + POSE)
        self.gain = nn.Parameter(torch.zeros(c.expression + POSE))
        self.unsure = UncertaintyHead(self.backbone.features, 3.0)
        self.scale = Standardizer(c.expression + POSE)
        self.expression_scale, self.pose_scale = Standardizer(c.expression), Standardizer(POSE)

    def forward(self, image: Tensor, pncc: Tensor, expression: Tensor, pose: Tensor) -> TrackingOutput:
        """Estimate this frame's state.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            pncc: (B, 3, S, S) in [0, 1], the previous state in the same crop (`inference.pncc`).
            expression: (B, E) of the previous state.
            pose: (B, 6) of the previous state, in the same crop.
        """
        e = self.config.expression
        both = torch.cat([(image - _GREY) / _CONTRAST, (pncc - _GREY) / _CONTRAST], dim=1)
        features = self.backbone(both)
        alone = self.alone(features)
        seen = torch.cat([self.expression_scale(alone[:, :e]), self.pose_scale(alone[:, e:])], dim=1)
        before = torch.cat([expression, pose], dim=1)
        delta = self.head(features) + self.gain * self.scale.inverse(seen - before)
        after = before + self.scale(delta)
        return TrackingOutput(after[:, :e], after[:, e:], delta, self.unsure(features))

    @torch.no_grad()
    def start_from(self, other: CoarseNet | TrackingNet) -> None:
        """Copy the weights of a trained net; its crops may be of another size.

        A CoarseNet gives its features, with zero weights for the PNCC, and its head as the estimate from this
        image alone, with gain `_FIRST_GAIN`. Raises ValueError for another width or face model.
        """
        zoom = self.config.size / other.config.size
        if isinstance(other, TrackingNet):
            _take(self, other)
            self.scale.std[-POSE + 3 : -1] *= zoom
        else:
            c, given = self.config, other.backbone.state_dict()
            if other.config.width != c.width or other.config.expression != c.expression:
                raise ValueError(
                    f"a CoarseNet of width {other.config.width} with {other.config.expression} expressions, "
                    f"expected {c.width} with {c.expression}"
                )
            stem = given["stem.weight"]
            given["stem.weight"] = torch.cat([stem, torch.zeros_like(stem)], dim=1)
            self.backbone.load_state_dict(given)
            self.alone.weight.copy_(other.head.weight[other.config.identity :])
            self.alone.bias.copy_(other.head.bias[other.config.identity :])
            self.expression_scale.load_state_dict(other.expression_scale.state_dict())
            self.pose_scale.load_state_dict(other.pose_scale.state_dict())
            self.gain.fill_(_FIRST_GAIN)
        for part in (self.pose_scale.mean, self.pose_scale.std):
            part[3:5] *= zoom
        self.pose_scale.mean[5] += math.log(zoom)


class _Pair(nn.Sequential):
    """Two convolutions of a U-Net."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__(
            _convolution(into, out, 3, stride),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            _convolution(out, out),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )


def contrasts(image: Tensor) -> Tensor:
    """Brightness of pixels against their surroundings; `inference.crops.contrasts` in torch.

    (B, 2, S, S) from (B, 3, S, S) RGB in [0, 1]. Wrinkles change brightness by a few per cent, light and skin
    by tens: from the image alone a net learns the first slowly.
    """
    light = (image.mean(dim=1, keepdim=True) + 0.05).log()
    out: list[Tensor] = []
    for size in CONTRAST_SIZES:
        around = functional.avg_pool2d(light, size)
        around = functional.interpolate(around, scale_factor=float(size), mode="bilinear")
        out.append(10.0 * (light - around))
    return torch.cat(out, dim=1)


class FineNet(nn.Module):
    """Relief of a coarse surface, in hundredths of the face's width, and where to trust it.

    A U-Net (Ronneberger et al., MICCAI 2015). Its first level gathers 2 x 2 px into channels, its last layer
    spreads them out again: half the resolution inside is four times the speed, and no px of the input is lost
    (ours; the paper's layers are not published). Untrained, and off the mask, the relief is zero.
    """

    def __init__(self, config: FineNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FineNetConfig()
        sizes = [min(c.width * 2**k, c.widest) for k in range(c.levels)]
        given = 4 * (5 + len(CONTRAST_SIZES) + _CUES)
        self.down = nn.ModuleList(
            _Pair(into, out, 1 if k == 0 else 2) for k, (into, out) in enumerate(zip([given, *sizes], sizes))
        )
        self.up = nn.ModuleList(
            _Pair(below + beside, beside) for below, beside in zip(sizes[:0:-1], sizes[-2::-1])
        )
        self.spread = _convolution(sizes[0], 4 * _DETAIL)
        self.last = nn.Conv2d(_DETAIL, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(torch.as_tensor(self.last.bias))
        self.sure = nn.Conv2d(_DETAIL, 1, 3, padding=1) if c.trust else None

    def forward(
        self,
        image: Tensor,
        depth: Tensor,
        mask: Tensor,
        face_width: Tensor,
        cues: Tensor,
        contrast: Tensor | None = None,
    ) -> FineOutput:
        """Estimate the relief.

        Args:
            image: (B, 3, S, S) RGB in [0, 1].
            depth: (B, S, S) mm along camera z, any origin.
            mask: (B, S, S) 1 on the face, else 0.
            face_width: (B,) mm (`inference.crops.face_width`).
            cues: (B, 3, S, S) of `inference.shading_cues`.
            contrast: (B, 2, S, S) of `contrasts`, computed here unless given.
        """
        count = mask.sum(dim=(1, 2)).clamp_min(1.0)
        mean = (depth * mask).sum(dim=(1, 2)) / count
        flat = (depth - mean[:, None, None]) * mask / face_width[:, None, None]
        contrast = contrasts(image) if contrast is None else contrast
        parts = [(image - _GREY) / _CONTRAST, 4.0 * flat[:, None], mask[:, None], contrast, cues]
        x = functional.pixel_unshuffle(torch.cat(parts, dim=1), 2)
        beside: list[Tensor] = []
        for level in self.down:
            x = level(x)
            beside.append(x)
        beside.pop()
        for level in self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = level(torch.cat([x, beside.pop()], dim=1))
        x = functional.pixel_shuffle(functional.relu(self.spread(x)), 2)
        trust = None if self.sure is None else self.sure(x)[:, 0].float()
        return FineOutput(self.last(x)[:, 0].float() * mask, trust)

    def start_from(self, other: FineNet) -> None:
        """Copy the weights of a trained FineNet, whether it states trust or not. Raises ValueError for other
        widths or levels."""
        given = {name: value for name, value in other.state_dict().items() if not name.startswith("sure.")}
        own = {name: value for name, value in self.state_dict().items() if name.startswith("sure.")}
        if other.sure is not None and self.sure is not None:
            own = {f"sure.{name}": value for name, value in other.sure.state_dict().items()}
        _load(self, given | own)


def _take(net: nn.Module, other: nn.Module) -> None:
    """Copy all weights. Raises ValueError where their shapes differ."""
    _load(net, other.state_dict())


def _load(net: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"a net of other sizes: {str(error).splitlines()[-1].strip()}") from error


def parameters_of(net: nn.Module) -> int:
    """Number of the weights that a net learns."""
    return sum(math.prod(p.shape) for p in net.parameters())
