"""A causal filter that removes jitter from a track without visible lag."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from facerelief.typed import Float64


class OneEuro:
    """The 1 Euro filter (Casiez, Roussel, Vogel, CHI 2012) for an array of numbers.

    A low-pass whose cutoff rises with speed: little jitter at rest, little lag in motion.

    Args:
        min_cutoff: Cutoff at rest, Hz, one number or (N,); lower for less jitter.
        beta: Rise of the cutoff, Hz per unit/s, one number or (N,); higher for less lag.
        speed_cutoff: Cutoff of the low-pass of the speed itself, Hz.
        together: Numbers that share the highest of their cutoffs.

    Raises:
        ValueError: A cutoff is not positive, or beta is negative.
    """

    def __init__(
        self,
        min_cutoff: ArrayLike,
        beta: ArrayLike,
        speed_cutoff: float = 1.0,
        together: slice | None = None,
    ) -> None:
        self.together = together
        self.min_cutoff = np.asarray(min_cutoff, np.float64)
        self.beta = np.asarray(beta, np.float64)
        self.speed_cutoff = speed_cutoff
        if not (np.all(self.min_cutoff > 0) and np.all(self.beta >= 0) and speed_cutoff > 0):
            raise ValueError("cutoffs are positive and beta is at least 0")
        self.reset()

    def reset(self) -> None:
        """Forget all values: the next ones pass unfiltered."""
        self._last: tuple[Float64, Float64, float] | None = None

    def __call__(self, values: ArrayLike, time: float) -> Float64:
        """Filtered values (N,) at a time in s; where time does not rise they pass unfiltered."""
        new = np.asarray(values, np.float64)
        if self._last is None or not time > self._last[2]:
            self._last = (new.copy(), np.zeros_like(new), time)
            return new.copy()
        value, speed, before = self._last
        step = time - before
        speed = speed + _share(self.speed_cutoff, step) * ((new - value) / step - speed)
        cutoff = np.broadcast_to(self.min_cutoff + self.beta * np.abs(speed), new.shape).copy()
        if self.together is not None:
            cutoff[self.together] = cutoff[self.together].max()
        value = value + _share(cutoff, step) * (new - value)
        self._last = (value, speed, time)
        return value.copy()


def _share(cutoff: Any, step: float) -> Any:
    """Share of the new value in a low-pass of this cutoff, Hz, after `step` s."""
    return 1.0 / (1.0 + 1.0 / (2.0 * np.pi * cutoff * step))
