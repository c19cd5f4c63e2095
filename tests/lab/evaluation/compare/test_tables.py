"""Numbers, intervals and tables as they are shown."""

from __future__ import annotations

from facerelief.lab.evaluation.compare.fairness import FairnessReport, Group, PhotoGroupMeasures
from facerelief.lab.evaluation.compare.images import image_report
from facerelief.lab.evaluation.compare.tables import (
    Table,
    cell,
    fairness_tables,
    image_tables,
    number,
    speed_tables,
)
from facerelief.lab.evaluation.metrics.identity import Consistency
from facerelief.lab.evaluation.metrics.intervals import Interval


class TestCells:
    def test_figures(self):
        assert cell(Interval(1.336, 1.2, 1.449)) == "1.34 (1.20 to 1.45)"
        assert cell(Interval(0.0, 0.0, 0.0), 0) == "0"
        assert cell(Interval(float("nan"), 0.0, 1.0)) == "–"
        assert (cell(None), number(None), number(float("inf"))) == ("–", "–", "–")

    def test_markdown(self):
        found = Table("T", ("a", "b"), (("1", "2"),)).markdown
        assert found == "**T**\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_tables_of_images_have_every_method_and_every_image(rows_of):
    tables = image_tables(image_report(rows_of()))
    assert [row[0] for row in tables[0].rows] == ["CoarseNet", "CoarseNet + FineNet", "mean face"]
    assert all(len(row) == len(table.head) for table in tables for row in table.rows)
    yaw = next(table for table in tables if "yaw" in table.title)
    assert sum(int(head.split("(")[1].rstrip(")")) for head in yaw.head[1:]) == 24


def test_tables_of_groups_tell_counts_of_those_too_small():
    one = Interval(1.0, 0.9, 1.1)
    consistency = Consistency(6, 6, 30, one, one, one, one, one, 1.0)
    measured = PhotoGroupMeasures({"nme68": one, "apart_mm": one, "rerender": one}, consistency)
    groups = {
        "light": Group(12, None, 6, {"net": measured, "fit": measured}),
        "dark": Group(2, None, 1, {}),
    }
    tables = fairness_tables(FairnessReport(photos={"skin tone": groups}))
    assert len(tables) == 5
    for table in tables:
        assert table.head[:3] == ("group", "subjects", "photos")
        assert all(len(row) == len(table.head) == 5 for row in table.rows)
        assert table.rows[1][:4] == ("skin tone: dark", "1", "2", "fewer than 5 subjects")
    assert fairness_tables(FairnessReport()) == []


def test_speed_by_threads():
    found = {"median_ms": 1.25, "p90_ms": 2.0, "calls": 3, "cold_start_s": 2.04, "peak_mb": None}
    about = {"threads": [1, 2], "methods": {"detector": {"1": found, "2": found}}}
    table = speed_tables(about, {"detector": "detector alone"})[0]
    assert table.head[1:3] == ("ms a face, 1 thread", "ms a face, 2 threads")
    assert table.rows == (("detector alone", "1.2", "1.2", "2.0", "2.0", "–", "–"),)
