"""Consistency of relief in the atlas: two photos of one subject against those of two subjects.

Wrinkles are where they were on another day and in another light; noise, shadows and hair are not. What all
faces share (faults of the coarse model, folds that everyone has) is taken away: the mean over all photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.lab.evaluation.metrics.identity import rank1
from facerelief.lab.evaluation.metrics.reports import SUBJECTS
from facerelief.lab.evaluation.photos.shading import band
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import interpolate
from facerelief.synthesis.face_map import TEXEL_MM, face_map
from facerelief.typed import Bool, Float, Float32

BAND_MM = (0.8, 3.0)
"""Gaussians, mm on the average face, whose difference is compared."""
LEAST_TEXELS = 2000
"""Fewer texels that two photos share are not compared: 500 mm^2 of skin."""


@dataclass(frozen=True, eq=False)
class AtlasRelief:
    """Band-passed relief of a photo in the model's atlas (`synthesis.face_map`)."""

    height: Float32
    """(h, w) mm along camera z, 0 where unknown."""
    known: Bool
    """(h, w) plain skin that the photo shows."""


@dataclass(frozen=True)
class ReliefConsistency:
    """Agreement of relief over two photos of each of several subjects."""

    subjects: int = field(metadata=SUBJECTS)
    same: float
    """Mean correlation of two photos of one subject, the mean relief taken away; likewise below."""
    other: float
    """Of photos of two subjects."""
    nearest: float
    """Share of first photos whose most alike second photo is the same subject's."""
    raw_same: float
    """`same` with the mean relief; likewise below."""
    raw_other: float
    raw_nearest: float


def atlas_relief(
    model: FaceModel, vertices: Float32, camera: WeakPerspective, coarse: DepthPatch, fine: DepthPatch
) -> AtlasRelief:
    """Lay the relief of a photo into the atlas.

    Args:
        model: Face model of the fit.
        vertices: (N, 3) of the fit, model space, mm.
        camera: Its camera, px of the photo.
        coarse: Depth without relief on the photo's pixels.
        fine: Depth with relief on the same pixels.
    """
    import cv2

    atlas = face_map(model)
    uvz = camera.project(vertices) - [coarse.left, coarse.top, 0]
    place = interpolate(atlas.fragments, atlas.triangles, uvz.astype(np.float32))
    column, row = (np.ascontiguousarray(place[..., k] - np.float32(0.5)) for k in (0, 1))

    def sampled(values: Float | Bool) -> Float32:
        found = cv2.remap(
            np.ascontiguousarray(values, np.float32), column, row, cv2.INTER_LINEAR, borderValue=0
        )
        return np.asarray(found, np.float32)

    depth = np.nan_to_num(coarse.depth, nan=-1e3)
    # hidden texels lie behind what is seen at their pixel
    behind = np.abs(sampled(depth) - place[..., 2]) > 3.0
    seen = sampled(np.isfinite(fine.depth) & np.isfinite(coarse.depth)) > 0.99
    known = atlas.front & seen & ~behind
    height = sampled(np.nan_to_num(fine.depth - coarse.depth))
    low, high = (sigma / TEXEL_MM for sigma in BAND_MM)
    return AtlasRelief(np.where(known, band(height, known, low, high), 0).astype(np.float32), known)


def relief_consistency(
    first: Sequence[AtlasRelief], second: Sequence[AtlasRelief]
) -> ReliefConsistency | None:
    """Agreement of the relief of P subjects, two photos each; None below two subjects.

    Raises:
        ValueError: As many first photos as second ones are needed.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} first and {len(second)} second photos")
    if len(first) < 2:
        return None
    height = np.stack([one.height for one in (*first, *second)])
    known = np.stack([one.known for one in (*first, *second)])
    mean = height.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    raw, centred = (_correlations(x, known, len(first)) for x in (height, (height - mean) * known))
    figures = [figure for r in (centred, raw) for figure in (_same(r), _other(r), rank1(-r))]
    return ReliefConsistency(len(first), *figures)


def _correlations(height: Float, known: Bool, count: int) -> Float:
    """(P, P) correlations of the first `count` maps with the others over shared texels; NaN for too few."""
    shown = known.reshape(len(known), -1).astype(np.float32)
    values = height.reshape(len(height), -1).astype(np.float32)
    a, b = (values[:count], shown[:count]), (values[count:], shown[count:])
    shared = a[1] @ b[1].T
    dot = a[0] @ b[0].T
    lengths = np.sqrt((a[0] ** 2 @ b[1].T) * (a[1] @ (b[0] ** 2).T))
    enough = (shared >= LEAST_TEXELS) & (lengths > 0)
    return np.where(enough, dot / np.where(lengths > 0, lengths, 1), np.nan)


def _same(r: Float) -> float:
    own = np.diagonal(r)
    return float(np.nanmean(own)) if np.isfinite(own).any() else float("nan")


def _other(r: Float) -> float:
    off = r[~np.eye(len(r), dtype=bool)]
    return float(np.nanmean(off)) if np.isfinite(off).any() else float("nan")
