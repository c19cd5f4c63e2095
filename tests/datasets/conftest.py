"""A fits folder that took no fitting."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.datasets.fits import FORMAT, INDEX, FitFolder, _Job, _packed
from facerelief.export.images import encode_jpeg
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.morphable import open_model
from facerelief.pipeline.photos import Photo

sys.path.insert(0, str(Path(__file__).parent))  # workers import toy_maker


def make_fits(folder: Path, photos: int = 40, persons: int = 30, odd: tuple[str, ...] = ()) -> FitFolder:
    """Photos of noise "a/p000" ... with fits of random numbers; `odd` persons have one photo more each."""
    root, out = folder / "photos", folder / "fits"
    model = open_model()
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
        job = _Job(Photo(file, person, group, f"licence {group}"), f"{group}/{file.name}", person, out)
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


@pytest.fixture(scope="session")
def toy_fits(tmp_path_factory: pytest.TempPathFactory) -> FitFolder:
    """40 photos of 30 persons, one of no use, and one that hits a bug."""
    return make_fits(tmp_path_factory.mktemp("toy"), odd=("useless", "buggy"))


@pytest.fixture
def fits_of(tmp_path: Path) -> Callable[..., FitFolder]:
    """Makes a fits folder of one's own: `fits_of(photos=4)`."""
    return lambda **how: make_fits(tmp_path / "own", **how)
