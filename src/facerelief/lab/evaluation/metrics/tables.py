"""Reports as they are printed: tables, lines and targets, one after the other.

Tested by tests/lab/evaluation/compare/test_tables.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facerelief.lab.evaluation.metrics.reports import Target


@dataclass(frozen=True)
class Table:
    """Cells to print; those of the first column, and of the columns in `left`, are left-aligned."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[str] = ()

    @property
    def markdown(self) -> str:
        """The table with its title above."""
        rule = ("---",) * len(self.head)
        lines = ["| " + " | ".join(row) + " |" for row in (self.head, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines])


Printed = Table | str | Sequence[Target | Mapping[str, Any]]
"""A part of a printed report; targets as reports or as their JSON."""


def tabulate(
    title: str, head: str, columns: str, rows: Iterable[Sequence[Any]], left: Collection[str] = ()
) -> Table:
    """A table with a row for each of `rows`, whose values `columns` formats: "{0}|{1.error:.2f}".

    Args:
        head: Names of the columns with | between them.
        columns: A format string for each column, with | between them.
        left: Names of left-aligned columns beside the first.
    """
    cells = [[column.format(*row) for column in columns.split("|")] for row in rows]
    return Table(title, head.split("|"), cells, left)


def number(value: Any) -> str:
    """A measured number in few digits; - where there is none."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    return str(value) if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def machine_line(where: Mapping[str, Any], load: float | None = None) -> str:
    """Processor, cores and versions in one line; a warning where the machine was busy before."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    busy = f" Others were at work (load {load:.1f}): times are too long." if (load or 0.0) > 0.5 else ""
    return (
        f"{where['processor']}, {where['cores']} cores, {where['system']}; Python {where['python']}, "
        f"{versions}.{busy}"
    )
