"""Registration of two maps of one surface: the smooth displacement that lays one onto the other.

Fits of two photos differ by a millimetre or two, so what one shows at a texel the other shows beside it. The
method is that of Lucas & Kanade (1981) from coarse to fine, with a Gaussian window, weights, and a prior that
keeps displacements small where the maps show nothing to hold to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.typed import Float, Float32

_GRAIN = 6.0
"""Texels to a window's deviation: displacements are found on such a grid."""


@dataclass(frozen=True)
class RegistrationConfig:
    """Lengths on the surface and weights of a registration."""

    band_mm: tuple[float, float] = (0.8, 6.0)
    """Gaussians whose difference of the maps is compared: light and tone of two photos differ."""
    contrast_mm: float = 20.0
    """Gaussian over which contrast is made equal."""
    windows_mm: tuple[float, ...] = (16.0, 8.0, 5.0)
    """Gaussian windows in which the displacement is taken as constant, from coarse to fine."""
    steps: int = 3
    """Steps with each window."""
    most_mm: float = 2.0
    """Displacements are at most this long."""
    prior: float = 0.05
    """Weight, 1/mm^2, of the squared distance to the displacement in the window before (0 before the first),
    beside the squared difference of maps of contrast 1; in the last window, and less in wider ones, in which
    more is seen."""


def displacement(
    fixed: Float,
    moving: Float,
    fixed_weight: Float,
    moving_weight: Float,
    texel_mm: float,
    config: RegistrationConfig | None = None,
) -> Float32:
    """Displacement d such that `moving` at x + d(x) shows what `fixed` shows at x.

    Args:
        fixed: (h, w) map, such as log luma.
        moving: (h, w) map of another photo.
        fixed_weight: (h, w) weight of the texels in [0, 1], 0 where the map shows nothing.
        moving_weight: (h, w) likewise.
        texel_mm: Side of a texel on the surface, mm.
        config: Lengths and weights.

    Returns:
        (h, w, 2) texels to the right and down, at most `most_mm` long, 0 where a map shows nothing nearby.
    """
    c = config or RegistrationConfig()
    maps = [
        (_contrast(values, weight, texel_mm, c), np.asarray(weight, np.float32))
        for values, weight in ((fixed, fixed_weight), (moving, moving_weight))
    ]
    height, width = np.shape(fixed)
    flow = np.zeros((1, 1, 2), np.float32)
    for window in c.windows_mm:
        zoom = min(_GRAIN * texel_mm / window, 1.0)
        size = max(round(width * zoom), 1), max(round(height * zoom), 1)
        (a, a_weight), (b, b_weight) = ((resized(x, size), resized(w, size)) for x, w in maps)
        before = flow = resized(flow, size)
        for _ in range(c.steps):
            flow = _step(a, b, a_weight, b_weight, flow, before, window, texel_mm * width / size[0], c)
    return resized(flow, (width, height)) / np.float32(texel_mm)


def displaced(values: Float, flow: Float32) -> Float32:
    """Values (h, w[, C]) at x + flow(x), flow (h, w, 2) texels; 0 beyond the border."""
    import cv2

    row, column = np.indices(flow.shape[:2], np.float32)
    found = cv2.remap(
        np.ascontiguousarray(values, np.float32),
        column + flow[:, :, 0],
        row + flow[:, :, 1],
        cv2.INTER_LINEAR,
        borderValue=0,
    )
    return np.asarray(found, np.float32)


def _step(
    a: Float32,
    b: Float32,
    a_weight: Float32,
    b_weight: Float32,
    flow: Float32,
    before: Float32,
    window: float,
    texel_mm: float,
    c: RegistrationConfig,
) -> Float32:
    """One Gauss-Newton step of the displacement (h, w, 2) mm in a Gaussian window, mm."""
    shift = flow / np.float32(texel_mm)
    moved, weight = displaced(b, shift), a_weight * displaced(b_weight, shift)
    difference = (moved - a) * weight
    down, right = (
        np.asarray(slope, np.float32) for slope in np.gradient(0.5 * (moved + a) * (weight > 0), texel_mm)
    )
    sigma = window / texel_mm
    sums = (
        weight * right * right,
        weight * right * down,
        weight * down * down,
        right * difference,
        down * difference,
        weight * moved * a,
        weight * moved * moved,
        weight * a * a,
        weight,
    )
    xx, xy, yy, x, y, product, one, other, share = (blurred(part, sigma) for part in sums)
    # maps that show different things here are no evidence; nor are few texels against the prior
    alike = np.square(np.clip(product / np.sqrt(np.maximum(one * other, 1e-9)), 0, 1))
    xx, xy, yy, x, y = (alike * part for part in (xx, xy, yy, x, y))
    prior = c.prior * (c.windows_mm[-1] / window) ** 2 + 1e-6
    pull = prior * (flow - before)
    xx, yy, x, y = xx + prior, yy + prior, x + pull[:, :, 0], y + pull[:, :, 1]
    determinant = xx * yy - xy * xy
    step = np.stack([(xy * y - yy * x) / determinant, (xy * x - xx * y) / determinant], axis=2)
    smooth = blurred(flow + step, 0.5 * sigma)
    length = np.linalg.norm(smooth, axis=2, keepdims=True)
    smooth *= np.minimum(1.0, c.most_mm / np.maximum(length, 1e-9)) * (share > 1e-3)[:, :, None]
    return smooth


def _contrast(values: Float, weight: Float, texel_mm: float, c: RegistrationConfig) -> Float32:
    """Values (h, w) without their coarse course, of contrast 1; 0 without weight."""
    inside = np.asarray(weight, np.float32)
    low, high, wide = (sigma / texel_mm for sigma in (*c.band_mm, c.contrast_mm))
    fine = (weighted_mean(values, inside, low) - weighted_mean(values, inside, high)) * (inside > 0)
    spread = np.sqrt(weighted_mean(fine * fine, inside, wide))
    usual = np.sqrt(float((inside * fine * fine).sum()) / max(float(inside.sum()), 1e-9))
    return np.clip(fine / np.maximum(spread, 0.3 * usual + 1e-9), -3, 3).astype(np.float32)


def resized(values: Float, size: tuple[int, int]) -> Float32:
    """Values (h, w[, C]) on a grid of `size` columns and rows: means where it is coarser."""
    import cv2

    finer = size[0] > values.shape[1]
    found = cv2.resize(
        np.ascontiguousarray(values, np.float32),
        size,
        interpolation=cv2.INTER_LINEAR if finer else cv2.INTER_AREA,
    )
    return np.asarray(found, np.float32)


def weighted_mean(values: Float, weight: Float, sigma: float) -> Float32:
    """Gaussian mean of values (h, w[, C]) with weights (h, w); sigma in texels."""
    wide = weight if values.ndim == 2 else weight[:, :, None]
    over = np.maximum(blurred(weight, sigma), np.float32(1e-4))
    mean = blurred(values * wide, sigma) / (over if values.ndim == 2 else over[:, :, None])
    return mean.astype(np.float32)


def blurred(values: Float, sigma: float) -> Float32:
    """Gaussian blur of values (h, w[, C]); sigma in texels. A wide one is found on a coarser grid."""
    import cv2

    values = np.ascontiguousarray(values, np.float32)
    height, width = values.shape[:2]
    zoom = min(int(sigma / 3), min(height, width) // 16)
    if zoom < 2:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
    small = resized(values, (round(width / zoom), round(height / zoom)))
    # a texel's mean has widened it already, and the way back does so again
    left = np.sqrt(sigma**2 - zoom**2 / 4) * small.shape[0] / height
    return resized(np.asarray(cv2.GaussianBlur(small, (0, 0), left), np.float32), (width, height))
