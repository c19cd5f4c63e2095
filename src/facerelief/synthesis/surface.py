"""The rendered part of a face model: skin of the face, eyes, and the inside of the mouth.

Some models have a mouth with teeth; the others are hollow behind the lips. There a curved lining joins the
rims of the mouth's opening, so that an open mouth has an inside and visible teeth move along.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from facerelief.morphable.front import lining_triangles, linings, solid_triangles
from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool, Float32, Int32

LINING_ROWS = 7
"""Vertices of the mouth's lining from the upper rim to the lower one."""
_FEATHER_MM = 9.0
"""Width, inside the face's outline, of the blend from the warped photo to the rendered face."""
_MOUTH_DEPTH_MM = 55.0
"""Depth behind the front teeth at which the inside of an open mouth gets no light."""


@dataclass(frozen=True, eq=False)
class FaceSurface:
    """The rendered surface of a model. Vertices: the model's N, then M of the mouth's lining."""

    triangles: Int32
    """(T, 3) skin, eyes and the model's own mouth first, the lining from `first_mouth` on."""
    first_mouth: int
    uv_triangles: Int32
    """(T, 3) ids into the model's uv, or (0, 3) where it has none; 0 on the lining."""
    inset: Float32
    """(N + M,) 0 at the outline of the face's skin, rising to 1 inside."""
    rendered: Bool
    """(N,) the model's vertices that are rendered."""
    inner: Bool
    """(N,) those of them behind the lips and lids, without the rims: no skin. None for hollow models."""
    in_mouth: Bool
    """(N,) those of the inner ones that lie in the mouth."""
    outline_mm: Float32
    """(N,) distance to that outline on the average face, negative outside the rendered part."""
    near_openings: Bool
    """(N,) skin beside the openings of eyes and mouth: eyes and teeth may show there."""
    openness: Float32
    """(N,) 1 on exposed skin, less in nostrils and between lips, which are dark."""
    neighbours: tuple[Int32, Int32]
    """(E,) and (E,) ids of the ends of each edge of the rendered surface, both ways."""
    upper: Int32
    """(K,) vertices of the mouth's upper rim, from image left to right; empty where there is no opening or
    the model has a mouth."""
    lower: Int32
    """(K,) those below them."""
    lips: tuple[Int32, Int32]
    """Vertices nearest to the inner lip line, above and below, at each of the K places across; empty where
    the skin has no opening there."""
    motions: Float32
    """(E, 3 N) the model's expression basis, one row each: contiguous, for fast weighted sums. Correctives
    are not in it."""

    def extended(self, vertices: Float32) -> Float32:
        """(N + M, 3) the model's vertices (N, 3), mm, followed by the lining's."""
        if not len(self.upper):
            return vertices
        t = np.linspace(0, 1, LINING_ROWS, dtype=np.float32)[None, :, None]
        lining = vertices[self.upper][:, None] * (1 - t) + vertices[self.lower][:, None] * t
        lining[:, :, 2] -= 8 * (t * (1 - t))[:, :, 0]  # a little inward, behind the lips
        return np.concatenate([vertices, np.asarray(lining, np.float32).reshape(-1, 3)])

    def mouth(self, vertices: Float32) -> Float32:
        """(N + M, 3) on the lining: place across -1..1, mm below the upper rim, mm between rims; else 0."""
        out = np.zeros((len(self.inset), 3), np.float32)
        if len(self.upper):
            gap = np.linalg.norm(vertices[self.upper] - vertices[self.lower], axis=1)
            out[len(vertices) :] = np.stack(
                np.broadcast_arrays(
                    np.linspace(-1, 1, len(self.upper))[:, None],
                    gap[:, None] * np.linspace(0, 1, LINING_ROWS),
                    gap[:, None],
                ),
                axis=-1,
            ).reshape(-1, 3)
        return out

    def lip_gap(self, vertices: Float32) -> Float32:
        """(K,) mm between the inner lip lines at each place across the mouth."""
        above, below = self.lips
        return np.linalg.norm(vertices[above] - vertices[below], axis=1).astype(np.float32)


_KNOWN: WeakKeyDictionary[FaceModel, FaceSurface] = WeakKeyDictionary()


def face_surface(model: FaceModel) -> FaceSurface:
    """The rendered part of a model, cached per model."""
    if model not in _KNOWN:
        _KNOWN[model] = _find(model)
    return _KNOWN[model]


def _find(model: FaceModel) -> FaceSurface:
    from scipy.spatial import KDTree

    eyes = model.eyeballs
    hollows = linings(model)
    skin = model.face_vertices | model.region("lips")
    rendered = skin | eyes | hollows
    inner = hollows & ~skin
    whole = model.triangles
    kept = rendered[whole].all(axis=1)
    triangles = whole[kept]
    # the outline: rendered vertices that share a triangle with others
    crossing = ~kept & rendered[whole].any(axis=1)
    rim = np.unique(whole[crossing])
    rim = rim[rendered[rim]]
    distance = np.full(model.n_vertices, np.inf)
    if len(rim):
        distance = np.asarray(KDTree(model.mean[rim]).query(model.mean)[0])
    x = np.clip(distance / _FEATHER_MM, 0, 1)
    inset = np.where(rendered, x * x * (3 - 2 * x), 0.0)
    inset[eyes | inner] = 1.0

    upper, lower = _mouth_rims(model)
    lining, lips = np.zeros((0, 3), np.int32), (upper, lower)
    if len(upper):
        lips = _lip_lines(model, model.mean[upper][:, 0])
    if model.region("mouth").any():
        upper = lower = np.zeros(0, np.int32)
    if len(upper):
        ids = model.n_vertices + np.arange(len(upper) * LINING_ROWS).reshape(-1, LINING_ROWS)
        a, b, c, d = ids[:-1, :-1].ravel(), ids[1:, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel()
        lining = np.concatenate([np.stack([a, c, d], axis=1), np.stack([a, d, b], axis=1)]).astype(np.int32)
        inset = np.concatenate([inset, np.ones(ids.size)])
    has_uv = len(model.uv) > 0 and len(model.uv_triangles) == len(whole)
    uv_triangles = np.zeros((0, 3), np.int32)
    if has_uv:
        uv_triangles = np.concatenate([model.uv_triangles[kept], np.zeros_like(lining)]).astype(np.int32)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    return FaceSurface(
        triangles=np.ascontiguousarray(np.concatenate([triangles, lining]), np.int32),
        first_mouth=len(triangles),
        uv_triangles=np.ascontiguousarray(uv_triangles),
        inset=inset.astype(np.float32),
        rendered=rendered,
        inner=inner,
        in_mouth=inner & ~model.region("eye_sockets"),
        outline_mm=np.where(rendered, distance, -distance).astype(np.float32),
        near_openings=_near_openings(model, rendered & ~eyes & ~inner),
        openness=_openness(model),
        neighbours=(edges[:, 0].copy(), edges[:, 1].copy()),
        upper=upper,
        lower=lower,
        lips=lips,
        motions=np.ascontiguousarray(model.expression.reshape(3 * model.n_vertices, -1).T),
    )


def _mouth_rims(model: FaceModel) -> tuple[Int32, Int32]:
    """Upper and lower rim of the opening behind the lips, paired from left to right."""
    nothing = np.zeros(0, np.int32)
    if "ibug68" not in model.landmarks:
        return nothing, nothing
    inner = model.landmarks["ibug68"].of(model.mean)[60:68]
    border = _open_edges(model)
    following = dict(border.tolist())
    left = set(following)
    width = float(np.ptp(inner[:, 0]))
    while left:
        start = min(left)
        loop = [start]
        left.discard(start)
        while (after := following.get(loop[-1])) is not None and after in left:
            loop.append(after)
            left.discard(after)
        points = model.mean[loop]
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        near = np.abs(middle[:2] - inner.mean(axis=0)[:2]).max() < 0.35 * width
        if len(loop) >= 8 and near and 0.4 * width < np.ptp(points[:, 0]) < 1.6 * width:
            return _split(np.array(loop), points)
    return nothing, nothing


def _open_edges(model: FaceModel) -> NDArray[np.int64]:
    """(B, 2) directed edges that only one triangle has, inner parts left out."""
    t = model.triangles[~lining_triangles(model)].astype(np.int64)
    directed = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    key = directed.min(axis=1) * model.n_vertices + directed.max(axis=1)
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    return directed[first[count == 1]]


def _near_openings(model: FaceModel, skin: Bool, reach_mm: float = 5.0) -> Bool:
    """(N,) skin (N,) within `reach_mm` of the rim of an opening."""
    from scipy.spatial import KDTree

    rim = np.unique(_open_edges(model))
    rim = rim[skin[rim]]
    out = np.zeros(model.n_vertices, bool)
    if len(rim):
        out[skin] = np.asarray(KDTree(model.mean[rim]).query(model.mean[skin])[0]) < reach_mm
    return out


def _openness(model: FaceModel) -> Float32:
    """(N,) share of 25 directions from which a vertex of the average face is visible, 0.3..1; eyes 1."""
    from facerelief.geometry.camera import WeakPerspective
    from facerelief.geometry.normals import vertex_normals
    from facerelief.rendering.rasterizer import rasterize, visible_vertices

    extent = np.ptp(model.mean, axis=0).max()
    scale = 240.0 / max(float(extent), 1e-6)
    middle = (model.mean.min(axis=0) + model.mean.max(axis=0)) / 2
    centred = (model.mean - middle).astype(np.float64)
    normals = vertex_normals(centred, model.triangles)
    solid, _ = solid_triangles(model)
    seen, facing = np.zeros(model.n_vertices), np.full(model.n_vertices, 1e-6)
    for pitch in (-1.0, -0.5, 0.0, 0.5, 1.0):
        for yaw in (-1.0, -0.5, 0.0, 0.5, 1.0):
            camera = WeakPerspective(pitch, yaw, 0.0, 220.0, 220.0, scale)
            uvz = camera.project(centred)
            rendered = rasterize(uvz, solid, 440, 440, cull_backfaces=True)
            toward = np.maximum(normals @ camera.rotation[2], 0)
            facing += toward
            seen += toward * visible_vertices(uvz, solid, rendered, tolerance_mm=1.0)
    out = np.clip(1.6 * seen / facing, 0.3, 1.0)
    out[model.eyeballs] = 1.0
    mouth = model.region("mouth", "teeth", "gums", "tongue")
    if mouth.any():
        # closed on the average face: when open, it is the darker the deeper
        inside = mouth & ~model.face_vertices
        depth = model.mean[inside, 2].max() - model.mean[inside, 2]
        out[inside] = np.clip(1 - depth / _MOUTH_DEPTH_MM, 0.15, 1.0)
    return out.astype(np.float32)


def _split(loop: NDArray[np.intp], points: Float32) -> tuple[Int32, Int32]:
    """Upper and lower half of a closed loop of vertices (L,) at points (L, 3), paired from left to right."""
    i, j = sorted((int(points[:, 0].argmin()), int(points[:, 0].argmax())))
    one, two = np.arange(i, j + 1), np.r_[np.arange(j, len(loop)), np.arange(0, i + 1)]
    chains = [part[np.argsort(points[part, 0], kind="stable")] for part in (one, two)]
    upper, lower = sorted(chains, key=lambda part: -float(points[part, 1].mean()))
    # the same places across on both
    places = np.linspace(points[:, 0].min(), points[:, 0].max(), min(len(upper), len(lower)))
    nearest = [part[np.abs(points[part, 0][:, None] - places).argmin(axis=0)] for part in (upper, lower)]
    return loop[nearest[0]].astype(np.int32), loop[nearest[1]].astype(np.int32)


def _lip_lines(model: FaceModel, places: NDArray[np.floating]) -> tuple[Int32, Int32]:
    """Vertices nearest to the inner lip line's upper and lower half at each place across (mm)."""
    from scipy.spatial import KDTree

    points = model.landmarks["ibug68"].of(model.mean)
    skin = np.flatnonzero(model.face_vertices | model.region("lips"))
    tree = KDTree(model.mean[skin])
    lines: list[Int32] = []
    for ids in ([60, 61, 62, 63, 64], [60, 67, 66, 65, 64]):
        line = points[ids]
        order = np.argsort(line[:, 0])
        at = np.stack([np.interp(places, line[order, 0], line[order, k]) for k in range(3)], axis=1)
        lines.append(skin[np.asarray(tree.query(at)[1])].astype(np.int32))
    return lines[0], lines[1]
