"""Aligning point sets: similarity transforms, weak-perspective pose, and surface registration (ICP)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.adjacency import open_edges
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.closest import ClosestPoint, Nearest
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.rotation import nearest_rotation
from facerelief.typed import Float, Float64


@dataclass(frozen=True, eq=False)
class Similarity:
    """The map p -> scale rotation p + translation: proper rotation (3, 3), translation (3,) in mm."""

    scale: float
    rotation: Float64
    translation: Float64

    @classmethod
    def identity(cls) -> Similarity:
        """The map that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    def apply(self, points: ArrayLike) -> Float:
        """(..., 3) points in the source frame -> (..., 3) in the target frame; float32 stays float32."""
        p = np.asarray(points)
        moved = self.scale * (p.astype(np.float64) @ self.rotation.T) + self.translation
        return moved.astype(p.dtype) if np.issubdtype(p.dtype, np.floating) else moved

    def inverse(self) -> Similarity:
        """The map back."""
        rotation = self.rotation.T.copy()
        return Similarity(1.0 / self.scale, rotation, -(rotation @ self.translation) / self.scale)

    def after(self, first: Similarity) -> Similarity:
        """The map that applies `first`, then this one."""
        return Similarity(
            self.scale * first.scale,
            nearest_rotation(self.rotation @ first.rotation),
            self.scale * (self.rotation @ first.translation) + self.translation,
        )

    @property
    def matrix(self) -> Float64:
        """(4, 4) homogeneous matrix."""
        out = np.eye(4)
        out[:3, :3] = self.scale * self.rotation
        out[:3, 3] = self.translation
        return out


def procrustes(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, with_scale: bool = True
) -> Similarity:
    """Least-squares similarity or rigid motion from source to target points (Umeyama 1991; Kabsch 1976).

    Never a reflection: mirrored sets get the best proper rotation.

    Args:
        source: (N, 3) in any units, N >= 3, not all on a line (else the rotation about it is arbitrary).
        target: (N, 3) their partners.
        weights: (N,) non-negative factors of the squared distances.
        with_scale: Similarity (Umeyama) rather than rigid motion (Kabsch).

    Raises:
        ValueError: Shapes do not match, numbers are not finite, or weights have no positive sum.
    """
    a, b = _points(source, "source", 3), _points(target, "target", 3)
    if a.shape != b.shape:
        raise ValueError(f"source has shape {a.shape}, target {b.shape}; they must match point for point")
    w = _weights(weights, len(a))
    mean_a, mean_b = w @ a, w @ b
    ca, cb = a - mean_a, b - mean_b
    u, singular, vt = np.linalg.svd((cb * w[:, None]).T @ ca)
    signs = np.array([1.0, 1.0, 1.0 if np.linalg.det(u @ vt) > 0 else -1.0])
    rotation = (u * signs) @ vt
    spread = float(w @ (ca * ca).sum(axis=1))
    scale = float(singular @ signs) / spread if with_scale and spread > 0 else 1.0
    return Similarity(scale, rotation, mean_b - scale * (rotation @ mean_a))


def solve_weak_perspective(
    points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None, *, refine: int = 10
) -> WeakPerspective:
    """Least-squares weak-perspective pose that projects `points` onto `image_points`.

    Closed form first (affine least squares, nearest scaled rotation), then Gauss-Newton on the reprojection
    error itself: exact on noiseless data, the least-squares optimum otherwise. Points in one plane have two
    poses that look alike (the plane leans toward or away); the better-fitting is taken, and of two that fit
    alike the one nearer to frontal.

    Args:
        points: (N, 3) model space, mm; N >= 3, not on a line.
        image_points: (N, 2) px, y down.
        weights: (N,) non-negative factors of the squared residuals.
        refine: Most Gauss-Newton steps.

    Raises:
        ValueError: Shapes do not match, numbers are not finite, or points lie on a line.
    """
    p, q = _points(points, "points", 3), _points(image_points, "image_points", 2)
    if len(p) != len(q):
        raise ValueError(f"{len(p)} points but {len(q)} image points; they must match point for point")
    w = _weights(weights, len(p))
    mean_p, mean_q = w @ p, w @ q
    cp = p - mean_p
    cq = (q - mean_q) * np.array([1.0, -1.0])  # y up
    root = np.sqrt(w)[:, None]
    _, spread, axes = np.linalg.svd(root * cp, full_matrices=False)
    if len(spread) < 3 or spread[1] <= 1e-6 * spread[0] or not spread[0] > 0:
        raise ValueError("points for a pose must not lie on one line; give at least three that span a plane")
    flat = spread[2] <= 0.02 * spread[0]
    starts = _flat_poses(cp, cq, w, axes) if flat else [_affine_pose(cp, cq, root)]
    best = min((_refine_pose(cp, cq, w, r, s, refine) for r, s in starts), key=lambda found: found[2])
    if flat:  # of two that fit alike, the more frontal
        limit = best[2] * (1 + 1e-6) + 1e-12 * float(w @ (cq * cq).sum(axis=1))
        alike = [f for f in (_refine_pose(cp, cq, w, r, s, refine) for r, s in starts) if f[2] <= limit]
        best = max(alike, key=lambda found: float(np.trace(found[0])))
    rotation, scale, _ = best
    moved = scale * (rotation[:2] @ mean_p)
    return WeakPerspective.from_matrix(rotation, (mean_q[0] - moved[0], mean_q[1] + moved[1]), scale)


def _affine_pose(cp: Float64, cq: Float64, root: Float64) -> tuple[Float64, float]:
    """Rotation and scale nearest to the affine map (2, 3) from centred points to centred image points."""
    affine: Float64 = np.linalg.lstsq(root * cp, root * cq, rcond=None)[0].T.astype(np.float64)
    return _complete(affine)


def _complete(affine: Float64) -> tuple[Float64, float]:
    """Nearest (rotation, scale) to a (2, 3) matrix that should be the two first rows of scale * rotation."""
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    scale = float(singular.mean())
    return np.vstack([rows, np.cross(rows[0], rows[1])]), max(scale, 1e-12)


def _flat_poses(cp: Float64, cq: Float64, w: Float64, axes: Float64) -> list[tuple[Float64, float]]:
    """The two poses of a planar set: B (2, 2) gets the third column c that makes B B^T + c c^T round."""
    plane = cp @ axes[:2].T
    root = np.sqrt(w)[:, None]
    b = np.linalg.lstsq(root * plane, root * cq, rcond=None)[0].T
    values, vectors = np.linalg.eigh(b @ b.T)
    column = np.sqrt(max(values[1] - values[0], 0.0)) * vectors[:, 0]
    return [_complete(np.column_stack([b, sign * column]) @ axes) for sign in (1.0, -1.0)]


def _refine_pose(
    cp: Float64, cq: Float64, w: Float64, rotation: Float64, scale: float, steps: int
) -> tuple[Float64, float, float]:
    """Gauss-Newton on rotation vector and log scale of centred points; (rotation, scale, squared residual).

    With weighted means removed from both sets the best translation is zero at every step, so it drops out.
    """
    error = _pose_error(cp, cq, w, rotation, scale)
    for _ in range(steps):
        x, y, z = (cp @ rotation.T).T
        residual = cq - scale * np.column_stack([x, y])
        zero = np.zeros_like(x)
        # d(x, y) for a small left rotation (a, b, c): x += b z - c y, y += c x - a z
        jx = scale * np.column_stack([zero, z, -y, x])
        jy = scale * np.column_stack([-z, zero, x, y])
        hessian = (jx * w[:, None]).T @ jx + (jy * w[:, None]).T @ jy
        gradient = jx.T @ (w * residual[:, 0]) + jy.T @ (w * residual[:, 1])
        hessian[np.diag_indices(4)] += 1e-12 * np.trace(hessian)
        step = np.linalg.solve(hessian, gradient)
        turned = nearest_rotation(rotation_from_vector(step[:3]) @ rotation)
        sized = scale * float(np.exp(np.clip(step[3], -1.0, 1.0)))
        found = _pose_error(cp, cq, w, turned, sized)
        if not found < error:
            break
        converged = error - found <= 1e-15 * error and bool(np.abs(step).max() < 1e-9)
        rotation, scale, error = turned, sized, found
        if converged:
            break
    return rotation, scale, error


def _pose_error(cp: Float64, cq: Float64, w: Float64, rotation: Float64, scale: float) -> float:
    residual = cq - scale * (cp @ rotation[:2].T)
    return float(w @ (residual * residual).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Registration:
    """Result of `rigid_icp`: `transform` brings the source onto the target."""

    transform: Similarity
    distance: Float64
    """(N,) distance of each moved source point to the target's surface, target units (mm)."""
    used: NDArray[np.bool_]
    """(N,) points that took part in the last step (not trimmed, not at the target's border)."""
    rms: float
    """Root mean square distance of the used points."""
    iterations: int


def rigid_icp(
    source_points: ArrayLike,
    target: Mesh | ClosestPoint,
    *,
    initial: Similarity | None = None,
    with_scale: bool = False,
    trim: float = 0.0,
    ignore_border: bool = True,
    max_distance: float = math.inf,
    iterations: int = 60,
    tolerance: float = 1e-5,
) -> Registration:
    """Rigid (or similarity) registration of points to a surface by iterated closest points.

    Each round takes one point-to-plane step (Chen & Medioni 1991) or, where that would not bring the points
    nearer, a point-to-point step (Besl & McKay 1992). It converges to the nearest
    local optimum; with scale the start must be close.

    Args:
        source_points: (N, 3) mm.
        target: Mesh or prepared `ClosestPoint`, mm.
        initial: Motion that brings the source near, for instance from landmarks.
        with_scale: Similarity rather than rigid motion.
        trim: Fraction of farthest points that each round drops.
        ignore_border: Drop points whose nearest point lies on the open edge of the target.
        max_distance: Drop points farther than this, mm.
        iterations: Most rounds.
        tolerance: End when the rms changes by less than this, mm.

    Raises:
        ValueError: Bad shapes, or fewer than six points are left.
    """
    points = _points(source_points, "source_points", 3)
    surface = target if isinstance(target, ClosestPoint) else ClosestPoint(target.vertices, target.triangles)
    border = np.zeros(len(surface.vertices), np.bool_)
    if ignore_border:
        border[open_edges(surface.triangles)] = True
    transform = initial or Similarity.identity()

    def match(moved: Float64) -> tuple[Nearest, NDArray[np.bool_], float]:
        nearest = surface.query(moved)
        use = nearest.distance <= max_distance
        if ignore_border:
            corner = border[surface.triangles[nearest.triangle]] | (nearest.barycentric < 1e-9)
            use &= ~corner.all(axis=1)
        if trim > 0 and use.any():
            use &= nearest.distance <= np.quantile(nearest.distance[use], 1.0 - trim)
        if use.sum() < 6:
            raise ValueError(
                f"only {use.sum()} of {len(points)} points are near the surface: "
                "start from a better `initial`, or raise max_distance"
            )
        return nearest, use, float(np.sqrt(np.mean(nearest.distance[use] ** 2)))

    moved = transform.apply(points).astype(np.float64)
    nearest, use, rms = match(moved)
    done = 0
    for done in range(1, iterations + 1):  # noqa: B007
        normals = _plane_normals(surface, moved, nearest)[use]
        step = point_to_plane_step(moved[use], nearest.point[use], normals, with_scale=with_scale)
        trial = step.apply(moved).astype(np.float64)
        found = match(trial)
        if not found[2] < rms:
            step = procrustes(moved[use], nearest.point[use], with_scale=with_scale)
            trial = step.apply(moved).astype(np.float64)
            found = match(trial)
        change = rms - found[2]
        if change <= 0:
            break
        transform, moved = step.after(transform), trial
        nearest, use, rms = found
        if change < tolerance:
            break
    return Registration(transform, nearest.distance, use, rms, done)


def _plane_normals(surface: ClosestPoint, moved: Float64, nearest: Nearest) -> Float64:
    """Directions of the residuals: surface to point, or the triangle's normal where the point lies on it."""
    offset = moved - nearest.point
    corners = surface.vertices[surface.triangles[nearest.triangle]]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    far = nearest.distance[:, None] > 1e-6 * np.sqrt(length)
    direction = np.where(far, offset, flat)
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    return direction / np.where(length > 0, length, 1.0)


def point_to_plane_step(
    points: Float64, targets: Float64, normals: Float64, *, with_scale: bool
) -> Similarity:
    """Small motion that lowers the sum of squares of n . (p - q) (Chen & Medioni 1991).

    Linearised about the points' centre; the scale stays within exp(0.2).

    Args:
        points: (N, 3) p, the points that move.
        targets: (N, 3) q, points of the planes.
        normals: (N, 3) n, unit normals of the planes.
        with_scale: Similarity rather than rigid motion.
    """
    center = points.mean(axis=0)
    p = points - center
    jacobian: Float64 = np.empty((len(p), 7 if with_scale else 6))
    jacobian[:, :3] = np.cross(p, normals)
    jacobian[:, 3:6] = normals
    if with_scale:
        jacobian[:, 6] = (p * normals).sum(axis=1)
    residual: Float64 = ((targets - points) * normals).sum(axis=1)
    hessian: Float64 = jacobian.T @ jacobian
    hessian[np.diag_indices(len(hessian))] += 1e-9 * np.diag(hessian) + 1e-12
    x = np.linalg.solve(hessian, jacobian.T @ residual)
    rotation = rotation_from_vector(x[:3])
    scale = math.exp(float(np.clip(x[6], -0.2, 0.2))) if with_scale else 1.0
    return Similarity(scale, rotation, center + x[3:6] - scale * (rotation @ center))


def rotation_from_vector(vector: ArrayLike) -> Float64:
    """(3, 3) rotation about the axis `vector` (3,) by its length in radians (Rodrigues)."""
    v = np.asarray(vector, dtype=np.float64).reshape(3)
    angle = float(np.linalg.norm(v))
    x, y, z = v
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-8:
        return np.eye(3) + skew + 0.5 * (skew @ skew)
    return np.eye(3) + np.sin(angle) / angle * skew + (1 - np.cos(angle)) / angle**2 * (skew @ skew)


def _points(array: ArrayLike, name: str, columns: int) -> Float64:
    out = np.asarray(array, dtype=np.float64)
    if out.ndim != 2 or out.shape[1] != columns or len(out) < 3:
        raise ValueError(f"{name} has shape {out.shape}, expected (N, {columns}) with N >= 3")
    if not np.isfinite(out).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return out


def _weights(weights: ArrayLike | None, count: int) -> Float64:
    """(count,) non-negative weights that sum to 1."""
    if weights is None:
        return np.full(count, 1.0 / count)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (count,):
        raise ValueError(f"weights have shape {w.shape}, expected ({count},)")
    total = float(w.sum())
    if not (np.isfinite(total) and total > 0 and bool((w >= 0).all())):
        raise ValueError("weights must be finite and non-negative with a positive sum")
    return w / total
