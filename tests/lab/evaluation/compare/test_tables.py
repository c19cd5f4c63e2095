"""The section of a page: kept whole, part by part; figures and plots as they are shown."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.compare import plots as plots
from facerelief.lab.evaluation.compare.run import PICTURE_MEASURES, PictureRow, picture_report
from facerelief.lab.evaluation.compare.tables import (
    CLOSE,
    HEADING,
    OPEN,
    Table,
    cell,
    fairness_tables,
    number,
    picture_tables,
    speed_tables,
    with_section,
)

PAGE = f"# Results\n\ntext\n\n{OPEN}\n{CLOSE}\n\n## Afterwards\n"


class TestSection:
    def test_between_the_lines_and_nowhere_else(self):
        page = with_section(PAGE, {"pictures": "one | two"})
        assert page.startswith(f"# Results\n\ntext\n\n{OPEN}\n\n{HEADING}\n")
        assert page.endswith(f"{CLOSE}\n\n## Afterwards\n")
        assert "one | two" in page

    def test_twice_changes_nothing(self):
        page = with_section(PAGE, {"pictures": "a", "speed": "b"})
        assert with_section(page, {"pictures": "a", "speed": "b"}) == page
        assert with_section(page, {}) == page

    def test_what_was_not_measured_stays(self):
        page = with_section(with_section(PAGE, {"speed": "fast"}), {"pictures": "near"})
        assert page.index("near") < page.index("fast")  # in their order, not that of writing
        page = with_section(page, {"speed": "faster"})
        assert "near" in page
        assert "fast\n" not in page

    @pytest.mark.parametrize("page", ["", "# Results\n\ntext\n", "# Results"])
    def test_a_page_without_the_lines_gets_them_at_its_end(self, page):
        found = with_section(page, {"photos": "x"})
        assert found.startswith(page.strip())
        assert found.endswith(f"{CLOSE}\n")
        assert with_section(found, {"photos": "x"}) == found

    @pytest.mark.parametrize("page", [OPEN, CLOSE, f"{CLOSE}\n{OPEN}", f"{OPEN}{CLOSE}{OPEN}{CLOSE}"])
    def test_half_a_section_is_refused(self, page):
        with pytest.raises(FacereliefError, match="correct the page"):
            with_section(page, {"photos": "x"})


class TestCells:
    def test_figures(self):
        assert cell({"value": 1.336, "low": 1.2, "high": 1.449}) == "1.34 (1.20 to 1.45)"
        assert cell({"value": 0.0, "low": 0.0, "high": 0.0}, 0) == "0"
        assert cell({"value": float("nan"), "low": 0.0, "high": 1.0}) == "–"
        assert (cell(None), number(None), number(float("inf"))) == ("–", "–", "–")

    def test_markdown(self):
        found = Table("T", ("a", "b"), (("1", "2"),)).markdown
        assert found == "**T**\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"


def rows_of(count: int = 24) -> list[PictureRow]:
    rng = np.random.default_rng(0)

    def errors(scale: float) -> dict[str, float]:
        return {name: scale * float(rng.gamma(4, 0.25)) for name in PICTURE_MEASURES}

    return [
        PictureRow(
            f"p{k % 9}",
            "",
            float(rng.uniform(-60, 60)),
            ("smile",) if k % 2 else ("neutral",),
            {"net": errors(1.0), "net_fine": errors(1.0), "mean_face": errors(2.0)},
            {"net": 5.0, "net_fine": 9.0, "mean_face": 1.0},
        )
        for k in range(count)
    ]


def test_tables_of_pictures_have_every_method_and_every_picture():
    tables = picture_tables(picture_report(rows_of()))
    assert [row[0] for row in tables[0].rows] == ["CoarseNet", "CoarseNet + FineNet", "mean face"]
    assert all(len(row) == len(table.head) for table in tables for row in table.rows)
    yaw = next(table for table in tables if "yaw" in table.title)
    assert sum(int(head.split("(")[1].rstrip(")")) for head in yaw.head[1:]) == 24


def test_tables_of_groups_tell_counts_of_those_too_small():
    one = {"value": 1.0, "low": 0.9, "high": 1.1}
    measured = {"nme68": one, "apart_mm": one, "rerender": one, "consistency": {"ratio": one, "auc": one}}
    groups = {
        "light": {"photos": 12, "persons": 6, "methods": {"net": measured, "fit": measured}},
        "dark": {"photos": 2, "persons": 1, "methods": {}},
    }
    tables = fairness_tables({"photos": {"skin tone": groups}})
    assert len(tables) == 5
    for table in tables:
        assert table.head[:3] == ("group", "persons", "photos")
        assert all(len(row) == len(table.head) == 5 for row in table.rows)
        assert table.rows[1][:4] == ("skin tone: dark", "1", "2", "fewer than 5 persons")
    assert fairness_tables({}) == []


def test_speed_by_threads():
    found = {"median_ms": 1.25, "p90_ms": 2.0, "calls": 3, "cold_start_s": 2.04, "peak_mb": None}
    about = {"threads": [1, 2], "methods": {"detector": {"1": found, "2": found}}}
    table = speed_tables(about, {"detector": "detector alone"})[0]
    assert table.head[1:3] == ("ms a face, 1 thread", "ms a face, 2 threads")
    assert table.rows == (("detector alone", "1.2", "1.2", "2.0", "2.0", "–", "–"),)


class TestPlots:
    def test_cumulative_shares(self):
        errors, shares = plots.cumulative(np.array([3.0, 1.0, np.nan, 2.0]))
        assert errors.tolist() == [1, 2, 3]
        assert shares.tolist() == [0.25, 0.5, 0.75]  # the fourth has no error that is as small

    def test_files_are_small_pictures(self, tmp_path):
        pytest.importorskip("matplotlib")
        rows = rows_of()
        written = plots.write_plots(tmp_path / "new", rows, picture_report(rows))
        assert [file.name for file in written] == [plots.CUMULATIVE, plots.BY_YAW]
        for file in written:
            data = file.read_bytes()
            assert data.startswith(b"\x89PNG")
            assert len(data) < 100_000

    def test_without_matplotlib_one_line_says_what_to_do(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(FacereliefError, match="pip install matplotlib") as caught:
            plots.check_plotting()
        assert "\n" not in str(caught.value)

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        pytest.importorskip("matplotlib")
        (tmp_path / "file").touch()
        rows: list[Any] = rows_of(4)
        with pytest.raises(FacereliefError, match="cannot be written"):
            plots.write_plots(tmp_path / "file" / "new", rows, picture_report(rows))
