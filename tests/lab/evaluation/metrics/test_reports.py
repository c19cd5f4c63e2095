"""Reports as JSON, and targets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from facerelief.lab.evaluation.metrics.reports import IF_KNOWN, INLINE, TARGETS, Target, to_json


def test_targets():
    assert Target("x", 1.6, at_most=1.6).met is True
    assert Target("x", 1.7, at_most=1.6).met is False
    assert Target("x", 0.7, at_least=0.6).met is True
    assert Target("x", float("nan"), at_most=1.6).met is None
    assert to_json(Target("x", float("inf"), at_most=5)) == {
        "what": "x",
        "value": None,
        "at_most": 5,
        "met": False,
    }


@dataclass(frozen=True)
class Part:
    count: int
    methods: dict[str, float] = field(metadata=INLINE)


@dataclass(frozen=True)
class Whole:
    whole: Part = field(metadata={"key": "all"})
    inner: Part | None = field(metadata=INLINE)
    absent: str | None = field(metadata=IF_KNOWN)
    none: float | None
    pair: tuple[float, float]
    targets: list[Target] = field(metadata=TARGETS)


def test_fields_are_keys_in_their_order():
    part = Part(2, {"net": 1.5, "fit": float("nan")})
    made = to_json(Whole(part, part, None, None, (1.0, float("-inf")), [Target("x", 1.0, at_least=2)]))
    assert json.dumps(made, allow_nan=False) == json.dumps(
        {
            "all": {"count": 2, "net": 1.5, "fit": None},
            "count": 2,
            "net": 1.5,
            "fit": None,
            "none": None,
            "pair": [1.0, None],
            "bars": [{"what": "x", "value": 1.0, "at_least": 2, "met": False}],
        }
    )
    assert "count" not in to_json(Whole(part, None, "here", None, (0.0, 0.0), []))
    assert to_json({"a": [part]}) == {"a": [{"count": 2, "net": 1.5, "fit": None}]}
