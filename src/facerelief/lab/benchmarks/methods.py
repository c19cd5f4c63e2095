"""Time of every method for a face, time to the first face of a fresh process, and memory.

`facerelief evaluate compare --speed` prints it. Every method runs in processes of its own.
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
    image: str | Path | None = None,
    *,
    threads: Sequence[int] = THREADS,
    calls: int = 30,
    seconds: float = 10.0,
    starts: int = 3,
    nets: str | Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time methods on one image, each in fresh processes.

    For each method and number of threads `starts` processes are started; the last continues for at most
    `calls` faces or `seconds`.

    Args:
        methods: Of `lab.evaluation.compare.methods`, or `DETECTOR`.
        image: File with a face; the shipped portrait unless given.
        threads: Numbers of threads of networks, linear algebra and OpenCV.
        calls: Largest number of faces.
        seconds: Longest time per method and number of threads.
        starts: Processes per method and number of threads.
        nets: Folder of networks; the shipped ones unless given.
        progress: Called with the name of each measurement before it begins.

    Returns:
        JSON-serialisable: {"machine", "load_before", "image", "threads", "methods": {method: {threads:
        {"median_ms", "p90_ms", "calls", "cold_start_s", "peak_mb"}}}}. median_ms: from the detected face to
        the shape, without the first; cold_start_s: from the start of the process to the first shape, image
        read and face detected, median; peak_mb: peak resident memory, MiB, None where it is unknown.

    Raises:
        FacereliefError: A process fails.
        ValueError: `starts` or `calls` is less than 1.
    """
    from facerelief.examples import astronaut_path

    if starts < 1 or calls < 1:
        raise ValueError(f"starts is {starts}, calls is {calls}: expected at least 1")
    file = Path(image) if image is not None else Path(astronaut_path())
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
        "image": file.name,
        "threads": list(threads),
        "methods": table,
    }


def _fresh(
    method: str, image: Path, threads: int, calls: int, seconds: float, nets: str | Path | None
) -> tuple[float, dict[str, Any]]:
    """Seconds to the first face of a fresh process, and its report. Raises FacereliefError."""
    held = dict.fromkeys(("FACERELIEF_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    arguments = [
        method,
        str(image),
        str(threads),
        str(calls),
        str(seconds),
        "" if nets is None else str(nets),
    ]
    started = time.perf_counter()
    # to a file: a pipe that is not read would block the process when full
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
        messages = errors.read()
    if process.returncode or first != _READY:
        line = (messages.strip().splitlines() or ["no message"])[-1]
        raise FacereliefError(f"{method}: a fresh process failed: {line}")
    return spent, json.loads(out)


def child() -> None:
    """Main program of a fresh process, with the arguments of `_fresh`."""
    method, image, threads, calls, seconds, nets = sys.argv[1:]
    run = one_face(method, image, int(threads), nets or None)
    run()
    print(_READY, flush=True)
    print(json.dumps(repeated(run, int(calls), float(seconds)) | {"peak_mb": peak_mb()}))


def one_face(method: str, file: str | Path, threads: int, nets: str | None = None) -> Callable[[], object]:
    """A function that runs the method on the best face of an image, from the detected face to the shape's
    vertices; of `DETECTOR` from the image to the face. Raises FacereliefError."""
    import cv2

    from facerelief.detection import detect_faces
    from facerelief.errors import NoFaceError
    from facerelief.io.images import read_image
    from facerelief.lab.evaluation.compare.methods import open_method
    from facerelief.morphable import open_model

    cv2.setNumThreads(threads)
    image = read_image(file)
    faces = detect_faces(image, max_faces=1)
    if not faces:
        raise NoFaceError(f"{file}: no face found; give an image with a visible face")
    if method == DETECTOR:
        return lambda: detect_faces(image, max_faces=1)
    model = open_model()
    found = open_method(model, method, nets)

    def run() -> object:
        state = found(image, faces[0])
        return model.shape(state.identity, state.expression)

    return run


def repeated(run: Callable[[], object], calls: int, seconds: float) -> dict[str, Any]:
    """{"median_ms", "p90_ms", "calls"} of at most `calls` calls of `run` in `seconds`, after one to warm up;
    times are None without calls."""
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
    """Peak resident memory of this process so far, MiB; None where it is unknown."""
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
