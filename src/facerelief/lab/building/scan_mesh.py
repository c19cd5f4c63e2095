"""The mesh of open model 2: what can be seen of the scan head, its neck cut off, its uv in one square.

Every vertex is a linear combination of source vertices plus a constant, so the same operator carries mean,
identity and expression over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from facerelief.errors import ModelError
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.building.scan_head import ScanHead, polygon_islands, to_triangles
from facerelief.rendering.rasterizer import rasterize
from facerelief.typed import Bool, Float64, Int32

Sparse = Any
"""A SciPy sparse matrix; its annotations do not follow products."""

SKIN = ("face", "sides", "crown", "behind_ears", "bust")
"""Parts that are kept whole; of the others only what can be seen is."""
NECK_FRONT = (-154.0, -20.0)
NECK_BACK = (-114.0, -150.0)
"""Height and depth (y, z), mm in the model's frame, of two points of the plane that cuts the neck."""
SNAP_MM = 2.5
"""Vertices this near the plane are put on it, so that no slivers arise."""
RIM_MM = 6.0
"""Width of the rim that closes the cut inward."""

FACE_TILE = (0, 0.0, 0.20, 0.80)
"""Place of the face's tile in the unit square: source tile along u, left, bottom, side of the square."""
_TILES: dict[str, tuple[int, float, float, float]] = {
    **dict.fromkeys(("face", "sides"), FACE_TILE),
    **dict.fromkeys(("crown", "behind_ears", "bust", "mouth", "eye_sockets"), (1, 0.80, 0.80, 0.20)),
    **dict.fromkeys(("gums", "tongue", "uvula"), (2, 0.80, 0.60, 0.20)),
    "lashes": (6, 0.88, 0.46, 0.12),
    "teeth": (3, 0.0, 0.0, 0.24),  # below the neck, which the cut leaves from v 0.245 upward
    "eyeballs": (0, 0.35, 0.01, 0.32),
}
_RIGHT_EYE = (0, 0.68, 0.01, 0.32)
_LASHES = 18
"""Lashes a lid: columns of a strip in the source."""
_UPPER_INSET, _LOWER_INSET, _TIP_INSET = 0.22, 0.37, 0.48
"""Share of a column's width cut off either side of a lash: at the upper lid, the lower lid, the tip."""
_FEWEST = 8
"""Pieces of fewer polygons that are seen through some gap are left out."""
_GUTTER = 0.004
"""Empty border of each tile, as a share of the square."""


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """Polygons of the model and the operator that makes its vertices from the source's."""

    operator: Sparse
    """(N', N) sparse rows that sum to 1."""
    offset: Float64
    """(N', 3) mm, added after the operator; zero but on the neck's rim."""
    polygons: Int32
    """(P, 4), quads first; -1 as the last corner of a triangle."""
    uv: Float64
    """(M, 2) in the unit square, v up."""
    uv_polygons: Int32
    """(P, 4)"""
    part: NDArray[np.str_]
    """(P,) part of each polygon; the neck's rim belongs to the bust."""

    def positions(self, source: Float64) -> Float64:
        """(N, 3) source positions -> (N', 3)."""
        return self.operator @ source + self.offset

    def displacements(self, source: Float64) -> Float64:
        """(N, 3, K) source displacements -> (N', 3, K)."""
        flat = self.operator @ source.reshape(len(source), -1)
        return flat.reshape(-1, *source.shape[1:])

    def vertices_of(self, *parts: str) -> Bool:
        """(N',) mask of the vertices of some parts."""
        corners = self.polygons[np.isin(self.part, parts)]
        out = np.zeros(self.operator.shape[0], bool)
        out[corners[corners >= 0]] = True
        return out


def head_mesh(head: ScanHead, origin: Float64) -> HeadMesh:
    """Cut the model's mesh out of the source.

    Args:
        head: Source head.
        origin: (3,) mm, place of the model's origin in the source's frame; the planes are given from there.
    """
    kept = (head.part != "") & (np.isin(head.part, SKIN) | seen_polygons(head))
    cut = _Cut(head, head.mean - origin, np.flatnonzero(kept))
    return cut.mesh()


def seen_polygons(head: ScanHead, size: int = 480) -> Bool:
    """(P,) polygons that some view of some expression shows, and one ring of polygons around them.

    Views from the front half space, of faces that open the mouth, show the teeth, look about and blink.
    Mirror images count alike.
    """
    triangles, owner = _triangles(head.polygons)
    chosen = head.part[owner] != ""
    triangles, owner = triangles[chosen], owner[chosen]
    seen = np.zeros(len(head.polygons), bool)
    for weights in _SHOWING:
        shape = head.mean.copy()
        for name, weight in weights.items():
            shape += weight * head.expression[:, :, head.expression_names.index(name)]
        middle = shape[head.vertices_of("face")].mean(axis=0)
        for yaw in np.radians((-75, -50, -25, 0, 25, 50, 75)):
            for pitch in np.radians((-45, -20, 0, 20, 45)):
                camera = WeakPerspective(pitch, yaw, 0.0, 0.0, 0.0, size / 150.0)
                u, v, _ = camera.project(middle[None])[0]
                camera = replace(camera, translation_u=size / 2 - u, translation_v=size / 2 - v)
                found = rasterize(camera.project(shape), triangles, size, size).triangle
                seen[owner[np.unique(found[found >= 0])]] = True
    near = np.zeros(len(head.mean), bool)
    corners = np.where(head.polygons < 0, head.polygons[:, :1], head.polygons)
    near[corners[seen]] = True
    near |= near[nearest_mirror(head.mean)]
    found = np.flatnonzero(near[corners].any(axis=1) & (head.part != ""))
    island = polygon_islands(head.polygons[found])
    out = np.zeros(len(head.polygons), bool)
    out[found[np.bincount(island)[island] >= _FEWEST]] = True
    return out


_BOTH = ("_L", "_R")
_SHOWING: tuple[dict[str, float], ...] = (
    {},
    {"jawOpen": 1.0},
    {"jawOpen": 0.6} | {name + s: 1.0 for name in ("mouthUpperUp", "mouthLowerDown") for s in _BOTH},
    {name + s: 1.0 for name in ("mouthSmile", "mouthUpperUp", "mouthLowerDown", "eyeWide") for s in _BOTH},
    {"eyeLookIn_L": 1.0, "eyeLookOut_R": 1.0, "eyeWide_L": 1.0, "eyeWide_R": 1.0},
    {"eyeLookOut_L": 1.0, "eyeLookIn_R": 1.0, "eyeWide_L": 1.0, "eyeWide_R": 1.0},
    {"eyeLookUp_L": 1.0, "eyeLookUp_R": 1.0},
    {"eyeLookDown_L": 1.0, "eyeLookDown_R": 1.0, "eyeWide_L": 1.0, "eyeWide_R": 1.0},
)


def _triangles(polygons: Int32) -> tuple[Int32, NDArray[np.int64]]:
    """Triangles of polygons (P, 4) and the polygon of each."""
    quad = polygons[:, 3] >= 0
    triangles = np.concatenate([polygons[:, :3], polygons[quad][:, [0, 2, 3]]])
    return np.ascontiguousarray(triangles), np.concatenate([np.arange(len(polygons)), np.flatnonzero(quad)])


def nearest_mirror(points: Float64) -> NDArray[np.int64]:
    """(N,) the point nearest to each one's mirror image across x = 0."""
    return np.asarray(KDTree(points).query(points * [-1, 1, 1])[1], np.int64)


def mirror_map(features: Float64, flipped: Float64) -> NDArray[np.int32]:
    """(N,) mirror partner of each vertex.

    Args:
        features: (N, F) positions and displacements, which tell apart vertices that touch at rest.
        flipped: (N, F) the same of the mirrored head.

    Raises:
        ModelError: The partners are not each other's.
    """
    partner = np.asarray(KDTree(features).query(flipped)[1], np.int32)
    left = np.flatnonzero(partner[partner] != np.arange(len(partner)))
    # where vertices crowd, the nearest may be another one's partner: pair what is left among itself
    partner[left] = left[linear_sum_assignment(cdist(flipped[left], features[left]))[1]]
    if (partner[partner] != np.arange(len(partner))).any() or len(left) > 0.01 * len(partner):
        raise ModelError("the source mesh is not symmetric; expected ICT-FaceKit Light")
    return partner


@dataclass(frozen=True, eq=False)
class Strand:
    """One lash of the source: vertices and uv ids (L, 2) of both edges, from the lid to the tip."""

    vertices: NDArray[np.int64]
    uv: NDArray[np.int64]
    forward: bool
    """Whether the corners left, right, right above, left above run as the source's polygons do."""
    inset: float
    """Width cut off either edge at the lid, as a share of the source's."""


def lash_strands(head: ScanHead) -> list[Strand]:
    """The columns of quads of one strip of lashes a lid; the source has three strips in almost one place."""
    ids = np.flatnonzero(head.part == "lashes")
    island = polygon_islands(head.uv_polygons[ids])
    centres = {
        side: head.mean[(v := head.vertices_of("eyeballs"))[np.sign(head.mean[v, 0]) == side]].mean(axis=0)
        for side in (-1, 1)
    }
    out: list[Strand] = []
    strips = [ids[island == i] for i in np.unique(island)]
    heights = [head.uv[head.uv_polygons[strip], 1].mean() for strip in strips]
    # the middle one of the three strips of each lid, both sides alike
    levels = np.unique(np.round(heights, 1))
    for strip, height in zip(strips, heights):
        if np.round(height, 1) not in levels[[1, -2]]:
            continue
        middle = head.uv[head.uv_polygons[strip], 0].mean(axis=1)
        side = np.sign(head.mean[head.polygons[strip[0], 0], 0])
        columns = strip[np.argsort(middle, kind="stable")].reshape(_LASHES, -1)
        out += [_strand(head, column, centres[int(side)]) for column in columns]
    return out


def _strand(head: ScanHead, column: NDArray[np.int64], centre: Float64) -> Strand:
    """A column of quads put in order, beginning at the end that is nearer to the eye."""
    uv_quads, quads = head.uv_polygons[column], head.polygons[column]
    order = np.argsort(head.uv[uv_quads, 1].mean(axis=1))
    vertices: list[list[int]] = []
    uv: list[list[int]] = []
    for k, quad in enumerate(order):
        by_height = np.argsort(head.uv[uv_quads[quad], 1])
        for pair in (by_height[:2], by_height[2:])[1 if k else 0 :]:
            pair = pair[np.argsort(head.uv[uv_quads[quad, pair], 0])]
            vertices.append(quads[quad, pair].tolist())
            uv.append(uv_quads[quad, pair].tolist())
    v, t = np.array(vertices), np.array(uv)
    away = np.linalg.norm(head.mean[v].mean(axis=1) - centre, axis=1)
    turned = away[0] > away[-1]
    inset = _LOWER_INSET if head.mean[v, 1].mean() < centre[1] else _UPPER_INSET
    ring = quads[order[0]].tolist()
    forward = ring[(ring.index(vertices[0][0]) + 1) % 4] == vertices[0][1]
    return Strand(v[::-1], t[::-1], not forward, inset) if turned else Strand(v, t, forward, inset)


class _Cut:
    """Polygons clipped at the neck's plane, renumbered, with a rim."""

    def __init__(self, head: ScanHead, points: Float64, kept: NDArray[np.int64]) -> None:
        self.head, self.kept = head, kept
        (y0, z0), (y1, z1) = NECK_FRONT, NECK_BACK
        normal = np.array([0.0, z0 - z1, y1 - y0]) / np.hypot(z0 - z1, y0 - y1)
        height = (points - [0.0, y0, z0]) @ normal
        skin = np.zeros(len(points), bool)
        skin[head.vertices_of(*SKIN)] = True
        height[~skin] = np.inf
        snapped = np.abs(height) < SNAP_MM
        self.shift = np.where(snapped, -height, 0.0)[:, None] * normal
        self.shift[~snapped] = 0.0
        self.height = np.where(snapped, 0.0, height)
        self.points = points + self.shift
        self.normal = normal
        self.rows: list[dict[int, float]] = []
        self.number: dict[tuple[int, int], int] = {}
        self.uv: list[Float64] = []
        self.uv_number: dict[tuple[int, int, int], int] = {}

    def mesh(self) -> HeadMesh:
        polygons: list[list[int]] = []
        uv_polygons: list[list[int]] = []
        parts: list[str] = []
        # face first: its vertices keep the source's order
        order = self.kept[np.argsort(self.head.polygons[self.kept].max(axis=1) >= 9409, kind="stable")]
        for vertex in self.head.vertices_of("face", "sides"):
            if self.height[vertex] >= 0:
                self._vertex(int(vertex), int(vertex))
        for p in order:
            for corners, uv in self._clipped(int(p)) if self.head.part[p] != "lashes" else ():
                polygons.append(corners)
                uv_polygons.append(uv)
                parts.append(str(self.head.part[p]))
        for strand in lash_strands(self.head):
            self._add_strand(strand, polygons, uv_polygons, parts)
        self._add_rim(polygons, uv_polygons, parts)
        quads = np.array([q[3] >= 0 for q in polygons])
        by_kind = np.argsort(~quads, kind="stable")
        operator, offset = self._operator()
        return HeadMesh(
            operator,
            offset,
            np.array(polygons, np.int32)[by_kind],
            np.array(self.uv),
            np.array(uv_polygons, np.int32)[by_kind],
            np.array(parts)[by_kind],
        )

    def _operator(self) -> tuple[Sparse, Float64]:
        rows = np.repeat(np.arange(len(self.rows)), [len(row) for row in self.rows])
        columns = np.array([c for row in self.rows for c in row])
        values = np.array([w for row in self.rows for w in row.values()])
        shape = (len(self.rows), len(self.points))
        operator = sparse.csr_matrix((values, (rows, columns)), shape=shape)
        offset = operator @ self.shift
        for vertex, inward in self.rim.items():
            offset[vertex] += inward
        return operator, offset

    def _clipped(self, p: int) -> list[tuple[list[int], list[int]]]:
        """Polygon p above the plane, as one or two polygons of up to four corners."""
        corners = [int(c) for c in self.head.polygons[p] if c >= 0]
        uv = [int(c) for c in self.head.uv_polygons[p] if c >= 0][: len(corners)]
        heights = self.height[corners]
        if (heights <= 0).all():
            return []
        out: list[tuple[int, int]] = []
        for k, (a, ua) in enumerate(zip(corners, uv)):
            b, ub = corners[(k + 1) % len(corners)], uv[(k + 1) % len(corners)]
            if self.height[a] >= 0:
                out.append((self._vertex(a, a), self._uv(p, ua, ua)))
            if self.height[a] * self.height[b] < 0:
                out.append((self._vertex(a, b), self._uv(p, ua, ub, self._share(a, b))))
        ids, uvs = [i for i, _ in out], [i for _, i in out]
        if len(ids) < 3:
            return []
        if len(ids) <= 4:
            return [(ids + [-1] * (4 - len(ids)), uvs + [-1] * (4 - len(ids)))]
        return [(ids[:4], uvs[:4]), ([ids[0], ids[3], ids[4], -1], [uvs[0], uvs[3], uvs[4], -1])]

    def _share(self, a: int, b: int) -> float:
        """Share of the way from a to b at which the plane is crossed."""
        return float(self.height[a] / (self.height[a] - self.height[b])) if a != b else 0.0

    def _vertex(self, a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in self.number:
            self.number[key] = len(self.rows)
            t = self._share(*key)
            self.rows.append({a: 1.0} if a == b else {key[0]: 1.0 - t, key[1]: t})
        return self.number[key]

    def _uv(self, p: int, a: int, b: int, share: float = 0.0) -> int:
        part = str(self.head.part[p])
        right = part == "eyeballs" and self.points[self.head.polygons[p, 0], 0] < 0
        tile = _RIGHT_EYE if right else _TILES[part]
        key = (int(right), min(a, b), max(a, b))
        if key not in self.uv_number:
            self.uv_number[key] = len(self.uv)
            place = self.head.uv[a] + share * (self.head.uv[b] - self.head.uv[a])
            self.uv.append(_packed(place, *tile))
        return self.uv_number[key]

    def _add_strand(
        self, strand: Strand, polygons: list[list[int]], uv_polygons: list[list[int]], parts: list[str]
    ) -> None:
        """One lash: a column of quads from the lid to its tip, narrowed along its middle line."""
        first, first_uv = len(self.rows), len(self.uv)
        levels = len(strand.vertices)
        for level, ((a, b), (ua, ub)) in enumerate(zip(strand.vertices, strand.uv)):
            inward = strand.inset + (_TIP_INSET - strand.inset) * level / (levels - 1)
            for one, other, uv_one, uv_other in ((a, b, ua, ub), (b, a, ub, ua)):
                self.rows.append({int(one): 1.0 - inward, int(other): inward})
                place = self.head.uv[uv_one] + inward * (self.head.uv[uv_other] - self.head.uv[uv_one])
                self.uv.append(_packed(place, *_TILES["lashes"]))
        for level in range(levels - 1):
            corners = [2 * level, 2 * level + 1, 2 * level + 3, 2 * level + 2]
            if not strand.forward:
                corners = corners[::-1]
            polygons.append([first + c for c in corners])
            uv_polygons.append([first_uv + c for c in corners])
            parts.append("lashes")

    def _add_rim(self, polygons: list[list[int]], uv_polygons: list[list[int]], parts: list[str]) -> None:
        """A ring of quads from the cut inward."""
        position = np.array([sum(w * self.points[i] for i, w in row.items()) for row in self.rows])
        on_plane = np.abs((position - [0.0, NECK_FRONT[0], NECK_FRONT[1]]) @ self.normal) < 1e-6
        edges: dict[tuple[int, int], tuple[int, int]] = {}
        for corners, uv, part in zip(polygons, uv_polygons, parts):
            if part in SKIN:
                ring, uv_ring = [c for c in corners if c >= 0], [c for c in uv if c >= 0]
                for k in range(len(ring)):
                    a, b = ring[k], ring[(k + 1) % len(ring)]
                    if on_plane[a] and on_plane[b]:
                        edges[a, b] = (uv_ring[k], uv_ring[(k + 1) % len(ring)])
        border = {edge: uv for edge, uv in edges.items() if edge[::-1] not in edges}
        middle = position[[a for a, _ in border]].mean(axis=0)
        self.rim: dict[int, Float64] = {}
        inner: dict[int, int] = {}
        for a, _ in border:
            inward = middle - position[a]
            inner[a] = len(self.rows)
            self.rows.append(dict(self.rows[a]))
            self.rim[inner[a]] = RIM_MM * inward / np.linalg.norm(inward)
        for (a, b), (ua, ub) in border.items():
            polygons.append([b, a, inner[a], inner[b]])
            uv_polygons.append([ub, ua, ua, ub])
            parts.append("bust")


def _packed(place: Float64, tile: int, left: float, bottom: float, side: float) -> Float64:
    """A source uv in its tile of the unit square."""
    inside = np.clip(place - [tile, 0.0], 0.0, 1.0)
    return np.array([left, bottom]) + _GUTTER + inside * (side - 2 * _GUTTER)


def triangulated(mesh: HeadMesh, mean: Float64) -> tuple[Int32, Int32, int]:
    """Triangles (T, 3), uv triangles (T, 3) cut along the same diagonals, and the number of quads."""
    triangles, quads = to_triangles(mesh.polygons, mean)
    uv_triangles = np.empty_like(triangles)
    owner = np.concatenate([np.repeat(np.arange(quads), 2), np.arange(quads, len(mesh.polygons))])
    for k in range(3):
        at = (mesh.polygons[owner] == triangles[:, k : k + 1]).argmax(axis=1)
        uv_triangles[:, k] = mesh.uv_polygons[owner, at]
    return triangles, uv_triangles, quads
