"""Measured regions of scans. All masks (N,) bool; all lengths in the units of the points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.mesh import Mesh
from facerelief.lab.evaluation.protocols.files.landmark_files import Landmarks
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.typed import Bool, Float64

NOW_FACTOR = 1.4
"""NoW; the FG2018 challenge on Stirling's scans had 1.2."""
NOSE_RADIUS_MM = 95.0
TIP_SEARCH_MM = 30.0
"""Distance from the nose's bottom within which its tip is searched."""
LEAST_POINTS = 30


@dataclass(frozen=True, eq=False)
class FaceFrame:
    """Axes of a face, from its landmarks: origin between the eyes, unit vectors (3,)."""

    origin: Float64
    left: Float64
    """To the person's left."""
    up: Float64
    front: Float64

    @classmethod
    def of(cls, landmarks: Landmarks) -> FaceFrame:
        """From the eyes and the corners of the mouth."""
        a = landmarks.anchors
        eyes = (a["right_eye"] + a["left_eye"]) / 2
        left = _unit(a["left_eye"] - a["right_eye"])
        up = eyes - (a["mouth_right"] + a["mouth_left"]) / 2
        up = _unit(up - (up @ left) * left)
        return cls(eyes, left, up, np.cross(left, up))


def in_sphere(points: NDArray[np.floating], center: Float64, radius: float) -> Bool:
    """Points (N, 3) at most `radius` from `center` (3,)."""
    return np.sum(np.square(points - center), axis=1) <= radius * radius


def now_sphere(seven: Float64, factor: float = NOW_FACTOR) -> tuple[Float64, float]:
    """Centre (3,) and radius of NoW's crop from its 7 landmarks (7, 3).

    With b the mean of the inner corners of the eyes and n the bottom of the nose: centre n + 0.3 (b - n),
    radius `factor` (|outer corners| + |b - n|) / 2.
    """
    bridge = (seven[1] + seven[2]) / 2
    bottom = seven[4]
    width = float(np.linalg.norm(seven[0] - seven[3]))
    height = float(np.linalg.norm(bridge - bottom))
    return bottom + 0.3 * (bridge - bottom), factor * (width + height) / 2


def now_crop(points: NDArray[np.floating], seven: Float64, factor: float = NOW_FACTOR) -> Bool:
    """Points (N, 3) inside `now_sphere`."""
    return in_sphere(points, *now_sphere(seven, factor))


def nose_tip(mesh: Mesh, landmarks: Landmarks) -> Float64:
    """(3,) the tip among the landmarks, or where they have none the foremost vertex near the nose's bottom.

    Foremost is along the front axis of `FaceFrame`, near is within 30 mm and 15 mm of the midline: for scans
    in mm.
    """
    if "nose_tip" in landmarks.anchors:
        return landmarks.anchors["nose_tip"]
    frame = FaceFrame.of(landmarks)
    v = mesh.vertices.astype(np.float64)
    offset = v - landmarks.anchors["nose_bottom"]
    near = (np.linalg.norm(offset, axis=1) <= TIP_SEARCH_MM) & (
        np.abs((v - frame.origin) @ frame.left) <= 15.0
    )
    if not near.any():
        raise EvaluationError(
            f"{landmarks.source}: no surface near the bottom of the nose; check the landmarks"
        )
    ids = np.flatnonzero(near)
    return v[ids[(v[ids] @ frame.front).argmax()]]


def nose_crop(points: NDArray[np.floating], tip: Float64, radius: float = NOSE_RADIUS_MM) -> Bool:
    """Points (N, 3) at most `radius` mm from the nose tip (3,)."""
    return in_sphere(points, tip, radius)


def below_forehead(points: NDArray[np.floating], landmarks: Landmarks, above_eyes: float) -> Bool:
    """Points (N, 3) at most `above_eyes` mm above the line between the eyes, along the face's up axis."""
    frame = FaceFrame.of(landmarks)
    return (points - frame.origin) @ frame.up <= above_eyes


def cropped(points: NDArray[np.floating], mask: Bool, source: str) -> Float64:
    """(M, 3) the points of a mask; EvaluationError where so few are left that landmarks must be elsewhere."""
    if mask.sum() < LEAST_POINTS:
        raise EvaluationError(
            f"{source}: only {mask.sum()} of {len(mask)} scan vertices lie in the measured region; do the "
            "landmarks belong to this scan, in the same units?"
        )
    return points[mask].astype(np.float64)


def _unit(vector: Float64) -> Float64:
    return vector / max(float(np.linalg.norm(vector)), 1e-30)
