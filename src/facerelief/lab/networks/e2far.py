"""UH-E2FAR (Dou, Shah & Kakadiaris, CVPR 2017): one network from an image to a shape, without rendering.

A VGG-16 trunk; the neutral face (identity) from its last features, which separate classes; the expression
from its last two levels of features together (fusion-CNN), since it needs lower features. Pose, light and
skin are not predicted. The layers are those of a public re-implementation (ShownX/mxnet-E2FAR), which has no
activation after hidden layers; ours are ReLU, with a switch.

Our additions: widths, batch norms, and a head on pooled features, for small machines and for training without
VGG-Face's weights. `width=1, norm=False, head="fc"` and those weights (`networks.vgg_face`) are the paper's.

Frames and units: images are RGB in [0, 1], (B, 3, S, S); identity in standard deviations of the face model,
expression in its weights.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerelief.lab.networks.guo import Standardizer, regressor
from facerelief.lab.networks.losses import LossTerms
from facerelief.morphable.model import FaceModel

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; each group ends with a pooling."""
_FULL = (4096, 1024)
"""Hidden sizes of the paper's heads."""
_COMPACT = 512
"""Hidden size of a head on pooled features."""


@dataclass(frozen=True)
class E2farConfig:
    """Architecture of a UH-E2FAR network."""

    size: int = 180
    """Side of the crop, px. Size over 16, rounded down, must be odd: else conv6 and pool5 do not match."""
    width: float = 1.0
    """Channels of every layer over those of VGG-16."""
    head: Literal["fc", "pool"] = "fc"
    """fc: hidden layers of 4096 and 1024 on all of the last features, as in the paper. pool: one of 512 on
    their means and maxima over the image, with a twentieth of the weights."""
    norm: bool = False
    """Batch norms in the trunk: needed to learn without VGG-Face's weights, which do not fit it then."""
    fusion: bool = True
    """Expression from pool4 and pool5 (fusion-CNN), or from pool5 alone."""
    branches: bool = True
    """A head each for identity and expression, or one for both: the plain regressor that the paper compares
    with."""
    linear: bool = False
    """No activations of hidden layers behind the trunk, as in the re-implementation."""
    dropout: float = 0.5
    """Of the first hidden layer of head "fc"."""
    identity: int = 100
    """Identity coefficients of the model."""
    expression: int = 52
    """Expression weights of the model."""

    def __post_init__(self) -> None:
        if self.size < 48 or self.size // 16 % 2 == 0:
            raise ValueError(
                f"size is {self.size}: expected px of which a sixteenth, rounded down, is odd: 180"
            )
        if self.width <= 0 or self.identity < 1 or self.expression < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"{self}: expected positive sizes and a dropout in [0, 1)")
        if self.fusion and not self.branches:
            raise ValueError("fusion serves the expression's own head: give it branches")


class E2farOutput(NamedTuple):
    """Output of a UH-E2FAR network."""

    identity: Tensor
    """(B, K) standard deviations: the neutral face."""
    expression: Tensor
    """(B, E) weights, not clipped to [0, 1]."""


@dataclass(frozen=True)
class E2farLoss:
    """Loss: mean squared distances of vertices, mm^2."""

    multi_task: bool = True
    """Neutral shape and the expression's offset apart; else the expressive shape alone."""
    neutral: float = 1.0
    """Weight of the neutral shape's error."""
    expressive: float = 5.0
    """Weight of the expression's."""
    squared: bool = True
    """Mean squares, as in the paper; else their roots in each image, mm."""
    size: float = 0.1
    """Weight of the squared error by a wrong size of the head. An image does not show that size, and it is
    near half of the variance of identities; 1 is the paper's."""


class E2farTarget(NamedTuple):
    """True parameters of a crop."""

    identity: Tensor
    """(B, K)"""
    expression: Tensor
    """(B, E)"""


def _channels(count: int, width: float) -> int:
    return max(8, 8 * round(width * count / 8))


class Trunk(nn.Module):
    """VGG-16 (Simonyan & Zisserman, ICLR 2015) up to its fifth pooling; poolings round down."""

    def __init__(self, width: float = 1.0, norm: bool = False) -> None:
        super().__init__()
        groups: list[nn.Sequential] = []
        into = 3
        for group in VGG16:
            layers: list[nn.Module] = []
            for count in group:
                out = _channels(count, width)
                layers.append(_convolution(into, out, 3, bias=not norm))
                layers += [nn.BatchNorm2d(out)] if norm else []
                layers.append(nn.ReLU(inplace=True))
                into = out
            groups.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
        self.groups = nn.ModuleList(groups)
        self.features = into

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features pool4 and pool5, (B, C, s, s), of an image (B, 3, S, S)."""
        before = x
        for group in self.groups:
            before, x = x, group(x)
        return before, x

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The thirteen, first to last."""
        return [layer for group in self.groups for layer in group.children() if isinstance(layer, nn.Conv2d)]


def _convolution(
    into: int, out: int, side: int, stride: int = 1, pad: int | None = None, bias: bool = True
) -> nn.Conv2d:
    conv = nn.Conv2d(into, out, side, stride, side // 2 if pad is None else pad, bias=bias)
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class _Regressor(nn.Module):
    """Parameters (B, n) from features (B, C, s, s)."""

    def __init__(self, config: E2farConfig, channels: int, side: int, out: int) -> None:
        super().__init__()
        c = config
        self.pooled = c.head == "pool"
        act: type[nn.Module] = nn.Identity if c.linear else nn.ReLU
        if self.pooled:
            hidden = [nn.Linear(2 * channels, _COMPACT), act()]
            last = _COMPACT
        else:
            first, last = (_channels(n, c.width) for n in _FULL)
            hidden = [nn.Linear(channels * side * side, first), act(), nn.Dropout(c.dropout)]
            hidden += [nn.Linear(first, last), act()]
        for layer in hidden:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.hidden = nn.Sequential(*hidden)
        self.last = regressor(last, out)

    def forward(self, x: Tensor) -> Tensor:
        if self.pooled:
            x = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return self.last(self.hidden(x.flatten(1)))


class Fusion(nn.Module):
    """Fusion-CNN: features of pool4 and pool5 together."""

    def __init__(self, config: E2farConfig, channels: int) -> None:
        super().__init__()
        self.linear = config.linear
        self.conv6 = _convolution(channels, channels, 5, stride=2, pad=1)
        self.conv7 = _convolution(channels, channels, 1)
        self.conv8 = _convolution(2 * channels, channels, 1)

    def _act(self, x: Tensor) -> Tensor:
        return x if self.linear else functional.relu(x)

    def forward(self, pool4: Tensor, pool5: Tensor) -> Tensor:
        """Features (B, C, s, s) of the size of pool5."""
        both = torch.cat([self._act(self.conv6(pool4)), self._act(self.conv7(pool5))], dim=1)
        return self._act(self.conv8(both))


class E2far(nn.Module):
    """Identity and expression from one image."""

    offset: Tensor
    gain: Tensor

    def __init__(self, config: E2farConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or E2farConfig()
        self.trunk = Trunk(c.width, c.norm)
        channels, side = self.trunk.features, c.size // 32
        self.register_buffer("offset", torch.full((3,), 127.5))
        self.register_buffer("gain", torch.full((3,), 1 / 64))
        self.fusion = Fusion(c, channels) if c.fusion else None
        if c.branches:
            self.neutral: nn.Module | None = _Regressor(c, channels, side, c.identity)
            self.expressive = _Regressor(c, channels, side, c.expression)
        else:
            self.neutral = None
            self.expressive = _Regressor(c, channels, side, c.identity + c.expression)
        self.expression_scale = Standardizer(c.expression)
        self.held = False
        """Whether the trunk is kept fixed: the first of the paper's two phases."""

    def train(self, mode: bool = True) -> E2far:
        """Training mode; a trunk that is held stays in evaluation mode."""
        super().train(mode)
        if self.held:
            self.trunk.eval()
        return self

    def hold(self, held: bool) -> None:
        """Fix the trunk, or let it learn."""
        if held != self.held:
            self.held = held
            self.train(self.training)

    def forward(self, image: Tensor) -> E2farOutput:
        """Estimate the shape of the face in an image (B, 3, S, S), RGB in [0, 1]."""
        x = (255 * image - self.offset[:, None, None]) * self.gain[:, None, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.held):
            pool4, pool5 = self.trunk(x)
        seen = pool5 if self.fusion is None else self.fusion(pool4, pool5)
        expression = self.expressive(seen)
        if self.neutral is None:
            identity, expression = expression.split([self.config.identity, self.config.expression], dim=1)
        else:
            identity = self.neutral(pool5)
        return E2farOutput(identity, self.expression_scale(expression))

    @torch.no_grad()
    def start_from(self, other: E2far) -> None:
        """Copy the weights of a trained network: its trunk, and all others of the same shapes. With head
        "pool" its crops may be of another size. Raises ValueError for another trunk."""
        own, given = self.state_dict(), other.state_dict()
        for name, value in own.items():
            if name in given and given[name].shape == value.shape:
                value.copy_(given[name])
            elif name.startswith("trunk."):
                raise ValueError(
                    f"a net of another trunk: width {other.config.width}, norm {other.config.norm}"
                )


class ShapeError(nn.Module):
    """Mean squared distance of vertices between two faces, mm^2, from their coefficients.

    With U (3 N, M) the bases of identity and expression over the face region and d the difference of the
    coefficients, the mean over its N vertices of |U d|^2 is d^T G d with the Gram matrix G = U^T U / N.
    """

    gram: Tensor

    def __init__(self, model: FaceModel, size: float = 1.0) -> None:
        """Compute G. size: weight of the part that another size of the mean face explains."""
        super().__init__()
        face = model.face_vertices
        basis = torch.from_numpy(model.identity[face]), torch.from_numpy(model.expression[face])
        both = torch.cat(basis, dim=2).double().reshape(3 * int(face.sum()), -1)
        growth = torch.from_numpy(model.mean[face] - model.mean[face].mean(axis=0)).double().flatten()
        grown = growth @ both / growth.norm()
        gram = both.T @ both - (1 - size) * torch.outer(grown, grown)
        self.register_buffer("gram", (gram / int(face.sum())).float(), persistent=False)
        self.n_identity = model.n_identity

    def neutral(self, apart: Tensor) -> Tensor:
        """(B,) mm^2 of the neutral shape, of differences in identity (B, K)."""
        k = self.n_identity
        return _form(apart, self.gram[:k, :k])

    def offset(self, apart: Tensor) -> Tensor:
        """(B,) mm^2 of the expression's offset, of differences in expression (B, E)."""
        k = self.n_identity
        return _form(apart, self.gram[k:, k:])

    def expressive(self, identity: Tensor, expression: Tensor) -> Tensor:
        """(B,) mm^2 of the expressive shape, of differences in both."""
        return _form(torch.cat([identity, expression], dim=1), self.gram)


def _form(d: Tensor, gram: Tensor) -> Tensor:
    d = d.float()
    return ((d @ gram) * d).sum(dim=1).clamp_min(0.0)


def e2far_loss(out: E2farOutput, truth: E2farTarget, error: ShapeError, config: E2farLoss) -> LossTerms:
    """Multi-task loss (Dou et al.): w_n |neutral shape|^2 + w_e |expression's offset|^2, each a mean over
    vertices and samples; or the expressive shape's error alone."""
    identity, expression = out.identity - truth.identity, out.expression - truth.expression

    def size(squares: Tensor) -> Tensor:
        return (squares if config.squared else (squares + 1e-8).sqrt() - 1e-4).mean()

    whole = error.expressive(identity, expression)
    if config.multi_task:
        neutral, offset = size(error.neutral(identity)), size(error.offset(expression))
        loss = config.neutral * neutral + config.expressive * offset
    else:
        neutral, offset = size(error.neutral(identity.detach())), size(error.offset(expression.detach()))
        loss = size(whole)
    parts = {"neutral": neutral, "offset": offset, "expressive_mm": whole.sqrt().mean()}
    return LossTerms(loss, {name: value.detach() for name, value in parts.items()})
