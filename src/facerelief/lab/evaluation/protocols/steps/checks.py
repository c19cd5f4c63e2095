"""Checks of predictions and scans before anything is measured: units, mirror images, rims, folds."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.adjacency import non_manifold_edges
from facerelief.geometry.alignment import procrustes
from facerelief.geometry.mesh import Mesh
from facerelief.lab.evaluation.protocols.files.landmark_files import MEAN_ANCHORS, Landmarks
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.typed import Float64

Unit = Literal["mm", "cm", "m"]

UNITS: dict[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
"""mm per unit."""
MIRROR_RATIO = 2.5
"""A set counts as mirrored where its mirror image fits better by this factor."""
MIRROR_SHARE = 0.05
"""And where it fits worse than this share of the set's size (root mean square radius)."""
NO_FACE_SHARE = 0.3
"""Landmarks that fit neither way within this share of their size are in another order."""


def guess_unit(mm_per_unit: float) -> str | None:
    """The unit in which a face is about `mm_per_unit` times as large as its coordinates say; None if none is.

    A factor of two either way is taken for the size of the person.
    """
    return next((name for name, mm in UNITS.items() if mm / 2 < mm_per_unit < 2 * mm), None)


def check_size(landmarks: Landmarks, *, matters: bool, option: str, unit: str = "mm") -> list[str]:
    """Check that `landmarks`, already in mm if `unit` is right, have the size of a face.

    Nothing is rescaled. Where the size `matters` to the score a wrong one is an EvaluationError, else a
    warning that is returned. `option` is what the user can give.
    """
    names = [name for name in MEAN_ANCHORS if name in landmarks.anchors]
    mine = np.stack([landmarks.anchors[name] for name in names])
    mean = np.array([MEAN_ANCHORS[name] for name in names])
    return _size_problem(
        _radius(mean) / max(_radius(mine), 1e-30), landmarks.source, matters=matters, option=option, unit=unit
    )


def check_extent(mesh: Mesh, source: str, *, option: str, unit: str = "mm") -> None:
    """The same by the mesh alone, for protocols without landmarks: a face or head is 80 to 400 mm long."""
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    _size_problem(180.0 / max(longest, 1e-30), source, matters=True, option=option, unit=unit)


def _size_problem(ratio: float, source: str, *, matters: bool, option: str, unit: str) -> list[str]:
    if guess_unit(ratio) == "mm":
        return []
    likely = guess_unit(ratio * UNITS[unit])
    problem = f"{source}: as {unit} the face would be {1 / ratio:.3g} times as large as a face"
    if likely is not None:
        problem += f", it looks like {likely}; give {option} {likely} if it is"
    else:
        problem += ", and it has no such size in mm, cm or m; give it in one of them"
    if matters:
        raise EvaluationError(f"{problem}; nothing is rescaled without your word")
    return [f"{problem}; this protocol estimates the scale, so the score stands"]


def check_handedness(points: Float64, others: Float64, source: str) -> None:
    """EvaluationError where (K, D) `points` are the mirror image of (K, D) `others` rather than a moved copy.

    Compares the best similarity with the best one after a reflection. In the plane the same.
    """
    proper, mirrored = fit_both_ways(points, others)
    size = _radius(others)
    if proper > MIRROR_SHARE * size and proper > MIRROR_RATIO * mirrored:
        raise EvaluationError(
            f"{source}: mirrored: its landmarks fit {proper / max(mirrored, 1e-9):.1f} times better as a "
            "mirror image (left-handed mesh, or left and right swapped); give x to the image's right, y "
            "up, z to the viewer"
        )


def check_face_order(landmarks: Landmarks) -> None:
    """EvaluationError where (L, 3) landmarks are mirrored or in no known order, compared with a mean face."""
    names = [name for name in MEAN_ANCHORS if name in landmarks.anchors]
    mine = np.stack([landmarks.anchors[name] for name in names])
    mean = np.array([MEAN_ANCHORS[name] for name in names])
    proper, mirrored = fit_both_ways(mine, mean)
    if min(proper, mirrored) > NO_FACE_SHARE * _radius(mean):
        raise EvaluationError(
            f"{landmarks.source}: the {len(landmarks)} landmarks do not lie like those of a face; check "
            "their order against docs/evaluation.md"
        )
    check_handedness(mine, mean, landmarks.source)


def fit_both_ways(points: Float64, others: Float64) -> tuple[float, float]:
    """Root mean square distance (units of `others`) after the best similarity, and after a mirrored one."""
    a, b = (np.asarray(x, np.float64) for x in (points, others))
    if a.shape[1] == 2:
        return _fit_plane(a, b), _fit_plane(a * [-1, 1], b)
    flipped = a * [-1, 1, 1]
    return _rms(procrustes(a, b).apply(a) - b), _rms(procrustes(flipped, b).apply(flipped) - b)


def _fit_plane(a: Float64, b: Float64) -> float:
    p, q = ((x - x.mean(axis=0)) @ [1, 1j] for x in (a, b))
    factor = np.vdot(p, q) / max(float(np.vdot(p, p).real), 1e-30)
    return float(np.sqrt(np.mean(np.abs(factor * p - q) ** 2)))


def check_surface(mesh: Mesh, source: str) -> list[str]:
    """EvaluationError for a mesh without triangles; a warning for one with edges of more than two triangles.

    Such edges (folds, doubled sheets) are kept: a distance to the nearest triangle is defined on any set of
    triangles.
    """
    if not len(mesh.triangles):
        raise EvaluationError(
            f"{source}: points without triangles; distances need a surface, export faces too"
        )
    edges = non_manifold_edges(mesh.triangles)
    if edges:
        noun = "edge belongs" if edges == 1 else "edges belong"
        return [f"{source}: not a manifold: {edges} {noun} to more than two triangles; measured as it is"]
    return []


def _radius(points: Float64) -> float:
    return _rms(points - points.mean(axis=0))


def _rms(offsets: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.sum(np.square(offsets), axis=1))))
