"""Time of tracking per frame, beside MediaPipe's landmark net; start and memory of a fresh process.

`facerelief bench track` prints it. Times exclude decoding: all frames are decoded first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.lab.benchmarks.timing import Stage, Stopwatch, report, timings
from facerelief.lab.evaluation.metrics.reports import Target, to_json
from facerelief.lab.evaluation.metrics.tables import Printed, machine_line, tabulate
from facerelief.runtime.threads import default_threads, thread_limit
from facerelief.typed import Image

Progress = Callable[[str], None]

SIZE = 512
"""Side of the frames, px."""
COARSE_MS, FULL_MS, COLD_MS, MEMORY_MB = 6.0, 16.0, 3000.0, 500.0
"""Targets: medians per frame, first result of a fresh process, peak memory of one that tracks."""
_ONE = ", one thread"
_COLD_STARTS = 3
_PARTS = {
    "coarse": "Tracking CoarseNet: state, crop, PNCC image, net",
    "identity": "CoarseNet, in the first frames",
    "check": "the detector, at every n-th frame and where the track is suspicious",
    "light": "light from the skin's pixels",
    "shape": "vertices of the filtered state",
    "fine": "FineNet: crop, coarse surface, net",
    "depth": "depth on the image's pixels, relief on it",
    "looking": "whole frames in which the face was searched: detector, CoarseNet",
}
"""Parts of a frame, as in `TrackedFrame.timings_ms`; the last of one without a followed face."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Decoded frames."""

    file: Path
    images: list[Image]
    """(SIZE, SIZE, 3)"""
    times: list[float]
    """s"""


def read_clip(file: str | Path, frames: int | None = None) -> Clip:
    """At most `frames` first frames of a video, cut square and scaled to `SIZE`. Raises VideoError."""
    from facerelief.video import VideoReader

    with VideoReader(file, limit=frames) as reader:
        found = list(reader)
    return Clip(Path(file), [squared(frame.image) for frame in found], [frame.time for frame in found])


def squared(image: Image, size: int = SIZE) -> Image:
    """The middle square of an image (H, W, 3), scaled to (size, size, 3)."""
    import cv2

    height, width = image.shape[:2]
    side = min(height, width)
    if (height, width) == (size, size):
        return image
    top, left = (height - side) // 2, (width - side) // 2
    part = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (size, size), interpolation=method), np.uint8)


def bench_track(
    video: str | Path,
    *,
    frames: int | None = None,
    threads: int | None = None,
    nets: str | Path | None = None,
    progress: Progress = lambda text: None,
) -> dict[str, Any]:
    """Time the tracking of the face of a clip.

    Medians are over frames in which the face was followed; those in which it was searched are another stage.
    Everything is measured again with one thread.

    Args:
        video: File of a clip with one face.
        frames: Largest number of frames; all unless given.
        threads: Threads of networks, linear algebra and OpenCV; None for the defaults of each.
        nets: Folder of networks, the shipped ones unless given.
        progress: Called with the name of each measurement before it begins.

    Returns:
        The `document`, with the load of the machine before the run.

    Raises:
        VideoError: The video cannot be read.
        ModelError: Networks are missing.
        FacereliefError: The clip has no face, or a process fails.
        ValueError: `frames` is less than 2.
    """
    if frames is not None and frames < 2:
        raise ValueError(f"frames is {frames}: expected at least 2")
    # reported, since other processes make all times longer
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    progress("decoding")
    clip = read_clip(video, frames)
    watch = Stopwatch()
    for count, suffix in ((threads, ""), (1, _ONE)):
        with thread_limit(count):
            progress(f"landmark net{suffix}")
            time_landmark_net(watch, clip, suffix)
            for name, detail in (("coarse", False), ("full", True)):
                progress(f"{name}{suffix}")
                time_tracker(watch, clip, name, suffix, detail=detail, nets=nets)
    progress("fresh processes")
    cold = [cold_start_ms(nets) for _ in range(_COLD_STARTS)]
    memory = peak_memory_mb(clip.file, frames, nets)
    about = document(clip, watch, float(np.median(cold)), memory, threads or default_threads())
    return about | {"load_before": load}


# ---------------------------------------------------------------- in this process


def time_landmark_net(watch: Stopwatch, clip: Clip, suffix: str = "") -> None:
    """Time MediaPipe's landmark network alone, on one square of every frame. Raises FacereliefError without a
    face."""
    from facerelief.detection import detect_faces
    from facerelief.detection.landmarks import face_points, face_square

    for image in clip.images:
        if faces := detect_faces(image, max_faces=1, small_faces=False):
            break
    else:
        raise FacereliefError(f"{clip.file}: no face in {len(clip.images)} frames; give a clip with a face")
    square = face_square(faces[0].landmarks[:468].astype(np.float64))
    face_points(clip.images[0], square)
    for image in clip.images:
        with watch(f"landmark net{suffix}"):
            face_points(image, square)


def time_tracker(
    watch: Stopwatch, clip: Clip, name: str, suffix: str = "", *, detail: bool, nets: str | Path | None = None
) -> None:
    """Time a fresh tracker over all frames, and its parts.

    Args:
        watch: Gets the times.
        clip: The frames.
        name: Of the stage.
        suffix: End of all names.
        detail: Estimate relief and depth.
        nets: Folder of networks; the shipped ones unless given.

    Raises:
        ModelError: Networks are missing.
        FacereliefError: No face was followed.
    """
    from facerelief.tracking.tracker import Tracker, TrackerConfig

    tracker = Tracker(
        config=TrackerConfig(detail=detail, depth=detail, nets=None if nets is None else str(nets))
    )
    followed = 0
    for image, moment in zip(clip.images, clip.times):
        started = time.perf_counter()
        state, face = tracker.step(image, moment)
        spent = 1e3 * (time.perf_counter() - started)
        if state == "tracked" and face is not None:
            followed += 1
            watch.add(f"{name}{suffix}", spent)
            for part, ms in face.timings_ms.items():
                watch.add(f"{name}: {part}{suffix}", ms)
        elif state == "found":
            watch.add(f"{name}: looking{suffix}", spent)
    if not followed:
        raise FacereliefError(
            f"{clip.file}: no face was followed in {len(clip.images)} frames; give a clip with a face"
        )


# ---------------------------------------------------------------- in fresh processes


_RECONSTRUCT = """
import sys
from facerelief.cli.app import main
sys.exit(main())
"""
_TRACK = """
import sys
import facerelief
from facerelief.video import VideoReader
limit = int(sys.argv[2]) or None
with VideoReader(sys.argv[1], limit=limit) as reader:
    shown = sum(frame.face is not None for frame in facerelief.track(reader))
try:
    lines = open("/proc/self/status").read().splitlines()
    most = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
except (OSError, StopIteration):
    import resource
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(shown, most)
"""
# on Linux getrusage gives the memory of the process that started this one


def cold_start_ms(nets: str | Path | None = None, photo: str | Path | None = None) -> float:
    """Time of `facerelief reconstruct PHOTO` in a fresh process, all files written; of the shipped portrait
    unless given. Raises FacereliefError where it fails."""
    from facerelief.examples import astronaut_path

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        _run(_RECONSTRUCT, nets, "reconstruct", str(photo or astronaut_path()), "-o", folder)
        return 1e3 * (time.perf_counter() - started)


def peak_memory_mb(
    video: str | Path, frames: int | None = None, nets: str | Path | None = None
) -> float | None:
    """Peak resident memory, MiB, of a fresh process that tracks a clip with relief; None where it is unknown.
    Raises FacereliefError where the process fails."""
    if os.name == "nt":
        return None
    return float(_run(_TRACK, nets, str(video), str(frames or 0)).split()[-1])


def _run(code: str, nets: str | Path | None, *arguments: str) -> str:
    environment = os.environ | ({} if nets is None else {"FACERELIEF_NETS": str(nets)})
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise FacereliefError(f"a fresh process failed: {lines[0].removeprefix('error: ')}")
    return done.stdout


# ---------------------------------------------------------------- the document


def stages(watch: Stopwatch) -> list[Stage]:
    """The timed stages, in the order of the table."""
    timed = {key.removesuffix(_ONE).partition(": ")[2] for key in watch.ms}
    parts = _PARTS | dict.fromkeys(sorted(timed - {""} - _PARTS.keys()), "")
    out: list[Stage] = []
    for suffix, coarse, full in (("", COARSE_MS, FULL_MS), (_ONE, None, None)):
        out.append(Stage(f"landmark net{suffix}", "MediaPipe's 468 points of a given square"))
        for name, target, what in (
            ("coarse", coarse, "a followed frame without relief"),
            ("full", full, "a followed frame with FineNet's relief and depth"),
        ):
            out.append(Stage(f"{name}{suffix}", what, target))
            out += [Stage(f"{name}: {part}{suffix}", about) for part, about in parts.items()]
    return out


def document(
    clip: Clip, watch: Stopwatch, cold_ms: float, memory_mb: float | None, threads: int
) -> dict[str, Any]:
    """JSON-serialisable figures by name, targets, and the table of stages.

    Args:
        clip: The frames.
        watch: Times of all stages.
        cold_ms: From `cold_start_ms`.
        memory_mb: From `peak_memory_mb`.
        threads: Threads of the first measurement.
    """
    measured = timings(watch, stages(watch))
    by_name = {timing.name: timing for timing in measured}
    figures: dict[str, float] = {}
    for suffix, ending in (("", ""), (_ONE, "_one_thread")):
        net = by_name[f"landmark net{suffix}"].median_ms
        for name in ("coarse", "full"):
            timing = by_name[f"{name}{suffix}"]
            figures[f"{name}{ending}_ms_median"] = timing.median_ms
            figures[f"{name}{ending}_ms_p90"] = timing.p90_ms
            figures[f"{name}{ending}_over_landmark_net"] = timing.median_ms / net
        figures[f"landmark_net{ending}_ms_median"] = net
    unknown = float("nan") if memory_mb is None else memory_mb
    targets = [
        Target("coarse, ms", figures["coarse_ms_median"], at_most=COARSE_MS),
        Target("full, ms", figures["full_ms_median"], at_most=FULL_MS),
        Target("first result of a fresh process, ms", cold_ms, at_most=COLD_MS),
        Target("memory of a fresh process, MiB", unknown, at_most=MEMORY_MB),
    ]
    rounded = {name: round(value, 3) for name, value in figures.items()}
    return report(
        measured,
        clip=clip.file.name,
        frames=len(clip.images),
        followed=len(watch.ms["full"]),
        size=SIZE,
        threads=threads,
        **rounded,
        cold_start_ms=round(cold_ms, 1),
        memory_mb=None if memory_mb is None else round(memory_mb, 1),
        bars=[to_json(target) for target in targets],
    )


def printed(about: Mapping[str, Any]) -> Iterator[Printed]:
    """The result of `bench_track` as it is printed."""
    title = (
        f"{about['clip']}: {about['followed']} of {about['frames']} frames followed, {about['size']} px, "
        f"{about['threads']} threads"
    )
    columns = "{0[name]}|{0[calls]}|{0[median_ms]:.2f}|{0[p90_ms]:.2f}|{0[what]}"
    head = "stage|calls|median ms|90 % ms|subject"
    yield tabulate(title, head, columns, zip(about["stages"]), left={"subject"})
    for ending, threads in (("", f"{about['threads']} threads"), ("_one_thread", "one thread")):
        factors = ", ".join(f"{n} {about[f'{n}{ending}_over_landmark_net']:.2f}" for n in ("coarse", "full"))
        yield f"time over that of the landmark net, {threads}: {factors}"
    yield about["bars"]
    yield machine_line(about["machine"], about["load_before"])
