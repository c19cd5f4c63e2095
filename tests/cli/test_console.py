"""Lines, tables, JSON and progress, whatever names hold and wherever they are printed."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest

from facerelief.cli import console
from facerelief.errors import FacereliefError, OutputError


def test_names_cannot_command_the_terminal(capsys):
    console.say("a\x1b[2Jb\x07.jpg")
    console.note("\x9b31m, line\nand\ttab")
    console.table(["name"], [["x\x1b]0;title\x07"]], title="\x1b[31m[bold]")
    seen = capsys.readouterr()
    assert seen.out.startswith("a\\x1b[2Jb\\x07.jpg\n")
    assert seen.err == "\\x9b31m, line\nand\ttab\n"
    assert "x\\x1b]0;title\\x07" in seen.out
    assert "\\x1b[31m[bold]" in seen.out  # no markup either
    assert "\x1b" not in seen.out + seen.err


@pytest.mark.parametrize("coding", ["ascii", "latin-1", "utf-8"])
def test_streams_that_cannot_encode_a_name(coding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), coding)
    monkeypatch.setattr(sys, "stdout", stream)
    console.say("\u4e2d \udcff")
    stream.flush()
    assert stream.buffer.getvalue().decode(coding).endswith(" ?\n")  # pyright: ignore[reportAttributeAccessIssue]


def test_closed_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    console.say("x")
    console.note("x")
    with console.progress("photos") as show:
        show(1, 1)


def test_tables_are_never_cut_where_no_terminal_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    console.table(["a", "b"], [["x" * 100, "1"], ["y", "22"]])
    rows = capsys.readouterr().out.splitlines()
    assert any("x" * 100 in row for row in rows)
    assert any(row.replace(" ", "").endswith("│22│") for row in rows)


def test_json_goes_to_the_file_or_in_place_of_the_tables(capsys, tmp_path):
    document = {"x": math.nan, "y": [math.inf, 1, "\udcff"], "z": {"é": 2.5}}
    console.report(document, None, lambda: console.say("table"))
    assert capsys.readouterr().out == "table\n"
    console.report(document, tmp_path / "x.json", lambda: console.say("table"))
    assert capsys.readouterr().out == "table\n"
    expected = {"x": None, "y": [None, 1, "?"], "z": {"é": 2.5}}
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == expected
    console.report(document, Path("-"), lambda: console.say("table"))
    assert json.loads(capsys.readouterr().out) == expected
    with pytest.raises(OutputError):
        console.report(document, tmp_path / "nowhere" / "x.json", lambda: None)


def test_numbers():
    shown = [console.number(x) for x in (None, math.nan, math.inf, 3, 3.14159, 31.4159)]
    assert shown == ["-", "-", "never", "3", "3.142", "31.4"]


def test_missing_packages_name_their_extra():
    with pytest.raises(FacereliefError, match=r"--plots needs nosuch: pip install 'facerelief\[build\]'"):
        console.need("nosuch", "--plots", "build")
    console.need("json", "anything", "build")


def test_files_that_are_in_the_way(tmp_path):
    (tmp_path / "there").write_text("")
    console.check_free(tmp_path / "new", False)
    console.check_free(tmp_path / "there", True)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    for wrong, overwrite in (("there", False), (".", True), ("nowhere/x", True)):
        with pytest.raises(OutputError):
            console.check_free(tmp_path / wrong, overwrite)


# ---------------------------------------------------------------- progress


def test_lines_now_and_then(capsys, monkeypatch):
    moments = iter([0.0, 5.0, 10.5, 12.0, 21.0, 22.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(moments))
    with console.progress("frames") as show:
        for done in range(1, 6):
            show(done, 5, "fast")
    assert capsys.readouterr().err.splitlines() == [
        "2 of 5 frames, fast",
        "4 of 5 frames, fast",
        "5 of 5 frames, fast",
    ]
    with console.progress("frames", lines=False) as show:
        show(5, 5)
    monkeypatch.setattr(console.time, "monotonic", lambda: 22.0)
    with console.progress("frames", last=False) as show:
        show(5, 5)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with console.progress("frames") as show:
        show(1, 3, "\x1b[2J")
        show(2, 3)
    assert "frames" in sys.stderr.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_rate_does_not_count_the_start(monkeypatch):
    moments = iter([100.0, 102.0])
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(moments))
    rate = console.Rate()
    assert rate(7) == 0.0
    assert rate(17) == 5.0
