"""Cases of a set, each with its scans or annotated points and its images; predictions and scores.

Tested by tests/lab/evaluation/protocols/test_recipes.py and test_predictions.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.mesh import Mesh
from facerelief.io.meshes import read_mesh
from facerelief.lab.evaluation.protocols.files.landmark_files import Landmarks, read_landmarks
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.steps.checks import UNITS, check_face_order, check_size
from facerelief.typed import Float64


@dataclass(frozen=True)
class Scan:
    """Files of a true surface."""

    mesh: Path
    landmarks: Path | None = None
    name: str = ""
    """Its part or take: "nose", "frontal1"."""


@dataclass(frozen=True, eq=False)
class Case:
    """One prediction to be scored."""

    name: str
    """Path of the prediction in its folder, without suffix: "subject/challenge/IMG_1"."""
    group: str
    """Its part of the set in reports: challenge, setting, expression."""
    subject: str = ""
    scans: tuple[Scan, ...] = ()
    images: tuple[Path, ...] = ()
    """Input of our own methods; the shapes of several images are averaged."""
    scale_mm: float = 1.0
    """mm per unit of the scans."""
    points: Float64 | None = None
    """(68, 2) annotated points in the image, px."""
    yaw: float = 0.0
    """Degrees."""
    mask: Path | None = None
    """File of the ids of measured vertices, or a 0 or 1 for each; None for all."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A reconstruction in mm, or points of an image in px."""

    source: str
    mesh: Mesh | None = None
    landmarks: Landmarks | None = None
    points: Float64 | None = None
    """(68, 2) in the image, px."""
    unit: str = "mm"
    """Unit as which the file was read."""
    option: str = "--unit"
    """The option that changes it."""

    def surface(self) -> tuple[Mesh, Landmarks]:
        """Mesh and landmarks. Raises EvaluationError where either is missing."""
        if self.mesh is None:
            raise EvaluationError(f"{self.source}: no mesh")
        if self.landmarks is None:
            stem = Path(self.source).stem
            raise EvaluationError(
                f"{self.source}: a prediction without landmarks; put 7 or 68 points beside it ({stem}.npy, "
                ".txt, .json or .pp), or keypoints.json with vertex ids into the folder"
            )
        return self.mesh, self.landmarks


@dataclass(frozen=True, eq=False)
class CaseScore:
    """The score of one case."""

    case: Case
    values: dict[str, float]
    """Measure -> mm or per cent."""
    distances: NDArray[np.float32] | None = None
    """(M,) of the vertices, for statistics over all of them."""
    warnings: list[str] = field(default_factory=list[str])


@lru_cache(maxsize=6)
def load_scan(scan: Scan, unit: str, metric: bool = True) -> tuple[Mesh, Landmarks]:
    """A scan in mm with its landmarks, both checked: not mirrored, of a face's size where it is `metric`.

    Scans may have holes, and need no triangles here. Cached for the next images of the same subject.
    """
    factor = UNITS[unit]
    if scan.landmarks is None:
        raise EvaluationError(
            f"{scan.mesh}: the scan has no landmarks; see docs/evaluation.md for where they belong"
        )
    mesh, landmarks = read_mesh(scan.mesh, factor), read_landmarks(scan.landmarks, factor)
    check_face_order(landmarks)
    if metric:
        check_size(landmarks, matters=True, option="--data-unit", unit=unit)
    return mesh, landmarks
