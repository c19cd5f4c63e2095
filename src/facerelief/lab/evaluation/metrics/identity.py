"""Identity consistency: agreement of neutral shapes over photos of a subject (docs/comparison.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from facerelief.lab.evaluation.metrics.intervals import Interval
from facerelief.lab.evaluation.metrics.reports import SUBJECTS
from facerelief.morphable.shape_distance import shape_distances
from facerelief.typed import Float

T = TypeVar("T")

_SUBJECT_DRAWS = 400
"""Bootstrap draws: fewer than for means, since each looks at all pairs of subjects."""
_NAN = float("nan")


@dataclass(frozen=True)
class Consistency:
    """Agreement of neutral shapes over two photos of each of several subjects, with intervals."""

    subjects: int = field(metadata=SUBJECTS)
    genuine: int
    """Pairs of photos of one subject, one for each subject."""
    impostor: int
    """Pairs of photos of two subjects: the first photo of one with the second of another."""
    same_mm: Interval
    """Mean distance (`shape_distances`) over the genuine pairs."""
    different_mm: Interval
    """Over the impostor pairs."""
    same_over_different: Interval
    """same_mm / different_mm: 0 is perfect, 1 is chance. NaN where all shapes are one."""
    auc: Interval
    """Probability that a genuine pair is nearer than an impostor pair, ties counting half."""
    eer: Interval
    """Share of wrong answers at the threshold where both kinds are equally often wrong."""
    rank1: float
    """Share of first photos whose nearest second photo is of the same subject."""


@dataclass(frozen=True)
class Agreement:
    """The values of `Consistency` without intervals, and identification by coefficients."""

    subjects: int = field(metadata=SUBJECTS)
    same_mm: float
    different_mm: float
    same_over_different: float
    rank1: float
    rank1_coefficients: float
    """`rank1` by the cosine between identity coefficients in place of distances of shapes."""


def photo_pairs(
    rows: Iterable[T], subject: Callable[[T], str], name: Callable[[T], str]
) -> list[tuple[T, T]]:
    """The first two photos, by name, of each subject with two or more; subjects in alphabetical order."""
    by_subject: dict[str, list[T]] = {}
    for row in sorted(rows, key=name):
        by_subject.setdefault(subject(row), []).append(row)
    return [(found[0], found[1]) for _, found in sorted(by_subject.items()) if len(found) >= 2]


def shape_agreement(first: Float, second: Float, gram: Float) -> Agreement:
    """Agreement of two photos of P >= 2 subjects, identities (P, K) each; gram: `shape_gram`."""
    distance = shape_distances(first, second, gram)
    same, different, share = (float(x[0]) for x in _distances(distance, np.ones((1, len(first)))))
    unit = [
        c / np.maximum(np.linalg.norm(c, axis=1, keepdims=True), 1e-9)
        for c in (first.astype(np.float64), second.astype(np.float64))
    ]
    return Agreement(len(first), same, different, share, rank1(distance), rank1(-unit[0] @ unit[1].T))


def identity_consistency(first: Float, second: Float, gram: Float, seed: int = 0) -> Consistency | None:
    """Agreement of two photos of P subjects, identities (P, K) each; None below two subjects.

    gram: `shape_gram`. Intervals are over subjects: a pair of two subjects counts as the product of the
    numbers of times that both were drawn.
    """
    count = len(first)
    if count < 2:
        return None
    distance = shape_distances(first, second, gram)
    rng = np.random.default_rng([seed, 0x1D, count])
    draws = rng.multinomial(count, np.full(count, 1 / count), size=_SUBJECT_DRAWS).astype(np.float64)
    figures = _verified(distance, np.concatenate([np.ones((1, count)), draws]))
    intervals: list[Interval] = []
    for row in figures:
        drawn = row[1:][np.isfinite(row[1:])]
        known = np.isfinite(row[0]) and len(drawn)
        low, high = np.percentile(drawn, (2.5, 97.5)) if known else (_NAN, _NAN)
        intervals.append(Interval(float(row[0]), float(low), float(high)))
    return Consistency(count, count, count * (count - 1), *intervals, rank1=rank1(distance))


def rank1(distance: Float) -> float:
    """Share of rows (P, P) whose least value is the diagonal's; equally near ones share the row.

    NaN is never the nearest; rows whose own value is NaN are left out, NaN where all are.
    """
    own = np.flatnonzero(np.isfinite(np.diagonal(distance)))
    if not len(own):
        return _NAN
    known = np.where(np.isfinite(distance), distance, np.inf)[own]
    nearest = known <= known.min(axis=1, keepdims=True)
    return float((nearest[np.arange(len(own)), own] / nearest.sum(axis=1)).mean())


def _distances(distance: Float, weights: Float) -> tuple[Float, Float, Float]:
    """Mean distance of one subject, of two subjects, and their ratio, (W,) each; see `_verified`."""
    other = distance.copy()
    np.fill_diagonal(other, 0.0)
    total = weights.sum(axis=1)
    pairs = total**2 - np.square(weights).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        same = weights @ np.diagonal(distance) / total
        different = np.einsum("wi,ij,wj->w", weights, other, weights, optimize=True) / pairs
        return same, different, np.where(different > 0, same / different, np.nan)


def _verified(distance: Float, weights: Float) -> list[Float]:
    """`_distances`, AUC and EER, (W,) each, for distances (P, P) and weights (W, P) of subjects; NaN where a
    weighting leaves one subject alone."""
    total = weights.sum(axis=1)
    pairs = total**2 - np.square(weights).sum(axis=1)
    steps, index = np.unique(np.round(distance, 9), return_inverse=True)
    index = index.reshape(distance.shape)
    off = ~np.eye(len(distance), dtype=bool)
    auc, eer = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    for k, weight in enumerate(weights):
        if pairs[k] <= 0:
            continue
        genuine = np.bincount(np.diagonal(index), weight, len(steps)) / total[k]
        impostor = np.bincount(index[off], np.outer(weight, weight)[off], len(steps)) / pairs[k]
        accepted = np.cumsum(impostor)
        auc[k] = float(genuine @ (1 - accepted + 0.5 * impostor))
        wrong, missed = np.append(0.0, accepted), np.append(1.0, np.maximum(1 - np.cumsum(genuine), 0))
        at = int(np.argmin(np.abs(wrong - missed)))
        eer[k] = 0.5 * (wrong[at] + missed[at])
    return [*_distances(distance, weights), auc, eer]
