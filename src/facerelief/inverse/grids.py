"""Maps on the pixel grid for shape from shading: frames, pyramid steps, and smoothing inside a mask.

Tested by tests/inverse/test_relief.py, whose laws fail when one of these does.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facerelief.typed import Bool, Float, Float32, Float64

Number = TypeVar("Number", bound=np.generic)


def framed(x: NDArray[Number]) -> NDArray[Number]:
    """Maps (h, w) or (h, w, c) with a frame of one zero pixel around them."""
    wide = ((1, 1), (1, 1)) + ((0, 0),) * (x.ndim - 2)
    return np.pad(x, wide)


def eroded(mask: Bool) -> Bool:
    """(h, w) the mask's pixels all of whose four neighbours are in it."""
    out = np.zeros_like(mask)
    out[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return out


def pooled(x: Float) -> Float:
    """Framed map of half the size: means of 2 x 2 pixels; an odd last row or column is repeated."""
    inner = x[1:-1, 1:-1]
    odd = ((0, inner.shape[0] % 2), (0, inner.shape[1] % 2)) + ((0, 0),) * (x.ndim - 2)
    inner = np.pad(inner, odd, mode="edge")
    return framed((inner[::2, ::2] + inner[1::2, ::2] + inner[::2, 1::2] + inner[1::2, 1::2]) / 4)


def doubled(d: Float32, shape: tuple[int, ...]) -> Float32:
    """A framed map (h, w) interpolated to a framed grid of `shape`, twice as fine."""
    import cv2

    inner = d[1:-1, 1:-1]
    size = (2 * inner.shape[1], 2 * inner.shape[0])
    wide = np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return framed(wide[: shape[0] - 2, : shape[1] - 2])


def blurred(x: Float32, inside: Float32, sigma: float) -> Float32:
    """Weighted Gaussian mean; wide ones are found on a coarser grid.

    Args:
        x: (h, w) or (h, w, c) values, c <= 4.
        inside: (h, w) weights.
        sigma: Deviation of the Gaussian, px.
    """
    import cv2

    weighted = np.asarray(x * (inside if x.ndim == 2 else inside[..., None]))
    height, width = inside.shape
    factor = 1
    while sigma / factor > 5 and min(height, width) / factor > 16:
        factor *= 2
    if factor > 1:
        small = (-(-width // factor), -(-height // factor))
        weighted = np.asarray(cv2.resize(weighted, small, interpolation=cv2.INTER_AREA))
        inside = np.asarray(cv2.resize(inside, small, interpolation=cv2.INTER_AREA), np.float32)
    sigma = max(sigma / factor, 0.3)
    top = cv2.GaussianBlur(weighted, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    base = cv2.GaussianBlur(inside, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    base = np.maximum(base, np.float32(1e-4))
    out = top / (base if x.ndim == 2 else base[..., None])
    if factor > 1:
        out = cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out, np.float32)


def trend(x: Float32, weight: Float, mask: Bool, sigma: float) -> Float32:
    """Smooth part of a map: at each pixel the best plane under Gaussian weights.

    Planes rather than means, since a mean is off beside the mask's border wherever x has a slope. Found on a
    grid of about three samples per deviation.

    Args:
        x: (h, w, c) values.
        weight: (h, w) weights in [0, 1], counted as at least 0.001 inside the mask.
        mask: (h, w) pixels that count.
        sigma: Deviation of the Gaussian, px.

    Returns:
        (h, w, c)
    """
    import cv2

    height, width = mask.shape
    factor = max(int(sigma / 3), 1)
    small = (-(-width // factor), -(-height // factor))
    held = np.maximum(weight, np.float32(1e-3)) * mask

    def mean(y: Float) -> Float64:
        coarse = y if factor == 1 else cv2.resize(y, small, interpolation=cv2.INTER_AREA)
        coarse = coarse.astype(np.float64)
        spread = max(sigma / factor, 0.3)
        return np.asarray(
            cv2.GaussianBlur(coarse, (0, 0), spread, borderType=cv2.BORDER_CONSTANT), np.float64
        )

    h = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / np.float32(sigma)
    v = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / np.float32(sigma)
    axes = (np.ones_like(held), np.broadcast_to(h, held.shape), np.broadcast_to(v[:, None], held.shape))
    moment = np.empty((small[1], small[0], 3, 3))
    for i in range(3):
        for j in range(i, 3):
            moment[..., i, j] = moment[..., j, i] = mean(np.ascontiguousarray(held * axes[i] * axes[j]))
    terms = [mean(np.ascontiguousarray(held[..., None] * x * a[..., None])) for a in axes]
    right = np.stack([t.reshape(*moment.shape[:2], -1) for t in terms], axis=2)
    # moments about the pixel itself, so that the ridge that steadies thin places holds slopes alone
    here = _grid(small, width, height, sigma)
    shift = np.zeros_like(moment)
    shift[..., 0, 0] = shift[..., 1, 1] = shift[..., 2, 2] = 1
    shift[..., 1, 0], shift[..., 2, 0] = -here[0], -here[1]
    moment = shift @ moment @ shift.swapaxes(-1, -2)
    right = shift @ right
    total = np.maximum(moment[..., :1, :1], 1e-9)
    ridge = np.diag([0.0, 0.03, 0.03]) * total + np.eye(3) * 1e-9
    plane = np.linalg.solve(moment + ridge, right)[..., 0, :]
    out = np.ascontiguousarray(np.clip(plane, -20, 20), np.float32)
    if factor > 1:
        out = np.asarray(cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return out.reshape(x.shape)


def _grid(small: tuple[int, int], width: int, height: int, sigma: float) -> tuple[Float, Float]:
    """Centres of a coarser grid's pixels in the coordinates of `trend`, each (h, w)."""
    h = ((np.arange(small[0]) + 0.5) * (width / small[0]) - width / 2) / sigma
    v = ((np.arange(small[1]) + 0.5) * (height / small[1]) - height / 2) / sigma
    return np.broadcast_to(h, small[::-1]), np.broadcast_to(v[:, None], small[::-1])
