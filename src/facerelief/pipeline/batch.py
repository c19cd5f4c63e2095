"""Batches of images into one output folder: resumable, in one process or several, with a report of failures.

Each image gets `OUT/<name>/face0`, `face1`, ... (see `save`), whole or not at all, so a stopped batch can be
continued. All work on an image runs on one thread: results do not depend on the number
of workers or processors.
"""

from __future__ import annotations

import json
import os
import re
import time
import traceback
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facerelief.errors import FacereliefError, OutputError
from facerelief.face.reconstruction import FitResiduals, Reconstruction
from facerelief.facefolder.face_json import FaceFileError, read_face_json
from facerelief.facefolder.head_glb import GlbOptions
from facerelief.facefolder.save import MARKER, save_reconstruction
from facerelief.facefolder.strengths import with_relief_strength
from facerelief.io.atomic import (
    TEMPORARY_PREFIX,
    atomic_folder,
    check_writable,
    clear_leftovers,
    output_error,
    write_bytes,
)
from facerelief.io.digest import file_digest
from facerelief.io.images import IMAGE_SUFFIXES, is_image
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.runtime.threads import thread_limit
from facerelief.runtime.workers import as_completed

REPORT = "failed.json"
"""The file in the output folder that lists the images that failed."""

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class BatchConfig:
    """Settings of a batch."""

    model: str | Path | None = None
    """Face model: "open2" or "open", or a file or folder that `load_model` reads; None: the method's."""
    reconstructor: ReconstructorConfig = field(default_factory=ReconstructorConfig)
    """Method, faces per image, least confidence."""
    overwrite: bool = False
    """Replace existing results."""
    texture_size: int = 2048
    """Side of texture and maps, texels."""
    files: tuple[str, ...] | None = None
    """Names of `facefolder.save.FILES`; the usual ones unless given."""
    glb: GlbOptions = field(default_factory=GlbOptions)
    """Optional parts of face.glb."""
    relief_strength: tuple[float, ...] = (1.0,)
    """Factor of the relief in all files, or three: of pores, wrinkles and folds (`facefolder.strengths`)."""
    workers: int = 1
    """Images processed at once, by processes of their own when more than one."""


@dataclass(frozen=True)
class ImageJob:
    """An image and the folder that takes its faces."""

    image: Path
    folder: Path


@dataclass(frozen=True)
class FaceSummary:
    """Facts about a saved face, for one line. Angles in radians; box in px: left, top, right, bottom."""

    folder: Path
    box: tuple[float, float, float, float]
    pitch: float
    yaw: float
    roll: float
    confidence: float
    residuals: FitResiduals | None
    warnings: tuple[str, ...]
    ms: float
    """Time spent on this face alone: fitting and saving."""


@dataclass(frozen=True)
class Outcome:
    """Result of one image."""

    job: ImageJob
    status: Status
    faces: tuple[FaceSummary, ...] = ()
    """Faces of the image, best first."""
    reason: str = ""
    """One line: why it failed (begins with the image's name) or was skipped."""
    kind: str = ""
    """Class of the error."""
    trace: str = ""
    """Traceback, for an error that is a bug."""


def find_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder by name or content, sorted; hidden files and saved faces are left out.

    Args:
        folder: The folder.
        recursive: Search subfolders too.

    Raises:
        OSError: A folder cannot be listed.
    """
    found: list[Path] = []

    def fail(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [] if MARKER in files or not recursive else [f for f in folders if not f.startswith(".")]
        if MARKER in files:
            continue
        shown = (Path(here, name) for name in files if name[0] != ".")
        found += [file for file in shown if file.name.lower().endswith(IMAGE_SUFFIXES) or is_image(file)]
    return sorted(found)


def images_of(inputs: Sequence[Path], recursive: bool) -> tuple[list[Path], list[str]]:
    """Image files, given themselves or by their folder, and a line for each folder without any."""
    found: list[Path] = []
    empty: list[str] = []
    for given in inputs:
        if not given.is_dir():
            found.append(given)  # a missing file fails when its turn comes
            continue
        try:
            inside = find_images(given, recursive=recursive)
        except OSError as error:
            empty.append(f"{given}: cannot be listed ({error.strerror}); check its permissions")
            continue
        if not inside:
            hint = "name another folder" if recursive else "name another folder or give --recursive"
            empty.append(f"{given}: no images in this folder, expected .jpg, .png and the like; {hint}")
        found += inside
    return found, empty


def plan(images: Iterable[str | Path], out: str | Path) -> list[ImageJob]:
    """Choose an output folder for each image, named after its file.

    Where file stems agree (apart from case, which some file systems ignore), as much of the suffix or of the
    parent folders' names is added as needed: a/x.jpg and b/x.jpg become a-x and b-x. The names depend on the
    set of images, not on their order.

    Args:
        images: Files; repeated ones are left out.
        out: Folder of the output folders.
    """
    chosen: dict[str, Path] = {}
    for image in map(Path, images):
        chosen.setdefault(os.path.realpath(image), image)
    names = _names([Path(real) for real in chosen])
    return [ImageJob(image, Path(out, name)) for image, name in zip(chosen.values(), names)]


def _names(files: Sequence[Path]) -> list[str]:
    """A different name for each of different absolute paths."""
    level = [0] * len(files)
    while True:
        names = [_candidate(file, k) for file, k in zip(files, level)]
        groups: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            groups.setdefault(_folded(name), []).append(i)
        alike = [i for group in groups.values() if len(group) > 1 for i in group]
        if not alike:
            return names
        if min(level[i] for i in alike) >= 2 * max(len(file.parts) for file in files):
            break  # paths that differ in nothing but case or separators
        for i in alike:
            level[i] += 1
    used = set(groups)
    for group in groups.values():
        number = 2
        for i in sorted(group, key=lambda i: str(files[i]))[1:]:
            while _folded(f"{names[i]}-{number}") in used:
                number += 1
            names[i] += f"-{number}"
            used.add(_folded(names[i]))
    return names


def _folded(name: str) -> str:
    """Equal for names that are the same in some file system."""
    return unicodedata.normalize("NFC", name).casefold()


def _candidate(file: Path, level: int) -> str:
    """stem, stem-jpg, folder-stem, folder-stem-jpg, folder-folder-stem, ..."""
    parents = [part for part in file.parent.parts if part != file.anchor]
    depth = level // 2
    parts = parents[len(parents) - depth :] if 0 < depth <= len(parents) else parents if depth else []
    ending = [file.suffix[1:]] if level % 2 and file.suffix[1:] else []
    return "-".join([*parts, file.stem, *ending])


def prepare_output(out: str | Path) -> None:
    """Make the output folder and check that files can be written in it. Raises OutputError."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    check_writable(out, out)


def process(job: ImageJob, reconstructor: Reconstructor, config: BatchConfig) -> Outcome:
    """Reconstruct and save one image. Errors of the image are reported in the outcome."""
    try:
        if not config.overwrite:
            earlier = _earlier_faces(job, reconstructor)
            if earlier:
                what = "1 face" if earlier == 1 else f"{earlier} faces"
                return Outcome(job, "skipped", reason=f"{job.image}: already done, {what} in {job.folder}")
        faces = reconstructor(job.image)
        with atomic_folder(job.folder, overwrite=config.overwrite, marker="face0") as folder:
            summaries = tuple(
                _saved(face, folder / f"face{i}", job.folder / f"face{i}", config)
                for i, face in enumerate(faces)
            )
    except FacereliefError as error:
        return _failed(job, str(error), error)
    except MemoryError as error:
        reason = "not enough memory; use fewer workers or a smaller image"
        return _failed(job, reason, error, traceback.format_exc())
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        reason = f"internal error ({type(error).__name__}: {first}); please report it with the traceback"
        return _failed(job, reason, error, traceback.format_exc())
    return Outcome(job, "done", summaries)


def _failed(job: ImageJob, reason: str, error: BaseException | None, trace: str = "") -> Outcome:
    """A failure; its line names the image, and files by their final names."""
    line = " ".join(reason.split())
    line = re.sub(re.escape(TEMPORARY_PREFIX) + r"([^/\\]+?)\.[0-9a-f]{8}", r"\1", line)
    if not line.startswith(str(job.image)):
        line = f"{job.image}: {line}"
    kind = "" if error is None else type(error).__name__
    return Outcome(job, "failed", reason=line, kind=kind, trace=trace)


def _earlier_faces(job: ImageJob, reconstructor: Reconstructor) -> int:
    """Number of faces of this image that an earlier run has saved with the same model and method.

    Raises OutputError where the folder holds anything else.
    """
    advice = "choose another output folder or allow overwriting (--overwrite)"
    try:
        if not job.folder.is_dir() or not any(job.folder.iterdir()):
            return 0
        count = sum((entry / MARKER).is_file() for entry in job.folder.iterdir())
    except OSError as error:
        raise output_error(job.folder, error) from error
    try:
        face = read_face_json(job.folder / "face0" / MARKER)
    except FaceFileError as error:
        raise OutputError(f"{job.folder}: already there and not a finished result; {advice}") from error
    same = (
        face.source_sha256 == file_digest(job.image) if face.source_sha256 else face.source == job.image.name
    )
    if not same:
        raise OutputError(f"{job.folder}: holds the result of another image or of an older state; {advice}")
    model, wanted = reconstructor.model, reconstructor.method
    made, asked = (
        (face.model_name, face.model_version, face.method),
        (model.name, model.version, wanted),
    )
    if made != asked:
        raise OutputError(
            f"{job.folder}: holds this image's result with model {made[0]} {made[1]}, method {made[2]}, "
            f"not {asked[0]} {asked[1]}, {asked[2]}; {advice}"
        )
    return count


def _saved(face: Reconstruction, folder: Path, final: Path, config: BatchConfig) -> FaceSummary:
    """Save a face in `folder`, later renamed to `final`."""
    started = time.perf_counter()
    face = with_relief_strength(face, config.relief_strength)
    save_reconstruction(face, folder, texture_size=config.texture_size, files=config.files, glb=config.glb)
    spent = 1e3 * (time.perf_counter() - started)
    shared = {"read", "detect"}
    return FaceSummary(
        folder=final,
        box=face.box,
        pitch=face.camera.pitch,
        yaw=face.camera.yaw,
        roll=face.camera.roll,
        confidence=face.confidence,
        residuals=face.residuals,
        warnings=face.warnings,
        ms=spent + sum(ms for stage, ms in face.timings_ms.items() if stage not in shared),
    )


def run_batch(
    jobs: Sequence[ImageJob], config: BatchConfig | None = None, reconstructor: Reconstructor | None = None
) -> Generator[Outcome, None, None]:
    """Process images; with several workers a main program must be importable (`if __name__ == "__main__":`).

    Closing the iterator, or an exception such as KeyboardInterrupt, stops the workers; unfinished images
    leave nothing behind.

    Args:
        jobs: Images and their output folders.
        config: Settings; the defaults unless given.
        reconstructor: Made from `config`, if it exists already; several workers make their own.

    Yields:
        The outcome of each image as it ends; in the given order with one worker.

    Raises:
        ModelError: The model cannot be read.
        ValueError: `config.workers` is less than 1.
    """
    config = config or BatchConfig()
    if config.workers < 1:
        raise ValueError(f"workers is {config.workers}: expected at least 1")
    workers = min(config.workers, len(jobs))
    reconstructor = reconstructor or Reconstructor(config.model, config.reconstructor)
    if workers <= 1:
        with thread_limit(1):
            for job in jobs:
                yield process(job, reconstructor, config)
        return
    tasks = [(job, config) for job in jobs]
    with as_completed(
        _process, tasks, workers=workers, start=_start, arguments=(config,), clear=_clear
    ) as answers:
        for answer in answers:
            if answer.lost:
                reason = (
                    f"its worker process ended ({answer.lost}), perhaps for lack of memory; use fewer workers"
                )
                yield _failed(jobs[answer.number], reason, None)
            else:
                yield answer.value()


_RECONSTRUCTOR: list[Reconstructor] = []
"""In a worker process: the reconstructor, made once."""


def _start(config: BatchConfig) -> None:
    _RECONSTRUCTOR[:] = [Reconstructor(config.model, config.reconstructor)]


def _process(task: tuple[ImageJob, BatchConfig]) -> Outcome:
    job, config = task
    return process(job, _RECONSTRUCTOR[0], config)


def _clear(task: tuple[ImageJob, BatchConfig]) -> None:
    with suppress(OSError):
        clear_leftovers(task[0].folder)


def write_failures(out: str | Path, outcomes: Iterable[Outcome]) -> Path | None:
    """Write failed.json about the images that failed, or remove an old one where none did.

    Args:
        out: The output folder.
        outcomes: Outcomes of all images.

    Returns:
        The file; None where no image failed.

    Raises:
        OutputError: The file cannot be written.
    """
    file = Path(out, REPORT)
    failed = [o for o in outcomes if o.status == "failed"]
    if not failed:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        return None
    rows = [{"file": str(o.job.image), "error": o.kind, "reason": o.reason} for o in failed]
    text = json.dumps({"failed": rows}, indent=1, ensure_ascii=False) + "\n"
    write_bytes(file, text.encode("utf-8", "replace"))  # file names need not be text
    return file
