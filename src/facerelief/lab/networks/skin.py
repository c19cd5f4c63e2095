"""The skin net: which pixels show the bare skin of a face.

A small U-Net (Ronneberger et al., MICCAI 2015) on the landmark net's crop at a lower resolution. Hair, brows,
beards, glasses, hands, hats, clothes, eyes and the inside of the mouth are no bare skin.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from facerelief.inference.skin_net import SKIN_SIZE
from facerelief.lab.networks.landmarks import Inverted, Layer, Residual

_GREY, _CONTRAST = 0.45, 0.25


@dataclass(frozen=True)
class SkinNetConfig:
    """Architecture of a skin net."""

    size: int = SKIN_SIZE
    """Side of the crop, px; a multiple of 16."""
    channels: tuple[int, ...] = (16, 24, 48, 80)
    """At 1/2, 1/4, 1/8 and 1/16 of the resolution."""
    blocks: tuple[int, ...] = (0, 1, 2, 3)
    """Blocks at each of them on the way down; one each on the way up."""

    def __post_init__(self) -> None:
        if self.size % 16 or not len(self.channels) == len(self.blocks) == 4:
            raise ValueError(f"{self}: expected a size that is a multiple of 16, and four levels")


class SkinNet(nn.Module):
    """Share of bare skin of every pixel."""

    def __init__(self, config: SkinNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or SkinNetConfig()
        down: list[nn.Module] = []
        into = 3
        for level, (width, count) in enumerate(zip(c.channels, c.blocks)):
            parts: list[nn.Module] = [Layer(into, width, stride=2)]
            parts += [_block(level, width) for _ in range(count)]
            down.append(nn.Sequential(*parts))
            into = width
        self.down = nn.ModuleList(down)
        pairs = list(zip(c.channels[:-1], c.channels[1:]))
        self.narrow = nn.ModuleList(Layer(wide, width, 1) for width, wide in pairs)
        self.up = nn.ModuleList(_block(level, width) for level, (width, _) in enumerate(pairs))
        self.last = nn.Conv2d(c.channels[0], 4, 3, padding=1)
        """Four pixels of the full resolution for each of half of it."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, S, S) logits of bare skin in images (B, 3, S, S), RGB in [0, 1]."""
        x = (image - _GREY) / _CONTRAST
        kept: list[Tensor] = []
        for part in self.down:
            x = part(x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](kept[level] + _twice(self.narrow[level](x)))
        return functional.pixel_shuffle(self.last(x), 2)


def _block(level: int, width: int) -> nn.Module:
    # plain convolutions where weights are few, depthwise ones where they would be many
    if level == 0:
        return Layer(width, width)
    return Residual(width) if level == 1 else Inverted(width)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
