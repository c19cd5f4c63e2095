"""Alignment of a prediction with a scan: by landmarks, then by surfaces.

Every function returns the `Similarity` that takes the prediction's frame to the scan's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facerelief.geometry.alignment import Similarity, point_to_plane_step, procrustes, rigid_icp
from facerelief.geometry.closest import ClosestPoint, Nearest
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import face_normals
from facerelief.typed import Float64


def deviation_scale(points: Float64, targets: Float64) -> Similarity:
    """Rotation by least squares, scale as REALY has it: sum |t - mean t| / sum |R (p - mean p)|, all
    coordinates.

    points, targets (K, 3). Never a reflection. The sums depend on the axes of the frame, which is the
    reference's.
    """
    rotation = procrustes(points, targets, with_scale=False).rotation
    mean_p, mean_t = points.mean(axis=0), targets.mean(axis=0)
    turned = (points - mean_p) @ rotation.T
    scale = float(np.abs(targets - mean_t).sum() / max(float(np.abs(turned).sum()), 1e-30))
    return Similarity(scale, rotation, mean_t - scale * (rotation @ mean_p))


@dataclass(frozen=True, eq=False)
class Surface:
    """A prediction's surface that can be moved without building its search tree again."""

    tree: ClosestPoint

    @classmethod
    def of(cls, mesh: Mesh) -> Surface:
        return cls(ClosestPoint(mesh.vertices.astype(np.float64), mesh.triangles))

    def nearest(self, points: Float64, pose: Similarity) -> Nearest:
        """Nearest points, in the frame of `points` (N, 3), on the surface after `pose`; distances there
        too."""
        found = self.tree.query(pose.inverse().apply(points))
        return Nearest(
            found.distance * pose.scale,
            found.triangle,
            found.barycentric,
            pose.apply(found.point).astype(np.float64),
        )

    def normals(self, nearest: Nearest, pose: Similarity) -> Float64:
        """(N, 3) unit normals of the triangles that `nearest` lies on, after `pose`."""
        flat = face_normals(self.tree.vertices, self.tree.triangles)[nearest.triangle]
        return flat.astype(np.float64) @ pose.rotation.T


def scan_to_surface(
    points: Float64,
    surface: Surface,
    initial: Similarity,
    *,
    with_scale: bool,
    iterations: int = 200,
    tolerance: float = 1e-6,
) -> Similarity:
    """The pose that makes the sum of squared distances from scan points (N, 3) to the moved surface least.

    As NoW: every point counts, also those whose nearest point is on the surface's rim, and the distance is
    measured on the scan, so that shrinking the prediction gains nothing. Without scale the scale of `initial`
    is kept. Ends when the root mean square distance changes by less than `tolerance` of the points' unit.
    """
    if not with_scale:
        start = Similarity(1.0, initial.rotation, initial.translation)
        still = ClosestPoint(surface.tree.vertices * initial.scale, surface.tree.triangles)
        found = rigid_icp(
            points,
            still,
            initial=start.inverse(),
            ignore_border=False,
            iterations=iterations,
            tolerance=tolerance,
        )
        back = found.transform.inverse()
        return Similarity(initial.scale, back.rotation, back.translation)
    pose = initial
    nearest = surface.nearest(points, pose)
    rms = _rms(nearest.distance)
    for _ in range(iterations):
        normals = _plane_normals(points, nearest, surface.normals(nearest, pose))
        step = point_to_plane_step(nearest.point, points, normals, with_scale=True)
        moved = step.after(pose)
        found = surface.nearest(points, moved)
        if not _rms(found.distance) < rms:  # point to point, where point to plane would not come nearer
            moved = procrustes(nearest.point, points).after(pose)
            found = surface.nearest(points, moved)
        better = _rms(found.distance)
        if not better < rms:
            break
        change, pose, nearest, rms = rms - better, moved, found, better
        if change < tolerance:
            break
    return pose


def similarity_icp(
    points: Float64, surface: Surface, initial: Similarity, *, tolerance: float = 1e-3, iterations: int = 500
) -> tuple[Similarity, Nearest]:
    """Point-to-point ICP whose similarity is found anew in each round, as in GANFit's public code.

    Moves *points* (N, 3) onto the surface as `initial` has put it; the mean distance is taken after each
    round and the search ends when it has fallen by less than `tolerance`. Returns the motion of the points
    and their nearest points in the frame of the target. Distances are measured where the points have moved
    to.
    """
    motion = Similarity.identity()
    nearest = surface.nearest(points, initial)
    before, now = math.inf, float(nearest.distance.mean())
    for _ in range(iterations):
        if before - now <= tolerance:
            break
        trial = procrustes(points, nearest.point)
        found = surface.nearest(trial.apply(points).astype(np.float64), initial)
        before, after = now, float(found.distance.mean())
        if after > now:  # the mean is not what least squares lowers: keep the better round
            break
        motion, nearest, now = trial, found, after
    return motion, nearest


def keypoint_icp(
    points: Float64,
    surface: Surface,
    initial: Similarity,
    keypoints: Float64,
    targets: Float64,
    repeat: int,
    *,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Similarity:
    """REALY's regional ICP: rigid, scan points (N, 3) against their nearest points, landmarks counted
    `repeat` times.

    keypoints (K, 3) lie on the surface in its own frame, targets (K, 3) on the scan. Least squares over both
    sets in each round, until the mean squared distance changes by less than `tolerance` (units of the scan
    squared).
    """
    pose, before = initial, math.inf
    weights = np.r_[np.ones(len(points)), np.full(len(keypoints), float(repeat))]
    goal = np.vstack([points, targets])
    for _ in range(iterations):
        nearest = surface.nearest(points, pose)
        mine = np.vstack([nearest.point, pose.apply(keypoints)])
        step = procrustes(mine, goal, weights, with_scale=False)
        error = float(np.average(np.sum((step.apply(mine) - goal) ** 2, axis=1), weights=weights))
        if abs(error - before) < tolerance:
            break
        pose, before = step.after(pose), error
    return pose


def _plane_normals(points: Float64, nearest: Nearest, normals: Float64) -> Float64:
    """(N, 3) unit directions from the nearest points to the points; the surface's normals where they meet."""
    offset = points - nearest.point
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    return np.where(length > 1e-6, offset / np.where(length > 0, length, 1.0), normals)


def _rms(distance: Float64) -> float:
    return float(np.sqrt(np.mean(np.square(distance))))
