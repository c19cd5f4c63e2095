"""Statistics of real heads in the slider space: mean and principal components of random identities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building.registration import HeadSurface, ScanHeads
from facerelief.typed import Float, Float32


@dataclass(frozen=True)
class PopulationConfig:
    """Size and weights of the identity statistics."""

    persons: int = 1800
    """Random identities of the scan model (standard normal coefficients)."""
    seed: int = 0
    """Seed of those draws; test persons use another."""
    components: int = 100
    """Identity components kept."""
    slider_prior: float = 10.0
    """Weight of the sliders' own prior (each slider standard normal at its designed range)."""
    bending: float = 1.0
    """Weight of bending of the sliders' displacement."""
    rounds: int = 2
    """Point-to-plane rounds per person after the linear start."""
    tangential: float = 0.05
    """Weight of point-to-point beside point-to-plane."""


class SliderSpace:
    """Orthogonal directions of the sliders, on refined vertices, scaled to unit prior variance."""

    def __init__(self, surface: HeadSurface, keep: float = 2e-3) -> None:
        head = surface.head
        flat = head.directions.reshape(len(head.directions), -1).astype(float)
        _, singular, vt = np.linalg.svd(flat, full_matrices=False)
        self.size = int((singular > singular[0] * keep).sum())
        control = vt[: self.size].T.reshape(-1, 3, self.size) * singular[: self.size]
        self.basis: Float32 = head.refine(control).astype(np.float32)
        bend = (surface.laplacian @ self.basis.reshape(len(self.basis), -1)).reshape(-1, self.size)
        self.bending: Float = (bend.T @ bend).astype(float)


class PersonRegistration:
    """Least squares of slider coordinates (and a small rigid motion) for one person of the scan model."""

    def __init__(
        self,
        surface: HeadSurface,
        space: SliderSpace,
        mean: Float,
        scans: ScanHeads,
        config: PopulationConfig,
    ) -> None:
        self.scans, self.config, self.size = scans, config, space.size
        hit = ClosestPoint(mean, surface.skin_triangles).query(scans.mean)
        corners = surface.skin_triangles[hit.triangle]
        normals = (vertex_normals(mean, surface.skin_triangles)[corners] * hit.barycentric[:, :, None]).sum(
            axis=1
        )
        weight = np.where(scans.narrow, 1.0, np.where(scans.face, 0.25, 0.2))
        agree = (normals * vertex_normals(scans.mean, scans.triangles)).sum(axis=1) > 0.5
        weight = weight * agree * (hit.distance < 2.5)
        self.chosen = np.flatnonzero(weight > 0)
        self.weight = weight[self.chosen]
        corners, barycentric = corners[self.chosen], hit.barycentric[self.chosen]
        shape = (space.basis[corners] * barycentric[:, :, None, None].astype(np.float32)).sum(axis=1)
        motion = rigid_motions(scans.mean[self.chosen]).astype(np.float32)
        self.rows: Float32 = np.concatenate([shape, motion], axis=2)
        self.rest = (mean[corners] * barycentric[:, :, None]).sum(axis=1)
        size = self.rows.shape[2]
        self._weighted = (self.rows * np.sqrt(self.weight)[:, None, None].astype(np.float32)).reshape(
            -1, size
        )
        self.gram = (self._weighted.T @ self._weighted).astype(float)
        self.prior = np.diag([config.slider_prior] * space.size + [1e-3] * 6)
        self.prior[: space.size, : space.size] += config.bending * space.bending
        moves = scans.identity[self.chosen] * np.sqrt(self.weight)[:, None, None].astype(np.float32)
        pull = self._weighted.T @ moves.reshape(-1, moves.shape[2])
        self.linear: Float = np.linalg.solve(self.gram + self.prior, pull.astype(float))

    def __call__(self, coefficients: Float32) -> Float:
        """Slider coordinates (size,) of the person with these scan-model coefficients."""
        vertices = self.scans.sample(coefficients)
        normals = vertex_normals(vertices, self.scans.triangles)[self.chosen].astype(np.float32)
        toward = np.einsum("nij,ni->nj", self.rows, normals)
        root = np.sqrt(self.weight)[:, None]
        y = self.linear @ coefficients
        for _ in range(self.config.rounds):
            residual = (vertices[self.chosen] - self.rest) - self.rows @ y.astype(np.float32)
            plane = (residual * normals).sum(axis=1)
            scale = np.sqrt(self.weight / (1 + (plane / 2.0) ** 2)).astype(np.float32)
            a = toward * scale[:, None]
            pull = a.T @ (plane * scale).astype(np.float32)
            pull = pull + self.config.tangential * (
                self._weighted.T @ (residual * root).reshape(-1).astype(np.float32)
            )
            matrix = (a.T @ a).astype(float) + self.config.tangential * self.gram + self.prior
            y = y + np.linalg.solve(matrix, pull - self.prior @ y)
        return y[: self.size]


@dataclass(frozen=True, eq=False)
class IdentityStatistics:
    """Mean (N, 3) and (N, 3, K) components of one standard deviation, mm; `sign` (K,) is +1 for components
    that are symmetric and -1 for those that change sign in a mirror. `variance` (all) for the plot."""

    mean: Float32
    components: Float32
    sign: NDArray[np.int8]
    variance: Float


def identity_statistics(
    surface: HeadSurface,
    scans: ScanHeads,
    draped: Float,
    config: PopulationConfig,
    progress: Callable[[str], None] = lambda text: None,
) -> IdentityStatistics:
    """Register `config.persons` random persons and take their principal components.

    Every person counts together with its mirror image, so components come out symmetric or antisymmetric
    exactly.
    """
    space = SliderSpace(surface)
    register = PersonRegistration(surface, space, draped, scans, config)
    rng = np.random.default_rng(config.seed)
    draws = rng.standard_normal((config.persons, scans.identity.shape[2])).astype(np.float32)
    coordinates = np.empty((config.persons, space.size))
    for i, draw in enumerate(draws):
        coordinates[i] = register(draw)
        if i % 200 == 199:
            progress(f"registered {i + 1}/{config.persons} persons")
    mirror = surface.head.symmetry
    flip = np.array([-1, 1, 1], np.float32)[None, :, None]
    mirrored = space.basis[mirror] * flip
    weight = _vertex_weight(surface)
    average = coordinates.mean(axis=0)
    # the population's mean is taken symmetric; antisymmetric scatter is about zero
    mean = draped + (0.5 * (space.basis + mirrored)) @ average.astype(np.float32)
    found: list[tuple[float, int, Float]] = []
    for sign, half in ((1, 0.5 * (space.basis + mirrored)), (-1, 0.5 * (space.basis - mirrored))):
        centred = coordinates - average if sign > 0 else coordinates
        metric = (half * np.sqrt(weight)[:, None, None].astype(np.float32)).reshape(-1, space.size)
        gram = (metric.T @ metric).astype(float)
        values, vectors = np.linalg.eigh(gram)
        solid = values > values[-1] * 1e-9
        root = vectors[:, solid] * np.sqrt(values[solid])
        back = vectors[:, solid] / np.sqrt(values[solid])
        _, singular, vt = np.linalg.svd(centred @ root, full_matrices=False)
        deviation = singular / np.sqrt(config.persons - 1)
        for d, v in zip(deviation, vt):
            found.append((float(d), sign, back @ v * d))
    found.sort(key=lambda item: -item[0])
    kept = found[: config.components]
    halves = {1: 0.5 * (space.basis + mirrored), -1: 0.5 * (space.basis - mirrored)}
    components = np.stack(
        [halves[sign] @ direction.astype(np.float32) for _, sign, direction in kept], axis=2
    )
    return IdentityStatistics(
        mean.astype(np.float32),
        _signed(components).astype(np.float32),
        np.array([sign for _, sign, _ in kept], np.int8),
        np.array([d for d, _, _ in found]) ** 2,
    )


def residuals(
    mean: Float32,
    components: Float32,
    skin_triangles: NDArray[np.int32],
    scans: ScanHeads,
    draws: Float32,
    *,
    rounds: int = 8,
    prior: float = 0.3,
) -> Float:
    """(persons, V) distance in mm from each narrow-face scan vertex to the fitted model surface.

    Rigid motion and coefficients are fitted by point-to-plane ICP from the narrow face alone, as a user of
    the model would; `draws` must not be those the model was made from.
    """
    narrow = np.flatnonzero(scans.narrow)
    k = components.shape[2]
    motion = rigid_motions(mean.astype(float)).astype(np.float32)
    basis = np.concatenate([components, motion], axis=2)
    penalty = np.diag([prior] * k + [1e-3] * 6)
    out = np.empty((len(draws), len(narrow)))
    for person, draw in enumerate(draws):
        scan = scans.sample(draw)
        normals = vertex_normals(scan, scans.triangles)[narrow]
        points = scan[narrow]
        x = np.zeros(k + 6)
        for _ in range(rounds):
            vertices = mean + basis @ x.astype(np.float32)
            hit = ClosestPoint(vertices, skin_triangles).query(points)
            corners = skin_triangles[hit.triangle]
            toward = (vertex_normals(vertices, skin_triangles)[corners] * hit.barycentric[:, :, None]).sum(
                axis=1
            )
            ok = (hit.distance < 12) & ((toward * normals).sum(axis=1) > 0.3)
            w = np.sqrt(ok / (1 + (hit.distance / 3) ** 2)).astype(np.float32)
            rows = (basis[corners] * hit.barycentric[:, :, None, None].astype(np.float32)).sum(axis=1)
            residual = (points - hit.point).astype(np.float32)
            a = np.einsum("nij,ni->nj", rows, toward.astype(np.float32)) * w[:, None]
            b = (rows * (0.2 * w)[:, None, None]).reshape(-1, k + 6)
            pull = a.T @ ((residual * toward).sum(axis=1) * w) + b.T @ (
                residual * (0.2 * w)[:, None]
            ).reshape(-1)
            x = x + np.linalg.solve((a.T @ a + b.T @ b).astype(float) + penalty, pull - penalty @ x)
        vertices = mean + basis @ x.astype(np.float32)
        out[person] = ClosestPoint(vertices, skin_triangles).query(points).distance
    return out


def rigid_motions(points: Float) -> Float:
    """(P, 3, 6) displacement of points under unit translations (mm) and small rotations (1/30 rad)."""
    x, y, z = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    columns = (
        (one, zero, zero),
        (zero, one, zero),
        (zero, zero, one),
        (zero, -z, y),
        (z, zero, -x),
        (-y, x, zero),
    )
    return np.stack([np.stack(c, axis=1) for c in columns], axis=2) / np.array([1, 1, 1, 30, 30, 30])


def _vertex_weight(surface: HeadSurface) -> Float:
    """(N,) importance of vertices to the principal components: the face first."""
    back = np.where(surface.rest[:, 2] < -50, 0.15, 1.0)
    return back * np.where(surface.head.neck, 0.1, 1.0) * np.where(surface.head.eyeballs, 0.05, 1.0)


def _signed(components: Float) -> Float:
    """Make signs reproducible: the largest entry of every component is positive."""
    flat = components.reshape(-1, components.shape[2])
    largest = flat[np.abs(flat).argmax(axis=0), np.arange(flat.shape[1])]
    return components * np.where(largest < 0, -1.0, 1.0).astype(np.float32)
