"""Every method's error in mm on rendered images of heads whose exact shape is known (docs/truth.md).

`heads_anny` and `heads_ict` make the heads, `heads_match` lays them over the evaluated model, `heads_draw`
renders the images, `heads_errors` measures shapes, `heads_report` gives the means; this module runs the
methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facerelief.errors import FacereliefError, ImageError
from facerelief.inference.runners import has_shipped_coefficients
from facerelief.io.images import read_image
from facerelief.lab.datasets.photos import find_photos
from facerelief.lab.evaluation.compare.methods import (
    DENSE,
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
    render_case,
)
from facerelief.lab.evaluation.truth.heads_errors import head_errors, nearest_identity, nearest_shape
from facerelief.lab.evaluation.truth.heads_ict import known_distance
from facerelief.lab.evaluation.truth.heads_match import Heads
from facerelief.lab.evaluation.truth.heads_report import (
    BELOW,
    BELOW_ANNY,
    NEAREST,
    HeadBenchmarkReport,
    HeadRow,
    HeadsUsed,
    head_report,
)
from facerelief.morphable.model import FaceModel
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

    def measure(self, job: tuple[int, int, int]) -> HeadRow:
        """Render image (seed, subject, number), run all methods on it and measure them."""
        heads, ours = self.heads, self.heads.ours
        seed, person, number = job
        config = replace(self.config, seed=seed)
        case = render_case(heads, person, number, config, self.backgrounds, read=read_image)
        floor = head_errors(heads, case, ours.mean)
        errors, spent, failed = {MEAN_FACE: floor}, {MEAN_FACE: 0.0}, dict[str, str]()
        neutral = heads.model.shape(heads.identity(seed, person)).astype(np.float64)
        identities = {NEAREST: nearest_identity(heads, neutral)}
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
                identities[name] = state.identity
            except (FacereliefError, ValueError) as error:  # the image counts as the mean face
                failed[name] = str(error)
        if self.nearest:
            errors[NEAREST] = head_errors(heads, case, nearest_shape(heads, case))
        return HeadRow(
            seed=seed,
            person=case.person,
            yaw=float(np.degrees(case.camera.yaw)),
            yaw_bin=case.yaw_bin,
            group=case.group,
            found=face is not None,
            errors=errors,
            spent_ms=spent,
            failed=failed,
            identities=identities,
        )


_BENCHMARK: list[HeadBenchmark] = []


def _start(
    heads: Heads, names: Sequence[str], nets: str | None, config: HeadTruthConfig, backgrounds: Sequence[Path]
) -> None:
    # the mean face's shape is known, and poses do not count
    methods = {
        name: open_method(heads.ours, name, nets) for name in names if name not in (MEAN_FACE, NEAREST)
    }
    _BENCHMARK[:] = [HeadBenchmark(heads, methods, config, backgrounds, NEAREST in names)]


def _measured(job: tuple[int, int, int]) -> HeadRow:
    return _BENCHMARK[0].measure(job)


def evaluate_heads(
    heads: Heads,
    methods: Sequence[str] = METHODS,
    config: HeadTruthConfig | None = None,
    *,
    seeds: Sequence[int] = (),
    nets: str | Path | None = None,
    backgrounds: Sequence[Path] = (),
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HeadBenchmarkReport:
    """Run methods on all images of a benchmark. Only the times depend on `workers`.

    Args:
        heads: of `anny_heads` or `in_model_heads`.
        methods: names of `METHODS`, `DENSE` or `NEAREST`; the mean face is always measured with them.
        config: the images; its seed counts where there are no `seeds`.
        seeds: one or more seeds, each with subjects of its own.
        nets: folder of other networks than the shipped ones.
        backgrounds: image files.
        workers: processes.
        progress: called with the numbers of images that are done and of all.

    Raises:
        ModelError: The networks cannot be used.
        ValueError: A method is unknown, or there are too few subjects.
    """
    config = config or HeadTruthConfig()
    seeds = tuple(dict.fromkeys(seeds)) or (config.seed,)
    known = (*METHODS, DENSE, NEAREST)
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise ValueError(f"method {unknown[0]!r}: expected some of {', '.join(known)}")
    if config.persons < 2:
        raise ValueError(f"persons is {config.persons}: expected at least 2, for intervals over persons")
    absent = _absent(heads.ours, methods, nets)
    names = [name for name in known if name in methods and name not in absent]
    jobs = [
        (seed, person, number)
        for seed in seeds
        for person in range(config.persons)
        for number in range(len(HEAD_YAW_NAMES))
    ]
    rows: list[HeadRow] = []
    arguments = (heads, names, None if nets is None else str(nets), config, tuple(backgrounds))
    with ordered_results(_measured, jobs, workers=workers, start=_start, arguments=arguments) as results:
        for row in results:
            rows.append(row)
            progress(len(rows), len(jobs))
    wanted = [name for name in known if name in methods or name == MEAN_FACE]
    in_model = heads.preset == "in-model"
    people = [heads.identity(seed, person) for seed in seeds for person in range(config.persons)]
    return HeadBenchmarkReport(
        head_report(rows, wanted, seeds[0], BELOW if in_model else BELOW_ANNY),
        absent,
        seeds[0],
        seeds,
        heads.ours.name,
        HeadsUsed(
            heads.preset,
            heads.model.name,
            heads.model.licence,
            len(heads.matched_points),
            known_distance(np.stack(people)) if in_model else None,
        ),
        len(backgrounds),
    )


def _absent(model: FaceModel, methods: Sequence[str], nets: str | Path | None) -> dict[str, str]:
    """Methods that cannot be measured -> reason: those whose network is missing or made for another model."""
    absent = missing_nets([name for name in methods if name == E2FAR], nets)
    if nets is None and not has_shipped_coefficients(model):
        reason = f"no network for face model {model.name!r} is shipped; give --nets"
        absent |= {name: reason for name in (NET, E2FAR) if name in methods}
    return absent


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
    heads: Heads,
    config: HeadTruthConfig,
    backgrounds: Sequence[Path],
    persons: int = 6,
    side: int = 192,
) -> Image:
    """Images of the first subjects side by side, a row for each subject, `side` px each."""
    import cv2

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
