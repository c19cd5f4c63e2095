"""The one-euro filter: still things stand still, moving ones are followed."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.tracking.one_euro import OneEuro

RATE = 30.0


def run(filter_: OneEuro, values: np.ndarray, rate: float = RATE) -> np.ndarray:
    return np.array([filter_([v], k / rate)[0] for k, v in enumerate(values)])


def test_a_constant_passes():
    np.testing.assert_allclose(run(OneEuro(1.0, 0.5), np.full(20, 3.7)), 3.7)


def test_the_first_value_and_those_without_time_between_pass():
    keep = OneEuro(0.1, 0.0)
    assert keep([5.0], 1.0)[0] == 5.0
    assert keep([9.0], 1.0)[0] == 9.0
    assert keep([2.0], 0.5)[0] == 2.0


def test_after_a_reset_the_next_value_passes():
    keep = OneEuro(0.1, 0.0)
    keep([5.0], 0.0)
    keep.reset()
    assert keep([-1.0], 0.1)[0] == -1.0


def test_jitter_at_rest_is_taken_out():
    noise = np.random.default_rng(0).normal(0, 0.01, 600)
    acceleration = [np.abs(np.diff(x, 2)).mean() for x in (noise, run(OneEuro(1.0, 0.05), noise))]
    assert acceleration[1] < 0.3 * acceleration[0]


def test_a_step_is_followed_monotonously_and_sooner_with_beta():
    step = np.r_[np.zeros(5), np.ones(40)]
    slow, quick = run(OneEuro(1.0, 0.0), step), run(OneEuro(1.0, 5.0), step)
    for x in (slow, quick):
        assert np.all(np.diff(x) >= 0)
        assert x[-1] == pytest.approx(1.0, abs=1e-2)
    assert np.all(quick >= slow - 1e-12)
    assert quick[7] > slow[7] + 0.1


def test_it_is_linear_where_speed_does_not_count():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=50), rng.normal(size=50)
    together = run(OneEuro(2.0, 0.0), 2 * a + 3 * b)
    np.testing.assert_allclose(together, 2 * run(OneEuro(2.0, 0.0), a) + 3 * run(OneEuro(2.0, 0.0), b))


def test_numbers_are_filtered_apart():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(30, 2))
    both = OneEuro([1.0, 3.0], [0.2, 0.0])
    out = np.array([both(v, k / RATE) for k, v in enumerate(values)])
    np.testing.assert_allclose(out[:, 0], run(OneEuro(1.0, 0.2), values[:, 0]))
    np.testing.assert_allclose(out[:, 1], run(OneEuro(3.0, 0.0), values[:, 1]))


def test_numbers_of_one_thing_are_as_quick_as_the_quickest():
    """Numbers that cancel before the filter cancel after it."""
    rng = np.random.default_rng(3)
    one = np.cumsum(rng.normal(size=40))
    values = np.column_stack([one, 0.1 * one, rng.normal(size=40)])
    both = OneEuro(1.0, 0.5, together=slice(0, 2))
    out = np.array([both(v, k / RATE) for k, v in enumerate(values)])
    np.testing.assert_allclose(out[:, 1], 0.1 * out[:, 0])
    np.testing.assert_allclose(out[:, 0], run(OneEuro(1.0, 0.5), one))
    np.testing.assert_allclose(out[:, 2], run(OneEuro(1.0, 0.5), values[:, 2]))


@pytest.mark.parametrize("settings", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, 0.0)])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="positive"):
        OneEuro(*settings)
