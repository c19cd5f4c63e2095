"""The jaw's visible outline: landmarks 6 to 10 of the 68 where the face ends in the image.

People and the 68-point scheme mark the jaw where it turns out of sight under the present pose; a fixed vertex
lies there in one pose alone. Each landmark's row runs over the skin across the jaw, from the cheek or chin to
the underside; the outline is where the row, followed outward, first stops going outward in the image.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Float32, Float64

JAW = tuple(range(6, 11))
"""Landmarks of the 68 that follow the outline; those nearer the ears lie well as they are."""
REACH_MM = 26.0
"""Length of a row to either side of its landmark."""
TURN = 0.4
"""Outward way in the image over the way along the row at which the jaw ends. 0 is the silhouette; people put
the outline a little before it, where skin is seen very flat. Chosen on half of 43 annotated portraits."""
STEP_MM = 0.5
"""Spacing of the points tried along a row."""
OFF_MIDLINE_MM = 0.01
"""Shift of the planes, so that none contains vertices of a symmetric mesh."""
WINDOW = 4
"""Steps over which the way outward is measured."""


def visible_landmarks(model: FaceModel, vertices: Float, camera: WeakPerspective) -> Float32:
    """The 68 landmarks with the jaw's on the visible outline.

    Args:
        model: Face model with the landmarks `ibug68`.
        vertices: (N, 3) shape with expression, model space, mm.
        camera: Pose.

    Returns:
        (68, 3) model space, mm.
    """
    shape = np.asarray(vertices, np.float64)
    points = model.landmarks["ibug68"].of(shape).astype(np.float32)
    # image axes in mm, v up: sizes and distances do not depend on the photo's resolution
    flat = camera.to_camera(points)[:, :2].astype(np.float64)
    tangent = flat[[k + 1 for k in JAW]] - flat[[k - 1 for k in JAW]]
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    outward *= np.sign((outward * (flat[list(JAW)] - flat[27:36].mean(axis=0))).sum(axis=1, keepdims=True))
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    paths = [
        _resampled(row.of(shape)) if len(row.edges) > 1 else points[k][None]
        for k, row in zip(JAW, _rows(model))
    ]
    own = np.array([np.linalg.norm(path - points[k], axis=1).argmin() for k, path in zip(JAW, paths)])
    found = [_turning(camera.to_camera(path)[:, :2] @ way) for path, way in zip(paths, outward)]
    # one row may meet the outline where its neighbours do not: the jaw has no kinks
    moved = np.array(found) - own
    moved = np.convolve(np.r_[0.5 * moved[0], moved, 0.5 * moved[-1]], (0.25, 0.5, 0.25), "valid")
    for landmark, path, step in zip(JAW, paths, np.rint(own + moved).astype(int)):
        points[landmark] = path[np.clip(step, 0, len(path) - 1)]
    return points


def _resampled(path: Float64) -> Float64:
    """Points every `STEP_MM` along a polyline (n, 3)."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    places = np.arange(0.0, arc[-1] + 1e-9, STEP_MM)
    return np.stack([np.interp(places, arc, path[:, axis]) for axis in range(3)], axis=1)


def _turning(height: Float64) -> int:
    """First index at which the path rises by less than `TURN` of its length; the highest, if none."""
    rise = (height[WINDOW:] - height[:-WINDOW]) / (WINDOW * STEP_MM)
    slow = np.flatnonzero(rise < TURN)
    return int(slow[0]) + WINDOW // 2 if len(slow) else int(np.argmax(height))


@dataclass(frozen=True, eq=False)
class _Row:
    """A section of the skin by a plane: points on edges, in order."""

    edges: NDArray[np.int64]
    """(n, 2) vertex ids."""
    share: Float64
    """(n, 1) of the second vertex."""

    def of(self, vertices: Float64) -> Float64:
        """(n, 3) the points."""
        first, second = vertices[self.edges[:, 0]], vertices[self.edges[:, 1]]
        return first + self.share * (second - first)


@functools.lru_cache(maxsize=8)
def _rows(model: FaceModel) -> tuple[_Row, ...]:
    """For each landmark of `JAW` the section of the mean's skin across the jaw, from the face downward."""
    inner = model.region("mouth", "teeth", "gums", "tongue", "eye_sockets", "lashes") | model.eyeballs
    mean = model.mean.astype(np.float64)
    marks = model.landmarks["ibug68"].of(mean)
    triangles = model.triangles[~inner[model.triangles].any(axis=1)]
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0).astype(
        np.int64
    )
    nose = marks[27:36].mean(axis=0)
    rows: list[_Row] = []
    for k in JAW:
        across = marks[k + 1] - marks[k - 1]
        across /= max(float(np.linalg.norm(across)), 1e-9)
        distance = (mean - marks[k]) @ across + OFF_MIDLINE_MM
        near = (np.linalg.norm(mean - marks[k], axis=1) < REACH_MM)[edges].all(axis=1)
        crossing = edges[near & (distance[edges[:, 0]] * distance[edges[:, 1]] < 0)]
        share = distance[crossing[:, 0]] / (distance[crossing[:, 0]] - distance[crossing[:, 1]])
        row = _Row(crossing, share[:, None])
        # round a hub within the head: the face's side first, then outward, then the underside
        inward = nose - marks[k]
        inward -= (inward @ across) * across
        inward /= max(float(np.linalg.norm(inward)), 1e-9)
        ahead = np.cross(across, inward)
        ahead *= np.sign(ahead[2]) or 1.0
        local = row.of(mean) - (marks[k] + 10.0 * inward - 25.0 * ahead)
        order = np.argsort(np.arctan2(-(local @ inward), local @ ahead))
        rows.append(_Row(crossing[order], share[order, None]))
    return tuple(rows)
