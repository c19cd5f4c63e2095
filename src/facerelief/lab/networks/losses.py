"""Losses of CoarseNet, Tracking CoarseNet and FineNet.

The split loss is that of Guo et al. (TPAMI 2019), as far as a re-implementation shows it: the distances of
points when only the pose is wrong, and when only the shape is. Ours: the third axis, lengths in mm, roots
instead of squares, and the exact form of the weight. All losses but the priors are zero for the truth.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from facerelief.lab.networks.guo import POSE, CoarseOutput, TrackingOutput
from facerelief.lab.networks.layer import MorphableLayer, project

_TINY = 1e-4
"""mm, below which a root mean square is smoothed: its gradient stays finite."""


@dataclass(frozen=True)
class CoarseLoss:
    """Loss of CoarseNet and Tracking CoarseNet."""

    kind: Literal["split", "parameters"] = "split"
    """split: the paper's loss on projected points; parameters: squared error of standardized parameters, for
    comparison."""
    axes: Literal[2, 3] = 3
    """Compare points in the image plane (2), or with their depth (3)."""
    squared: bool = False
    """Mean squares of distances, as in the re-implementation, instead of their roots."""
    pose_share: float | None = None
    """Weight of the pose's part, the rest is the shape's; adapted to every batch unless given."""
    size: float = 0.1
    """Weight of the shape's squared error by a wrong size of the head. An image does not show that size, and
    it is near half of the variance of identities; 1 is the paper's. With two axes only in `neutral`."""
    neutral: float = 0.5
    """Weight of the mean distance of neutral shapes, mm: identity by itself (Dou et al., CVPR 2017). Not with
    kind "parameters"."""
    regular: float = 1e-3
    """Weight of the mean square of standardized identity and expression."""
    delta: float = 0.1
    """Weight of the mean absolute standardized change of a Tracking CoarseNet."""
    openings: float = 0.25
    """Weight of the mean absolute error of the openings of eyes and lips, mm: lids are few points, and
    without this blinks are learned last. Not with kind "parameters"."""
    confidence: float = 0.05
    """Weight of the likelihood of the error."""


@dataclass(frozen=True)
class FineLoss:
    """Loss of FineNet."""

    kind: Literal["l1", "l2"] = "l1"
    """l1: absolute errors, squared below `huber_delta`, and normals; l2: squared errors alone, as the
    paper's is thought to be."""
    normals: float = 20.0
    """Weight of 1 - cos of the angle between normals, only with l1. A typical angle, 2.5 degrees, counts
    0.001, and a typical relief 0.1: a weight of about 1 would do nothing."""
    huber_delta: float = 0.3
    """Of the Huber loss, hundredths of the face's width. Most of a face has next to no relief, and with plain
    absolute errors a network never leaves zero (found with six images that squared errors learn at once)."""
    bands: float = 0.0
    """Weight of the mean absolute error of displacements between the Gaussians of `RELIEF_BANDS`, only with
    l1."""
    strength: float = 0.0
    """Weight of the error of their root mean squares over an image, relative to the true ones, only with l1:
    absolute errors make uncertain relief lower than it is."""
    trust: float = 0.0
    """Weight of the cross-entropy of the mask of trust."""


RELIEF_BANDS = ((0.8, 2.0), (2.0, 6.0))
"""Deviations of the Gaussians that bound the bands of relief, px of a crop of 256 px: wrinkles and folds."""
_FAINT = 0.02
"""Root mean square of a band of relief that is next to none, hundredths of the face's width."""


class CoarseTarget(NamedTuple):
    """True parameters of a crop."""

    identity: Tensor
    """(B, K)"""
    expression: Tensor
    """(B, E)"""
    pose: Tensor
    """(B, 6) px of the crop, log scale."""


class LossTerms(NamedTuple):
    """A loss and its parts."""

    loss: Tensor
    """Scalar, differentiable."""
    parts: dict[str, Tensor]
    """Scalars by name, for the log; detached."""


def distances(points: Tensor, truth: Tensor, scale: Tensor, weights: Tensor, axes: int = 3) -> Tensor:
    """Weighted mean squared distance (B,) between projected points, mm^2, in the image plane or with depth.

    points, truth: (B, V, 3) of (u px, v px, z mm); scale: (B,) true px/mm; weights: (V,) of mean 1.
    """
    apart = (points - truth)[..., :axes]
    apart = torch.cat([apart[..., :2] / scale[:, None, None], apart[..., 2:]], dim=2)
    return _mean_square(apart, weights)


def _mean_square(apart: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squares (B,) of differences (B, V, 3)."""
    return (apart.square().sum(dim=2) * weights).mean(dim=1)


OPENINGS = ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65))
"""Pairs of iBUG's 68 landmarks across the openings of eyes and mouth."""


def opening_error(marks: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of the openings between landmarks (B, 68, 3) in model space, mm; DECA (Feng et al.,
    SIGGRAPH 2021) does so in the image plane."""
    upper, lower = (list(side) for side in zip(*OPENINGS))
    found, true = (x[:, upper] - x[:, lower] for x in (marks, truth))
    return (found - true).abs().sum(dim=2).mean()


def root(squares: Tensor) -> Tensor:
    """Square root with value and gradient 0 at 0, within 1e-4 of the exact one elsewhere."""
    return (squares + _TINY**2).sqrt() - _TINY


def split_loss(pose_error: Tensor, shape_error: Tensor, pose_share: float | None = None) -> Tensor:
    """The sum w E_pose + (1 - w) E_geo of Guo et al.

    Unless given, w (`pose_share`) is E_geo / (E_geo + E_pose), not differentiated: both count equally.
    """
    if pose_share is not None:
        return pose_share * pose_error + (1 - pose_share) * shape_error
    with torch.no_grad():
        share = shape_error / (shape_error + pose_error).clamp_min(1e-12)
    return share * pose_error + (1 - share) * shape_error


def gaussian_nll(error: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log likelihood (B,) of errors (B,), mm, under a Gaussian of a stated variance; no constant.

    It is least where exp(log_variance) = error^2. The error is not differentiated.
    """
    return 0.5 * (log_variance + error.detach().square() * (-log_variance).exp())


def coarse_loss(
    out: CoarseOutput,
    truth: CoarseTarget,
    layer: MorphableLayer,
    scaled: tuple[Tensor, Tensor],
    config: CoarseLoss,
) -> LossTerms:
    """Split loss, neutral shape, prior and confidence of a CoarseNet.

    layer: the points compared; scaled: output and truth standardized, each (B, K + E + 6).
    """
    score = _geometry(truth.identity, out.identity, out.expression, out.pose, truth, layer, scaled, config)
    terms = {"regular": config.regular * scaled[0][:, :-POSE].square().mean()}
    if config.neutral and config.kind != "parameters":
        apart = layer.discount_size(layer.identity_offsets(out.identity - truth.identity), config.size)
        terms["neutral"] = config.neutral * root(_mean_square(apart, layer.weights)).mean()
    return _sum(score, terms, out.log_variance, config)


def tracking_loss(
    out: TrackingOutput,
    truth: CoarseTarget,
    layer: MorphableLayer,
    scaled: tuple[Tensor, Tensor],
    config: CoarseLoss,
) -> LossTerms:
    """Split loss, prior and confidence of a Tracking CoarseNet; both shapes have the true identity.

    layer: the points compared; scaled: change and true change standardized, each (B, E + 6).
    """
    own = truth.identity
    score = _geometry(own, own, out.expression, out.pose, truth, layer, scaled, config)
    return _sum(score, {"delta": config.delta * out.delta.abs().mean()}, out.log_variance, config)


class _Geometry(NamedTuple):
    """Split loss or parameter loss, and the error of all points."""

    loss: Tensor
    parts: dict[str, Tensor]
    error: Tensor
    """(B,) mm"""


def _geometry(
    own: Tensor,
    identity: Tensor,
    expression: Tensor,
    pose: Tensor,
    truth: CoarseTarget,
    layer: MorphableLayer,
    scaled: tuple[Tensor, Tensor],
    config: CoarseLoss,
) -> _Geometry:
    scale, weights = truth.pose[:, 5].exp(), layer.weights
    true_shape = layer.shape(own, truth.expression)
    shape = layer.shape(identity, expression)
    there = project(true_shape, truth.pose)
    by_pose = distances(project(true_shape, pose), there, scale, weights, config.axes)
    if config.axes == 3:  # rigid motion preserves distances
        by_shape = _mean_square(layer.discount_size(shape - true_shape, config.size), weights)
    else:
        by_shape = distances(project(shape, truth.pose), there, scale, weights, config.axes)
    error = root(distances(project(shape, pose), there, scale, weights, config.axes))
    each = (by_pose, by_shape) if config.squared else (root(by_pose), root(by_shape))
    pose_error, shape_error = (x.mean() for x in each)
    extra: dict[str, Tensor] = {}
    if config.kind == "parameters":
        loss = (scaled[0] - scaled[1]).square().mean()
    else:
        loss = split_loss(pose_error, shape_error, config.pose_share)
        if config.openings:
            openings = opening_error(layer.landmarks(shape), layer.landmarks(true_shape))
            loss = loss + config.openings * openings
            extra["openings_mm"] = openings
    parts = {"pose_mm": root(by_pose).mean(), "shape_mm": root(by_shape).mean(), "error_mm": error.mean()}
    return _Geometry(loss, parts | extra, error)


def _sum(found: _Geometry, terms: dict[str, Tensor], log_variance: Tensor, config: CoarseLoss) -> LossTerms:
    confidence = config.confidence * gaussian_nll(found.error, log_variance).mean()
    loss = found.loss + confidence
    for term in terms.values():
        loss = loss + term
    parts = {"geometry": found.loss, **found.parts, **terms, "confidence": confidence}
    return LossTerms(loss, {name: value.detach() for name, value in parts.items()})


def normals(depth: Tensor, scale: Tensor) -> Tensor:
    """Unit normals (B, S - 2, S - 2, 3), camera space, by central differences of depth (B, S, S), mm, on a
    grid of `scale` (B,) px/mm; the border has none."""
    s = scale[:, None, None]
    dx = (depth[:, 1:-1, 2:] - depth[:, 1:-1, :-2]) * (0.5 * s)
    dy = (depth[:, :-2, 1:-1] - depth[:, 2:, 1:-1]) * (0.5 * s)  # rows go down, y goes up
    return functional.normalize(torch.stack([-dx, -dy, torch.ones_like(dx)], dim=3), dim=3)


def inner(mask: Tensor) -> Tensor:
    """The mask (B, S, S) of pixels whose four neighbours are in it too, (B, S - 2, S - 2)."""
    m = mask
    return m[:, 1:-1, 1:-1] * m[:, 1:-1, 2:] * m[:, 1:-1, :-2] * m[:, 2:, 1:-1] * m[:, :-2, 1:-1]


def fine_loss(
    displacement: Tensor,
    truth: Tensor,
    depth: Tensor,
    mask: Tensor,
    face_width: Tensor,
    scale: Tensor,
    config: FineLoss,
    known: Tensor | None = None,
) -> LossTerms:
    """Loss of a FineNet's displacements, and with "l1" of the angles between normals and of bands of relief.

    displacement, truth: (B, S, S) along camera z in hundredths of face_width (B,), mm; depth: (B, S, S) of
    the coarse surface, mm; mask: (B, S, S) 0 or 1; scale: (B,) px/mm; known: (B, S, S) 0..1, weight of the
    truth, 1 unless given.
    """
    mask = mask if known is None else mask * known
    count = mask.sum().clamp_min(1.0)
    apart = (displacement - truth) * mask
    if config.kind == "l2":
        loss = apart.square().sum() / count
        return LossTerms(loss, {"l2": loss.detach()})
    flat = functional.smooth_l1_loss(apart, torch.zeros_like(apart), reduction="sum", beta=config.huber_delta)
    flat = flat / count
    mm = 0.01 * face_width[:, None, None]
    where = inner(mask)
    found, true = (normals(depth + mm * d * mask, scale) for d in (displacement, truth))
    turned = ((1 - (found * true).sum(dim=3)) * where).sum() / where.sum().clamp_min(1.0)
    loss = flat + config.normals * turned
    plain = apart.detach().abs().sum() / count
    parts = {"l1": plain, "huber": flat.detach(), "normals": turned.detach()}
    if config.bands or config.strength:
        wrong, off = band_losses(displacement, truth, mask)
        loss = loss + config.bands * wrong + config.strength * off
        parts |= {"bands": wrong.detach(), "strength": off.detach()}
    return LossTerms(loss, parts)


def band_losses(displacement: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of displacements (B, S, S) in `RELIEF_BANDS`, with weights (B, S, S) from 0 to 1.

    Returns:
        The mean absolute error, summed over the bands; and the difference of root mean squares over an image,
        relative to the true ones, averaged over images and bands.
    """
    unit = displacement.shape[1] / 256
    sigmas = sorted({sigma for band in RELIEF_BANDS for sigma in band})
    maps = torch.stack([displacement * weight, truth * weight, weight], dim=1)
    smooth: dict[float, Tensor] = {}
    for sigma in sigmas:
        blurred = gaussian_blur(maps, sigma * unit)
        smooth[sigma] = blurred[:, :2] / blurred[:, 2:].clamp_min(1e-3)
    count = weight.sum(dim=(1, 2)).clamp_min(1.0)
    wrong, off = displacement.new_zeros(()), displacement.new_zeros(())
    for low, high in RELIEF_BANDS:
        band = (smooth[low] - smooth[high]) * weight[:, None]
        wrong = wrong + (band[:, 0] - band[:, 1]).abs().sum() / count.sum()
        squares = band.square().sum(dim=(2, 3)) / count[:, None]
        found, true = (squares + 1e-8).sqrt().unbind(dim=1)
        off = off + ((found - true).abs() / (true + _FAINT)).mean() / len(RELIEF_BANDS)
    return wrong, off


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Maps (B, C, S, S) smoothed by a Gaussian of `sigma` px; beyond the border they are 0."""
    reach = max(1, round(3 * sigma))
    x = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weights = (-0.5 * (x / max(sigma, 1e-3)).square()).exp()
    weights = weights / weights.sum()
    batch, channels, height, width = maps.shape
    flat = maps.reshape(batch * channels, 1, height, width)
    flat = functional.conv2d(flat, weights[None, None, :, None], padding=(reach, 0))
    flat = functional.conv2d(flat, weights[None, None, None, :], padding=(0, reach))
    return flat.reshape(batch, channels, height, width)


def trust_loss(logit: Tensor, trust: Tensor, mask: Tensor, trusted: Tensor) -> Tensor:
    """Mean cross-entropy of a mask of trust.

    Args:
        logit: (B, S, S) found.
        trust: (B, S, S) true, 0 to 1.
        mask: (B, S, S) pixels that count.
        trusted: (B,) 1 for images that have a true one, else 0.
    """
    weight = mask * trusted[:, None, None]
    wrong = functional.binary_cross_entropy_with_logits(logit, trust, reduction="none")
    return (wrong * weight).sum() / weight.sum().clamp_min(1.0)
