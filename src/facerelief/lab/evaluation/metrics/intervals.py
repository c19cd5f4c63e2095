"""Means with bootstrap intervals over subjects (docs/comparison.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facerelief.typed import Bool, Float

DRAWS = 2000
"""Bootstrap draws behind an interval."""
_NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; all NaN where there is none."""

    value: float
    low: float
    high: float


NOTHING = Interval(_NAN, _NAN, _NAN)


def below_percent(share: Interval) -> Interval:
    """Per cent by which a value is below another, from its share of that."""
    return Interval(100 * (1 - share.value), 100 * (1 - share.high), 100 * (1 - share.low))


class SubjectBootstrap:
    """Means of rows with 95 % bootstrap intervals over subjects.

    A draw takes as many subjects as there are, with replacement, each with all of its rows: images of one
    subject are not independent. The same draws serve every method and part, so that methods are compared on
    the same images. The draws depend on the seed, the stream and the number of subjects alone.
    """

    def __init__(
        self,
        subjects: Sequence[str] | Sequence[int],
        seed: int = 0,
        draws: int = DRAWS,
        *,
        stream: int = 0xC0FA,
    ) -> None:
        """subjects: of each row. stream: separates the draws of different benchmarks."""
        place: dict[Any, int] = {subject: k for k, subject in enumerate(sorted(set(subjects)))}
        self._at = np.array([place[subject] for subject in subjects], np.int64)
        count = len(place)
        rng = np.random.default_rng([seed, stream])
        share = np.full(count, 1 / max(count, 1))
        self._draws = rng.multinomial(count, share, size=draws) if count else np.zeros((draws, 0))

    def mean(self, values: Float, where: Bool | None = None) -> Interval:
        """Mean of values (N,), one of each row, over the rows of `where` (N,) whose value is finite."""
        return self.ratio(values, np.ones(len(self._at)), where)

    def ratio(self, above: Float, below: Float, where: Bool | None = None) -> Interval:
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

    def subjects(self, where: Bool | None = None) -> int:
        """Number of subjects of the rows of `where` (N,)."""
        return len(np.unique(self._at if where is None else self._at[where]))
