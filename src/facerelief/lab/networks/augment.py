"""Augmentation: effects of cameras, codecs and occluders on images. None of it moves the face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.typed import Image


@dataclass(frozen=True)
class AugmentConfig:
    """Shares of the images that are changed in each way, and largest amounts."""

    color: float = 0.8
    """Other gain, gamma and balance of the channels."""
    saturation: float = 0.3
    """Weaker or stronger colours."""
    grey: float = 0.05
    """No colours."""
    occluder: float = 0.3
    """One or two polygons before the face."""
    blur: float = 0.15
    """Defocus: a Gaussian of at most `blur_px`."""
    blur_px: float = 2.0
    motion: float = 0.1
    """Motion blur along a line of at most `motion_px`."""
    motion_px: float = 9.0
    coarse: float = 0.12
    """Lower resolution, at least a third."""
    noise: float = 0.3
    """Sensor noise of at most `noise_level` of 255."""
    noise_level: float = 10.0
    jpeg: float = 0.3
    """JPEG of quality 25 to 90."""

    def strength(self, share: float) -> AugmentConfig:
        """The same configuration with every share multiplied."""
        names = ("color", "saturation", "grey", "occluder", "blur", "motion", "coarse", "noise", "jpeg")
        return replace(self, **{name: min(1.0, share * getattr(self, name)) for name in names})


FINE_AUGMENT = AugmentConfig(occluder=0.0, blur=0.05, blur_px=0.7, motion=0.0, coarse=0.0, noise_level=5.0)
"""For FineNet, without the changes that hide wrinkles."""


def augment(
    image: Image,
    rng: np.random.Generator,
    config: AugmentConfig,
    other: Callable[[], Image] | None = None,
) -> Image:
    """An augmented copy of an image (S, S, 3) RGB. other: returns another image, for occluders; without it
    these have plain colours or noise."""
    import cv2

    c, random = config, rng.random
    out: Any = image
    if random() < c.occluder:
        for _ in range(int(rng.integers(1, 3))):
            out = occlude(out, rng, other)
    if random() < c.color:
        out = cv2.LUT(np.ascontiguousarray(out), _curves(rng))
    grey = random() < c.grey
    if grey or random() < c.saturation:
        share = 0.0 if grey else float(rng.uniform(0.4, 1.5))
        plain = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        out = cv2.addWeighted(out, share, plain, 1 - share, 0)
    if random() < c.coarse:
        size = out.shape[0]
        small = int(size * rng.uniform(1 / 3, 0.8))
        out = np.asarray(
            cv2.resize(cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (size, size))
        )
    if random() < c.blur:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, c.blur_px)))
    if random() < c.motion:
        out = np.asarray(cv2.filter2D(out, -1, _line(rng, c.motion_px), borderType=cv2.BORDER_REFLECT_101))
    if random() < c.noise:
        level = float(rng.uniform(1.0, c.noise_level))
        grain = rng.standard_normal(out.shape, np.float32) * np.float32(level)
        out = np.clip(out + grain + np.float32(0.5), 0, 255).astype(np.uint8)
    if random() < c.jpeg:
        quality = int(rng.integers(25, 91))
        done, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done:
            out = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(out, np.uint8)


def _curves(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lookup table (1, 256, 3) of a random tone curve for each channel."""
    gain = np.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.05, 3))
    gamma, lift = np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.04)
    value = (np.arange(256) / 255.0)[:, None] ** gamma
    curve = np.clip((value - 0.45) * gain + 0.45 + lift, 0, 1)
    return (255 * curve + 0.5).astype(np.uint8)[None]


def _line(rng: np.random.Generator, longest: float) -> NDArray[Any]:
    """Kernel of motion blur in a random direction."""
    import cv2

    length, angle = rng.uniform(2.0, longest), rng.uniform(0, np.pi)
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    way = 0.5 * length * np.array([np.cos(angle), np.sin(angle)]) * 16
    low, high = (np.rint(reach * 16 + sign * way).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, low, high, 1.0, 1, cv2.LINE_AA, 4)
    total = float(kernel.sum())
    if total <= 0:
        kernel[reach, reach] = total = 1.0
    return kernel / total


def occlude(image: Image, rng: np.random.Generator, other: Callable[[], Image] | None = None) -> Image:
    """The image (S, S, 3) behind a polygon of plain colour, noise, or part of another image.

    Polygons stand in for hands, cups and hair.
    """
    import cv2

    size = image.shape[0]
    kind = rng.random()
    if other is not None and kind < 0.5:
        cover = cv2.resize(other(), (size, size))
        cover = np.roll(cover, int(rng.integers(size)), axis=int(rng.integers(2)))
    else:
        cover = np.broadcast_to(rng.integers(0, 256, 3, np.uint8), image.shape)
        if kind > 0.75:
            blotches = rng.integers(0, 256, (int(rng.integers(2, 24)), int(rng.integers(2, 24)), 3), np.uint8)
            cover = cv2.resize(blotches, (size, size), interpolation=cv2.INTER_LINEAR)
    count = int(rng.integers(4, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    if rng.random() < 0.4:  # a strip across
        angles = np.array([-0.1, 0.1, np.pi - 0.1, np.pi + 0.1]) + rng.uniform(0, 2 * np.pi)
    radius = size * rng.uniform(0.08, 0.28) * rng.uniform(0.7, 1.3, len(angles))
    centre = rng.uniform(0.1, 0.9, 2) * size
    corners = centre + radius[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
    if rng.random() < 0.5:
        mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 3.0)))
    share = np.asarray(mask, np.float32)[..., None] / np.float32(255)
    return (image + (np.asarray(cover, np.float32) - image) * share + np.float32(0.5)).astype(np.uint8)
