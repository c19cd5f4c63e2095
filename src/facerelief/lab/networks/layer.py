"""From coefficients to projected points, differentiable by torch."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from facerelief.morphable.model import FaceModel


class MorphableLayer(nn.Module):
    """Some points of a face model: every n-th vertex of the face, then the 68 landmarks.

    `shape` agrees with `FaceModel.shape`, `project` with `WeakPerspective.project`.
    """

    mean: Tensor
    """(V, 3) mm"""
    identity: Tensor
    """(3 V, K)"""
    expression: Tensor
    """(3 V, E)"""
    weights: Tensor
    """(V,) of the points, mean 1."""
    growth: Tensor
    """(V, 3) displacements of points when the mean face grows; weighted mean square 1."""

    def __init__(self, model: FaceModel, every: int = 8, landmark_weight: float = 4.0) -> None:
        """Choose every n-th face vertex (`FaceModel.face_vertices`). landmark_weight: weight of a landmark
        over that of another point; eyes and lips have few vertices."""
        super().__init__()
        chosen = np.flatnonzero(model.face_vertices)[::every]
        marks = model.landmarks["ibug68"]
        self.vertices = chosen
        """(V - 68,) ids of the model's vertices."""

        def part(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.concatenate([values[chosen], marks.of(values)]).astype(np.float32))

        self.register_buffer("mean", part(model.mean), persistent=False)
        for name, basis in (("identity", model.identity), ("expression", model.expression)):
            points = part(basis)
            self.register_buffer(name, points.reshape(-1, points.shape[2]), persistent=False)
        weights = torch.ones(len(self.mean))
        weights[len(chosen) :] = landmark_weight
        weights = weights / weights.mean()
        self.register_buffer("weights", weights, persistent=False)
        growth = self.mean - (weights[:, None] * self.mean).mean(dim=0)
        size = (weights * growth.square().sum(dim=1)).mean().sqrt()
        self.register_buffer("growth", growth / size, persistent=False)

    def shape(self, identity: Tensor, expression: Tensor) -> Tensor:
        """(B, V, 3) model space, mm, from (B, K) and (B, E)."""
        moved = identity @ self.identity.T + expression @ self.expression.T
        return self.mean + moved.reshape(len(identity), -1, 3)

    def identity_offsets(self, identity: Tensor) -> Tensor:
        """(B, V, 3) displacements of the points from the mean face by identities (B, K), mm."""
        return (identity @ self.identity.T).reshape(len(identity), -1, 3)

    def discount_size(self, apart: Tensor, share: float) -> Tensor:
        """Differences (B, V, 3), of whose weighted squares the part that another size of the head explains
        counts by a share: 0 removes it, 1 changes nothing."""
        grown = (self.weights[:, None] * apart * self.growth).sum(dim=2).mean(dim=1)
        return apart - (1 - share**0.5) * grown[:, None, None] * self.growth

    def landmarks(self, points: Tensor) -> Tensor:
        """The landmarks (B, 68, ...) among points (B, V, ...)."""
        return points[:, len(self.vertices) :]


def rotation(angles: Tensor) -> Tensor:
    """Matrices R_z(roll) R_y(yaw) R_x(pitch), (B, 3, 3), from poses (B, 3 or more), radians."""
    cx, cy, cz = angles[:, :3].cos().unbind(1)
    sx, sy, sz = angles[:, :3].sin().unbind(1)
    rows = [
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def project(points: Tensor, pose: Tensor) -> Tensor:
    """Weak-perspective projection (B, V, 3), (u px, v px, z mm), of points (B, V, 3), mm, by poses (B, 6)."""
    camera = points @ rotation(pose).transpose(1, 2)
    scale = pose[:, None, 5].exp()
    u = scale * camera[..., 0] + pose[:, None, 3]
    v = pose[:, None, 4] - scale * camera[..., 1]
    return torch.stack([u, v, camera[..., 2]], dim=2)
