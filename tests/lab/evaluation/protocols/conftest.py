"""A person's face as prediction and as scan, and writers of tiny folders laid out as the benchmarks are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import facerelief
from facerelief.geometry import Mesh, Similarity, matrix_from_euler, vertex_normals
from facerelief.io.obj import write_obj
from facerelief.io.ply import write_ply
from facerelief.lab.evaluation.protocols.predictions import FolderPredictions
from facerelief.lab.evaluation.protocols.presets import preset
from facerelief.lab.evaluation.protocols.recipes import Settings
from facerelief.lab.evaluation.protocols.runner import ProtocolReport, run_protocol

SEVEN = [36, 39, 42, 45, 33, 48, 54]
REALY_UNIT_MM = 9.0

Move = Callable[[np.ndarray], np.ndarray]


def same(points: np.ndarray) -> np.ndarray:
    return points


def submesh(vertices: np.ndarray, triangles: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles whose corners all are in the mask, with their vertices."""
    kept = triangles[mask[triangles].all(axis=1)]
    ids, flat = np.unique(kept, return_inverse=True)
    return vertices[ids], flat.reshape(-1, 3).astype(np.int32)


def write_pp(file: Path, points: np.ndarray) -> None:
    """As MeshLab writes picked points."""
    rows = [
        f'<point x="{x:.6f}" y="{y:.6f}" z="{z:.6f}" active="1" name="{k}"/>'
        for k, (x, y, z) in enumerate(points)
    ]
    file.write_text(
        "<!DOCTYPE PickedPoints>\n<PickedPoints>\n" + "\n".join(rows) + "\n</PickedPoints>\n", "utf-8"
    )


def write_wrl(file: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """As BU-3DFE's scans are."""
    points = ",\n".join(" ".join(f"{x:.5f}" for x in p) for p in vertices)
    faces = ",\n".join(f"{a}, {b}, {c}, -1" for a, b, c in triangles)
    file.write_text(
        "#VRML V2.0 utf8\nShape {\n geometry IndexedFaceSet {\n  coord Coordinate {\n   point [\n"
        f"{points}\n   ]\n  }}\n  coordIndex [\n{faces}\n  ]\n"
        "  texCoord TextureCoordinate { point [ 0 0, 1 1 ] }\n }\n}\n",
        "utf-8",
    )


@dataclass
class Person:
    """A face of the open model: the prediction is the whole head, the scan smooth skin of the face."""

    vertices: np.ndarray
    triangles: np.ndarray
    marks: np.ndarray
    """(68, 3)"""
    skin: np.ndarray
    """(N,) no eyes, no lips."""
    regions: dict[str, np.ndarray]
    """REALY's four, as vertex masks."""

    def scan(self, mask: np.ndarray | None = None, noise: float = 0.0) -> Mesh:
        """Skin, moved along its normals by Gaussian noise, mm."""
        v, t = submesh(self.vertices, self.triangles, self.skin if mask is None else mask)
        if noise:
            v = v + noise * np.random.default_rng(5).standard_normal((len(v), 1)) * vertex_normals(v, t)
        return Mesh(v.astype(np.float32), t)

    def eighty_five(self) -> np.ndarray:
        """(85, 3): the last 17 keypoints are anywhere on the face, the same for scan and prediction."""
        return np.vstack(
            [self.marks, self.vertices[np.flatnonzero(self.skin)[:: int(self.skin.sum()) // 17][:17]]]
        )

    def eighty_three(self) -> np.ndarray:
        """(83, 3) in BU-3DFE's order."""
        return bu3dfe_points(self.marks)

    # ------------------------------------------------ folders of data

    def data(
        self, name: str, folder: Path, noise: float = 0.0, unit: float = 1.0, scan: Mesh | None = None
    ) -> Path:
        """The folder of a benchmark with one scan, coordinates times `unit`."""
        folder.mkdir(parents=True, exist_ok=True)
        scan = scan or self.scan(noise=noise)
        scan = Mesh((scan.vertices * unit).astype(np.float32), scan.triangles)
        marks = self.marks * unit
        if name.startswith("now"):
            for part in ("scans/P1", "scans_lmks_onlypp/P1"):
                (folder / part).mkdir(parents=True)
            write_obj(folder / "scans/P1/s.obj", scan)
            write_pp(folder / "scans_lmks_onlypp/P1/s.pp", marks[SEVEN])
            (folder / "imagepathsvalidation.txt").write_text("P1/multiview_neutral/IMG_1.jpg\n", "utf-8")
        elif name.startswith("micc"):
            for take in ("frontal1", "frontal2"):
                place = folder / "subject_01/Model" / take / "obj"
                other = folder / "MICC_landmarks/subject_01/Model" / take / "obj"
                place.mkdir(parents=True)
                other.mkdir(parents=True)
                write_obj(place / "1109.obj", scan)
                points = {"groups": {"LJSON": {"landmarks": {"points": marks.tolist()}}}}
                (other / "1109.ljson").write_text(json.dumps(points), "utf-8")
        elif name == "realy-like":
            (folder / "REALY_scan_region/1").mkdir(parents=True)
            (folder / "REALY_HIFI3D_keypoints").mkdir()
            for region, mask in self.regions.items():
                part = self.scan(mask, noise)
                shrunk = Mesh((part.vertices / REALY_UNIT_MM).astype(np.float32), part.triangles)
                write_obj(folder / f"REALY_scan_region/1/{region}.obj", shrunk)
            keypoints = Mesh(
                (self.eighty_five() / REALY_UNIT_MM).astype(np.float32), np.zeros((0, 3), np.int32)
            )
            write_obj(folder / "REALY_HIFI3D_keypoints/1.obj", keypoints)
            (folder / "metrical_scale.txt").write_text(f"{REALY_UNIT_MM}\n", "utf-8")
        elif name == "bu3dfe-rmse":
            (folder / "F0001").mkdir()
            write_wrl(folder / "F0001/F0001_NE00WH_F3D.wrl", scan.vertices, scan.triangles)
            rows = [
                f"{k}\t\t{x:.5f} {y:.5f} {z:.5f}" for k, (x, y, z) in enumerate(self.eighty_three() * unit)
            ]
            (folder / "F0001/F0001_NE00WH_F3D.bnd").write_text("\n".join(rows) + "\n", "utf-8")
        elif name == "true-error":
            v = self.vertices
            if noise:
                rng = np.random.default_rng(5)
                v = v + noise * rng.standard_normal((len(v), 1)) * vertex_normals(v, self.triangles)
            write_obj(folder / "P1.obj", Mesh((v * unit).astype(np.float32), self.triangles))
        else:
            raise AssertionError(name)
        return folder

    # ------------------------------------------------ folders of predictions

    def predict(self, name: str, folder: Path, move: Move = same, ply: bool = True) -> Path:
        """The same head under `move`, with landmarks, as a prediction of every case of `data`."""
        stems = {
            "now": ["P1/multiview_neutral/IMG_1"],
            "now-metrical": ["P1/multiview_neutral/IMG_1"],
            "realy-like": ["1"],
            "bu3dfe-rmse": ["F0001_NE00WH"],
            "true-error": ["P1"],
        }
        settings = ("Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor")
        for stem in stems.get(name, [f"subject_01/{s}" for s in settings]):
            file = folder / stem
            file.parent.mkdir(parents=True, exist_ok=True)
            mesh = Mesh(move(self.vertices).astype(np.float32), self.triangles)
            if ply:
                write_ply(file.with_suffix(".ply"), mesh)
            else:
                v, t = mesh.vertices, mesh.triangles + 1
                text = "".join(f"v {x:.8g} {y:.8g} {z:.8g} 0.5 0.4 0.3\n" for x, y, z in v)
                file.with_suffix(".obj").write_text(
                    text + "".join(f"f {a} {b} {c}\n" for a, b, c in t), "utf-8"
                )
            if name != "true-error":
                marks = self.eighty_five() if name == "realy-like" else self.marks
                np.save(file.with_suffix(".npy"), move(marks))
        return folder


def bu3dfe_points(marks: np.ndarray) -> np.ndarray:
    """(83, 3) points in BU-3DFE's groups, from the 68."""

    def spread(points: np.ndarray, count: int) -> np.ndarray:
        at = np.linspace(0, len(points) - 1, count)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, len(points) - 1)
        return points[low] + (at - low)[:, None] * (points[high] - points[low])

    eyes = [spread(marks[range(a, a + 6)], 8) for a in (42, 36)]
    for eye, a in zip(eyes, (42, 36)):
        eye[0], eye[4] = marks[a], marks[a + 3]
    brows = [spread(marks[range(a, a + 5)], 10) for a in (22, 17)]
    nose = np.vstack([spread(marks[[27, 39, 31]], 4), marks[31:36], spread(marks[[35, 42, 27]], 3)])
    lips = np.vstack([marks[48:60], spread(marks[60:68], 8)])
    return np.vstack([*eyes, *brows, nose, lips, spread(marks[:17], 15)])


@pytest.fixture(scope="session")
def person() -> Person:
    model = facerelief.open_model()
    rng = np.random.default_rng(1)
    vertices = model.shape(0.8 * rng.standard_normal(model.n_identity)).astype(np.float64)
    marks = model.landmarks["ibug68"].of(vertices)
    parts = model.regions
    skin = parts["face"] & ~parts["eyes"] & ~parts["lips"] & ~parts["eyeballs"]
    x, y = np.abs(model.mean[:, 0]), model.mean[:, 1]
    regions = {
        "nose": skin & parts["nose"],
        "mouth": skin & (y < -45) & (y > -90) & (x < 35) & ~parts["nose"],
        "forehead": skin & (y > 12) & (y < 45) & (x < 40),
        "cheek": skin & (y < -15) & (y > -60) & (x > 30) & (x < 62),
    }
    return Person(vertices, model.triangles, marks, skin, regions)


def moved(scale: float = 1.0) -> Move:
    """Rotated by up to 30 degrees, shifted, scaled."""
    motion = Similarity(scale, matrix_from_euler(0.3, 0.5, -0.2), np.array([20.0, -35.0, 60.0]))
    return lambda points: motion.apply(np.asarray(points, np.float64))


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * [-1.0, 1.0, 1.0]


@pytest.fixture(scope="session")
def moves() -> dict[str, Callable[..., Move]]:
    """Motions of a prediction by name; conftest is no module that tests could import."""
    return {"moved": moved, "mirrored": lambda: mirrored, "same": lambda: same}


@pytest.fixture(scope="session")
def run() -> Callable[..., ProtocolReport]:
    """run(preset, data, predictions, unit="mm", data_unit="mm"): of several settings only the first."""

    def go(
        name: str, data: Path, predictions: Path, unit: str = "mm", data_unit: str = "mm"
    ) -> ProtocolReport:
        return run_protocol(
            preset(name), data, FolderPredictions(predictions, unit), Settings(data_unit), limit=1
        )

    return go
