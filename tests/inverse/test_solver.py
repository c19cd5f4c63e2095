"""Laws of the bounded least-squares step: it is the minimiser, and it stays in its range."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from facerelief.inverse.solver import bounded_step, damped_steps

SEEDS = st.integers(0, 2**32 - 1)


def problem(seed: int, n: int | None = None) -> tuple[np.ndarray, ...]:
    """A random (hessian, gradient, values, low, high), some unknowns without bounds, some at a bound."""
    rng = np.random.default_rng(seed)
    n = n or int(rng.integers(1, 9))
    root = rng.normal(size=(n + 2, n)) * 10 ** rng.uniform(-1, 1, n)
    low, high = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
    low[rng.random(n) < 0.2], high[rng.random(n) < 0.2] = -np.inf, np.inf
    values = np.clip(rng.normal(0, 0.8, n), low, high)
    return root.T @ root + 1e-3 * np.eye(n), rng.normal(0, 5, n), values, low, high


def cost(hessian: np.ndarray, gradient: np.ndarray, step: np.ndarray) -> float:
    return float(gradient @ step + 0.5 * step @ hessian @ step)


@given(SEEDS)
def test_without_bounds_it_solves_the_linear_system(seed):
    hessian, gradient, values, low, _ = problem(seed)
    free = np.full_like(low, np.inf)
    step = bounded_step(hessian, gradient, values, -free, free)
    np.testing.assert_allclose(hessian @ step, -gradient, rtol=1e-8, atol=1e-8)


@given(SEEDS)
def test_never_leaves_the_range(seed):
    hessian, gradient, values, low, high = problem(seed)
    after = values + bounded_step(hessian, gradient, values, low, high)
    assert (after >= low - 1e-12).all()
    assert (after <= high + 1e-12).all()


@given(SEEDS)
def test_optimal_by_karush_kuhn_tucker(seed):
    """Flat where free, pushed outward at an end."""
    hessian, gradient, values, low, high = problem(seed)
    step = bounded_step(hessian, gradient, values, low, high)
    slope = (gradient + hessian @ step) / np.abs(gradient).max()
    after = values + step
    at_low, at_high = after <= low + 1e-9, after >= high - 1e-9
    assert (slope[at_low & ~at_high] > -1e-8).all()
    assert (slope[at_high & ~at_low] < 1e-8).all()
    np.testing.assert_allclose(slope[~at_low & ~at_high], 0, atol=1e-8)


@pytest.mark.parametrize("seed", range(40))
def test_as_good_as_a_trusted_solver(seed):
    hessian, gradient, values, low, high = problem(seed, n=12)
    root = np.linalg.cholesky(hessian).T
    trusted = lsq_linear(
        root, -np.linalg.solve(root.T, gradient), (low - values - 1e-12, high - values + 1e-12), tol=1e-12
    )
    ours = cost(hessian, gradient, bounded_step(hessian, gradient, values, low, high))
    assert ours <= cost(hessian, gradient, trusted.x) + 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_as_good_as_trying_every_active_set(seed):
    hessian, gradient, values, low, high = problem(seed, n=4)
    best = np.inf
    for choice in itertools.product((0, 1, 2), repeat=4):
        where = np.array(choice)
        free = where == 0
        step = np.select([where == 1, where == 2], [low - values, high - values], 0.0)
        if not np.isfinite(step).all():
            continue
        right = -gradient[free] - hessian[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], right)
        if ((values + step >= low - 1e-12) & (values + step <= high + 1e-12)).all():
            best = min(best, cost(hessian, gradient, step))
    ours = cost(hessian, gradient, bounded_step(hessian, gradient, values, low, high))
    assert ours == pytest.approx(best, rel=1e-9, abs=1e-9)


def test_values_outside_their_range_are_brought_back():
    step = bounded_step(np.eye(2), np.zeros(2), np.array([-3.0, 9.0]), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(step, [3, -8])


def test_everything_at_its_end_stays():
    step = bounded_step(np.eye(3), np.array([1.0, -1, 1]), np.array([0.0, 1, 0]), np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(step, 0)


def test_pinned_unknowns_do_not_move_and_the_rest_answers_them():
    hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    step = bounded_step(hessian, np.array([-4.0, -2.0]), np.zeros(2), np.zeros(2), np.array([0.0, np.inf]))
    np.testing.assert_allclose(step, [0, 1])


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_singular_matrices_give_a_finite_step_that_helps(rank):
    root = np.random.default_rng(rank).normal(size=(rank, 4))
    hessian = root.T @ root
    gradient = hessian @ [1.0, -2, 3, 1]
    step = bounded_step(hessian, gradient, np.zeros(4), np.full(4, -9.0), np.full(4, 9.0))
    assert np.isfinite(step).all()
    np.testing.assert_allclose(hessian @ step, -gradient, atol=1e-5)


def test_no_unknowns_at_all():
    none = np.zeros(0)
    assert bounded_step(np.zeros((0, 0)), none, none, none, none).shape == (0,)


@given(SEEDS)
def test_damped_steps_grow_shorter_and_stay_in_range(seed):
    hessian, gradient, values, low, high = problem(seed)
    free = (np.full(len(values), -np.inf), np.full(len(values), np.inf))
    tried = list(damped_steps(hessian, gradient, values, *free, 1.0))
    lengths = [float(step @ (np.diag(hessian) * step)) for step, _ in tried]
    assert all(a >= b for a, b in itertools.pairwise(lengths))
    assert [after for _, after in tried] == pytest.approx([0.2, 2.0, 20.0, 200.0])
    for step, _ in damped_steps(hessian, gradient, values, low, high, 1.0):
        assert (values + step >= low - 1e-12).all()
        assert (values + step <= high + 1e-12).all()
