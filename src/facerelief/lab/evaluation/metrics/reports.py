"""Reports: frozen dataclasses, turned into JSON at the edge by `to_json`.

A field's name is its key in the JSON. `field(metadata=...)` changes that:

    INLINE         the members of the field's value stand among its neighbours
    IF_KNOWN       there is no such key where the value is None
    {"key": name}  another key
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

INLINE = {"inline": True}
IF_KNOWN = {"if_known": True}
TARGETS, SUBJECTS, IMAGES = {"key": "bars"}, {"key": "persons"}, {"key": "pictures"}
"""Keys of `Target`s, and of numbers of subjects and images, in all reports."""


def to_json(report: Any) -> Any:
    """A report, or mappings and sequences of reports, as JSON takes it.

    Numbers that are not finite become null: JSON has neither NaN nor infinity.
    """
    if is_dataclass(report) and not isinstance(report, type):
        out: dict[str, Any] = {}
        for member in fields(report):
            value = getattr(report, member.name)
            if value is None and (member.metadata.get("if_known") or member.metadata.get("inline")):
                continue
            found = to_json(value)
            out |= (
                found if member.metadata.get("inline") else {member.metadata.get("key", member.name): found}
            )
        return out
    if isinstance(report, Mapping):
        return {name: to_json(member) for name, member in report.items()}
    if isinstance(report, list | tuple):
        return [to_json(member) for member in report]
    return None if isinstance(report, float) and not math.isfinite(report) else report


@dataclass(frozen=True)
class Target:
    """A measured value and the least or the largest that it should have; one of both is given."""

    what: str
    value: float
    at_most: float | None = field(default=None, metadata=IF_KNOWN)
    at_least: float | None = field(default=None, metadata=IF_KNOWN)
    met: bool | None = field(init=False)
    """None where there is no value (NaN)."""

    def __post_init__(self) -> None:
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        met = None if math.isnan(self.value) else low <= self.value <= high
        object.__setattr__(self, "met", met)
