"""From a dataclass to options: help, ranges, lists, nested configurations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import UsageError
from facerelief.cli.options import parse

SIDE = 77


@dataclass(frozen=True)
class Inner:
    """A configuration of another room."""

    size: int = SIDE
    """Side of the
    image, px."""
    pair: tuple[float, float] = (1.0, 2.0)
    """A range."""
    mode: Literal["a", "b"] = "b"
    """A choice."""
    slow: bool = True
    """Take time."""
    rows: dict[str, list[object]] = field(default_factory=dict)
    """No option."""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size is {self.size}: expected a positive number")


@dataclass(frozen=True)
class Command:
    """Try things.

    A paragraph that is so long that it has to be wrapped on a terminal of eighty columns, which it is.

    Examples:
        facerelief try x
    """

    inputs: Annotated[options.Arguments, arg(metavar="IMAGE")]
    """Images."""
    out: options.OutFile
    """A file."""
    inner: Inner
    share: Annotated[float, options.Range(0, 1, open=True)] = 0.5
    """A share."""
    count: options.Count | None = None
    """A number."""
    names: Annotated[options.Names, arg(name="name")] = ()
    """Names."""
    numbers: Annotated[tuple[int, ...], options.Range(1)] = ()
    """Numbers."""
    overwrite: options.Overwrite = False
    json: options.JsonFile = None
    """A particular help."""


def of(*words: str) -> Command:
    return parse(Command, words, "facerelief try")


def test_options_fill_the_dataclass():
    found = of(
        *["a", "b", "-o", "x", "--size", "5", "--pair", "3", "4", "--no-slow", "--name", "n", "--name", "m"]
    )
    assert found.inputs == (Path("a"), Path("b"))
    assert found.out == Path("x")
    assert found.inner == Inner(5, (3.0, 4.0), "b", False)
    assert found.names == ("n", "m")
    assert found.count is None
    assert of("a", "-o", "x").inner == Inner()
    assert of("a", "--out", "x", "--json", "-", "--overwrite").json == Path("-")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "x"), "IMAGE is missing: give at least one"),
        (("a", "-o", "x", "--share", "1"), "--share is 1: expected between 0 and 1"),
        (("a", "-o", "x", "--count", "0"), "--count is 0: expected at least 1"),
        (("a", "-o", "x", "--numbers", "2", "0"), "--numbers is 0: expected at least 1"),
    ],
)
def test_numbers_and_lists_are_checked(words, told):
    with pytest.raises(UsageError, match=told):
        of(*words)


@pytest.mark.parametrize("line", ["a", "a -o", "a -o x --size q", "a -o x --size=-1", "a -o x --nothing"])
def test_wrong_words_end_with_2(line, capsys):
    with pytest.raises(SystemExit) as left:
        of(*line.split())
    assert left.value.code == 2
    assert capsys.readouterr().err


def test_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        of("-h")
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("Try things.\n\nA paragraph that")
    assert max(map(len, text.splitlines())) <= 80
    assert "Examples:\n    facerelief try x\n" in text
    for part in (
        "Side of the image, px. (default: 77)",
        "--mode {a,b}",
        "--no-slow ",
        "Replace existing results.",
        "A particular help.",
        "A configuration of another room.",
        "Images. (required)",
        "--count N",
    ):
        assert part in text, part
    for part in ("None", "none)", "False", "--rows", "--no-overwrite", "No option."):
        assert part not in text, part


def test_image_names():
    assert options.image_suffix(Path("x.JPG")) == ".jpg"
    with pytest.raises(UsageError):
        options.image_suffix(Path("x.gif"))


def test_refused_configurations_are_usage_errors():
    with pytest.raises(UsageError, match="size is -1"):
        options.configured(Inner, size=-1)
