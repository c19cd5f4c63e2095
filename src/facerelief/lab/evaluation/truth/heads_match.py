"""True heads beside an evaluated face model, and the correspondence of their skins (docs/truth.md).

Tested by tests/lab/evaluation/truth/test_heads.py and test_heads_anny.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from facerelief.errors import ModelError
from facerelief.geometry.alignment import procrustes
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building.head import SliderHead
from facerelief.lab.building.registration import HeadSurface, ScanHeads, drape
from facerelief.lab.scenes import hair_cap
from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool, Float, Float32, Int32

Preset = Literal["anny", "in-model"]

BROWS = slice(17, 27)
"""Of the 68 landmarks: models place their brow points up to 6 mm apart, so they align nothing."""
MOST_MM = 2.5
"""Farthest that corresponding points of the two mean skins lie apart."""
INNER = (
    "eyeballs",
    "eye_sockets",
    "gums",
    "gums_and_tongue",
    "lashes",
    "mouth",
    "mouth_socket",
    "teeth",
    "tongue",
)
"""Regions that are no skin."""

POINTS = 1500
"""Points at which shapes are compared."""
_ROUNDS = 14
_LIPS = (48, 50, 51, 52, 54, 55, 57, 59, *range(60, 68))
"""Landmarks at which a vertex of the head lies near enough to hold the lips by."""


@dataclass(frozen=True, eq=False)
class Match:
    """Places of S skin vertices on another model's skin."""

    corners: Int32
    """(S, 3) vertex ids of the triangle on which each lies."""
    weights: Float
    """(S, 3) where in that triangle."""
    distance_mm: Float
    """(S,) between the mean skins, after registration."""
    reliable: Bool
    """(S,) near, and with the same side out."""

    def carried(self, per_vertex: Float) -> Float:
        """Values of the other model's vertices (n, ...) at the S vertices."""
        weights = self.weights.reshape(self.weights.shape + (1,) * (per_vertex.ndim - 1))
        return (per_vertex[self.corners] * weights).sum(axis=1)


class Sampler(Protocol):
    """Identities of subjects."""

    def __call__(self, seed: int, person: int) -> Float32:
        """(K,) identity of a subject, of a random stream of its own."""
        ...


@dataclass(frozen=True, eq=False)
class Heads:
    """True heads beside the model whose shapes are measured."""

    preset: Preset
    model: FaceModel
    """The true heads."""
    identity: Sampler
    """Sampler of the identities of the subjects."""
    ours: FaceModel
    """The evaluated model."""
    match: Match
    """Of the heads' skin vertices, the first ones, on the evaluated model."""
    skins: FaceModel
    """The model whose albedo the heads wear."""
    skin_match: Match
    """Of the heads' skin vertices on that."""
    region: Int32
    """(R,) ids of the face's vertices on which shapes are measured."""
    points: Int32
    """(P,) of the region, evenly spread: the points at which shapes are compared."""
    shade: Float
    """(N,) in [0, 1]: share of its half-space that each vertex of the mean head sees."""

    @property
    def skin_count(self) -> int:
        """S: the number of skin vertices."""
        return len(self.match.corners)

    @property
    def matched_points(self) -> Int32:
        """Those of `points` whose correspondence is reliable."""
        return self.points[self.match.reliable[self.points]]

    @cached_property
    def hair(self) -> Float:
        """(N, 1) share of hair colour."""
        return hair_cap(self.model)


def nearest_match(points: Float, normals: Float, model: FaceModel, vertices: Float) -> Match:
    """Nearest places on a model's skin.

    Args:
        points: (S, 3) mm.
        normals: (S, 3) unit normals at the points.
        model: Whose skin it is.
        vertices: (n, 3) its vertices in the points' frame.
    """
    surface = skin_triangles(model)
    hit = ClosestPoint(vertices, surface).query(points)
    corners = surface[hit.triangle]
    toward = (vertex_normals(vertices, surface)[corners] * hit.barycentric[:, :, None]).sum(axis=1)
    agree = (toward * normals).sum(axis=1) > 0.5
    return Match(corners, hit.barycentric.astype(np.float32), hit.distance, agree & (hit.distance < MOST_MM))


def draped_match(head: SliderHead, marks: Int32, model: FaceModel) -> Match:
    """Places of a head's refined skin on any face model's, by laying the one mean over the other once.

    Args:
        head: The head to lay over.
        marks: (68,) its refined skin vertices at the landmarks.
        model: With 68 landmarks.

    Raises:
        ModelError: The model has no landmarks.
    """
    target = _skin_of(model)
    surface = HeadSurface(head)
    skin = np.flatnonzero(surface.skin)
    own = surface.rest[skin[marks]]
    place = procrustes(off_brows(own), off_brows(target.mean[target.landmarks68]))
    pins = {mark: int(skin[marks[mark]]) for mark in _LIPS}
    draped = drape(surface, target, iterations=_ROUNDS, start=place.apply(head.base), pins=pins)[skin]
    normals = vertex_normals(draped, _renumbered(surface.skin_triangles, surface.skin))
    return nearest_match(draped, normals, model, model.mean.astype(np.float64) - target.origin)


def _skin_of(model: FaceModel) -> ScanHeads:
    """The mean skin of any face model as a target of `drape`; its identities are left out."""
    if "ibug68" not in model.landmarks:
        raise ModelError(f"model {model.name!r}: has no 68 landmarks, by which heads are laid over it")
    marks = model.landmarks["ibug68"]
    at = marks.of(model.mean.astype(np.float64))
    balls = model.mean[model.eyeballs].astype(np.float64)
    if len(balls):
        sides = (balls[balls[:, 0] < 0], balls[balls[:, 0] > 0])
        centres = np.stack([(side.min(axis=0) + side.max(axis=0)) / 2 for side in sides])
    else:
        centres = np.stack([at[36:42].mean(axis=0), at[42:48].mean(axis=0)]) - [0, 0, 12.0]
    origin = centres.mean(axis=0)
    triangles = skin_triangles(model)
    skin = np.zeros(model.n_vertices, bool)
    skin[triangles] = True
    new = np.cumsum(skin) - 1
    corner = marks.vertices[np.arange(68), marks.weights.argmax(axis=1)]
    face = model.region("face", "narrow_face")
    return ScanHeads(
        mean=model.mean[skin].astype(np.float64) - origin,
        identity=np.zeros((int(skin.sum()), 3, 0), np.float32),
        triangles=new[triangles].astype(np.int32),
        landmarks68=new[corner].astype(np.int32),
        narrow=model.face_vertices[skin],
        face=face[skin] if face.any() else np.ones(int(skin.sum()), bool),
        eyeball_centres=centres - origin,
        origin=origin,
    )


def _renumbered(triangles: Int32, kept: Bool) -> Int32:
    """Triangles over the kept vertices alone."""
    return (np.cumsum(kept) - 1)[triangles].astype(np.int32)


def off_brows(marks: Float) -> Float:
    """(58, 3) of the 68 landmarks (68, 3)."""
    return np.delete(marks, BROWS, axis=0)


def skin_triangles(model: FaceModel) -> Int32:
    """Triangles of a model's skin: without eyeballs, teeth and other parts inside, where it names them."""
    return model.triangles[~model.region(*INNER)[model.triangles].any(axis=1)]


def spread_out(points: Float, count: int) -> Int32:
    """(min(count, N),) ids, ascending, of points (N, 3) that are far apart: the farthest from all before it
    is next, from the first one on."""
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(axis=1), out=nearest)
        chosen.append(int(nearest.argmax()))
    return np.sort(np.array(chosen)).astype(np.int32)
