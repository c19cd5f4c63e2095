"""FineNet on held-out FineData, whose relief is known, and on photos, beside the relief of method "fit"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.inference.runners import FineRunner
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.metrics.face_errors import Progress, counted, means, ratio
from facerelief.lab.evaluation.metrics.reports import TARGETS, Target
from facerelief.lab.evaluation.truth.relief import band_passed
from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool, Float, Float32, Image

BAND = (1.0, 6.0)
"""px of FineNet's crop: relief between these Gaussians is compared; as `networks.measures.BAND`."""
LEAST_BETTER, LEAST_TRUE, LEAST_FIT = 0.25, 0.6, 0.5
"""Targets: normal errors fall by this share, correlation with true relief, correlation with the fit's."""

Relief = Callable[[Image, Float32, Float32, float], Float]
"""(S, S, 3) image, (S, S) coarse depth mm, (S, S) mask of 0 and 1, face width mm -> (S, S) mm."""


@dataclass(frozen=True)
class FineRow:
    """Measures of one image."""

    kind: str
    """Of FineData "own", "moved", "relit" or "drawn"; of photos their group."""
    errors: dict[str, float]


@dataclass(frozen=True, eq=False)
class PhotoRelief:
    """A photo with its inverse fit, and the fit's relief as FineNet's crop shows it."""

    group: str
    image: Image
    """(H, W, 3) the whole photo."""
    state: FaceState
    displacement: Float
    """(S, S) mm along camera z, in `inference.crops.fine_crop` of the fit's coarse face."""
    mask: Bool
    """(S, S)"""


def relief_of(net: FineRunner) -> Relief:
    """A network as a function of FineData's labels.

    The function raises FacereliefError for images that are not of the network's size.
    """

    def found(image: Image, depth: Float32, mask: Float32, width: float) -> Float:
        if image.shape[:2] != (net.size, net.size):
            raise FacereliefError(
                f"FineData of {image.shape[1]} px, the net takes {net.size} px; make data of that size"
            )
        return net.displacement(image, depth, mask > 0, width)

    return found


def evaluate_fine(
    relief: Relief, samples: Iterable[Sample], progress: Progress = lambda done: None
) -> list[FineRow]:
    """Measure every sample of FineData whose mask is not empty; `fine_report` gives the means."""
    rows: list[FineRow] = []
    for sample in counted(samples, progress):
        labels = sample.labels
        depth, mask, true = (labels[x].astype(np.float32) for x in ("depth_coarse", "mask", "displacement"))
        known = mask * (labels["known"] > 127) if "known" in labels else mask
        left, top, right, bottom = (float(x) for x in labels["box"])
        scale = float(labels["camera"][5])
        width = max(right - left, bottom - top) / scale
        if inner(known).any():
            found = relief(sample.image, depth, mask, width)
            rows.append(FineRow(_kind(sample), relief_errors(found, true, depth, known, scale)))
    return rows


def evaluate_photos(
    model: FaceModel, net: FineRunner, photos: Iterable[PhotoRelief], progress: Progress = lambda done: None
) -> list[FineRow]:
    """Measure every photo, from the fit's own coarse face; `photo_relief_report` gives the means."""
    rows: list[FineRow] = []
    for photo in counted(photos, progress):
        vertices = model.shape(photo.state.identity, photo.state.expression)
        found = net(photo.image, photo.state, vertices)
        mask = photo.mask & found.surface.mask
        if mask.any():
            rows.append(FineRow(photo.group, band_errors(found.displacement, photo.displacement, mask)))
    return rows


def relief_errors(found: Float, true: Float, depth: Float, mask: Float, scale: float) -> dict[str, float]:
    """Errors of a displacement (S, S) of a coarse depth (S, S), mm, inside a mask (S, S) of 0 and 1.

    normal_deg: mean angle between the normals of found and true surface, over pixels whose four neighbours
    are in the mask too; coarse_normal_deg: the same of the coarse surface alone. error_mm, coarse_error_mm:
    mean absolute displacement that is wrong. And those of `band_errors`. scale: px/mm.
    """
    inside, where = mask > 0, inner(mask)
    straight = grid_normals(depth + true * mask, scale)[where]
    turned = [
        _angle(grid_normals(depth + x * mask, scale)[where], straight) for x in (found, np.zeros_like(true))
    ]
    return {
        "normal_deg": turned[0],
        "coarse_normal_deg": turned[1],
        "error_mm": float(np.abs(found - true)[inside].mean()),
        "coarse_error_mm": float(np.abs(true)[inside].mean()),
        **band_errors(found, true, inside),
    }


def band_errors(found: Float, true: Float, mask: Bool) -> dict[str, float]:
    """band_r: correlation of two displacements (S, S) between the Gaussians of `BAND` inside a mask;
    found_mm, true_mm: their root mean squares there."""
    a, b = (band_passed(x.astype(np.float64), mask, *BAND)[mask] for x in (found, true))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return {
        "band_r": float((a * b).sum()) / norm if norm > 0 else 0.0,
        "found_mm": float(np.sqrt((a * a).mean())),
        "true_mm": float(np.sqrt((b * b).mean())),
    }


def grid_normals(depth: Float, scale: float) -> Float:
    """(S - 2, S - 2, 3) unit normals, camera space, of depth (S, S) mm on a grid of `scale` px/mm, by central
    differences as in training; the border has none."""
    z = depth.astype(np.float64)
    dx = (z[1:-1, 2:] - z[1:-1, :-2]) * (0.5 * scale)
    dy = (z[:-2, 1:-1] - z[2:, 1:-1]) * (0.5 * scale)  # rows go down, y goes up
    normal = np.stack([-dx, -dy, np.ones_like(dx)], axis=2)
    return normal / np.linalg.norm(normal, axis=2, keepdims=True)


def inner(mask: Float) -> Bool:
    """(S - 2, S - 2) where a pixel and its four neighbours are in the mask (S, S)."""
    m = mask > 0
    return m[1:-1, 1:-1] & m[1:-1, 2:] & m[1:-1, :-2] & m[2:, 1:-1] & m[:-2, 1:-1]


@dataclass(frozen=True)
class FineReport:
    """FineNet on held-out samples or photos."""

    samples: int
    parts: dict[str, dict[str, float]]
    """"all" and every kind -> measure -> mean, with the number of samples; found_over_true: strength of the
    found relief beside the true one."""
    targets: list[Target] = field(metadata=TARGETS)


def fine_report(rows: Sequence[FineRow]) -> FineReport:
    """Means over all samples of FineData and by kind; targets."""
    parts = _parts(rows)
    whole = parts["all"]
    fall = 1 - ratio(whole.get("normal_deg", float("nan")), whole.get("coarse_normal_deg", float("nan")))
    true = whole.get("band_r", float("nan"))
    targets = [
        Target("normal error falls by", fall, at_least=LEAST_BETTER),
        Target("relief correlates with the label's", true, at_least=LEAST_TRUE),
    ]
    return FineReport(len(rows), parts, targets)


def photo_relief_report(rows: Sequence[FineRow]) -> FineReport:
    """Means over all photos and by group; target."""
    parts = _parts(rows)
    mean = parts["all"].get("band_r", float("nan"))
    target = Target("relief on photos correlates with the fit's", mean, at_least=LEAST_FIT)
    return FineReport(len(rows), parts, [target])


def _parts(rows: Sequence[FineRow]) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for kind in ("all", *sorted({row.kind for row in rows})):
        part = [row.errors for row in rows if kind in ("all", row.kind)]
        found = means(part)
        if part:
            found["found_over_true"] = ratio(found["found_mm"], found["true_mm"])
        out[kind] = {"samples": len(part)} | found
    return out


def _kind(sample: Sample) -> str:
    """own: the photo with its own relief; moved: with another face's; relit: under another light too; drawn:
    with drawn wrinkles."""
    if sample.about.get("kind") == "wrinkles":
        return "drawn"
    if sample.about.get("relit"):
        return "relit"
    gains = sample.labels.get("gains")
    return "moved" if gains is not None and np.any(gains[:3] != 0) else "own"


def _angle(a: Float, b: Float) -> float:
    """Mean angle between unit vectors (P, 3), degrees."""
    chord = np.linalg.norm(a - b, axis=1)
    return float(2 * np.degrees(np.arcsin(np.clip(0.5 * chord, 0, 1))).mean())
