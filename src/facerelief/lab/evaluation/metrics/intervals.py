"""Means with intervals over persons, and how well shapes tell persons apart (docs/comparison.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.morphable.model import FaceModel
from facerelief.typed import Float

DRAWS = 2000
"""Bootstrap draws behind an interval."""
_PERSON_DRAWS = 400
"""Those behind an interval of verification, which looks at all pairs of persons."""
_NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; all NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def document(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


NOTHING = Interval(_NAN, _NAN, _NAN)


def below_percent(share: Interval) -> Interval:
    """Per cent by which a figure is below another, of its share of that."""
    return Interval(100 * (1 - share.value), 100 * (1 - share.high), 100 * (1 - share.low))


class PersonBootstrap:
    """Means of rows with 95 % bootstrap intervals over persons.

    A draw takes as many persons as there are, with replacement, each with all of its rows: pictures of one
    person are not independent. The same draws serve every method and part, so that a difference of two
    methods is one on the same pictures. The draws depend on the seed, the stream and the number of persons
    alone.
    """

    def __init__(
        self,
        persons: Sequence[str] | Sequence[int],
        seed: int = 0,
        draws: int = DRAWS,
        *,
        stream: int = 0xC0FA,
    ) -> None:
        """persons: whom each row shows. stream: keeps the draws of one benchmark off those of another."""
        place: dict[Any, int] = {person: k for k, person in enumerate(sorted(set(persons)))}
        self._at = np.array([place[person] for person in persons], np.int64)
        count = len(place)
        rng = np.random.default_rng([seed, stream])
        share = np.full(count, 1 / max(count, 1))
        self._draws: Float = rng.multinomial(count, share, size=draws) if count else np.zeros((draws, 0))

    def mean(self, values: Float, where: NDArray[np.bool_] | None = None) -> Interval:
        """Mean of values (N,), one of each row, over the rows of `where` (N,) whose value is finite."""
        return self.ratio(values, np.ones(len(self._at)), where)

    def ratio(self, above: Float, below: Float, where: NDArray[np.bool_] | None = None) -> Interval:
        """Sum of `above` over sum of `below`, (N,) each, over the rows of `where` where both are finite."""
        above, below = (np.asarray(x, np.float64) for x in (above, below))
        known = np.isfinite(above) & np.isfinite(below)
        if where is not None:
            known &= where
        if not known.any():
            return NOTHING
        count = self._draws.shape[1]
        top, bottom = (np.bincount(self._at[known], x[known], count) for x in (above, below))
        if bottom.sum() == 0:
            return NOTHING
        drawn_top, drawn_bottom = self._draws @ top, self._draws @ bottom
        drawn = drawn_top[drawn_bottom != 0] / drawn_bottom[drawn_bottom != 0]
        low, high = np.percentile(drawn, (2.5, 97.5))
        return Interval(float(top.sum() / bottom.sum()), float(low), float(high))

    def persons(self, where: NDArray[np.bool_] | None = None) -> int:
        """How many persons the rows of `where` (N,) show."""
        return len(np.unique(self._at if where is None else self._at[where]))


# ---------------------------------------------------------------- who is who


def shape_gram(model: FaceModel) -> Float:
    """(K, K) float64: `(a - b) @ gram @ (a - b)` is the mean square distance, mm^2, of the neutral shapes of
    two identities over the face's vertices, in model space, as in `fit_quality.identity_agreement`."""
    basis = model.identity[model.face_vertices].reshape(-1, model.n_identity)
    return (basis.T @ basis).astype(np.float64) / int(model.face_vertices.sum())


def shape_distances(first: Float, second: Float, gram: Float) -> Float:
    """(P, Q) mm: root mean square distance between the neutral shapes of identities (P, K) and (Q, K)."""
    apart = first[:, None].astype(np.float64) - second[None].astype(np.float64)
    return np.sqrt(np.maximum(np.einsum("ijk,kl,ijl->ij", apart, gram, apart, optimize=True), 0))


@dataclass(frozen=True)
class Consistency:
    """Two photos of each of several persons: does the neutral shape tell who is who?"""

    persons: int
    genuine: int
    """Pairs of photos of one person: one of each."""
    impostor: int
    """Pairs of photos of two persons: the first photo of one with the second of another."""
    same_mm: Interval
    """Mean distance (`shape_distances`) over the genuine pairs."""
    different_mm: Interval
    """Over the impostor pairs."""
    ratio: Interval
    """same / different: 0 is perfect, 1 says nothing of who it is. NaN where all shapes are one."""
    auc: Interval
    """Probability that a genuine pair is nearer than an impostor pair, ties counting half."""
    eer: Interval
    """Share of wrong answers at the threshold where both kinds are equally often wrong."""
    rank1: float
    """Share of first photos whose nearest second photo is of the same person."""

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def identity_consistency(first: Float, second: Float, gram: Float, seed: int = 0) -> Consistency | None:
    """How well neutral shapes of two photos of P persons, identities (P, K) each, agree; None below two
    persons. gram: `shape_gram`. Intervals are over persons: a pair of two persons counts as often as the
    product of how often both were drawn."""
    count = len(first)
    if count < 2:
        return None
    distance = shape_distances(first, second, gram)
    rng = np.random.default_rng([seed, 0x1D, count])
    draws = rng.multinomial(count, np.full(count, 1 / count), size=_PERSON_DRAWS).astype(np.float64)
    figures = _verified(distance, np.concatenate([np.ones((1, count)), draws]))
    intervals: list[Interval] = []
    for row in figures:
        drawn = row[1:][np.isfinite(row[1:])]
        known = np.isfinite(row[0]) and len(drawn)
        low, high = np.percentile(drawn, (2.5, 97.5)) if known else (_NAN, _NAN)
        intervals.append(Interval(float(row[0]), float(low), float(high)))
    own = np.arange(count)
    nearest = distance <= distance.min(axis=1, keepdims=True)
    # of shapes that are equally near each is as likely to be taken
    rank1 = float((nearest[own, own] / nearest.sum(axis=1)).mean())
    return Consistency(count, count, count * (count - 1), *intervals, rank1=rank1)


def _verified(distance: Float, weights: Float) -> list[Float]:
    """same, different, their ratio, AUC and EER, (W,) each, for distances (P, P) and weights (W, P) of
    persons; NaN where a weighting leaves one person alone."""
    own = np.diagonal(distance)
    other = distance.copy()
    np.fill_diagonal(other, 0.0)
    total = weights.sum(axis=1)
    pairs = total**2 - np.square(weights).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        same = weights @ own / total
        different = np.einsum("wi,ij,wj->w", weights, other, weights, optimize=True) / pairs
        ratio = np.where(different > 0, same / different, np.nan)
    steps, index = np.unique(np.round(distance, 9), return_inverse=True)
    index = index.reshape(distance.shape)
    off = ~np.eye(len(own), dtype=bool)
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
    return [same, different, ratio, auc, eer]
