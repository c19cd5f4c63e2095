"""Plots: shares of errors, files that can be written."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.compare import plots
from facerelief.lab.evaluation.compare.images import image_report


class TestPlots:
    def test_cumulative_shares(self):
        errors, shares = plots.cumulative(np.array([3.0, 1.0, np.nan, 2.0]))
        assert errors.tolist() == [1, 2, 3]
        assert shares.tolist() == [0.25, 0.5, 0.75]  # the fourth has no error that is as small

    def test_files_are_small_images(self, tmp_path, rows_of):
        pytest.importorskip("matplotlib")
        rows = rows_of()
        written = plots.write_plots(tmp_path / "new", rows, image_report(rows))
        assert [file.name for file in written] == [plots.CUMULATIVE, plots.BY_YAW]
        for file in written:
            data = file.read_bytes()
            assert data.startswith(b"\x89PNG")
            assert len(data) < 100_000

    def test_without_matplotlib_one_line_says_what_to_do(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(FacereliefError, match=r"pip install .facerelief\[plots\]") as caught:
            plots.check_plotting()
        assert "\n" not in str(caught.value)

    def test_a_folder_that_cannot_be_written(self, tmp_path, rows_of):
        pytest.importorskip("matplotlib")
        (tmp_path / "file").touch()
        rows = rows_of(4)
        with pytest.raises(FacereliefError, match="cannot be written"):
            plots.write_plots(tmp_path / "file" / "new", rows, image_report(rows))
