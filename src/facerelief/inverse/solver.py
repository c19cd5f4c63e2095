"""Small dense least squares with bounds, kept on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@contextmanager
def single_thread() -> Iterator[None]:
    """Linear algebra of this size is slower on several threads than on one, far slower beside a busy process."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def bounded_step(
    hessian: Float64, gradient: Float64, values: Float64, low: Float64, high: Float64, rounds: int = 4
) -> Float64:
    """Minimiser of g . d + d . H d / 2 with low <= values + d <= high, by a few rounds of an active set.

    H (n, n) positive definite, all others (n,). Unknowns that would leave their range are set to its end and the rest solved
    again; the result is always within the range.
    """
    step = np.zeros_like(values)
    fixed = ((values <= low) & (gradient > 0)) | ((values >= high) & (gradient < 0))
    for _ in range(rounds):
        free = ~fixed
        right = -gradient[free]
        if fixed.any():
            right = right - hessian[np.ix_(free, fixed)] @ step[fixed]
        step[free] = _solve(hessian[np.ix_(free, free)], right)
        target = values + step
        outside = free & ((target < low) | (target > high))
        if not outside.any():
            break
        step[outside] = np.clip(target[outside], low[outside], high[outside]) - values[outside]
        fixed = fixed | outside
    return np.clip(values + step, low, high) - values


def _solve(matrix: Float64, right: Float64) -> Float64:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    try:
        return cho_solve(cho_factor(matrix, lower=True, check_finite=False), right, check_finite=False)
    except LinAlgError:
        ridge = 1e-8 * float(np.trace(matrix)) / len(matrix) + 1e-12
        return np.linalg.solve(matrix + ridge * np.eye(len(matrix)), right)
