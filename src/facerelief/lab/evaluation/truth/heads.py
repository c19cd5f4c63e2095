"""Every method's error in mm on pictures of heads whose exact shape is known (docs/truth.md).

`head_truth_heads` reads the heads, `head_truth_draw` draws the pictures, `head_truth_errors` measures
shapes; this module runs the methods and reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.compare.methods import (
    E2FAR,
    FIT,
    LANDMARKS,
    MEAN_FACE,
    NET,
    Face,
    Method,
    missing_nets,
    open_method,
)
from facerelief.lab.evaluation.compare.run import face_in
from facerelief.lab.evaluation.metrics.face_errors import Bar
from facerelief.lab.evaluation.metrics.intervals import PersonBootstrap, below_percent
from facerelief.lab.evaluation.truth.heads_draw import (
    GROUPS,
    YAW_NAMES,
    HeadCase,
    HeadTruthConfig,
    draw_case,
    known_distance,
    person_coefficients,
)
from facerelief.lab.evaluation.truth.heads_errors import MEASURES, head_errors, nearest_shape
from facerelief.lab.evaluation.truth.heads_ict import Heads, read_heads
from facerelief.morphable import open_model
from facerelief.runtime.workers import ordered_results

METHODS = (MEAN_FACE, LANDMARKS, FIT, NET, E2FAR)
NEAREST = "nearest"
"""No method: `nearest_shape`, which is told the truth."""
BELOW = {NET: 20.0, E2FAR: 20.0, FIT: 30.0}
"""Per cent that a method's mean_mm has to be below the mean face's."""
QUICK_PERSONS, FULL_PERSONS = 24, 150
_STREAM = 0xB007
"""Of the intervals' draws."""


def find_face(case: HeadCase) -> Face | None:
    """The detected face that overlaps the true one most, by at least a fifth of their union."""
    return face_in(case.image, case.box)


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class HeadRow:
    """One picture measured."""

    person: int
    yaw: float
    """Degrees; > 0 to the image's right."""
    yaw_bin: str
    group: str
    found: bool
    """Whether the detector found the face. If not, all methods are given the mean face."""
    errors: dict[str, dict[str, float]]
    """Method -> `head_errors`."""
    spent_ms: dict[str, float]
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Method -> why it gave no shape; it is given the mean face."""


@dataclass(frozen=True, eq=False)
class Bench:
    """The heads and methods of a run."""

    heads: Heads
    methods: Mapping[str, Method]
    config: HeadTruthConfig
    backgrounds: Sequence[Path] = ()
    nearest: bool = False
    """Whether to measure `nearest_shape` too."""

    def measure(self, job: tuple[int, int]) -> HeadRow:
        """Draw picture (person, number), run all methods on it and measure them."""
        from facerelief.io.images import read_image

        heads, ours = self.heads, self.heads.ours
        case = draw_case(heads, *job, self.config, self.backgrounds, read=read_image)
        floor = head_errors(heads, case, ours.mean)
        errors, spent, failed = {MEAN_FACE: floor}, {MEAN_FACE: 0.0}, dict[str, str]()
        started = time.perf_counter()
        face = find_face(case)
        spent["detector"] = 1e3 * (time.perf_counter() - started)
        for name, method in self.methods.items():
            errors[name] = floor
            if face is None:
                continue
            started = time.perf_counter()
            try:
                state = method(case.image, face)
                shape = ours.shape(state.identity, state.expression)
                spent[name] = 1e3 * (time.perf_counter() - started)
                errors[name] = head_errors(heads, case, shape)
            except (FacereliefError, ValueError) as error:  # such a picture counts as the mean face
                failed[name] = str(error)
        if self.nearest:
            errors[NEAREST] = head_errors(heads, case, nearest_shape(heads, case))
        return HeadRow(
            person=case.person,
            yaw=float(np.degrees(case.camera.yaw)),
            yaw_bin=case.yaw_bin,
            group=case.group,
            found=face is not None,
            errors=errors,
            spent_ms=spent,
            failed=failed,
        )


_BENCH: list[Bench] = []


def _start(
    source: str, names: Sequence[str], nets: str | None, config: HeadTruthConfig, backgrounds: Sequence[Path]
) -> None:
    ours = open_model()
    heads = Heads.of(read_heads(source), ours)
    # the mean face's shape is known, and poses do not count
    methods = {name: open_method(ours, name, nets) for name in names if name not in (MEAN_FACE, NEAREST)}
    _BENCH[:] = [Bench(heads, methods, config, backgrounds, NEAREST in names)]


def _measured(job: tuple[int, int]) -> HeadRow:
    return _BENCH[0].measure(job)


def evaluate_heads(
    source: str | Path,
    methods: Sequence[str] = METHODS,
    config: HeadTruthConfig | None = None,
    *,
    nets: str | Path | None = None,
    backgrounds: Sequence[Path] = (),
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Run methods on all pictures of a benchmark; see `head_report`. JSON-serialisable but for NaN.

    source: as `read_heads` takes it; methods: names of `METHODS` or `NEAREST`, the mean face always with
    them; nets: a folder with other networks; backgrounds: files of pictures. The result does not depend on
    `workers`, but for the times. Raises ModelError for heads or networks that cannot be used, ValueError for
    an unknown method.
    """
    config = config or HeadTruthConfig()
    known = (*METHODS, NEAREST)
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise ValueError(f"method {unknown[0]!r}: expected some of {', '.join(known)}")
    if config.persons < 2:
        raise ValueError(f"persons is {config.persons}: expected at least 2, for intervals over persons")
    model = read_heads(source)  # here too, so that a wrong folder is told at once
    absent = missing_nets([name for name in methods if name == E2FAR], nets)
    names = [name for name in known if name in methods and name not in absent]
    jobs = [(person, number) for person in range(config.persons) for number in range(len(YAW_NAMES))]
    rows: list[HeadRow] = []
    arguments = (str(source), names, None if nets is None else str(nets), config, tuple(backgrounds))
    with ordered_results(_measured, jobs, workers=workers, start=_start, arguments=arguments) as results:
        for row in results:
            rows.append(row)
            progress(len(rows), len(jobs))
    people = np.stack(
        [person_coefficients(config.seed, person, model.n_identity) for person in range(config.persons)]
    )
    wanted = [name for name in known if name in methods or name == MEAN_FACE]
    return head_report(rows, wanted, config.seed) | {
        "not_measured": absent,
        "seed": config.seed,
        "heads": {"model": model.name, "licence": model.licence, "nearest_known_sd": known_distance(people)},
        "backgrounds": len(backgrounds),
    }


# ---------------------------------------------------------------- report


def head_report(rows: Sequence[HeadRow], methods: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """What the rows of one or more pictures of each person say. JSON-serialisable but for NaN.

    mean_mm: method -> mean over all pictures, each counting alike; methods: method -> the same with all
    measures, intervals and per cent below the mean face, over "all" pictures, those "found", by "yaw" and by
    "expression" (see `Cells.part`); found: pictures in which the detector found the face, of how many; bars.
    """
    cells = Cells(rows, seed)
    table: dict[str, Any] = {}
    for method in methods:
        table[method] = {
            "all": cells.part(method, lambda row: True),
            "found": cells.part(method, lambda row: row.found),
            "yaw": {x: cells.part(method, lambda row, x=x: row.yaw_bin == x) for x in YAW_NAMES},
            "expression": {x: cells.part(method, lambda row, x=x: row.group == x) for x in GROUPS},
        }
    bars = [
        Bar(
            f"{name}: mean_mm below the mean face's, per cent",
            table[name]["all"]["below_percent"] if name in table else float("nan"),
            least,
            least=True,
        )
        for name, least in BELOW.items()
    ]
    return {
        "mean_mm": {name: table[name]["all"]["mean_mm"] for name in methods},
        "pictures": len(rows),
        "persons": len({row.person for row in rows}),
        "found": {
            "all": _found(rows),
            "yaw": {x: _found([row for row in rows if row.yaw_bin == x]) for x in YAW_NAMES},
            "expression": {x: _found([row for row in rows if row.group == x]) for x in GROUPS},
        },
        "failed": {
            name: {"pictures": len(told), "first": told[0]}
            for name in methods
            if (told := [row.failed[name] for row in rows if name in row.failed])
        },
        "methods": table,
        "median_ms": {
            name: float(np.median(spent))
            for name in (*methods, "detector")
            if (spent := [row.spent_ms[name] for row in rows if name in row.spent_ms])
        },
        "bars": [bar.document for bar in bars],
    }


def _found(rows: Sequence[HeadRow]) -> dict[str, int]:
    return {"pictures": len(rows), "found": sum(row.found for row in rows)}


class Cells:
    """Means of parts of the pictures with 95 % bootstrap intervals over persons.

    The same draws serve all methods and parts (`PersonBootstrap`), so that differences and ratios of methods
    are those of the same pictures.
    """

    def __init__(self, rows: Sequence[HeadRow], seed: int = 0) -> None:
        self.rows = rows
        self.boot = PersonBootstrap([row.person for row in rows], seed, stream=_STREAM)

    def part(self, method: str, belongs: Callable[[HeadRow], bool]) -> dict[str, Any]:
        """pictures; the means of `MEASURES`; low, high: interval of mean_mm; below_percent, below_low,
        below_high: how far mean_mm is below the mean face's, with its interval. NaN where there is none."""
        where = np.array([belongs(row) and method in row.errors for row in self.rows], np.bool_)
        out: dict[str, Any] = {"pictures": int(where.sum())}
        for name in MEASURES:
            values = [row.errors[method][name] for row, chosen in zip(self.rows, where) if chosen]
            out[name] = float(np.mean(values)) if values else float("nan")
        own, floor = (
            np.array([row.errors.get(x, {}).get("mean_mm", np.nan) for row in self.rows])
            for x in (method, MEAN_FACE)
        )
        mean, below = self.boot.mean(own, where), below_percent(self.boot.ratio(own, floor, where))
        return out | {
            "low": mean.low,
            "high": mean.high,
            "below_percent": below.value,
            "below_low": below.low,
            "below_high": below.high,
        }
