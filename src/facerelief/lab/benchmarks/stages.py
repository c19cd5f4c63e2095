"""Timings of every stage of a reconstruction, from image file to saved folder: `facerelief bench`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facerelief.lab.benchmarks.timing import Stage, Stopwatch, Timing, timings
from facerelief.runtime.threads import thread_limit

if TYPE_CHECKING:
    from facerelief.face.reconstruction import Reconstruction
    from facerelief.morphable import FaceModel
    from facerelief.pipeline.reconstructor import Reconstructor

STAGES = (
    Stage("import", "import facerelief, in a new process", 500),
    Stage("import all", "import of everything for a reconstruction, in a new process"),
    Stage("first face", "first reconstruction of a process: networks, kernels and model loaded"),
    Stage("load model", "the open face model from its file", 100),
    Stage("read", "image file to pixels"),
    Stage("detect", "all faces of an image, with landmarks", 12),
    Stage("fit landmarks", "pose, shape and expression from landmarks, per face", 40),
    Stage("fit photometric", "light, skin and shape from pixels, per face"),
    Stage("depth", "the model's depth on the photo's pixels, per face"),
    Stage("relief", "shape from shading, per face"),
    Stage("albedo", "the photo's albedo, per face"),
    Stage("conditions", "light, occlusion and exposure measured, per face"),
    Stage("330 px photometric", "the photometric fit of a face enlarged to 330 px", 1500),
    Stage("330 px in all", "its landmarks to its albedo", 3000),
    Stage("660 px in all", "the same at twice the size, with equal resolution of relief"),
    Stage("texture", "texture without light, completed, per face"),
    Stage("preview", "the preview sheet, per face"),
    Stage("save", "all files of a face, texture and preview among them"),
    Stage("image to folder", "everything above for an image, after the first"),
    Stage("rasterise", "the open model rendered at 256 x 256 px", 2),
)
"""The stages of `bench_reconstruct`, in the order of the table."""


def bench_reconstruct(
    images: Sequence[str | Path],
    *,
    repeat: int = 5,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Time every stage from image file to saved folder, with the open model.

    Figures of one face come from all faces of all images.

    Args:
        images: Files with a face.
        repeat: Rounds over all of them, after one to warm up (new processes: at most three).
        threads: Threads of networks, linear algebra and OpenCV; None for the defaults of each.
        progress: Called with the name of each measurement before it begins.

    Raises:
        ImageError, NoFaceError: A file has no usable image, or no face.
        ValueError: `repeat` is less than 1, or there are no images.
    """
    if repeat < 1:
        raise ValueError(f"repeat is {repeat}: expected at least 1")
    if not images:
        raise ValueError("no images given: expected at least one")
    stopwatch = Stopwatch()
    progress("new processes")
    for _ in range(min(repeat, 3)):
        _new_process(stopwatch, Path(images[0]), threads)
    with thread_limit(threads):
        _bench_stages(stopwatch, [Path(p) for p in images], repeat, progress)
    return timings(stopwatch, STAGES)


_NEW_PROCESS = """
import sys, time
start = time.perf_counter()
import facerelief
first = time.perf_counter()
from facerelief import pipeline
import cv2, scipy.linalg, openvino
from facerelief.facefolder import save
all_ = time.perf_counter()
facerelief.reconstruct(sys.argv[1])
print(*(1e3 * (t - start) for t in (first, all_, time.perf_counter())))
"""


def _new_process(stopwatch: Stopwatch, image: Path, threads: int | None) -> None:
    count = (
        {} if threads is None else {"FACERELIEF_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    )
    done = subprocess.run(
        [sys.executable, "-c", _NEW_PROCESS, str(image)],
        capture_output=True,
        text=True,
        env={**os.environ, **count},
        check=False,
    )
    if done.returncode:
        # the same call here raises our own error for an unusable image
        import facerelief

        facerelief.reconstruct(image)
        raise RuntimeError(f"a new process failed: {done.stderr.strip().splitlines()[-1:]}")
    first, all_, ready = (float(ms) for ms in done.stdout.split())
    stopwatch.add("import", first)
    stopwatch.add("import all", all_)
    stopwatch.add("first face", ready)


def _bench_stages(
    stopwatch: Stopwatch, images: Sequence[Path], repeat: int, progress: Callable[[str], None]
) -> None:
    from facerelief.morphable import OPEN_MODEL_PATH, load_model
    from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig

    model = load_model(OPEN_MODEL_PATH)
    for _ in range(max(repeat, 3)):
        with stopwatch("load model"):
            load_model(OPEN_MODEL_PATH)
    reconstructor = Reconstructor(model, ReconstructorConfig("fit"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "face")
        for round_ in range(repeat + 1):
            progress(f"round {round_} of {repeat}" if round_ else "warming up")
            for image in images:
                # the first round is for networks, kernels and caches
                _image_to_folder(stopwatch if round_ else Stopwatch(), reconstructor, image, out)
        for image in images:
            face = reconstructor(image)[0]
            _save_parts(Stopwatch(), face, out)
            for _ in range(repeat):
                _save_parts(stopwatch, face, out)
        for round_ in range(repeat + 1):
            _enlarged(stopwatch if round_ else Stopwatch(), reconstructor, images[0])
        _rasterise(stopwatch, model, 20 * repeat)


def _image_to_folder(stopwatch: Stopwatch, reconstructor: Reconstructor, image: Path, out: Path) -> None:
    names = {"fit_landmarks": "fit landmarks", "fit_photometric": "fit photometric"}
    names |= {name: name for name in ("depth", "relief", "albedo", "conditions")}
    with stopwatch("image to folder"):
        faces = reconstructor(image)
        for face in faces:
            with stopwatch("save"):
                face.save(out, overwrite=True)
    for stage in ("read", "detect"):
        stopwatch.add(stage, faces[0].timings_ms[stage])
    for face in faces:
        for stage, name in names.items():
            stopwatch.add(name, face.timings_ms[stage])


def _save_parts(stopwatch: Stopwatch, face: Reconstruction, out: Path) -> None:
    """Texture and preview, the parts of saving that can be called alone."""
    from facerelief.facefolder.save import appearance, preview
    from facerelief.geometry.depth import depth_to_mesh

    with stopwatch("texture"):
        colors, _ = appearance(face)
    patch = face.coarse
    height, width = patch.depth.shape
    photo = face.image[patch.top : patch.top + height, patch.left : patch.left + width]
    detail = depth_to_mesh(patch.depth, face.camera, patch.left, patch.top, photo)
    with stopwatch("preview"):
        preview(face, detail, colors)


def _enlarged(stopwatch: Stopwatch, reconstructor: Reconstructor, file: Path) -> None:
    """The image's best face scaled to 330 and to 660 px, with equal resolution of relief."""
    import cv2

    from facerelief.detection import detect_faces
    from facerelief.inverse.detail import DetailConfig
    from facerelief.inverse.fit import FitConfig
    from facerelief.io.images import read_image
    from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig

    image = read_image(file)
    side = detect_faces(image, max_faces=1)[0].size
    config = ReconstructorConfig("fit", max_faces=1, fit=FitConfig(detail=DetailConfig(resolution=360)))
    reconstructor = Reconstructor(reconstructor.model, config)
    for size in (330, 660):
        factor, method = size / side, cv2.INTER_CUBIC
        large = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), np.uint8)
        spent = reconstructor(large)[0].timings_ms
        stopwatch.add(f"{size} px in all", sum(ms for k, ms in spent.items() if k not in ("read", "detect")))
        if size == 330:
            stopwatch.add("330 px photometric", spent["fit_photometric"])


def _rasterise(stopwatch: Stopwatch, model: FaceModel, calls: int) -> None:
    """The mean head, slightly turned, filling 256 x 256 px."""
    from facerelief.geometry import WeakPerspective
    from facerelief.rendering import rasterize

    size = 256
    turned = WeakPerspective(0.1, 0.35, 0.05, 0.0, 0.0, 1.0).to_camera(model.mean)
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = 0.95 * size / float((high - low)[:2].max())
    u, v = (size / 2 + sign * scale * float(low[i] + high[i]) / 2 for i, sign in ((0, -1), (1, 1)))
    uvz = WeakPerspective(0.1, 0.35, 0.05, u, v, scale).project(model.mean)
    rasterize(uvz, model.triangles, size, size)
    for _ in range(calls):
        with stopwatch("rasterise"):
            rasterize(uvz, model.triangles, size, size)
