"""The terminal: lines, signals, tables, progress and JSON, the same in all commands.

Results go to stdout, everything else to stderr. File names are made harmless here: control characters are
escaped, and characters that the stream cannot encode are replaced. Rich is imported where it is used.
"""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from facerelief.errors import FacereliefError, OutputError
from facerelief.lab.evaluation.metrics.reports import Target, to_json
from facerelief.lab.evaluation.metrics.tables import Printed, Table, number

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PLAIN_WIDTH = 1000
"""Columns where no terminal is: nothing is cut or wrapped."""
_SECONDS = 10.0
"""Between two lines of progress where no terminal is."""


class UsageError(FacereliefError):
    """A command line with words that do not go together or numbers out of range: exit code 2."""


# ---------------------------------------------------------------- lines


def harmless(text: str) -> str:
    """Text without control characters but tabs and line ends: they are shown as \\x1b is."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: str) -> None:
    """Print a line of the result."""
    _write(text, sys.stdout)


def note(text: str) -> None:
    """Print a line about the work, to stderr: progress, warnings, errors."""
    _write(text, sys.stderr)


def _write(text: str, stream: TextIO | None) -> None:
    if stream is None:  # closed
        return
    coding = getattr(stream, "encoding", None) or "utf-8"
    print(harmless(text).encode(coding, "replace").decode(coding), file=stream, flush=True)


@contextmanager
def handled_signals(handler: Callable[..., object], *numbers: signal.Signals) -> Iterator[None]:
    """Signals call `handler` inside; outside the main thread nothing changes."""
    before: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # not the main thread
        for number in numbers:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def need(module: str, purpose: str, extra: str) -> None:
    """Raises FacereliefError that names the extra where an optional package is missing."""
    if importlib.util.find_spec(module) is None:
        raise FacereliefError(f"{purpose} needs {module}: pip install 'facerelief[{extra}]'")


# ---------------------------------------------------------------- tables


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", left: Collection[str] = ()
) -> None:
    """Print a table.

    Args:
        head: Names of the columns.
        rows: Texts, one for each column.
        title: A line above it.
        left: Columns aligned to the left, as the first one always is.
    """
    from rich import table as rich_table
    from rich.console import Console
    from rich.text import Text

    def cell(text: str) -> Text:
        return Text(harmless(text).encode("utf-8", "replace").decode())

    made = rich_table.Table(title=cell(title) if title else None)
    for name in head:
        made.add_column(cell(name), justify="left" if not made.columns or name in left else "right")
    for row in rows:
        made.add_row(*map(cell, row))
    terminal = sys.stdout is not None and sys.stdout.isatty()
    (Console() if terminal else Console(width=_PLAIN_WIDTH)).print(made)


def print_report(parts: Iterable[Printed]) -> None:
    """Print the tables, lines and targets of a report."""
    for part in parts:
        if isinstance(part, Table):
            table(part.head, part.rows, part.title, part.left)
        elif isinstance(part, str):
            say(part)
        else:
            print_targets(part)


def print_targets(targets: Iterable[Target | Mapping[str, Any]]) -> None:
    """Print measured values beside their targets."""
    words = {True: "ok", False: "missed", None: "not measured"}
    rows: list[list[str]] = []
    for each in targets:
        target = vars(each) if isinstance(each, Target) else each
        least, most = target.get("at_least"), target.get("at_most")
        expected = f"<= {most:g}" if least is None else f">= {least:g}"
        rows.append([target["what"], number(target["value"]), expected, words[target["met"]]])
    table(("target", "measured", "expected", ""), rows)


# ---------------------------------------------------------------- JSON


def report(document: Any, file: Path | None, show: Iterable[Printed] | Callable[[], None]) -> None:
    """Print a result, and write it to the file of `--json`; for "-" only its JSON is printed.

    Args:
        document: A report (`lab.evaluation.metrics.reports`) or JSON's own types; null for NaN and infinity.
        file: The file of `--json`.
        show: The result as it is printed, or a function that prints it.

    Raises:
        OutputError: The file cannot be written.
    """
    if file is None or str(file) != "-":
        if callable(show):
            show()
        else:
            print_report(show)
    if file is None:
        return
    from facerelief.io.atomic import write_bytes

    text = json.dumps(to_json(document), indent=1, allow_nan=False, ensure_ascii=False)
    if str(file) == "-":
        say(text)
    else:
        write_bytes(file, f"{text}\n".encode("utf-8", "replace"))  # file names need not be text


def check_free(out: Path, overwrite: bool) -> None:
    """Raises OutputError where a file is there already or its folder cannot be written: before the work."""
    from facerelief.io.atomic import check_writable

    if out.is_dir() or (out.exists() and not overwrite):
        advice = "choose another name" if out.is_dir() else "choose another name or give --overwrite"
        raise OutputError(f"{out}: already there; {advice}")
    if not out.parent.is_dir():
        raise OutputError(f"{out.parent}: no such folder; make it or choose another")
    check_writable(out.parent, out)


# ---------------------------------------------------------------- progress


class Progress(Protocol):
    """Called with the number done, the total (None where it is unknown), and a text beside them."""

    def __call__(self, done: int, total: int | None = None, text: str = "") -> None: ...


@contextmanager
def progress(unit: str, *, lines: bool = True, last: bool = True) -> Iterator[Progress]:
    """A bar on a terminal, else a line on stderr at most every ten seconds and at the end.

    Args:
        unit: The plural of what is counted.
        lines: Print lines where no terminal is.
        last: Print a line at the end.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield _lines(unit, last) if lines else lambda done, total=None, text="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn(unit),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        transient=True,
    )

    def show(done: int, total: int | None = None, text: str = "") -> None:
        if not bar.tasks:  # no bar and no thread of rich before the first call: work may fork processes
            bar.start()
            bar.add_task(unit, text="")
        bar.update(bar.task_ids[0], completed=done, total=total, text=harmless(text))

    try:
        yield show
    finally:
        bar.stop()


def _lines(unit: str, with_last: bool) -> Progress:
    last = time.monotonic()

    def show(done: int, total: int | None = None, text: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS or (with_last and done == total):
            last = now
            of = "" if total is None else f" of {total}"
            note(f"{done}{of} {unit}{', ' if text else ''}{text}")

    return show


class Rate:
    """Speed of work that is counted."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        """Things a second since the first call, whose time is mostly that of loading."""
        now = time.perf_counter()
        began, count = self._first = self._first or (now, done)
        return (done - count) / (now - began) if now > began else 0.0
