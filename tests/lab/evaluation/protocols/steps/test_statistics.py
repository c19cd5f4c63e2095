"""Statistics as each benchmark defines them."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.protocols.steps import statistics as st


def test_now_counts_vertices_not_scans():
    row = st.concatenated([np.array([1.0, 1.0, 1.0]), np.array([5.0])])
    assert row == {"median": 1.0, "mean": 2.0, "std": pytest.approx(np.sqrt(3)), "vertices": 4}
    curve = dict(st.cumulative_curve([np.array([0.0, 1.0, 1.05, 9.0])]))
    assert (curve[0.0], curve[0.9], curve[1.0], curve[1.1], curve[7.0]) == (25, 25, 50, 75, 75)
    assert len(curve) == 71


def test_micc_counts_meshes():
    assert st.over_meshes([1.0, 3.0, 8.0]) == {
        "mean": 4.0,
        "std": pytest.approx(np.std([1, 3, 8])),
        "median": 3.0,
        "meshes": 3,
    }
    assert st.rmse([3.0, 4.0]) == pytest.approx(np.sqrt(12.5))


def test_realy_means_of_regions():
    table = st.over_regions({"nose": [1.0, 3.0], "cheek": [4.0, 4.0]})
    assert table["nose"] == {"mean": 2.0, "median": 2.0, "std": pytest.approx(np.sqrt(2)), "meshes": 2}
    assert table["all"] == {"mean": 3.0}
    assert st.over_regions({"nose": [1.0]})["nose"]["std"] == 0


def test_aflw_weighs_bins_not_pictures():
    yaws = [0, -30, 30.5, 60, -61, 99]
    assert [st.aflw_yaw_bin(y) for y in yaws] == ["0-30", "0-30", "30-60", "30-60", "60-90", "60-90"]
    table = st.over_yaw_bins([1.0, 1.0, 1.0, 4.0, 9.0], [0, 5, -10, 45, 80])
    assert table["0-30"] == {"mean": 1.0, "std": 0.0, "pictures": 3}
    assert table["all"]["mean"] == pytest.approx(14 / 3)
    assert table["all"]["std"] == pytest.approx(np.std([1, 4, 9]))
    assert set(st.over_yaw_bins([2.0], [0])) == {"0-30", "all"}


def test_nme_on_points_made_by_hand():
    truth = np.zeros((68, 2))
    truth[0], truth[1] = [0, 0], [100, 25]  # box of 100 x 25: size 50
    assert st.normalized_mean_error(truth + [3, 4], truth) == pytest.approx(10.0)
    moved = truth.copy()
    moved[5] += [0, 34]
    assert st.normalized_mean_error(moved, truth) == pytest.approx(1.0)
    # the truth's box, not the prediction's
    assert st.normalized_mean_error(truth, truth * 2) != st.normalized_mean_error(truth * 2, truth)
