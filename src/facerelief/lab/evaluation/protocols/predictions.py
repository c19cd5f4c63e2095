"""Sources of predictions: a folder of any system's meshes, or one of our own methods run on the images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError, NoFaceError
from facerelief.geometry.mesh import Mesh
from facerelief.io.meshes import MESH_SUFFIXES, read_mesh
from facerelief.lab.evaluation.protocols.cases import Case, Prediction
from facerelief.lab.evaluation.protocols.files import landmark_files
from facerelief.lab.evaluation.protocols.files.layouts import read_array
from facerelief.lab.evaluation.protocols.problems import EvaluationError, MissingPredictionError
from facerelief.lab.evaluation.protocols.steps.checks import UNITS
from facerelief.typed import Float64

KEYPOINT_FILES = ("keypoints.json", "keypoints.txt")
PIXEL_SHIFT = 0.5
"""From our pixel convention (centre of the first pixel at 0.5) to that of AFLW2000-3D's annotations (at
1)."""


class PredictionSource(Protocol):
    """Gives the prediction of a case. Raises MissingPredictionError where there is none."""

    def __call__(self, case: Case) -> Prediction: ...


class FolderPredictions:
    """Meshes of an external system: FOLDER/<name of the case>.obj, .ply or .wrl with landmarks beside.

    Also found with `_` for each `/` of the name. For meshes of one topology the folder may hold
    keypoints.json instead of landmarks: a list of vertex ids, or of [triangle, weight, weight] for its first
    two corners. Where `flat` the predictions are points in the image: landmark files without meshes, or one
    predictions.npy (N, 2 or 3, 68) in the order of the set.
    """

    def __init__(self, folder: str | Path, unit: str = "mm", *, flat: bool = False) -> None:
        """Raises EvaluationError for a folder that holds no predictions, and for an unknown unit."""
        self.folder = Path(folder)
        if unit not in UNITS:
            raise EvaluationError(f"--unit {unit}: expected {', '.join(UNITS)}")
        self.unit = unit
        self.flat = flat
        suffixes = landmark_files.LANDMARK_SUFFIXES if flat else MESH_SUFFIXES
        if not self.folder.is_dir():
            raise EvaluationError(f"{self.folder}: no such folder; name the folder of predictions")
        if not any(f.suffix.lower() in suffixes for f in self.folder.rglob("*")):
            raise EvaluationError(
                f"{self.folder}: no predictions in it; expected {', '.join(suffixes)} files"
            )
        self._stacked: Float64 | None = None
        self._order: dict[str, int] = {}
        self._keypoints = None if flat else self._read_keypoints()

    def number(self, cases: list[Case]) -> None:
        """Set the order of the cases, for predictions in one array."""
        file = self.folder / "predictions.npy"
        if not (self.flat and file.is_file()):
            return
        array = read_array(file)
        if array.ndim == 3 and array.shape[1] == 68:
            array = array.transpose(0, 2, 1)
        if (
            array.ndim != 3
            or array.shape[0] != len(cases)
            or array.shape[1] not in (2, 3)
            or array.shape[2] != 68
        ):
            raise EvaluationError(f"{file}: shape {array.shape}; expected ({len(cases)}, 2 or 3, 68)")
        self._order = {case.name: k for k, case in enumerate(cases)}
        self._stacked = array[:, :2].transpose(0, 2, 1)

    def __call__(self, case: Case) -> Prediction:
        if self.flat:
            return self._flat(case)
        file = self._find(case.name, MESH_SUFFIXES)
        if file is None:
            raise MissingPredictionError(f"{self.folder / case.name}: no prediction (.obj, .ply or .wrl)")
        factor = UNITS[self.unit]
        mesh = read_mesh(file, factor)
        beside = landmark_files.landmarks_beside(file)
        landmarks = (
            landmark_files.read_landmarks(beside, factor) if beside else self._landmarks_on(mesh, file)
        )
        return Prediction(str(file), mesh, landmarks, unit=self.unit)

    def _find(self, name: str, suffixes: tuple[str, ...]) -> Path | None:
        for stem in (name, name.replace("/", "_")):
            for suffix in suffixes:
                file = self.folder / f"{stem}{suffix}"
                if file.is_file():
                    return file
        return None

    def _flat(self, case: Case) -> Prediction:
        if self._stacked is not None:
            points = self._stacked[self._order[case.name]]
            source = f"{self.folder / 'predictions.npy'} ({case.name})"
            if not np.isfinite(points).all():
                raise EvaluationError(f"{source}: points that are not finite; all 68 have to be there")
            return Prediction(source, points=points)
        file = self._find(case.name, landmark_files.LANDMARK_SUFFIXES)
        if file is None:
            raise MissingPredictionError(f"{self.folder / case.name}: no prediction (.npy, .txt or .json)")
        points = landmark_files.read_points(file)
        if len(points) != 68 or not np.isfinite(points).all():
            raise EvaluationError(f"{file}: {len(points)} points; expected 68 finite ones in iBUG's order")
        return Prediction(str(file), points=points[:, :2])

    def _read_keypoints(self) -> tuple[Path, NDArray[Any]] | None:
        file = next((self.folder / n for n in KEYPOINT_FILES if (self.folder / n).is_file()), None)
        if file is None:
            return None
        try:
            rows = np.asarray(json.loads(file.read_text("utf-8")), np.float64)
        except (OSError, ValueError, TypeError) as error:
            raise EvaluationError(f"{file}: no readable list of keypoints ({error})") from error
        if rows.ndim == 2 and rows.shape[1] == 1:
            rows = rows[:, 0]
        if rows.ndim not in (1, 2) or (rows.ndim == 2 and rows.shape[1] not in (3, 4)):
            raise EvaluationError(f"{file}: expected vertex ids, or [triangle, weight, weight] each")
        return file, rows

    def _landmarks_on(self, mesh: Mesh, file: Path) -> landmark_files.Landmarks | None:
        if self._keypoints is None:
            return None
        source, rows = self._keypoints
        first = rows if rows.ndim == 1 else rows[:, 0]
        limit = len(mesh.vertices) if rows.ndim == 1 else len(mesh.triangles)
        ids = first.astype(np.int64)
        if (ids != first).any() or ids.min() < 0 or ids.max() >= limit:
            raise EvaluationError(f"{source}: ids outside 0..{limit - 1} of {file}; is it the same topology?")
        v = mesh.vertices.astype(np.float64)
        if rows.ndim == 1:
            return landmark_files.Landmarks(v[ids], str(file))
        weights = np.c_[rows[:, 1:3], 1 - rows[:, 1] - rows[:, 2]]
        return landmark_files.Landmarks((v[mesh.triangles[ids]] * weights[:, :, None]).sum(axis=1), str(file))


Reconstruct = Callable[[Path], list[Any]]
"""An image file -> `Reconstruction`s, best first."""


class MethodPredictions:
    """One of our own methods, run on the images of a case.

    Shapes are in the model's frame, mm; with several images the mean of the shapes, which share a topology.
    Where the protocol asks for a neutral face the expression is left out. Of several faces the best detected
    one is taken, for annotated points the one whose landmarks lie nearest to them.
    """

    def __init__(
        self, method: str, *, neutral: bool, flat: bool = False, reconstruct: Reconstruct | None = None
    ) -> None:
        """method: as `facerelief reconstruct --method` takes it. Raises EvaluationError for an unknown
        one."""
        self.method = method
        self.neutral = neutral
        self.flat = flat
        if reconstruct is None:
            from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig

            settings: dict[str, Any] = {"method": method}
            try:
                reconstruct = Reconstructor(config=ReconstructorConfig(**settings))
            except ValueError as error:
                raise EvaluationError(f"--method {method}: {error}") from error
        self._reconstruct = reconstruct

    def __call__(self, case: Case) -> Prediction:
        if not case.images:
            raise MissingPredictionError(f"{case.name}: the set's image is not there; --method needs it")
        source = f"{case.name} ({self.method})"
        shapes: list[NDArray[np.float32]] = []
        problem: FacereliefError | None = None
        model: Any = None
        for image in case.images:
            try:
                faces = self._reconstruct(image)
            except NoFaceError as error:
                problem = error
                continue
            if self.flat:
                return Prediction(source, points=self._nearest(faces, case))
            model = faces[0].model
            shapes.append(faces[0].neutral if self.neutral else faces[0].vertices)
        if not shapes:
            raise MissingPredictionError(str(problem))
        vertices = np.asarray(np.mean(shapes, axis=0, dtype=np.float64), np.float32)
        marks = model.landmarks["ibug68"].of(vertices.astype(np.float64))
        mesh = Mesh(vertices, model.triangles)
        return Prediction(source, mesh, landmark_files.Landmarks(marks, source))

    def _nearest(self, faces: list[Any], case: Case) -> Float64:
        found = [face.landmarks68_px.astype(np.float64) + PIXEL_SHIFT for face in faces]
        if case.points is None:
            return found[0]
        middle = case.points.mean(axis=0)
        return min(found, key=lambda p: float(np.linalg.norm(p.mean(axis=0) - middle)))
