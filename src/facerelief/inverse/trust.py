"""Mask of trust: where light and dark of a photo are not the slopes of bare skin.

Hair, brows, beards, glasses, nostrils, shine and edges of cast shadows are told by what the log ratio of the
photo and the coarse rendering does around a pixel: its contrast to the skin around, its texture finer than
wrinkles, its step over several mm, and its roundness. All weights are smooth, without borders.

Tested by tests/inverse/test_trust.py.
"""

from __future__ import annotations

import numpy as np

from facerelief.inverse.grids import blurred, trend
from facerelief.inverse.relief_config import ReliefConfig
from facerelief.typed import Bool, Float32

TEXTURE_MM = 0.35
"""Deviation of the Gaussian that texture is finer than."""
USUAL_TEXTURE = 3.0
"""Texture this many times the face's median is skin still: noise and pores of a sharp photo are not hair."""
STEP_MM = 2.5
"""Deviation of the Gaussian over which steps are measured: folds are narrower and leave little."""
SPOTS_MM = (0.8, 1.6)
"""Deviations of the Gaussians at which moles, freckles, nostrils and shine are looked for."""
LINES_MM = (0.4, 3.0, 1.5)
"""Deviations of two Gaussians whose difference shows lines, and of the one that averages their directions."""
SMOOTH_MM = 0.6
"""Deviation of the Gaussian that the mask is smoothed by."""


def skin_trust(ratio: Float32, prior: Float32, mask: Bool, scale: float, config: ReliefConfig) -> Float32:
    """Weights of pixels by what the photo shows there.

    Args:
        ratio: (h, w, 3) log of the image over the coarse model's rendering.
        prior: (h, w) weights in [0, 1] known beforehand.
        mask: (h, w) pixels that count.
        scale: px/mm.
        config: Limits; infinity switches a measure off.

    Returns:
        (h, w) in [0, prior]; 0 off the mask.
    """
    import cv2

    inside = mask.astype(np.float32)
    grey = np.ascontiguousarray(ratio.mean(axis=2))
    width = config.lowpass_mm * scale
    weight = prior * inside
    contrast = np.zeros_like(grey)
    if np.isfinite([config.contrast, config.shine]).any():
        for _ in range(3):
            above = grey - trend(grey[..., None], weight, mask, width)[..., 0]
            limit = np.where(above < 0, np.float32(config.contrast), np.float32(config.shine))
            contrast = blurred(
                np.asarray(np.square(above / limit), np.float32), inside, config.contrast_mm * scale
            )
            weight = np.asarray(prior * inside / np.square(1 + contrast), np.float32)
    total = np.asarray(1 + contrast, np.float32)
    if np.isfinite(config.texture):
        fine = grey - blurred(grey, inside, TEXTURE_MM * scale)
        rough = np.sqrt(blurred(fine * fine, inside, config.contrast_mm * scale))
        usual = float(np.median(rough[mask])) if mask.any() else 0.0
        limit = max(config.texture, USUAL_TEXTURE * usual)
        total *= 1 + np.square(rough / np.float32(limit))
    if np.isfinite(config.step):
        smooth = blurred(grey, inside, STEP_MM * scale)
        across = [np.asarray(cv2.Sobel(smooth, cv2.CV_32F, *d, scale=scale / 8)) for d in ((1, 0), (0, 1))]
        total *= 1 + (across[0] ** 2 + across[1] ** 2) / np.float32(config.step**2)
    if np.isfinite(config.spots):
        for sigma in SPOTS_MM:
            spot = _spots(grey, inside, max(sigma * scale, 0.8)) / np.float32(config.spots)
            total *= 1 + spot * spot
    weight = np.asarray(inside / np.square(total), np.float32)
    weight = np.minimum(blurred(weight, inside, SMOOTH_MM * scale), 1)
    return np.ascontiguousarray(prior * weight * inside, np.float32)


def _spots(grey: Float32, inside: Float32, sigma: float) -> Float32:
    """(h, w) how much a map is a round spot: the smaller of the Hessian's two curvatures where both have one
    sign, times sigma^2 (Lindeberg 1998), over the spot. A Gaussian spot of deviation sigma and height 1 has
    1/4, a line nothing."""
    import cv2

    smooth = blurred(grey, inside, sigma)
    xx, yy, xy = (
        np.asarray(cv2.Sobel(smooth, cv2.CV_32F, *d, scale=s * sigma**2))
        for d, s in (((2, 0), 1 / 4), ((0, 2), 1 / 4), ((1, 1), 1 / 4))
    )
    apart = np.sqrt(np.square((xx - yy) / 2) + np.square(xy))
    round_ = np.maximum(np.abs(xx + yy) / 2 - apart, 0) * inside
    size = 2 * round(sigma) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(round_, disc), np.float32)


def evidence(shading: Float32, mask: Bool, scale: float, config: ReliefConfig) -> Float32:
    """Weights of pixels by how far their shading stands out of the texture of the same skin.

    Wrinkles and folds are lines; pores, blotches and noise run in no direction and are everywhere. The
    structure tensor (Bigun and Granlund, 1987) of the band-passed log shading has eigenvalues l1 >= l2; with
    m the median of l1 + l2 over the face, x = (l1 - l2) / m is about 0.3 on texture and far above 1 on lines.
    The weight is x^2 / (x^2 + limit^2), so that plain skin stays smooth in sharp photos and in flat light.

    Args:
        shading: (h, w) log ratio of the photo and the coarse rendering, without albedo detail and trend.
        mask: (h, w) pixels that count.
        scale: px/mm.
        config: `lines`, the limit; 0 for none.

    Returns:
        (h, w) in [0, 1].
    """
    import cv2

    if config.lines <= 0 or not mask.any():
        return np.ones(mask.shape, np.float32)
    inside = mask.astype(np.float32)
    low, high, around = (max(sigma * scale, 0.6) for sigma in LINES_MM)
    part = (blurred(shading, inside, low) - blurred(shading, inside, high)) * inside
    along, down = (cv2.Sobel(part, cv2.CV_32F, *d, scale=scale / 8) for d in ((1, 0), (0, 1)))
    within = np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((5, 5)))) > 0
    tensor = np.stack([along * along, along * down, down * down], axis=-1) * within[..., None]
    tensor = blurred(np.ascontiguousarray(tensor, np.float32), inside, around)
    total = tensor[..., 0] + tensor[..., 2]
    apart = np.sqrt(np.square(tensor[..., 0] - tensor[..., 2]) + 4 * np.square(tensor[..., 1]))
    usual = float(np.median(total[within])) if within.any() else 0.0
    x = np.square(apart / np.float32(max(usual, 1e-12) * config.lines))
    return np.ascontiguousarray(x / (1 + x), np.float32)
