"""Fits folders: one that took no fitting, and one of two real portraits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import toy_maker

import facerelief
from facerelief.examples import astronaut_path
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.io.write_images import encode_jpeg
from facerelief.lab.datasets import engine
from facerelief.lab.datasets.fits import FORMAT, INDEX, FitFolder, _FitJob, _packed, fit_photos
from facerelief.lab.datasets.photos import Photo, find_photos


def make_fits(folder: Path, photos: int = 40, persons: int = 30, odd: tuple[str, ...] = ()) -> FitFolder:
    """Photos of noise "a/p000" ... with fits of random numbers; `odd` persons have one photo more each."""
    root, out = folder / "photos", folder / "fits"
    model = facerelief.open_model()
    who = [f"person{k % persons}" for k in range(photos)] + list(odd)
    for k, person in enumerate(who):
        group = "ab"[k % 2]
        file = root / group / f"p{k:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(k)
        file.write_bytes(encode_jpeg(rng.integers(0, 256, (32, 32, 3), np.uint8)))
        relief = DepthPatch(rng.normal(0, 0.1, (6, 6)).astype(np.float32), 4, 4)
        result: Any = SimpleNamespace(
            fine=relief,
            coarse=DepthPatch(np.zeros((6, 6), np.float32), 4, 4),
            source_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            box=(2, 2, 30, 30),
            confidence=0.9,
            warnings=(),
            camera=WeakPerspective(0.0, 0.1 * (k % 5), 0.0, 16, 16, 0.1),
            identity=rng.normal(size=model.n_identity),
            expression=np.zeros(model.n_expression),
            albedo=np.zeros(model.n_albedo),
            light=np.zeros((9, 3)),
        )
        job = _FitJob(Photo(file, person, group, f"licence {group}"), f"{group}/{file.name}", person, out)
        target = out / group / f"p{k:03d}.fit.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_packed(job, result, np.zeros((478, 2))))
    about = {
        "format": FORMAT,
        "photos": str(root),
        "model": model.name,
        "model_version": str(model.version),
    }
    (out / INDEX).write_text(json.dumps(about))
    return FitFolder(out)


def results_here(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Any:
    """No processes: what tests of content need."""
    return nullcontext(function(job) for job in jobs)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine works in this process."""
    monkeypatch.setattr(engine, "local_results", results_here)


@pytest.fixture(scope="session")
def whole(toy_fits: FitFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy data set, made in one go. Tests leave it as it is."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "local_results", results_here)
        engine.synthesize(toy_fits, out, toy_maker.RECIPE)
    return out


@pytest.fixture(scope="session")
def toy_fits(tmp_path_factory: pytest.TempPathFactory) -> FitFolder:
    """40 photos of 30 persons, one of no use, and one that hits a bug."""
    return make_fits(tmp_path_factory.mktemp("toy"), odd=("useless", "buggy"))


@pytest.fixture
def fits_of(tmp_path: Path) -> Callable[..., FitFolder]:
    """Makes a fits folder of one's own: `fits_of(photos=4)`."""
    return lambda **how: make_fits(tmp_path / "own", **how)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """A folder with two portraits of 200 px, one file that is no image, and one image without a face."""
    folder = tmp_path_factory.mktemp("photos")
    portrait = facerelief.read_image(astronaut_path())[10:210, 120:320]
    for name, image in (("a/eileen", portrait), ("b/nelliee", portrait[:, ::-1])):
        file = folder / f"{name}.png"
        file.parent.mkdir()
        assert cv2.imwrite(str(file), image[..., ::-1])
    assert cv2.imwrite(str(folder / "b" / "wall.png"), np.full((90, 90, 3), 127, np.uint8))
    (folder / "b" / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def fits(photo_folder, tmp_path_factory) -> FitFolder:
    """The fits of `photo_folder`; the second person is of a family that is held out."""
    out = tmp_path_factory.mktemp("fits")
    families = {"eileen": "family 1", "nelliee": "family 0"}
    return fit_photos(find_photos(photo_folder), photo_folder, out, families=families)


@pytest.fixture(scope="session")
def open_model():
    return facerelief.open_model()
