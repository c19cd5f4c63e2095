"""Time of every method for a face, time until a fresh process has its first one, and its memory.

`facerelief evaluate compare --speed` prints it. Every method runs in processes of its own: no method pays for
another's caches, and memory is that method's alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.lab.benchmarks.timing import machine

DETECTOR = "detector"
"""Face and landmark detection alone, which all methods share."""
LABELS = {DETECTOR: "detector alone", "fit_relief": "inverse rendering + relief"}
THREADS = (1, 2)
_READY = "ready"
_CHILD = "from facerelief.lab.benchmarks.methods import child; child()"


def bench_methods(
    methods: Sequence[str],
    picture: str | Path | None = None,
    *,
    threads: Sequence[int] = THREADS,
    calls: int = 30,
    seconds: float = 10.0,
    starts: int = 3,
    nets: str | Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time methods on one image, each in fresh processes; JSON-serialisable.

    methods: of `evaluation.comparison_methods`, or `DETECTOR`; image: a file with a face, the portrait that
    is shipped unless given; threads: of networks, linear algebra and OpenCV, one row each. Of each method and
    number of threads `starts` processes are started; the last goes on for at most `calls` faces or `seconds`.

    {"machine", "load_before", "picture", "threads", "methods": {method: {threads: {"median_ms", "p90_ms",
    "calls", "cold_start_s", "peak_mb"}}}}: median_ms from the detected face to the shape, after the first;
    cold_start_s from the start of the process to the first face's shape, image read and face detected,
    median; peak_mb the most memory resident, MiB, None where the system does not report it. Raises
    FacereliefError where a process fails.
    """
    from facerelief.examples import astronaut_path

    if starts < 1 or calls < 1:
        raise ValueError(f"starts is {starts}, calls is {calls}: expected at least 1")
    file = Path(picture) if picture is not None else Path(astronaut_path())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    table: dict[str, dict[str, Any]] = {}
    for name in methods:
        table[name] = {}
        for count in threads:
            progress(f"{name}, {count} {'thread' if count == 1 else 'threads'}")
            cold = [_fresh(name, file, count, 0, 0.0, nets)[0] for _ in range(starts - 1)]
            spent, about = _fresh(name, file, count, calls, seconds, nets)
            cold.append(spent)
            table[name][str(count)] = about | {"cold_start_s": float(np.median(cold))}
    return {
        "machine": machine(),
        "load_before": load,
        "picture": file.name,
        "threads": list(threads),
        "methods": table,
    }


def _fresh(
    method: str, picture: Path, threads: int, calls: int, seconds: float, nets: str | Path | None
) -> tuple[float, dict[str, Any]]:
    """Seconds to the first face of a fresh process, and its report. Raises FacereliefError."""
    held = dict.fromkeys(("FACERELIEF_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    arguments = [
        method,
        str(picture),
        str(threads),
        str(calls),
        str(seconds),
        "" if nets is None else str(nets),
    ]
    started = time.perf_counter()
    # messages go to a file: a full pipe that nobody reads would stop the process
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | held,
        ) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        spent = time.perf_counter() - started
        out = process.stdout.read()
        process.wait()
        errors.seek(0)
        told = errors.read()
    if process.returncode or first != _READY:
        line = (told.strip().splitlines() or ["it said nothing"])[-1]
        raise FacereliefError(f"{method}: a fresh process failed: {line}")
    return spent, json.loads(out)


def child() -> None:
    """Main program of a fresh process; see `_fresh` for its arguments."""
    method, picture, threads, calls, seconds, nets = sys.argv[1:]
    run = one_face(method, picture, int(threads), nets or None)
    run()
    print(_READY, flush=True)
    print(json.dumps(repeated(run, int(calls), float(seconds)) | {"peak_mb": peak_mb()}))


def one_face(method: str, picture: str | Path, threads: int, nets: str | None = None) -> Callable[[], object]:
    """A call of the method on the best face of an image that is already read and detected: from
    the face to its shape's vertices. `DETECTOR`: from the image to the face. Raises FacereliefError."""
    import cv2

    from facerelief.detection import detect_faces
    from facerelief.errors import NoFaceError
    from facerelief.io.images import read_image
    from facerelief.lab.evaluation.compare.methods import open_method
    from facerelief.morphable import open_model

    cv2.setNumThreads(threads)
    image = read_image(picture)
    faces = detect_faces(image, max_faces=1)
    if not faces:
        raise NoFaceError(f"{picture}: no face found; give a picture with a visible face")
    if method == DETECTOR:
        return lambda: detect_faces(image, max_faces=1)
    model = open_model()
    found = open_method(model, method, nets)

    def run() -> object:
        state = found(image, faces[0])
        return model.shape(state.identity, state.expression)

    return run


def repeated(run: Callable[[], object], calls: int, seconds: float) -> dict[str, Any]:
    """{"median_ms", "p90_ms", "calls"} of calls of `run`, after one that does not count, until there are
    `calls` or `seconds` are over; None in place of times where there are no calls."""
    spent: list[float] = []
    if calls:
        run()
    until = time.perf_counter() + seconds
    while len(spent) < calls and (not spent or time.perf_counter() < until):
        started = time.perf_counter()
        run()
        spent.append(1e3 * (time.perf_counter() - started))
    middle, high = (float(np.percentile(spent, q)) if spent else None for q in (50, 90))
    return {"median_ms": middle, "p90_ms": high, "calls": len(spent)}


def peak_mb() -> float | None:
    """Most memory (resident set, MiB) of this process so far; None where the system does not report it."""
    try:
        # on Linux getrusage gives the memory of the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
