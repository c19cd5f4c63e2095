"""Augmentation of portraits on the device: crop, background, occluders, camera and codec, a batch at a time.

Canvases (`lab.datasets.portraits`) have no background: each time one is used it gets another one, another
crop, and other faults of cameras.

Tested by tests/lab/networks/test_landmarks.py.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# quantisation table of luminance, ITU T.81 annex K
_JPEG = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


@dataclass(frozen=True)
class CanvasAugment:
    """Amounts of the changes. Shares are of the images that are changed."""

    size: int = 192
    """Side of the crop, px."""
    zoom: float = 0.08
    """Standard deviation of the logarithm of the crop's size."""
    shift: float = 0.035
    """Standard deviation of its place, as a share of its side."""
    roll: float = 9.0
    """Standard deviation of its turn, degrees."""
    occluder: float = 0.25
    coarse: float = 0.5
    """Lower resolution, or a motion blur."""
    noise: float = 0.5
    jpeg: float = 0.35
    grey: float = 0.08
    wrinkles: float = 0.0
    """Drawn on the skin, where canvases know it."""


class Batch(NamedTuple):
    """Images and true points of a step."""

    image: Tensor
    """(B, 3, S, S) RGB in [0, 1]."""
    points: Tensor
    """(B, N, 2) px."""
    skin: Tensor | None = None
    """(B, 1, S, S) share of bare skin in [0, 1], where the canvases know it."""


class CanvasAugmenter:
    """Makes training images of canvases."""

    def __init__(
        self, mirror: Tensor, backgrounds: Tensor, config: CanvasAugment | None = None, seed: int = 0
    ) -> None:
        """Prepare.

        Args:
            mirror: (N,) index of each point's mirror image.
            backgrounds: (M, h, w, 3) uint8 parts of photos, on the device; M may be 0.
            config: Amounts.
            seed: Of the random numbers.
        """
        self.config = config or CanvasAugment()
        self.device = mirror.device
        self.mirror = mirror
        self.backgrounds = backgrounds
        self.generator = torch.Generator(self.device).manual_seed(seed)
        # numbers that the host needs: reading them from the device would wait for it
        self.host = np.random.default_rng(seed)
        k = torch.arange(8, device=self.device, dtype=torch.float32)
        dct = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
        dct[0] *= math.sqrt(0.5)
        self._dct = dct
        self._table = torch.tensor(_JPEG, device=self.device, dtype=torch.float32).reshape(8, 8) / 255

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device=self.device, generator=self.generator)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.device, generator=self.generator)

    @torch.no_grad()
    def __call__(self, canvas: Tensor, points: Tensor, *, plain: bool = False) -> Batch:
        """Crops of canvases.

        Args:
            canvas: (B, C, C, 4 or 5) uint8.
            points: (B, N, 2) px of the canvas.
            plain: Background alone, and small changes of the crop.
        """
        c, count = self.config, len(canvas)
        matrix, truth = self.crop(points, canvas.shape[1], 0.5 if plain else 1.0)
        grid = functional.affine_grid(matrix, [count, 4, c.size, c.size], align_corners=False)
        layers = canvas.permute(0, 3, 1, 2).float() / 255
        layers = functional.grid_sample(layers, grid, padding_mode="border", align_corners=False)
        rgb, cover, skin = layers[:, :3], layers[:, 3:4], layers[:, 4:]
        if c.wrinkles > 0 and skin.shape[1]:
            rgb = self._wrinkled(rgb, skin)
        image = rgb + (1 - cover) * self._background(count)
        if not plain:
            image, hidden = self._occluded(image)
            skin = skin * ~hidden
            image = self._camera(image)
        return Batch(image.clamp(0, 1), truth, skin if skin.shape[1] else None)

    def crop(self, points: Tensor, side: int, strength: float = 1.0) -> tuple[Tensor, Tensor]:
        """Random crops of canvases.

        Args:
            points: (B, N, 2) px of the canvas.
            side: Of the canvas, px.
            strength: Factor of the usual changes.

        Returns:
            (B, 2, 3) for `affine_grid`, and (B, N, 2) the points, px of the crop.
        """
        c, count = self.config, len(points)
        scale = (self._normal(count) * c.zoom * strength).clamp(-0.2, 0.2).exp()
        angle = (self._normal(count) * c.roll * strength).clamp(-30, 30) * (math.pi / 180)
        shift = (self._normal(count, 2) * c.shift * strength).clamp(-0.1, 0.1) * c.size
        flip = torch.where(self._uniform(count) < 0.5, -1.0, 1.0)
        cos, sin = scale * angle.cos(), scale * angle.sin()
        # p_canvas = A p_crop + b, about the middles of both, px
        a = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
        inverse = torch.linalg.inv(a)
        centred = points.float() - side / 2 - shift[:, None]
        truth = centred @ inverse.transpose(1, 2) + c.size / 2
        truth = torch.where((flip < 0)[:, None, None], truth[:, self.mirror], truth)
        matrix = torch.cat([a * (c.size / side), (shift * (2 / side))[..., None]], dim=2)
        return matrix, truth

    def _background(self, count: int) -> Tensor:
        """(B, 3, S, S): parts of photos, or colours that run into each other."""
        size = self.config.size
        few = int(self.host.choice([2, 6]))
        smooth = self._uniform(count, 3, few, few) * 0.35 + self._uniform(count, 3, 1, 1) * 0.7
        smooth = functional.interpolate(smooth, size=size, mode="bilinear", align_corners=False)
        if not len(self.backgrounds):
            return smooth
        pick = (self._uniform(count) * len(self.backgrounds)).long()
        photo = self.backgrounds[pick].permute(0, 3, 1, 2).float() / 255
        zoom = 0.35 + 0.6 * self._uniform(count)
        turn = torch.where(self._uniform(count) < 0.5, -1.0, 1.0)
        matrix = torch.zeros(count, 2, 3, device=self.device)
        matrix[:, 0, 0], matrix[:, 1, 1] = zoom * turn, zoom
        matrix[:, :, 2] = (2 * self._uniform(count, 2) - 1) * (1 - zoom)[:, None]
        grid = functional.affine_grid(matrix, [count, 3, size, size], align_corners=False)
        photo = functional.grid_sample(photo, grid, padding_mode="reflection", align_corners=False)
        plain = (self._uniform(count) < 0.25)[:, None, None, None]
        return torch.where(plain, smooth, photo)

    def _wrinkled(self, image: Tensor, skin: Tensor) -> Tensor:
        """Dark and light lines on the skin: level lines of smooth noise, which are nearly parallel curves."""
        c, (count, _, size, _) = self.config, image.shape

        def smooth(few: tuple[int, int]) -> Tensor:
            return functional.interpolate(
                self._normal(count, 1, *few), size=(size, size), mode="bicubic", align_corners=False
            )

        wide = self.host.random() < 0.6  # lines across, as on foreheads
        levels = smooth((5, 3) if wide else (5, 5)) * (1 + 3 * self._uniform(count, 1, 1, 1))
        wave = torch.cos(2 * math.pi * levels)
        lines = (0.5 + 0.5 * wave) ** 6 - 0.5 * (0.5 - 0.5 * wave) ** 4
        strength = 0.7 * self._uniform(count, 1, 1, 1) ** 1.5 * smooth((3, 3)).clamp(0, 1)
        some = self._uniform(count, 1, 1, 1) < c.wrinkles
        return torch.where(some, image * (1 - strength * skin * lines), image)

    def _occluded(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Polygons of one colour or of another image's pixels before a share of the images, and the (B, 1, S,
        S) pixels that they hide."""
        c, (count, _, size, _) = self.config, image.shape
        angle = self._uniform(count, 4) * (2 * math.pi)
        way = torch.stack([angle.cos(), angle.sin()], dim=2)
        centre = self._uniform(count, 2) * size
        reach = (0.05 + 0.25 * self._uniform(count, 4)) * size
        place = torch.arange(size, device=self.device) + 0.5
        x = place[None, None] - centre[:, 0, None, None]
        y = place[None, :, None] - centre[:, 1, None, None]
        inside = torch.ones(count, size, size, device=self.device, dtype=torch.bool)
        for k in range(4):
            along = way[:, k, 0, None, None] * x + way[:, k, 1, None, None] * y
            inside &= along < reach[:, k, None, None]
        # directions that leave a side open would hide too much
        few = inside.float().mean(dim=(1, 2)) < 0.22
        some = few & (self._uniform(count) < c.occluder)
        color = self._uniform(count, 3, 1, 1).expand_as(image)
        other = torch.where(self._uniform(count, 1, 1, 1) < 0.5, color, image.roll(1, 0).flip(2))
        hidden = (inside & some[:, None, None])[:, None]
        return torch.where(hidden, other, image), hidden

    def _camera(self, image: Tensor) -> Tensor:
        """Colours, resolution, motion, noise and JPEG."""
        c, count = self.config, len(image)

        def one(share: float) -> Tensor:
            return (self._uniform(count) < share)[:, None, None, None]

        image = self._blurred(image)
        gamma = (self._normal(count, 1, 1, 1) * 0.25).exp()
        gain = (self._normal(count, 1, 1, 1) * 0.18).exp() * (self._normal(count, 3, 1, 1) * 0.06).exp()
        lift = self._normal(count, 1, 1, 1) * 0.04
        image = (image.clamp(1e-4, 1) ** gamma - 0.4) * gain + 0.4 + lift
        luma = image.mean(dim=1, keepdim=True)
        vivid = (1 + 0.35 * self._normal(count, 1, 1, 1)).clamp(0.1, 2)
        vivid = torch.where(one(c.grey), torch.zeros_like(vivid), vivid)
        image = (luma + vivid * (image - luma)).clamp(0, 1)
        level = torch.where(one(c.noise), 0.05 * self._uniform(count, 1, 1, 1) ** 2, torch.zeros_like(gamma))
        image = image + level * self._normal(*image.shape)
        return torch.where(one(c.jpeg), self._jpeg(image), image)

    def _blurred(self, image: Tensor) -> Tensor:
        """Lower resolution for some parts of the batch, motion blur for another."""
        c, (count, _, size, _) = self.config, image.shape
        part = int(count * c.coarse / 4)
        if part < 1:
            return image
        out = image.clone()
        for k in range(3):
            chosen = slice(k * part, (k + 1) * part)
            small = int(size * self.host.uniform(0.25, 0.9))
            shrunk = functional.interpolate(
                image[chosen], size=small, mode="bilinear", antialias=True, align_corners=False
            )
            out[chosen] = functional.interpolate(shrunk, size=size, mode="bilinear", align_corners=False)
        chosen = slice(3 * part, 4 * part)
        length, angle = self.host.uniform(1, 5), self.host.uniform(0, math.pi)
        kernel = torch.from_numpy(_line(length, angle)).to(self.device)
        kernel = kernel[None, None].expand(3, 1, *kernel.shape)
        reach = kernel.shape[-1] // 2
        padded = functional.pad(image[chosen], [reach] * 4, mode="replicate")
        out[chosen] = functional.conv2d(padded, kernel, groups=3)
        # which images these are changes from step to step: canvases come in random order
        return out

    def _jpeg(self, image: Tensor) -> Tensor:
        """Quantised cosine transform of blocks of 8 px, for all channels alike."""
        count, _, size, _ = image.shape
        quality = 20 + 70 * self._uniform(count, 1, 1, 1, 1, 1)
        scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).clamp_min(0.02)
        blocks = image.reshape(count, 3, size // 8, 8, size // 8, 8).permute(0, 1, 2, 4, 3, 5)
        steps = self._table * scale
        coded = self._dct @ (blocks - 0.5) @ self._dct.T
        coded = (coded / steps).round() * steps
        blocks = self._dct.T @ coded @ self._dct + 0.5
        return blocks.permute(0, 1, 2, 4, 3, 5).reshape(image.shape)


def _line(length: float, angle: float) -> np.ndarray:
    """(k, k) float32 kernel of a motion of `length` px to each side of its middle."""
    reach = math.ceil(length)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-length, length, 8 * reach + 1):
        x, y = reach + t * math.cos(angle), reach + t * math.sin(angle)
        i, j = round(y), round(x)
        kernel[i, j] += 1.0
    return kernel / kernel.sum()
