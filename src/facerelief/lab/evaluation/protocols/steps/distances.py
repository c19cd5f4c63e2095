"""Distances between an aligned prediction and its scan. Unsigned, in the units of the scan (mm)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.adjacency import open_edges
from facerelief.geometry.alignment import Similarity
from facerelief.geometry.closest import Nearest
from facerelief.lab.evaluation.protocols.steps.alignment import Surface
from facerelief.typed import Float64


def point_to_surface(points: Float64, surface: Surface, pose: Similarity) -> Float64:
    """(N,) from scan points (N, 3) to the nearest points of the posed surface."""
    return surface.nearest(points, pose).distance


def point_to_plane(points: Float64, surface: Surface, pose: Similarity) -> Float64:
    """(N,) from scan points to the planes of the triangles they are nearest to.

    Equal to `point_to_surface` where the nearest point lies inside a triangle, smaller at edges and rims.
    """
    nearest = surface.nearest(points, pose)
    return np.abs(np.sum((points - nearest.point) * surface.normals(nearest, pose), axis=1))


def known(predicted: NDArray[np.floating], truth: NDArray[np.floating]) -> Float64:
    """(N,) between corresponding points (N, 3)."""
    return np.linalg.norm(np.asarray(predicted, np.float64) - truth, axis=1)


def on_rim(surface: Surface, nearest: Nearest) -> NDArray[np.bool_]:
    """(N,) nearest points that lie on an open edge of the surface: over a hole, or past its end.

    Where a scan has no surface a distance to its rim says nothing of the prediction.
    """
    corners = surface.tree.triangles[nearest.triangle].astype(np.int64)
    count = len(surface.tree.vertices)
    edges = open_edges(surface.tree.triangles)
    rim = np.zeros(count, np.bool_)
    rim[edges.ravel()] = True
    weightless = nearest.barycentric < 1e-9
    at_corner = weightless.sum(axis=1) >= 2
    at_edge = weightless.sum(axis=1) == 1
    heaviest = np.take_along_axis(corners, nearest.barycentric.argmax(axis=1)[:, None], axis=1)[:, 0]
    # the edge opposite the corner without weight
    apex = weightless.argmax(axis=1)
    ends = np.sort(
        np.stack([np.take_along_axis(corners, ((apex + k) % 3)[:, None], axis=1)[:, 0] for k in (1, 2)]),
        axis=0,
    )
    is_open = np.isin(ends[0] * count + ends[1], edges[:, 0] * count + edges[:, 1])
    return (at_corner & rim[heaviest]) | (at_edge & is_open)


def symmetric_mean(one: Float64, other: Float64) -> float:
    """The mean of the two directions' means, whatever their numbers of points."""
    return (float(np.mean(one)) + float(np.mean(other))) / 2
