"""Procedural wrinkles of a face model: lines along the anatomy, drawn into the model's atlas.

Places are (a, b) in mm of the unrolled average face (`synthesis.face_map`): a from the midline to the image's
right, b up from the root of the nose. A line has a furrow, shoulders beside it, and may have a fold on one
side. Lines of one side mirror those of the other, but for a share of asymmetry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike

from facerelief.morphable.model import FaceModel
from facerelief.synthesis.face_map import TEXEL_MM, face_map
from facerelief.typed import Float32, Float64

TEXEL = 0.3
"""Side of a texel of drawn heights, mm of the average face."""
_ROUNDED_MM = 0.8
"""Deviation of the Gaussian that rounds off shoulders and folds."""
_MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
]  # fmt: skip
"""Of each iBUG landmark the one on the other side."""


@dataclass(frozen=True, eq=False)
class Line:
    """A wrinkle in the atlas."""

    points: Float64
    """(P, 2) (a, b), mm."""
    depth: Float64
    """(P,) of the furrow, mm."""
    width: float
    """Of the furrow at half its depth, mm."""
    power: float = 1.6
    """Shape of the furrow: exp(-|s|^power), 2 is round, 1 a crease."""
    valley: float = 0.0
    """Share of the depth that a wider, round valley has about a narrow furrow."""
    shoulder: float = 0.25
    """Height of the skin beside the furrow, as a share of its depth."""
    spacing: float = 1.8
    """Distance of the shoulders' tops from the furrow, in its widths."""
    fold: Float64 = field(default_factory=lambda: np.zeros(0))
    """(P,) height of the skin to the left of the line's way, mm; (0,) for none."""
    fold_mm: float = 5.0
    """Width of that fold."""
    kind: str = ""
    """Name of the family."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A model's landmarks in its atlas, made symmetric."""

    marks: Float64
    """(68, 2) (a, b) of iBUG's landmarks, mm."""
    origin: tuple[float, float]
    """Column and row of (0, 0) in the atlas, mm."""
    shape: tuple[int, int]
    """Rows and columns of heights, `TEXEL` each."""

    def texels(self, points: ArrayLike) -> Float64:
        """(P, 2) column and row, texels of heights, of points (P, 2)."""
        a, b = np.asarray(points, np.float64).T
        return np.ascontiguousarray(np.column_stack([self.origin[0] + a, self.origin[1] - b]) / TEXEL)

    def grid(self) -> tuple[Float32, Float32]:
        """(h, w) a and (h, w) b of the texels' centres, mm."""
        rows, columns = (np.arange(n, dtype=np.float32) for n in self.shape)
        a, b = (columns + 0.5) * TEXEL - self.origin[0], self.origin[1] - (rows + 0.5) * TEXEL
        grid = np.meshgrid(a, b)
        return grid[0].astype(np.float32), grid[1].astype(np.float32)


_KNOWN: WeakKeyDictionary[FaceModel, Anatomy] = WeakKeyDictionary()


def anatomy(model: FaceModel) -> Anatomy:
    """Landmarks of a model with iBUG's points in its atlas, cached per model."""
    if model not in _KNOWN:
        known = face_map(model)
        places = np.column_stack([known.places * TEXEL_MM, np.zeros(model.n_vertices)]).astype(np.float32)
        marks = model.landmarks["ibug68"].of(places)[:, :2].astype(np.float64)
        middle = float((marks[:, 0] + marks[_MIRROR, 0]).mean() / 2)
        root = float(marks[27, 1])
        marks = np.column_stack([marks[:, 0] - middle, root - marks[:, 1]])
        marks = (marks + marks[_MIRROR] * [-1, 1]) / 2
        height, width = (math.ceil(n * TEXEL_MM / TEXEL) for n in known.shape)
        _KNOWN[model] = Anatomy(marks, (middle, root), (height, width))
    return _KNOWN[model]


class SideDraws:
    """Random numbers of one side of the face: a share is the other side's too.

    Args:
        seed: Numbers that decide both sides.
        side: -1 or 1.
        asymmetry: 0: both sides alike; 1: each for itself.
    """

    def __init__(self, seed: Sequence[int], side: int, asymmetry: float) -> None:
        self._both = np.random.default_rng([*seed, 0])
        self._own = np.random.default_rng([*seed, 2 + side])
        self.asymmetry = asymmetry

    def uniform(self, low: float, high: float) -> float:
        """Between low and high."""
        return low + (high - low) * float(self.shares(1)[0])

    def shares(self, count: int) -> Float64:
        """(count,) numbers between 0 and 1."""
        return (1 - self.asymmetry) * self._both.random(count) + self.asymmetry * self._own.random(count)

    def count(self, low: float, high: float) -> int:
        """Whole number between low and high, the same on both sides."""
        return math.floor(low + (high - low) * float(self._both.random()) + 0.5)

    def wave(self, along: Float64, length: float) -> Float64:
        """(P,) smooth noise of deviation near 1 at places (P,) mm along a line, over about `length` mm."""
        turns, phases = 0.4 + 1.2 * self.shares(4), self.shares(4)
        number = np.arange(4)
        waves = np.sin(2 * math.pi * (np.outer(along / (2.2 * length), turns * (1 + 0.3 * number)) + phases))
        return waves @ (1 / (1 + 0.4 * number)) / 1.1


def curve(control: ArrayLike, step: float = 1.2) -> Float64:
    """(P, 2) smooth curve near control points (K, 2), about `step` mm between points (corner cutting)."""
    points = np.asarray(control, np.float64)
    for _ in range(3):
        ahead = points[1:]
        cut = np.stack([0.75 * points[:-1] + 0.25 * ahead, 0.25 * points[:-1] + 0.75 * ahead], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0, along[-1], max(int(along[-1] / step), 4) + 1)
    return np.column_stack([np.interp(places, along, points[:, k]) for k in (0, 1)])


def wrinkle(
    draws: SideDraws,
    control: ArrayLike,
    depth: float,
    width: float,
    *,
    kind: str,
    waviness: float = 0.5,
    breaks: float = 0.3,
    taper: tuple[float, float] = (0.3, 0.3),
    power: tuple[float, float] = (1.3, 1.9),
    valley: tuple[float, float] = (0.3, 0.6),
    shoulder: tuple[float, float] = (0.15, 0.45),
    spacing: float = 1.8,
    fold: float = 0.0,
    fold_mm: float = 5.0,
) -> Line:
    """A line along control points (K, 2): it wavers, fades out at its ends, is deeper here and there.

    Args:
        draws: Random numbers.
        control: (K, 2) (a, b), mm.
        depth: Greatest depth of the furrow, mm.
        width: Width at half depth, mm.
        kind: Name of the family.
        waviness: Deviation from the curve to its sides, mm.
        breaks: Share by which the depth varies along the line.
        taper: Shares of the length over which it fades in and out; a first share of 0 is for lines that
            begin on the midline and are `joined`.
        power: Range of `Line.power`.
        valley: Range of `Line.valley`.
        shoulder: Range of `Line.shoulder`.
        spacing: `Line.spacing`.
        fold: Greatest height of the skin to the left of the way, mm.
        fold_mm: Its width.
    """
    points = curve(control)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    share = along / max(along[-1], 1e-6)
    way = np.gradient(points, axis=0)
    way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    aside = np.column_stack([-way[:, 1], way[:, 0]])
    held = np.minimum(1, 4 * share + 0.3 * (taper[0] > 0))
    bend = waviness * (draws.wave(along, 12.0) + 0.12 * draws.wave(along, 4.0)) * held
    strength = 1 + breaks * np.minimum(draws.wave(along, 9.0) + 0.3 * draws.wave(along, 6.0), 0.8)
    ends = np.clip(share / taper[0], 0, 1) if taper[0] > 0 else np.ones_like(share)
    ends = ends * np.clip((1 - share) / taper[1], 0, 1)
    ends = ends * ends * (3 - 2 * ends)
    strength = np.clip(strength, 0.05, None) * np.sqrt(ends)
    strength /= max(float(strength.max()), 1e-6)
    return Line(
        points + aside * bend[:, None],
        depth * strength,
        width,
        draws.uniform(*power),
        draws.uniform(*valley),
        draws.uniform(*shoulder),
        spacing,
        fold * ends if fold else np.zeros(0),
        fold_mm,
        kind,
    )


def mirrored(line: Line) -> Line:
    """The line on the other side, whose way is turned so that its fold stays on the same part."""
    turned = slice(None, None, -1)
    points, depth, fold = line.points[turned] * [-1, 1], line.depth[turned].copy(), line.fold[turned].copy()
    return replace(line, points=points, depth=depth, fold=fold)


def joined(right: Line, left: Line, blend_mm: float = 8.0) -> Line:
    """One line across the midline of two that begin there, `left` mirrored to the right side."""
    count = min(len(right.depth), len(left.depth))
    along = np.linalg.norm(np.diff(right.points[:count], axis=0), axis=1)
    own = np.clip(np.concatenate([[0.0], np.cumsum(along)]) / blend_mm, 0, 1)
    points, depth = (
        0.5 * (getattr(right, n)[:count] + getattr(left, n)[:count]) for n in ("points", "depth")
    )
    halves: list[tuple[Float64, Float64]] = []
    for half in (right, left):
        p, d = half.points.copy(), half.depth.copy()
        p[:count] = points + own[:, None] * (p[:count] - points)
        d[:count] = depth + own * (d[:count] - depth)
        p[0, 0] = 0.0
        halves.append((p, d))
    (p, d), (q, e) = halves
    across = np.concatenate([q[:0:-1] * [-1, 1], p])
    return replace(right, points=across, depth=np.concatenate([e[:0:-1], d]), fold=np.zeros(0))


def heights(lines: Sequence[Line], place: Anatomy) -> Float32:
    """(h, w) mm, heights of lines in the atlas, `TEXEL` a texel."""
    import cv2

    from facerelief.lab.datasets import _wrinkle_kernels

    furrow, raised = np.zeros(place.shape, np.float32), np.zeros(place.shape, np.float32)
    nearest = np.full((*place.shape, 3), np.inf, np.float32)
    for line in lines:
        sigma = 0.5 * line.width / math.log(2) ** (1 / line.power)
        offset = line.spacing * line.width
        fold = line.fold if len(line.fold) else np.zeros(len(line.depth))
        profile = (sigma, line.power, line.valley, line.shoulder, offset, 0.22 * line.fold_mm, line.fold_mm)
        reach = max(2.2 * offset, 4 * sigma, 2.2 * line.fold_mm if len(line.fold) else 0.0)
        _wrinkle_kernels.draw(
            place.texels(line.points),
            line.depth.astype(np.float64),
            fold.astype(np.float64),
            np.array(profile),
            reach,
            TEXEL,
            nearest,
            furrow,
            raised,
        )
    # where a line bends, points jump from one of its parts to the next
    raised = np.asarray(cv2.GaussianBlur(raised, (0, 0), _ROUNDED_MM / TEXEL), np.float32)
    return raised - np.cbrt(furrow)
