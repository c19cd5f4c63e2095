"""Laying the slider head over a scan-based head model, vertex by vertex.

The scan model's samples share one topology, so the correspondence found once on its mean carries to every
sample. Non-rigid ICP after Amberg et al. 2007 in spirit: point-to-plane data terms in both directions, a
bending energy that is relaxed step by step, and the eyelid rims and the nose tip as landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from facerelief.errors import ModelError
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building.head import SliderHead
from facerelief.lab.building.subdivision import boundary_loops
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Int32

Sparse = Any
"""A SciPy sparse matrix; its annotations do not follow products."""

NOSE_TIP = 30
# iBUG ids of an eye: outer corner, inner corner, upper lid, lower lid; right eye (x < 0), left eye
EYES = ((36, 39, (37, 38), (40, 41)), (45, 42, (43, 44), (46, 47)))


@dataclass(frozen=True, eq=False)
class ScanHeads:
    """The scan-based model in the slider head's frame: skin only, origin between the eyeball centres, mm."""

    mean: Float
    """(M, 3)"""
    identity: NDArray[np.float32]
    """(M, 3, K) one standard deviation each."""
    triangles: Int32
    landmarks68: Int32
    """(68,) vertex ids."""
    narrow: NDArray[np.bool_]
    """(M,) the region that residuals are measured on."""
    face: NDArray[np.bool_]
    eyeball_centres: Float
    """(2, 3) right (x < 0), left."""
    origin: Float
    """(3,) where this frame's origin lies in the model's own frame."""

    @classmethod
    def from_model(cls, model: FaceModel) -> ScanHeads:
        """Cut the skin out of an ICT-FaceKit model."""
        missing = [r for r in ("narrow_face", "face", "head_and_neck", "eyeballs") if r not in model.regions]
        if missing or "ibug68" not in model.landmarks:
            raise ModelError(
                f"model {model.name!r}: needs regions {missing} and 68 landmarks; give ICT-FaceKit"
            )
        skin = model.regions["face"] | model.regions["head_and_neck"]
        count = int(skin.sum())
        if not skin[:count].all():
            raise ModelError(f"model {model.name!r}: skin vertices must come first, as in ICT-FaceKit")
        balls = model.mean[model.regions["eyeballs"]].astype(float)
        centres = np.stack([_box_centre(balls[balls[:, 0] < 0]), _box_centre(balls[balls[:, 0] > 0])])
        origin = centres.mean(axis=0)
        return cls(
            mean=model.mean[:count].astype(float) - origin,
            identity=model.identity[:count],
            triangles=model.triangles[(model.triangles < count).all(axis=1)],
            landmarks68=model.landmarks["ibug68"].vertices[:, 0],
            narrow=model.regions["narrow_face"][:count],
            face=model.regions["face"][:count],
            eyeball_centres=centres - origin,
            origin=origin,
        )

    def sample(self, coefficients: NDArray[np.floating]) -> Float:
        """(M, 3) one person."""
        return self.mean + self.identity @ coefficients.astype(np.float32)


class HeadSurface:
    """Skin triangles, openings and bending operator of the slider head."""

    def __init__(self, head: SliderHead) -> None:
        self.head = head
        self.rest = head.refine(head.base)
        self.triangles = split_quads(head.quads, self.rest)
        self.skin = ~head.eyeballs
        self.skin_triangles = np.ascontiguousarray(self.triangles[self.skin[self.triangles].all(axis=1)])
        self.ears = self.skin & (np.abs(self.rest[:, 0]) > 74) & (np.abs(self.rest[:, 1] + 19) < 31)
        self.ears &= self.rest[:, 2] > -120
        rims = [loop for loop in boundary_loops(head.quads) if abs(self.rest[loop, 1].mean()) < 10]
        if len(rims) != 2:
            raise ModelError(f"expected two eye openings in the base mesh, found {len(rims)}")
        self.eye_rims = sorted(rims, key=lambda loop: self.rest[loop, 0].mean())
        middle = np.flatnonzero(self.skin & (np.abs(self.rest[:, 0]) < 0.5))
        self.nose_tip = int(middle[np.argmax(self.rest[middle, 2])])
        self.laplacian = _umbrella(head.quads, len(self.rest))[self.skin]

    def eyelid_landmarks(self, vertices: Float, targets: Float) -> dict[int, int]:
        """iBUG id -> vertex on the lid rims; corners by shape, the rest nearest to the (68, 3) targets."""
        out: dict[int, int] = {}
        for rim, (outer, inner, upper, lower) in zip(self.eye_rims, EYES):
            side = np.sign(self.rest[rim, 0].mean())
            out[outer] = int(rim[np.argmax(side * self.rest[rim, 0])])
            out[inner] = int(rim[np.argmin(side * self.rest[rim, 0])])
            a, b = vertices[out[inner]], vertices[out[outer]]
            along = (vertices[rim, 0] - a[0]) / (b[0] - a[0])
            above = vertices[rim, 1] - (a[1] + along * (b[1] - a[1]))
            for ids, lid in ((upper, rim[above > 0.3]), (lower, rim[above < -0.3])):
                for i in ids:
                    out[i] = int(lid[np.argmin(np.linalg.norm(vertices[lid] - targets[i], axis=1))])
        return out


def drape(
    surface: HeadSurface,
    scans: ScanHeads,
    *,
    iterations: int = 24,
    bending: tuple[float, float] = (2000.0, 2.0),
    tangential: float = 0.1,
    start: Float | None = None,
    pins: Mapping[int, int] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Float:
    """(N, 3) the head's vertices laid on the scan mean, symmetric, eyeballs in the scan's eye centres, mm.

    tangential is the weight of point-to-point beside point-to-plane; bending goes from the first to the
    second value. start: (B, 3) control vertices to begin with and to bend from, the head's own unless given.
    pins: iBUG id -> vertex of the head that belongs there, beside eyelids and nose tip.
    """
    head, operator = surface.head, surface.head.operator
    target = ClosestPoint(scans.mean, scans.triangles)
    target_normals = vertex_normals(scans.mean, scans.triangles)
    bend = (surface.laplacian @ operator).tocsc()
    bend = (bend.T @ bend).tocsc()
    skin = np.flatnonzero(surface.skin)
    weight = np.where(surface.ears[skin], 0.05, 1.0) * np.where(head.neck[skin], 0.3, 1.0)
    to_skin = operator[skin]
    face = np.flatnonzero(scans.face)
    frozen = np.asarray((operator[head.eyeballs] != 0).sum(axis=0)).ravel() > 0
    pin = sparse.diags(np.tile(np.where(frozen, 1e6, 1e-3), 3))
    landmarks = scans.mean[scans.landmarks68]
    rest = head.base if start is None else start
    control = rest.copy()
    for step in range(iterations):
        fraction = step / (iterations - 1)
        stiffness = bending[0] * (bending[1] / bending[0]) ** fraction
        reach = 30.0 * (1 - fraction) + 5.0 * fraction
        vertices = operator @ control
        normals = vertex_normals(vertices, surface.skin_triangles)

        hit = target.query(vertices[skin])
        corners = scans.triangles[hit.triangle]
        hit_normals = _blend(target_normals, corners, hit.barycentric)
        agree = (hit_normals * normals[skin]).sum(axis=1) > 0.6
        w = weight * agree * (hit.distance < reach) / (1 + (hit.distance / max(2.0, reach / 3)) ** 2)
        matrix, gradient = _data_term(to_skin, hit_normals, hit.point - vertices[skin], w, tangential)

        back = ClosestPoint(vertices, surface.skin_triangles).query(scans.mean[face])
        corners = surface.skin_triangles[back.triangle]
        back_normals = _blend(normals, corners, back.barycentric)
        agree = (back_normals * target_normals[face]).sum(axis=1) > 0.6
        w = 0.5 * agree * (back.distance < reach) / (1 + (back.distance / max(2.0, reach / 3)) ** 2)
        rows = _interpolation(corners, back.barycentric, len(vertices)) @ operator
        more, push = _data_term(rows, back_normals, scans.mean[face] - back.point, w, tangential)

        marks = (
            surface.eyelid_landmarks(vertices, landmarks) | {NOSE_TIP: surface.nose_tip} | dict(pins or {})
        )
        ids, at = np.array(list(marks)), np.array(list(marks.values()))
        fixed = operator[at]
        residual = landmarks[ids] - vertices[at]
        gradient = gradient + push + 30.0 * np.concatenate([fixed.T @ residual[:, i] for i in range(3)])
        offset = control - rest
        gradient -= stiffness * np.concatenate([bend @ offset[:, i] for i in range(3)])
        matrix = matrix + more + sparse.block_diag([30.0 * (fixed.T @ fixed) + stiffness * bend] * 3) + pin
        # symmetric and positive: an order for that needs a sixth of the time
        symmetric = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.0,
            "options": {"SymmetricMode": True},
        }
        control = control + splu(matrix.tocsc(), **symmetric).solve(gradient).reshape(3, -1).T
        progress(f"drape {step + 1}/{iterations}: median distance {np.median(hit.distance):.3f} mm")
    vertices = operator @ control
    for side, centre in zip((-1, 1), scans.eyeball_centres):
        ball = head.eyeballs & (np.sign(surface.rest[:, 0]) == side)
        vertices[ball] = surface.rest[ball] - _box_centre(surface.rest[ball]) + centre
    return 0.5 * (vertices + vertices[head.symmetry] * [-1, 1, 1])


def split_quads(quads: Int32, vertices: Float) -> Int32:
    """(2 Q, 3) triangles, each quad cut along its shorter diagonal (ties as in its mirror image)."""
    a, b, c, d = (vertices[quads[:, i]] for i in range(4))
    first = np.linalg.norm(a - c, axis=1) <= np.linalg.norm(b - d, axis=1) + 1e-6
    q = quads
    upper = np.where(first[:, None], q[:, [0, 1, 2]], q[:, [0, 1, 3]])
    lower = np.where(first[:, None], q[:, [0, 2, 3]], q[:, [1, 2, 3]])
    return np.stack([upper, lower], axis=1).reshape(-1, 3).astype(np.int32)


def _data_term(
    rows: Sparse, normals: Float, residual: Float, weight: Float, tangential: float
) -> tuple[Sparse, Float]:
    """Normal equations of sum w (n . r)^2 + tangential w |r|^2 over the control vertices' x, y, z."""
    metric = normals[:, :, None] * normals[:, None, :] + tangential * np.eye(3)
    blocks = [[rows.T @ sparse.diags(weight * metric[:, i, j]) @ rows for j in range(3)] for i in range(3)]
    force = np.einsum("nij,nj->ni", metric, residual) * weight[:, None]
    return sparse.bmat(blocks).tocsc(), np.concatenate([rows.T @ force[:, i] for i in range(3)])


def _interpolation(corners: Int32, barycentric: Float, n: int) -> Sparse:
    rows = np.repeat(np.arange(len(corners)), 3)
    return sparse.csr_matrix((barycentric.reshape(-1), (rows, corners.reshape(-1))), (len(corners), n))


def _blend(values: Float, corners: Int32, barycentric: Float) -> Float:
    return (values[corners] * barycentric[:, :, None]).sum(axis=1)


def _umbrella(quads: Int32, n: int) -> Sparse:
    sides = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    sides = np.concatenate([sides, sides[:, ::-1]])
    graph = sparse.csr_matrix((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), (n, n))
    graph.data[:] = 1.0
    degree = np.asarray(graph.sum(axis=1)).ravel()
    return (sparse.identity(n) - sparse.diags(1.0 / np.maximum(degree, 1.0)) @ graph).tocsr()


def _box_centre(points: Float) -> Float:
    return (points.min(axis=0) + points.max(axis=0)) / 2
