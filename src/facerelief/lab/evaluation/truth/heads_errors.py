"""Distances of the evaluated model's shapes from a true head (docs/truth.md).

Tested by tests/lab/evaluation/truth/test_heads.py.
"""

from __future__ import annotations

import numpy as np

from facerelief.geometry.alignment import procrustes, rigid_icp
from facerelief.geometry.closest import ClosestPoint
from facerelief.lab.evaluation.truth.heads_draw import HeadCase
from facerelief.lab.evaluation.truth.heads_match import Heads, off_brows, skin_triangles
from facerelief.typed import Float

MEASURES = ("mean_mm", "rigid_mm", "match_mm")


def head_errors(heads: Heads, case: HeadCase, vertices: Float) -> dict[str, float]:
    """Errors in mm of a found shape: vertices (n, 3) of the evaluated model, in any pose, unit and place.

    All are means over the same points of the true face, evenly spread over the whole of it, seen or not
    (`Heads.points`):

    mean_mm   distance from the true point to the nearest point of the found skin, after the similarity that
              the landmarks off the brows give, refined by ICP with scale over all these points
    rigid_mm  the same with a rigid motion in place of the similarity: size counts
    match_mm  distance between corresponding points, those that both mean skins have, after the similarity
              that brings these closest

    The first two are invariant to a motion of the found shape, mean_mm and match_mm to its size. Raises
    ValueError for shapes that are not finite or have another number of vertices.
    """
    own = np.asarray(vertices, np.float64)
    if own.shape != heads.ours.mean.shape or not np.isfinite(own).all():
        raise ValueError(f"vertices have shape {own.shape}, expected finite {heads.ours.mean.shape}")
    truth = case.vertices[heads.points]
    marks, true_marks = off_brows(heads.ours.landmarks["ibug68"].of(own)), off_brows(case.marks)
    surface = ClosestPoint(own, skin_triangles(heads.ours))
    out: dict[str, float] = {}
    for name, scaled in (("mean_mm", True), ("rigid_mm", False)):
        # the true points are moved, so that the search tree of the found surface serves every round
        start = procrustes(true_marks, marks, with_scale=scaled)
        found = rigid_icp(truth, surface, initial=start, with_scale=scaled, ignore_border=False)
        out[name] = float(found.distance.mean()) / found.transform.scale
    points = heads.matched_points
    own_points, partners = heads.match.carried(own)[points], case.vertices[points]
    moved = procrustes(own_points, partners).apply(own_points)
    out["match_mm"] = float(np.linalg.norm(moved - partners, axis=1).mean())
    return out


def nearest_shape(heads: Heads, case: HeadCase, spread_mm: float = 0.3, rounds: int = 4) -> Float:
    """(n, 3) the evaluated model brought near to the true face by its coefficients: what it can show at all.

    Least squares over corresponding points (`Heads.matched_points`) after the best similarity; identity with
    the model's statistics as prior and points that are right to `spread_mm` mm, a hundredth of them counting
    as independent, expression within its bounds.
    """
    ours, k = heads.ours, heads.ours.n_identity
    found = _nearest(heads, case.vertices, ours.n_expression, spread_mm, rounds)
    return ours.shape(found[:k], found[k:])


def nearest_identity(heads: Heads, neutral: Float, spread_mm: float = 0.3, rounds: int = 4) -> Float:
    """(K,) identity of the evaluated model nearest to a true neutral head (N, 3), as `nearest_shape`."""
    return _nearest(heads, neutral, 0, spread_mm, rounds)


def _nearest(heads: Heads, vertices: Float, units: int, spread_mm: float, rounds: int) -> Float:
    """(K + units,) identity and the first expression units nearest to a true head's vertices (N, 3)."""
    from scipy.optimize import lsq_linear

    ours, points = heads.ours, heads.matched_points
    truth = vertices[points]
    corners, weights = heads.match.corners[points], heads.match.weights[points]
    bases = [
        (x[corners] * weights[:, :, None, None]).sum(axis=1)
        for x in (ours.identity, ours.expression[:, :, :units])
    ]
    basis = np.concatenate(bases, axis=2).astype(np.float64)
    rest = heads.match.carried(ours.mean.astype(np.float64))[points]
    k, low, high = ours.n_identity, *ours.expression_bounds
    size = basis.shape[2]
    least, most = (
        np.repeat([x, y, z], [k, size - k, 7]) for x, y, z in ((-4, low, -np.inf), (4, high, np.inf))
    )
    prior = np.repeat([100 * spread_mm**2, 400 * spread_mm**2, 1e-6], [k, size - k, 7])
    found = np.zeros(size)
    for _ in range(rounds):
        # what is left of the similarity is found along with the coefficients, linearised
        wanted = procrustes(truth, rest + basis @ found).apply(truth)
        centred = wanted - wanted.mean(axis=0)
        turns = [np.cross(axis, centred) for axis in np.eye(3)]
        shifts = [np.broadcast_to(axis, centred.shape) for axis in np.eye(3)]
        motion = np.stack([centred, *turns, *shifts], axis=2)
        rows = np.concatenate([basis, motion], axis=2).reshape(-1, size + 7)
        root = np.linalg.cholesky(rows.T @ rows + np.diag(prior))
        pull = np.linalg.solve(root, rows.T @ (wanted - rest).reshape(-1))
        found = lsq_linear(root.T, pull, (least, most)).x[:size]
    return found
