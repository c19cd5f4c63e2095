"""What is scored: the cases of a set, each with its scans or annotated points, and the pictures it shows."""

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
    """What part or take it is: "nose", "frontal1"."""


@dataclass(frozen=True, eq=False)
class Case:
    """One prediction that is asked for."""

    name: str
    """Where the prediction is looked for in its folder, without suffix: "subject/challenge/IMG_1"."""
    group: str
    """The part of the set that it is reported with: challenge, setting, expression."""
    subject: str = ""
    scans: tuple[Scan, ...] = ()
    images: tuple[Path, ...] = ()
    """What our own methods are run on: their shapes are averaged if there are several."""
    scale_mm: float = 1.0
    """mm per unit of the scans."""
    points: Float64 | None = None
    """(68, 2) annotated points in the picture, px."""
    yaw: float = 0.0
    """Degrees."""
    mask: Path | None = None
    """Ids of the vertices that are measured, or a 0 or 1 for each; all where there is none."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A reconstruction in mm (px for points in a picture)."""

    source: str
    mesh: Mesh | None = None
    landmarks: Landmarks | None = None
    points: Float64 | None = None
    """(68, 2) in the picture, px."""
    unit: str = "mm"
    """What the file's numbers were taken for."""
    option: str = "--unit"
    """How the user could say otherwise."""

    def surface(self) -> tuple[Mesh, Landmarks]:
        """Mesh and landmarks; EvaluationError where either is missing."""
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
class Score:
    """What came of a case."""

    case: Case
    values: dict[str, float]
    """Named numbers of this case, mm or per cent."""
    distances: NDArray[np.float32] | None = None
    """(M,) of the vertices, for statistics over all of them."""
    warnings: list[str] = field(default_factory=list[str])


@lru_cache(maxsize=6)
def load_scan(scan: Scan, unit: str, metric: bool = True) -> tuple[Mesh, Landmarks]:
    """A scan in mm with its landmarks, both checked: not mirrored, of a face's size where it is `metric`.

    Scans may have holes, and need no triangles here. Kept for the next pictures of the same person.
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
