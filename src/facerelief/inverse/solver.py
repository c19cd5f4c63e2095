"""Small dense least squares with bounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from facerelief.typed import Float, Float64

DAMPING = 1e-3
"""Levenberg-Marquardt damping to begin with, as a share of the Gauss-Newton matrix's diagonal."""
LEAST_DAMPING = 1e-5
DAMPING_TRIALS = 4
"""Steps tried per linearisation, each with ten times the damping of the last."""


def bounded_step(
    hessian: Float64, gradient: Float64, values: Float64, low: Float64, high: Float64, rounds: int = 60
) -> Float64:
    """Minimiser d of g . d + d . H d / 2 with low <= values + d <= high.

    Block principal pivoting (Judice & Pires 1994): all unknowns that leave their range go to its end, all
    that are pushed inward from an end go free, and the rest is solved again; two or three solves as a rule.

    Args:
        hessian: (n, n) H, positive definite.
        gradient: (n,) g.
        values: (n,) present values of the unknowns.
        low: (n,) least values.
        high: (n,) largest values.
        rounds: Most solves.

    Returns:
        (n,) always within the range; after `rounds` solves the last one, clipped to the range.
    """
    lowest, highest = low - values, high - values
    at_low = (values <= low) & (gradient > 0)
    at_high = (values >= high) & (gradient < 0)
    fewest, patience = len(values) + 1, 3
    # slopes below this are rounding errors
    little = 1e-12 * float(np.abs(gradient).max(initial=0.0))
    step = np.zeros_like(values)
    for _ in range(rounds):
        fixed = at_low | at_high
        free = ~fixed
        step[at_low], step[at_high] = lowest[at_low], highest[at_high]
        right = -gradient[free]
        if fixed.any():
            right = right - hessian[np.ix_(free, fixed)] @ step[fixed]
        step[free] = _solve(hessian[np.ix_(free, free)], right)
        slope = gradient + hessian @ step
        under, over = free & (step < lowest), free & (step > highest)
        wrong = under | over | (at_low & (slope < -little)) | (at_high & (slope > little))
        count = int(wrong.sum())
        if count == 0:
            break
        # all at once while that helps, else one at a time, which cannot go round in circles
        if count < fewest:
            fewest, patience = count, 3
        elif patience > 0:
            patience -= 1
        else:
            wrong[: np.flatnonzero(wrong)[-1]] = False
        at_low, at_high = (at_low & ~wrong) | (under & wrong), (at_high & ~wrong) | (over & wrong)
    return np.clip(values + step, low, high) - values


def damped_steps(
    hessian: Float64, gradient: Float64, values: Float64, low: Float64, high: Float64, damping: float
) -> Iterator[tuple[Float64, float]]:
    """Levenberg-Marquardt steps to try in turn until one lowers the energy.

    Args:
        hessian: (n, n) Gauss-Newton matrix.
        gradient: (n,)
        values: (n,) present values of the unknowns.
        low: (n,) least values.
        high: (n,) largest values.
        damping: Of the first step, as a share of the matrix's diagonal.

    Yields:
        A step (n,), each with ten times the damping of the last, and the damping that follows if it helps.
    """
    for _ in range(DAMPING_TRIALS):
        damped = hessian.copy()
        damped[np.diag_indices_from(damped)] *= 1.0 + damping
        yield bounded_step(damped, gradient, values, low, high), max(damping / 5, LEAST_DAMPING)
        damping *= 10


def _solve(matrix: Float64, right: Float64) -> Float:
    """Solution of a symmetric system, with a small ridge where it is not positive definite."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    try:
        return cho_solve(cho_factor(matrix, lower=True, check_finite=False), right, check_finite=False)
    except LinAlgError:
        ridge = 1e-8 * float(np.trace(matrix)) / len(matrix) + 1e-12
        return np.linalg.solve(matrix + ridge * np.eye(len(matrix)), right)
