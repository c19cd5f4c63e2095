"""Every method's error in mm on rendered images of heads whose exact shape is known (docs/truth.md).

`heads_ict` reads the heads, `heads_draw` renders the images, `heads_errors` measures shapes, `heads_report`
gives the means; this module runs the methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerelief.errors import FacereliefError, ImageError
from facerelief.io.images import read_image
from facerelief.lab.datasets.photos import find_photos
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
from facerelief.lab.evaluation.metrics.face_errors import face_in
from facerelief.lab.evaluation.truth.heads_draw import (
    HEAD_YAW_NAMES,
    HeadCase,
    HeadTruthConfig,
    known_distance,
    person_coefficients,
    render_case,
)
from facerelief.lab.evaluation.truth.heads_errors import head_errors, nearest_shape
from facerelief.lab.evaluation.truth.heads_ict import Heads, read_heads
from facerelief.lab.evaluation.truth.heads_report import (
    NEAREST,
    HeadBenchmarkReport,
    HeadRow,
    HeadsUsed,
    head_report,
)
from facerelief.morphable import open_model
from facerelief.runtime.workers import ordered_results
from facerelief.typed import Image

METHODS = (MEAN_FACE, LANDMARKS, FIT, NET, E2FAR)
QUICK_PERSONS, FULL_PERSONS = 24, 150
MOST_BACKGROUNDS = 100


def find_face(case: HeadCase) -> Face | None:
    """The detected face of an image; see `face_in`."""
    return face_in(case.image, case.box)


# ---------------------------------------------------------------- running


@dataclass(frozen=True, eq=False)
class HeadBenchmark:
    """The heads and methods of a run."""

    heads: Heads
    methods: Mapping[str, Method]
    config: HeadTruthConfig
    backgrounds: Sequence[Path] = ()
    nearest: bool = False
    """Measure `nearest_shape` too."""

    def measure(self, job: tuple[int, int]) -> HeadRow:
        """Render image (subject, number), run all methods on it and measure them."""
        heads, ours = self.heads, self.heads.ours
        case = render_case(heads, *job, self.config, self.backgrounds, read=read_image)
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
            except (FacereliefError, ValueError) as error:  # the image counts as the mean face
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


_BENCHMARK: list[HeadBenchmark] = []


def _start(
    source: str, names: Sequence[str], nets: str | None, config: HeadTruthConfig, backgrounds: Sequence[Path]
) -> None:
    ours = open_model()
    heads = Heads.of(read_heads(source), ours)
    # the mean face's shape is known, and poses do not count
    methods = {name: open_method(ours, name, nets) for name in names if name not in (MEAN_FACE, NEAREST)}
    _BENCHMARK[:] = [HeadBenchmark(heads, methods, config, backgrounds, NEAREST in names)]


def _measured(job: tuple[int, int]) -> HeadRow:
    return _BENCHMARK[0].measure(job)


def evaluate_heads(
    source: str | Path,
    methods: Sequence[str] = METHODS,
    config: HeadTruthConfig | None = None,
    *,
    nets: str | Path | None = None,
    backgrounds: Sequence[Path] = (),
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HeadBenchmarkReport:
    """Run methods on all images of a benchmark. Only the times depend on `workers`.

    Args:
        source: as `read_heads` takes it.
        methods: names of `METHODS` or `NEAREST`; the mean face is always measured with them.
        nets: folder of other networks than the shipped ones.
        backgrounds: image files.

    Raises:
        ModelError: The heads or networks cannot be used.
        ValueError: A method is unknown.
    """
    config = config or HeadTruthConfig()
    known = (*METHODS, NEAREST)
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise ValueError(f"method {unknown[0]!r}: expected some of {', '.join(known)}")
    if config.persons < 2:
        raise ValueError(f"persons is {config.persons}: expected at least 2, for intervals over persons")
    model = read_heads(source)  # here too, so that a wrong folder is reported at once
    absent = missing_nets([name for name in methods if name == E2FAR], nets)
    names = [name for name in known if name in methods and name not in absent]
    jobs = [(person, number) for person in range(config.persons) for number in range(len(HEAD_YAW_NAMES))]
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
    return HeadBenchmarkReport(
        head_report(rows, wanted, config.seed),
        absent,
        config.seed,
        HeadsUsed(model.name, model.licence, known_distance(people)),
        len(backgrounds),
    )


# ---------------------------------------------------------------- images


def usable_images(folder: Path) -> tuple[list[Path], list[str]]:
    """At most `MOST_BACKGROUNDS` readable images of a folder and its subfolders, evenly spread.

    Returns:
        Files, and a line about each file that is left out.

    Raises:
        ImageError: There is no readable image.
    """
    files = [photo.file for photo in find_photos(folder)]
    step = max(len(files) / MOST_BACKGROUNDS, 1.0)
    found: list[Path] = []
    left_out: list[str] = []
    for file in (files[int(k * step)] for k in range(min(len(files), MOST_BACKGROUNDS))):
        try:
            read_image(file)
        except ImageError as error:
            left_out.append(str(error))
        else:
            found.append(file)
    if not found:
        raise ImageError(f"{folder}: no readable picture; give a folder with photos for --backgrounds")
    return found, left_out


def contact_sheet(
    source: str | Path,
    config: HeadTruthConfig,
    backgrounds: Sequence[Path],
    persons: int = 6,
    side: int = 192,
) -> Image:
    """Images of the first subjects side by side, a row for each subject, `side` px each."""
    import cv2

    heads = Heads.of(read_heads(source), open_model())
    rows = [
        [
            cv2.resize(
                render_case(heads, person, number, config, backgrounds, read_image).image,
                (side, side),
                interpolation=cv2.INTER_AREA,
            )
            for number in range(len(HEAD_YAW_NAMES))
        ]
        for person in range(min(persons, config.persons))
    ]
    return np.vstack([np.hstack(row) for row in rows]).astype(np.uint8)
