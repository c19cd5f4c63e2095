"""The warp carries its points, holds the border, and never folds."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.synthesis.warp import BackgroundWarp


@pytest.fixture
def points() -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([[100, 75] + ring * r for r in ([40, 50], [28, 35], [12, 15])])


def sources(field):
    x, y = field.maps()
    return np.stack([x, y], axis=-1) + 0.5


def test_nothing_moves_nothing(points):
    x, y = BackgroundWarp(points, 150, 200)(np.zeros_like(points)).maps()
    np.testing.assert_array_equal(x, np.broadcast_to(np.arange(200), (150, 200)))
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(150)[:, None], (150, 200)))


def test_points_arrive_and_the_border_stays(points):
    warp = BackgroundWarp(points, 150, 200)
    field = warp(np.tile([6.0, -4.0], (len(points), 1)))
    source = sources(field)
    # inside the ring of points all moves alike
    row, column = 75 - 4, 100 + 6
    np.testing.assert_allclose(source[row, column] - [column + 0.5, row + 0.5], [-6, 4], atol=0.3)
    at = (points + [6, -4]).astype(int)
    shift = source[at[:, 1], at[:, 0]] - (at + 0.5)
    np.testing.assert_allclose(shift, np.tile([-6, 4], (len(points), 1)), atol=0.8)
    rim = np.concatenate([x.reshape(-1, 2) for x in (field.shift[0], field.shift[-1], field.shift[:, 0])])
    assert np.abs(rim).max() < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_no_folds_whatever_the_points_ask_for(points, seed):
    warp = BackgroundWarp(points, 150, 200)
    rng = np.random.default_rng(seed)
    wild = rng.normal(scale=25, size=points.shape)
    moved = warp.nodes(wild)
    gy, gx = warp.shape
    place = np.stack(np.meshgrid(np.arange(gx), np.arange(gy)), axis=-1) * (
        np.array([200, 150]) / [gx - 1, gy - 1]
    )
    to = place + moved
    a, b = np.diff(to, axis=1)[:-1], np.diff(to, axis=0)[:, :-1]
    assert (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).min() > 0
    assert np.isfinite(sources(warp(wild))).all()
    np.testing.assert_array_equal(moved[0], 0)
    np.testing.assert_array_equal(moved[:, -1], 0)


def test_is_linear_while_nothing_folds(points):
    warp = BackgroundWarp(points, 150, 200)
    small = np.random.default_rng(1).normal(scale=0.5, size=points.shape)
    np.testing.assert_allclose(warp.nodes(2 * small), 2 * warp.nodes(small), atol=1e-9)


def test_points_beyond_the_frame_and_none_at_all():
    points = np.array([[-30.0, 10.0], [10.0, 5.0], [300.0, 40.0]])
    field = BackgroundWarp(points, 64, 48)(np.full((3, 2), 5.0))
    assert np.isfinite(sources(field)).all()
    still = BackgroundWarp(np.zeros((0, 2)), 64, 48)(np.zeros((0, 2)))
    np.testing.assert_array_equal(still.shift, 0)
    with pytest.raises(ValueError, match="finite"):
        BackgroundWarp([[np.nan, 1.0]], 64, 48)


def test_a_window_of_the_maps_is_the_same(points):
    field = BackgroundWarp(points, 150, 200)(np.full(points.shape, 3.0))
    for whole, part in zip(field.maps(), field.maps(40, 20, 90, 100)):
        np.testing.assert_array_equal(whole[20:100, 40:90], part)


def test_points_without_weight_do_not_count(points):
    strange = np.concatenate([points, [[100.0, 75.0]]])
    weight = np.append(np.ones(len(points)), 0.0)
    with_it = BackgroundWarp(strange, 150, 200, weight=weight)
    motion = np.tile([3.0, 2.0], (len(strange), 1))
    motion[-1] = [-40, 40]
    without = BackgroundWarp(points, 150, 200).nodes(motion[:-1])
    np.testing.assert_allclose(with_it.nodes(motion), without, atol=1e-9)
