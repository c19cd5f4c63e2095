"""Non-rigid registration of a small region: an affine map for each vertex, stiff along edges, softening by
steps.

After Amberg et al. 2007, in the schedule that REALY documents. All coordinates should be of REALY's size (a
unit of about 9 mm), since the stiffness weighs maps against distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.typed import Float64


@dataclass(frozen=True)
class NonRigidConfig:
    """Weights of the registration."""

    guided_stiffness: float = 150.0
    """Stiffness while landmarks alone pull."""
    stiffness: float = 50.0
    """Stiffness when the surfaces pull; falls by exp(-0.5) from step to step."""
    steps: int = 3
    """Number of steps, with a fall between two."""
    landmark_weight: float = 50.0
    """Of a landmark against a point, while landmarks alone pull; then a tenth, falling by exp(-0.9) a
    round."""
    epsilon: float = 1.0
    """A step ends when the maps change by less (Frobenius norm), halved from step to step."""
    rounds: int = 10
    """Most rounds a step."""
    least_reach: float = 1.0
    """Pairs farther apart than this and than twice the mean distance are left out."""


def deform(
    vertices: Float64,
    triangles: NDArray[np.integer],
    goals: Float64,
    landmark_ids: NDArray[np.integer] | None = None,
    landmark_goals: Float64 | None = None,
    config: NonRigidConfig | None = None,
) -> Float64:
    """(N, 3) the vertices pulled to the nearest of `goals` (M, 3), and landmark vertices (K,) to theirs (K,
    3).

    vertices (N, 3), triangles (T, 3). In each round the squares of w (X_i v_i - g_i) and of stiffness (X_i -
    X_j) along edges are made least over 3 x 4 maps X_i; the next round starts from the moved vertices.
    """
    from scipy.spatial import KDTree

    config = config or NonRigidConfig()
    tree = KDTree(goals)
    edges = _edge_matrix(triangles, len(vertices))
    moved = vertices.astype(np.float64)
    guided = landmark_ids is not None and landmark_goals is not None and len(landmark_ids) > 0
    if guided:
        weight: Float64 = np.zeros(len(moved))
        goal = moved.copy()
        weight[landmark_ids] = config.landmark_weight
        goal[landmark_ids] = landmark_goals
        # turning and shearing are held two to three times as stiffly as in the steps that follow
        moved, _ = _solve(moved, edges, np.sqrt([2.0, 2.0, 3.0, 2.0]) * config.guided_stiffness, goal, weight)
    done = 1 if guided else 0
    for step in range(config.steps):
        stiffness = config.stiffness * np.exp(-0.5 * step) * np.ones(4)
        before: Float64 | None = None
        for _ in range(config.rounds):
            distance, index = tree.query(moved)
            goal = goals[index]
            weight = (distance < max(2 * float(distance.mean()), config.least_reach)).astype(np.float64)
            if guided:
                pull = config.landmark_weight * np.exp(-0.9 * done) / 10
                # two squares of one vertex are one with their weighted mean
                total = np.square(weight[landmark_ids]) + pull**2
                share = (np.square(weight[landmark_ids]) / total)[:, None]
                goal[landmark_ids] = share * goal[landmark_ids] + (1 - share) * landmark_goals
                weight[landmark_ids] = np.sqrt(total)
            moved, maps = _solve(moved, edges, stiffness, goal, weight)
            done += 1
            if before is not None and np.linalg.norm(maps - before) <= config.epsilon * 0.5**step:
                break
            before = maps
    return moved


def _edge_matrix(triangles: NDArray[np.integer], count: int) -> Any:
    """(E, N) sparse: +1 and -1 at the ends of each edge."""
    from scipy.sparse import coo_array

    t = np.asarray(triangles, np.int64)
    edges = np.unique(np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1), axis=0)
    row = np.arange(len(edges))
    signs = np.r_[np.ones(len(edges)), -np.ones(len(edges))]
    return coo_array(
        (signs, (np.r_[row, row], np.r_[edges[:, 0], edges[:, 1]])), shape=(len(edges), count)
    ).tocsr()


def _solve(
    vertices: Float64, edges: Any, stiffness: Float64, goal: Float64, weight: Float64
) -> tuple[Float64, Float64]:
    """Moved vertices (N, 3) and the maps (4 N, 3), of a system of normal equations; weights (N,), stiffness
    (4,)."""
    from scipy.sparse import csc_array, diags_array, kron
    from scipy.sparse.linalg import splu

    n = len(vertices)
    homogeneous = np.c_[vertices, np.ones(n)]
    ids = np.arange(4 * n).reshape(n, 4)
    data = csc_array((homogeneous.ravel(), (np.repeat(np.arange(n), 4), ids.ravel())), shape=(n, 4 * n))
    smooth = kron(edges.T @ edges, diags_array(np.square(stiffness)), format="csc")
    weighted = diags_array(np.square(weight)) @ data
    normal = (smooth + data.T @ weighted).tocsc()
    # vertices without an edge and without a goal would leave it singular: they stay where they are
    normal = normal + 1e-9 * diags_array(np.ones(4 * n), format="csc")
    right = weighted.T @ goal
    right += 1e-9 * np.tile(np.eye(4, 3), (n, 1))
    maps = splu(normal.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(right)
    return np.asarray(data @ maps), np.asarray(maps)
