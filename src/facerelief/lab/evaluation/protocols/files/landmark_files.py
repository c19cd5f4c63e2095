"""Landmarks on meshes and in images, in the files and orders that benchmarks and other systems use.

| points | order |
|---|---|
| 5 | right eye, left eye (centres), nose tip, right and left corner of the mouth |
| 7 | right eye outer, inner, left eye inner, outer, nose bottom, right and left corner of the mouth (NoW) |
| 51 | iBUG without the jaw (static FLAME landmarks) |
| 68 | iBUG |
| 83 | BU-3DFE |
| 85 | REALY, whose first 68 are iBUG |

Right and left are the person's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from facerelief.errors import ModelError
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.morphable.readers.safe_pickle import load_npy, load_pickle
from facerelief.typed import Float64

LANDMARK_SUFFIXES = (".npy", ".txt", ".json", ".ljson", ".pp", ".bnd", ".csv", ".pkl")
"""Suffixes of landmark files, in the order of the search."""
MAX_BYTES = 1 << 24

SEVEN: tuple[str, ...] = (
    "right_eye_outer", "right_eye_inner", "left_eye_inner", "left_eye_outer", "nose_bottom", "mouth_right",
    "mouth_left",
)  # fmt: skip
"""The landmarks of NoW and REALY in their order."""
FIVE: tuple[str, ...] = ("right_eye", "left_eye", "nose_tip", "mouth_right", "mouth_left")
IBUG_SEVEN = (36, 39, 42, 45, 33, 48, 54)
IBUG_TIP = 30

MEAN_ANCHORS: Mapping[str, tuple[float, float, float]] = {
    "right_eye_outer": (-44.6, -1.8, 6.0),
    "right_eye_inner": (-18.4, -3.6, 11.9),
    "left_eye_inner": (18.4, -3.6, 11.9),
    "left_eye_outer": (44.6, -1.8, 6.0),
    "nose_bottom": (0.0, -48.2, 35.6),
    "mouth_right": (-25.3, -71.4, 21.9),
    "mouth_left": (25.3, -71.4, 21.9),
    "nose_tip": (0.0, -32.3, 51.1),
    "right_eye": (-31.5, -2.7, 9.0),
    "left_eye": (31.5, -2.7, 9.0),
}
"""Points on the open model's mean face, mm: reference for units, mirror images and wrong orders."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points on a face in one of the orders above."""

    points: Float64
    """(L, 3) mm on a mesh, or (L, 2) px in an image."""
    source: str
    """File or method they come from, for messages."""

    def __post_init__(self) -> None:
        if len(self.points) not in (5, 7, 51, 68, 83, 85):
            raise EvaluationError(
                f"{self.source}: {len(self.points)} landmarks; expected 5, 7, 51, 68, 83 or 85 in the "
                "orders of docs/evaluation.md"
            )
        if not np.isfinite(self.points).all():
            raise EvaluationError(f"{self.source}: landmarks that are not finite; every one has to be there")

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def anchors(self) -> Mapping[str, Float64]:
        """The named points that these hold or that follow from them, each (3,)."""
        p = self.points
        if len(p) == 5:
            return dict(zip(FIVE, p, strict=True))
        if len(p) == 7:
            found: dict[str, Float64] = dict(zip(SEVEN, p, strict=True))
        elif len(p) == 83:
            found = _bu3dfe_anchors(p)
        else:
            first = 17 if len(p) == 51 else 0
            found = {name: p[i - first] for name, i in zip(SEVEN, IBUG_SEVEN, strict=True)}
            found["nose_tip"] = p[IBUG_TIP - first]
        for side in ("right", "left"):
            found[f"{side}_eye"] = (found[f"{side}_eye_outer"] + found[f"{side}_eye_inner"]) / 2
        return found

    @property
    def seven(self) -> Float64:
        """(7, 3) in NoW's order; EvaluationError where they do not follow from these."""
        if not set(SEVEN) <= self.anchors.keys():
            raise EvaluationError(
                f"{self.source}: {len(self)} landmarks; this protocol needs the 7 of NoW or 68"
            )
        return np.stack([self.anchors[name] for name in SEVEN])

    def moved(self, scale: float) -> Landmarks:
        """The same in another unit."""
        return Landmarks(self.points * scale, self.source)


def shared(a: Landmarks, b: Landmarks) -> tuple[Float64, Float64]:
    """The landmarks both sets have, (K, 3) each: all of them where the orders agree, else the anchors.

    The eyes' centres are used only where the corners are not known. EvaluationError for fewer than four.
    """
    if len(a) == len(b):
        return a.points, b.points
    both = [name for name in MEAN_ANCHORS if name in a.anchors and name in b.anchors]
    if set(SEVEN) <= set(both):
        both = [name for name in both if name not in ("right_eye", "left_eye")]
    if len(both) < 4:
        raise EvaluationError(
            f"{a.source}: {len(a)} landmarks share only {len(both)} with the {len(b)} of {b.source}; give "
            "68 or the scan's own"
        )
    return np.stack([a.anchors[n] for n in both]), np.stack([b.anchors[n] for n in both])


def read_landmarks(path: str | Path, scale: float = 1.0) -> Landmarks:
    """The landmarks of a file of any of LANDMARK_SUFFIXES, coordinates times `scale`.

    .npy (L, 3) or (3, L); .txt and .csv a point a line; .json a list of points or an object that holds one
    under "landmarks", "points" or, as our face.json, "landmarks68_mm"; .ljson as Menpo writes; .pp as MeshLab
    writes; .bnd as BU-3DFE has them; .pkl an array or a list (read without running anything). Raises
    EvaluationError.
    """
    path = Path(path)
    points = read_points(path)
    if points.shape[1] != 3:
        raise EvaluationError(f"{path}: landmarks of shape {points.shape}, expected three coordinates each")
    return Landmarks(points * scale, str(path))


def read_points(path: Path) -> Float64:
    """(L, 3) or (L, 2) numbers of a landmark file, of any count; EvaluationError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise EvaluationError(f"{path}: over {MAX_BYTES >> 20} MB, no landmark file")
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return as_points(load_npy(path))
        if suffix == ".pkl":
            return as_points(load_pickle(path))
        text = path.read_text("utf-8", errors="strict")
        if suffix in (".json", ".ljson"):
            return as_points(_from_json(json.loads(text)))
        if suffix == ".pp":
            return as_points(_from_pp(text))
        return as_points(_from_table(text))
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ModelError as error:
        raise EvaluationError(str(error)) from error
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise EvaluationError(f"{path}: no readable landmarks ({reason}); see docs/evaluation.md") from error


def landmarks_beside(mesh: Path) -> Path | None:
    """The landmark file of a mesh: the same name, or with `_landmarks` after it; None if there is none."""
    for ending in ("", "_landmarks"):
        for suffix in LANDMARK_SUFFIXES:
            file = mesh.with_name(f"{mesh.stem}{ending}{suffix}")
            if file.is_file():
                return file
    return None


def as_points(array: Any) -> Float64:
    """(L, 2 or 3) from (L, 2 or 3) or (2 or 3, L); ValueError otherwise."""
    p = np.asarray(array, np.float64)
    if p.ndim == 3 and p.shape[0] == 1:
        p = p[0]
    if p.ndim != 2:
        raise ValueError(f"shape {p.shape}, expected a point a row")
    if p.shape[1] not in (2, 3) and p.shape[0] in (2, 3):
        p = p.T
    if p.shape[1] not in (2, 3):
        raise ValueError(f"shape {p.shape}, expected a point a row")
    return np.ascontiguousarray(p)


def _from_table(text: str) -> ArrayLike:
    rows = [line.replace(",", " ").replace(";", " ").split() for line in text.splitlines()]
    rows = [[float(x) for x in row] for row in rows if row and not row[0].startswith("#")]
    if rows and all(len(row) == 4 for row in rows):  # .bnd: vertex id first
        rows = [row[1:] for row in rows]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("rows of different lengths")
    return rows


def _from_json(found: Any) -> Any:
    if isinstance(found, Mapping):
        if "groups" in found:  # Menpo
            groups = found["groups"]
            group = groups.get("LJSON") or next(iter(groups.values()))
            return group["landmarks"]["points"]
        for name in ("landmarks68_mm", "landmarks", "points"):
            if name in found:
                return _from_json(found[name])
        raise ValueError('no "landmarks"')
    return found


def _from_pp(text: str) -> ArrayLike:
    points: list[tuple[float, ...]] = []
    for tag in re.findall(r"<point\b([^>]*)>", text):
        named = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', tag))
        if named.get("active", "1") != "0":
            points.append(tuple(float(named[axis]) for axis in "xyz"))
    return points


def _bu3dfe_anchors(p: Float64) -> dict[str, Float64]:
    """Corners by geometry from the 83 points of BU-3DFE, in its frame (x to the image's right, y up).

    The groups are 8 points for each eye, 10 for each brow, 12 for the nose, 20 for the lips, 15 for the
    outline.
    """
    eyes = sorted((p[:8], p[8:16]), key=lambda eye: float(eye[:, 0].mean()))
    right, left = eyes
    nose, lips = p[36:48], p[48:60]
    middle = float((right[:, 0].mean() + left[:, 0].mean()) / 2)
    central = nose[np.argsort(np.abs(nose[:, 0] - middle))[:4]]
    return {
        "right_eye_outer": right[right[:, 0].argmin()],
        "right_eye_inner": right[right[:, 0].argmax()],
        "left_eye_inner": left[left[:, 0].argmin()],
        "left_eye_outer": left[left[:, 0].argmax()],
        "nose_bottom": central[central[:, 1].argmin()],
        "mouth_right": lips[lips[:, 0].argmin()],
        "mouth_left": lips[lips[:, 0].argmax()],
    }
