"""Labels as the networks learn them: poses, and labels of mirrored images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Float32


@dataclass(frozen=True)
class Mirror:
    """Change of the labels when an image is flipped left to right."""

    identity: Float32
    """(K,) signs."""
    expression: NDArray[np.intp]
    """(E,) index of the weight that takes this one's place."""


def mirror_of(model: FaceModel, most_mm: float = 0.1) -> Mirror | None:
    """The model's mirror, or None where it has none.

    Each identity component must be symmetric or antisymmetric, and each expression must have a mirror image
    among the expressions, both to within `most_mm` in the mean over the face, for one standard deviation or
    full weight. The open model's identity is exact; its expressions differ by up to 0.06 mm.
    """
    if model.symmetry is None or model.expression_kind != "blendshape":
        return None
    face = model.face_vertices
    flip = np.array([-1, 1, 1], np.float32)[None, :, None]
    own, moved = model.identity[face], model.expression[face]
    own_flipped = (model.identity[model.symmetry] * flip)[face]
    moved_flipped = (model.expression[model.symmetry] * flip)[face]
    signs = np.sign((own * own_flipped).sum(axis=(0, 1)))
    names = list(model.expression_names)
    sides = {name: _other_side(name) for name in names}
    if any(other not in names for other in sides.values()):
        return None
    places = np.array([names.index(sides[name]) for name in names])
    worst = max(
        float(np.linalg.norm(own_flipped - own * signs, axis=1).mean(axis=0).max()),
        float(np.linalg.norm(moved_flipped - moved[:, :, places], axis=1).mean(axis=0).max()),
    )
    return Mirror(signs.astype(np.float32), places) if worst <= most_mm else None


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def mirrored_pose(pose: Float32, size: int) -> Float32:
    """The pose (6,) in a flipped image `size` px wide."""
    pitch, yaw, roll, u, v, s = pose
    return np.array([pitch, -yaw, -roll, size - u, v, s], pose.dtype)


def pose_of(camera: WeakPerspective) -> Float32:
    """(6,) pitch, yaw, roll in radians; t_u, t_v in px; logarithm of the scale in px/mm."""
    vector = camera.vector
    vector[2] = (vector[2] + math.pi) % (2 * math.pi) - math.pi
    vector[5] = math.log(vector[5])
    return vector.astype(np.float32)


def camera_of(pose: Float) -> WeakPerspective:
    """Inverse of `pose_of`."""
    return WeakPerspective.from_vector([*pose[:5], math.exp(float(pose[5]))])
