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
from numpy.typing import NDArray

from facerelief.detection import DetectedFace, detect_faces
from facerelief.errors import FacereliefError, ModelError
from facerelief.evaluation.head_truth_draw import (
    GROUPS,
    YAW_NAMES,
    HeadCase,
    HeadTruthConfig,
    draw_case,
    known_distance,
    person_coefficients,
)
from facerelief.evaluation.head_truth_errors import MEASURES, head_errors, nearest_shape
from facerelief.evaluation.head_truth_heads import Heads, read_heads
from facerelief.evaluation.nets import Bar, overlap
from facerelief.inverse.fit import fit_face, landmarks_for
from facerelief.inverse.landmark_fit import fit_landmarks
from facerelief.morphable import FaceModel, open_model
from facerelief.runtime.workers import ordered_results

# NumPy's annotations widen float32 in mixed arithmetic: these names say what arrays hold, unchecked
Float = NDArray[Any]
Image = NDArray[np.uint8]

MEAN_FACE = "mean_face"
METHODS = (MEAN_FACE, "landmarks", "fit", "net", "e2far")
NEAREST = "nearest"
"""No method: `nearest_shape`, which is told the truth."""
BELOW = {"net": 20.0, "e2far": 20.0, "fit": 30.0}
"""Per cent that a method's mean_mm has to be below the mean face's."""
LEAST_OVERLAP = 0.2
"""Intersection over union of the detector's box and the true face's below which it found something else."""
QUICK_PERSONS, FULL_PERSONS = 24, 150
_DRAWS = 2000

Method = Callable[[Image, DetectedFace], tuple[Float, Float]]
"""Picture and detected face -> identity and expression of the open model."""


# ---------------------------------------------------------------- methods


def methods_for(ours: FaceModel, names: Sequence[str], nets: str | Path | None = None) -> dict[str, Method]:
    """The methods of those names but the mean face, each as the reconstructor computes the coarse shape, less
    what only relief and colours need. Raises ModelError where one cannot be used."""
    from facerelief.pipeline.nets import CoarseRunner, camera_from_landmarks

    found: dict[str, Method] = {}
    if "landmarks" in names:

        def by_landmarks(image: Image, face: DetectedFace) -> tuple[Float, Float]:
            observed, name = landmarks_for(ours, face.landmarks)
            state = fit_landmarks(ours, observed, name=name).state
            return state.identity, state.expression

        found["landmarks"] = by_landmarks
    if "fit" in names:
        import scipy.linalg  # noqa: F401  the fit holds to one thread only libraries loaded before

        def by_fit(image: Image, face: DetectedFace) -> tuple[Float, Float]:
            state = fit_face(ours, image, face.box, face.landmarks).state
            return state.identity, state.expression

        found["fit"] = by_fit
    if "net" in names:
        net = CoarseRunner(ours, nets=nets)

        def by_net(image: Image, face: DetectedFace) -> tuple[Float, Float]:
            state = net.look(image, camera_from_landmarks(ours, face.landmarks)).state
            return state.identity, state.expression

        found["net"] = by_net
    if "e2far" in names:
        runner = _e2far(ours, nets)

        def by_e2far(image: Image, face: DetectedFace) -> tuple[Float, Float]:
            state = runner.look(image, face.landmarks)
            return state.identity, state.expression

        found["e2far"] = by_e2far
    return found


def unavailable(ours: FaceModel, names: Sequence[str], nets: str | Path | None = None) -> dict[str, str]:
    """Which of the methods this installation lacks the network of, and why: {} or {"e2far": ...}."""
    if "e2far" not in names:
        return {}
    try:
        _e2far(ours, nets)
    except ModelError as error:
        return {"e2far": str(error)}
    return {}


def _e2far(ours: FaceModel, nets: str | Path | None) -> Any:
    from facerelief.pipeline import nets as runners

    runner = getattr(runners, "E2farRunner", None)
    if runner is None:
        raise ModelError("e2far: this version of facerelief has no such network; leave the method out")
    return runner(ours, nets=nets)


def find_face(case: HeadCase) -> DetectedFace | None:
    """The detected face that overlaps the true one most, by at least a fifth of their union."""
    faces = detect_faces(case.image, small_faces=False)
    rated = [(overlap(np.array(face.box), case.box), -k) for k, face in enumerate(faces)]
    best, k = max(rated, default=(0.0, 0))
    return faces[-k] if best >= LEAST_OVERLAP else None


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
        from facerelief.detection import read_image

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
                shape = ours.shape(*method(case.image, face))
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
    heads, methods = Heads.of(read_heads(source), ours), methods_for(ours, names, nets)
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
    absent = unavailable(open_model(), methods, nets)
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

    A draw takes as many persons as there are, with replacement, each with all of its pictures: pictures of
    one person are not independent. The same draws serve all methods and parts, so that differences and ratios
    of methods are those of the same pictures.
    """

    def __init__(self, rows: Sequence[HeadRow], seed: int = 0, draws: int = _DRAWS) -> None:
        self.rows = rows
        persons = sorted({row.person for row in rows})
        self.place = {person: k for k, person in enumerate(persons)}
        count = len(persons)
        rng = np.random.default_rng([seed, 0xB007])
        share = np.full(count, 1 / max(count, 1))
        self.draws: Float = rng.multinomial(count, share, size=draws) if count else np.zeros((draws, 0))

    def part(self, method: str, belongs: Callable[[HeadRow], bool]) -> dict[str, Any]:
        """pictures; the means of `MEASURES`; low, high: interval of mean_mm; below_percent, below_low,
        below_high: how far mean_mm is below the mean face's, with its interval. NaN where there is none."""
        chosen = [row for row in self.rows if belongs(row) and method in row.errors]
        out: dict[str, Any] = {"pictures": len(chosen)}
        for name in MEASURES:
            values = [row.errors[method][name] for row in chosen]
            out[name] = float(np.mean(values)) if values else float("nan")
        names = ("low", "high", "below_percent", "below_low", "below_high")
        if not chosen:
            return out | dict.fromkeys(names, float("nan"))
        own, floor, count = (np.zeros(len(self.place)) for _ in range(3))
        at = [self.place[row.person] for row in chosen]
        np.add.at(own, at, [row.errors[method]["mean_mm"] for row in chosen])
        np.add.at(floor, at, [row.errors[MEAN_FACE]["mean_mm"] for row in chosen])
        np.add.at(count, at, 1.0)
        drawn = self.draws[self.draws @ count > 0]
        low, high = np.percentile((drawn @ own) / (drawn @ count), (2.5, 97.5))
        below = 100 * (1 - own.sum() / floor.sum())
        below_low, below_high = np.percentile(100 * (1 - (drawn @ own) / (drawn @ floor)), (2.5, 97.5))
        return out | dict(zip(names, map(float, (low, high, below, below_low, below_high))))
