"""Surfaces, faces and small data sets of the tests of evaluation protocols."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from facerelief.geometry import Mesh, Similarity, matrix_from_euler

MOTION = Similarity(1.3, matrix_from_euler(0.1, 0.4, -0.3), np.array([5.0, -8.0, 30.0]))


class FakeModel:
    """Only what predictions ask of a model."""

    def __init__(self, person) -> None:
        self.triangles = person.triangles
        near = np.linalg.norm(person.vertices[None] - person.marks[:, None], axis=2).argmin(axis=1)
        self.landmarks = {"ibug68": SimpleNamespace(of=lambda v: v[near])}


def aflw(folder: Path, person) -> tuple[Path, np.ndarray]:
    """Four images in the arrays of the 3DDFA benchmark: two frontal, one at 45, one at 80 degrees."""
    flat = 100 + person.marks[:, :2] * [1, -1]
    truth = np.stack([flat + k for k in range(4)])
    (folder / "test.configs").mkdir(parents=True)
    np.save(folder / "test.configs/AFLW2000-3D.pts68.npy", truth.transpose(0, 2, 1))
    np.save(folder / "test.configs/AFLW2000-3D-Reannotated.pts68.npy", truth.transpose(0, 2, 1) + 2.0)
    np.save(folder / "test.configs/AFLW2000-3D.pose.npy", np.array([0.0, -20.0, 45.0, -80.0]))
    (folder / "AFLW2000-3D_crop.list").write_text("".join(f"image{k:05d}.jpg\n" for k in range(4)), "utf-8")
    return folder, truth


def picture(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((40, 40, 3), 90, np.uint8))
    return file


def size_of(truth: np.ndarray) -> float:
    return float(np.sqrt(np.prod(np.ptp(truth, axis=0))))


def wavy(n: int = 25, size: float = 40.0) -> Mesh:
    """A square with hills, mm, seen from +z."""
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-size, size, n), np.linspace(-size, size, n)))
    z = 6 * np.sin(x / 9) + 5 * np.cos(y / 7) + 0.004 * (x - 5) ** 2
    a = np.arange(n * n).reshape(n, n)
    quads = [a[:-1, :-1], a[:-1, 1:], a[1:, 1:], a[1:, :-1]]
    p, q, r, s = (part.ravel() for part in quads)
    return Mesh(
        np.stack([x, y, z], 1).astype(np.float32),
        np.vstack([np.c_[p, q, r], np.c_[p, r, s]]).astype(np.int32),
    )


def face(person, shift: float = 0.0, at: float = 0.0) -> SimpleNamespace:
    neutral = (person.vertices + [shift, 0, 0]).astype(np.float32)
    flat = (100 + at + person.marks[:, :2] * [1, -1]).astype(np.float32)
    return SimpleNamespace(
        model=FakeModel(person), neutral=neutral, vertices=neutral + 5, landmarks68_px=flat
    )
