"""Joints of a head: neck, head, jaw and eyes, with smooth weights, for engines that turn them.

All joints are unturned at rest: x to the face's left, y up, z forward. The neck is the root.
"""

from __future__ import annotations

import numpy as np

from facerelief.geometry.adjacency import open_edges
from facerelief.io.glb import Joint, Skeleton
from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool, Float32, Float64

_LEAST_MM = 4.0
"""Displacement by the jaw's turn below which weights of the jaw fall to 0."""


def head_skeleton(model: FaceModel, neutral: Float32, jaw_open: Float32 | None = None) -> Skeleton:
    """Joints and weights of a head.

    The neck stands in the middle of the lower rim, the head at the height of the ears' lobes. The jaw stands
    on the axis about which `jawOpen` turns the lower teeth; vertices follow it as far as that blendshape
    moves them along the turn. The eyes stand in the centres of spheres fitted to the eyeballs. What a model
    does not name gets joints at plausible places, without weights.

    Args:
        model: Face model with regions.
        neutral: (N, 3) shape without expression, model space, mm.
        jaw_open: (N, 3) displacement of `jawOpen` at weight 1 on this shape, mm; the model's unless given.

    Returns:
        Joints neck, head, jaw, leftEye, rightEye, and weights (N, 5).
    """
    shape = neutral.astype(np.float64)
    if jaw_open is None and "jawOpen" in model.expression_names:
        jaw_open = model.expression[:, :, model.expression_names.index("jawOpen")]
    low, high = shape.min(axis=0), shape.max(axis=0)
    middle = (low + high) / 2
    rim = _rim(model, shape)
    neck = np.array([0.0, *shape[rim].mean(axis=0)[1:]]) if rim.any() else middle * [0, 1, 1] + [0, low[1], 0]
    ears = model.region("ears")
    if ears.any():
        head = np.array([0.0, shape[ears, 1].min(), shape[ears, 2].mean()])
    else:
        head = np.array([0.0, 0.7 * low[1] + 0.3 * high[1], middle[2]])
    jaw, jaw_share = _jaw(model, shape, jaw_open, head)
    weights = np.zeros((len(shape), 5))
    held = _head_share(model, shape, rim)
    weights[:, 0] = 1 - held
    weights[:, 1] = held * (1 - jaw_share)
    weights[:, 2] = held * jaw_share
    joints = [Joint("neck", _place(neck)), Joint("head", _place(head), 0), Joint("jaw", _place(jaw), 1)]
    for k, (name, side) in enumerate((("leftEye", 1.0), ("rightEye", -1.0)), 3):
        ball = model.eyeballs & (model.mean[:, 0] * side > 0)
        centre = _centre(shape[ball]) if ball.sum() >= 4 else head + [31.0 * side, 60.0, 80.0]
        joints.append(Joint(name, _place(centre), 1))
        weights[ball] = 0
        weights[ball, k] = 1
    return Skeleton(joints, weights.astype(np.float32))


def _rim(model: FaceModel, shape: Float64) -> Bool:
    """(N,) vertices of the neck's lower rim: its open edge, or else its lowest part."""
    neck = model.region("neck")
    rim = np.zeros(len(shape), bool)
    if neck.any():
        edge = np.zeros(len(shape), bool)
        edge[open_edges(model.triangles).ravel()] = True
        low = float(shape[neck, 1].min())
        rim = neck & edge if (neck & edge).any() else neck & (shape[:, 1] < low + 6)
    return rim


def _head_share(model: FaceModel, shape: Float64, rim: Bool) -> Float64:
    """(N,) 1 on the head, falling smoothly over the neck to 0 at its rim."""
    share = np.ones(len(shape))
    inner = model.region("mouth", "teeth", "gums", "tongue")
    neck = model.region("neck") & ~model.face_vertices & ~inner
    beside = np.zeros(len(shape), bool)
    touched = model.triangles[neck[model.triangles].any(axis=1)]
    beside[touched] = True
    beside &= ~neck & ~inner
    if not (rim.any() and beside.any()):
        return share
    down, up = (_nearest(shape[neck], shape[ends]) for ends in (rim, beside))
    at = down / np.maximum(down + up, 1e-9)
    share[neck] = at * at * (3 - 2 * at)
    return share


def _nearest(points: Float64, others: Float64) -> Float64:
    """(P,) distance of each point (P, 3) to the nearest of others (Q, 3)."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ others.T + (others**2).sum(axis=1)
    return np.sqrt(np.maximum(squared.min(axis=1), 0))


def _jaw(model: FaceModel, shape: Float64, moved: Float32 | None, head: Float64) -> tuple[Float64, Float64]:
    """The jaw's axis (3,), and how far each vertex (N,) follows it."""
    none = head + [0.0, 18.0, 17.0], np.zeros(len(shape))
    if moved is None or not np.any(moved):
        return none
    way = moved.astype(np.float64)
    length = np.linalg.norm(way, axis=1)
    teeth = model.region("teeth")
    rigid = teeth & (length > 0.5 * length[teeth].max()) if teeth.any() else length > 0.8 * length.max()
    if rigid.sum() < 3:
        return none
    before, after = shape[rigid], shape[rigid] + way[rigid]
    b, a = before.mean(axis=0), after.mean(axis=0)
    # rotation about x that brings one onto the other
    p, q = (before - b)[:, 1:], (after - a)[:, 1:]
    angle = float(np.arctan2((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum(), (p * q).sum()))
    if not 0.05 < angle < 1.0:
        return none
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axis = np.linalg.solve(np.eye(2) - turn, a[1:] - turn @ b[1:])
    around = (shape[:, 1:] - axis) @ (turn - np.eye(2)).T
    squared = (around**2).sum(axis=1)
    share = (around * way[:, 1:]).sum(axis=1) / (squared + _LEAST_MM**2 * np.exp(-squared / _LEAST_MM**2))
    share = np.where(rigid, 1.0, np.clip(share, 0, 1))
    return np.array([0.0, *axis]), share * (share > 0.02)


def _centre(points: Float64) -> Float64:
    """(3,) centre of the sphere fitted to points (P, 3)."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    return np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0][:3]


def _place(point: Float64) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 4) for value in point)
    return x, y, z
