"""Landmarks, outline candidates, regions and skin colours on the open model's surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.adjacency import neighbour_mean, vertex_links
from facerelief.geometry.closest import ClosestPoint
from facerelief.lab.building.registration import HeadSurface, ScanHeads
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE, OUTLINES
from facerelief.morphable.model import Contour, FaceModel, SurfacePoints, concatenate_points
from facerelief.typed import Bool, Float, Float32

UPPER_BROWS = IBUG68_AMONG_MEDIAPIPE[17:27]
LOWER_BROWS = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276)
JAW_ROWS = 14
"""Candidates per outline landmark."""
MAX_LEAP = 16.0
"""mm between one candidate and the next."""
SKIN = np.array([0.78, 0.60, 0.52])
SCLERA = np.array([0.86, 0.84, 0.83])
IRIS = np.array([0.36, 0.26, 0.20])
PUPIL = np.array([0.05, 0.05, 0.05])
INNER_COLORS = {
    "eye_sockets": np.array([0.60, 0.40, 0.36]),
    "mouth": np.array([0.42, 0.20, 0.18]),
    "gums": np.array([0.66, 0.40, 0.38]),
    "tongue": np.array([0.66, 0.40, 0.38]),
    "teeth": np.array([0.86, 0.83, 0.76]),
    "lashes": np.array([0.12, 0.10, 0.09]),
}
"""sRGB-coded colours of the parts within the head and of the lashes."""


def surface_points(points: Float, vertices: Float, triangles: NDArray[np.int32]) -> SurfacePoints:
    """Nearest surface points of (L, 3) positions."""
    hit = ClosestPoint(vertices, triangles).query(points)
    return SurfacePoints(triangles[hit.triangle].astype(np.int32), hit.barycentric.astype(np.float32))


def landmarks(
    surface: HeadSurface, scans: ScanHeads, scan_model: FaceModel, draped: Float
) -> dict[str, SurfacePoints]:
    """68 iBUG points and, where the scan model has them, MediaPipe's 478, carried over by the draped mesh."""
    targets = scans.mean[scans.landmarks68]
    points = surface_points(targets, draped, surface.skin_triangles)
    vertices, weights = points.vertices.copy(), points.weights.copy()
    # the lid rims are known exactly
    for landmark, vertex in surface.eyelid_landmarks(draped, targets).items():
        vertices[landmark], weights[landmark] = vertex, (1.0, 0.0, 0.0)
    out = {"ibug68": symmetric(SurfacePoints(vertices, weights), surface, draped, IBUG_MIRROR)}
    if "mediapipe478" in scan_model.landmarks:
        dense = scan_model.landmarks["mediapipe478"].of(scan_model.mean.astype(float)) - scans.origin
        mirror = mediapipe_mirror(dense)
        skin = surface_points(dense[:468], draped, surface.skin_triangles)
        balls = surface.triangles[surface.head.eyeballs[surface.triangles].all(axis=1)]
        irises = surface_points(iris_points(surface, draped), draped, balls)
        both = concatenate_points([skin, irises])
        out["mediapipe478"] = symmetric(both, surface, draped, mirror)
    return out


def with_detected_brows(found: dict[str, SurfacePoints]) -> dict[str, SurfacePoints]:
    """The iBUG brow points put on MediaPipe's upper brow line.

    ICT-FaceKit's own brow points lie some 7 mm above the hair of real brows as detectors see them.
    """
    if "mediapipe478" not in found:
        return found
    brows, dense = found["ibug68"], found["mediapipe478"]
    vertices, weights = brows.vertices.copy(), brows.weights.copy()
    vertices[17:27], weights[17:27] = dense.vertices[list(UPPER_BROWS)], dense.weights[list(UPPER_BROWS)]
    return {**found, "ibug68": SurfacePoints(vertices, weights)}


def iris_points(surface: HeadSurface, draped: Float) -> Float:
    """(10, 3) pupil centres and iris borders on the draped head."""
    sides = np.sign(surface.rest[:, 0])
    return iris_places([draped[surface.head.eyeballs & (sides == side)] for side in (-1, 1)])


def iris_places(eyeballs: Sequence[Float], radius_mm: float = 5.9) -> Float:
    """(10, 3) pupil centre, then the iris border toward x+, y+, x-, y-, as MediaPipe's.

    Args:
        eyeballs: (B, 3) vertices of the right eye (x < 0) and of the left one, mm.
        radius_mm: Radius of the iris.
    """
    out: list[Float] = []
    for ball in eyeballs:
        centre = np.array(
            [
                (ball[:, 0].min() + ball[:, 0].max()) / 2,
                (ball[:, 1].min() + ball[:, 1].max()) / 2,
                ball[:, 2].max(),
            ]
        )
        ring = [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]
        out += [centre + radius_mm * np.array([x, y, 0.0]) for x, y in ring]
    return np.array(out)


IBUG_MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
"""(68,) landmark on the other side of the face."""


def mediapipe_mirror(points: Float) -> NDArray[np.int64]:
    """(478,) mirror partner of each MediaPipe landmark, found from nearly symmetric (478, 3) positions."""
    out = np.empty(478, np.int64)
    flipped = points[:468] * [-1, 1, 1]
    distance = np.linalg.norm(flipped[:, None] - points[None, :468], axis=2)
    from scipy.optimize import linear_sum_assignment

    out[:468] = linear_sum_assignment(distance)[1]
    out[468:] = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]
    return out


def symmetric(
    points: SurfacePoints, surface: HeadSurface, draped: Float, mirror: NDArray[np.integer]
) -> SurfacePoints:
    """Average every landmark with the mirror image of its partner."""
    at = points.of(draped)
    partner = at[mirror] * [-1, 1, 1]
    eyeball = surface.head.eyeballs[points.vertices[:, 0]]
    triangles = surface.triangles
    ball = surface.head.eyeballs[triangles].all(axis=1)
    out_v, out_w = points.vertices.copy(), points.weights.copy()
    for chosen, mesh in ((~eyeball, surface.skin_triangles), (eyeball, triangles[ball])):
        if chosen.any():
            placed = surface_points(0.5 * (at + partner)[chosen], draped, mesh)
            out_v[chosen], out_w[chosen] = placed.vertices, placed.weights
    return SurfacePoints(out_v, out_w)


def contours(surface: HeadSurface, draped: Float, found: dict[str, SurfacePoints]) -> dict[str, Contour]:
    """Rows of outline candidates: from each outline landmark, radially from the ear side toward the cheek.

    When the head turns, the landmark on the near side stays and that on the far side slides along its row to
    wherever the silhouette is (dynamic contour rows).
    """
    centre = np.array([0.0, -25.0])
    allowed = surface.skin & ~surface.ears & ~surface.head.neck & (surface.rest[:, 2] > -75)
    ids = np.flatnonzero(allowed)
    polar = draped[ids, :2] - centre
    angle = np.arctan2(polar[:, 1], polar[:, 0])
    out: dict[str, Contour] = {}
    for name, chain in OUTLINES.items():
        if name not in found:
            continue
        outline = list(chain)
        at = found[name].of(draped)[outline]
        kept: list[int] = []
        rows: list[NDArray[np.int64]] = []
        for landmark, point in zip(outline, at):
            row = outline_row(point, centre, draped, ids, angle)
            if row is not None:
                kept.append(landmark)
                rows.append(row)
        out[name] = Contour(np.array(kept, np.int32), np.array(rows, np.int32))
    return out


def outline_row(
    point: Float, centre: Float, vertices: Float, ids: NDArray[np.int64], angle: Float
) -> NDArray[np.int64] | None:
    """Candidates of one outline landmark, from the ear side to the cheek; None at chin and forehead.

    Args:
        point: (3,) mm, the landmark.
        centre: (2,) mm, middle of the face, seen from the front.
        vertices: (N, 3) mm.
        ids: (V,) vertices that may be candidates.
        angle: (V,) their direction from the centre, radians.
    """
    direction = np.arctan2(*(point[:2] - centre)[::-1])
    # only the sides of the face slide; chin and forehead outlines stay where they are
    if abs(np.sin(direction)) > 0.8:
        return None
    near = np.abs((angle - direction + np.pi) % (2 * np.pi) - np.pi) < 0.12
    strip = ids[near]
    # position along the row: depth falls from the cheek back to the ear
    depth = vertices[strip, 2] - point[2]
    steps = np.linspace(-22.0, 32.0, JAW_ROWS)
    outward = np.array([np.cos(direction), np.sin(direction)])
    side = (vertices[strip, :2] - centre) @ np.array([-outward[1], outward[0]])
    row = [int(strip[np.argmin(np.abs(depth - s) + 1.5 * np.abs(side))]) for s in steps]
    # from the landmark outward to both ends; where the row would leap over an eye to the nose, it ends
    start = int(np.argmin(np.abs(steps)))
    for order in (range(start + 1, JAW_ROWS), range(start - 1, -1, -1)):
        last = start
        for k in order:
            if np.linalg.norm(vertices[row[k]] - vertices[row[last]]) > MAX_LEAP:
                row[k] = row[last]
            last = k
    return np.array(row)


def regions(
    surface: HeadSurface, scans: ScanHeads, draped: Float, found: dict[str, SurfacePoints]
) -> dict[str, Bool]:
    """Vertex masks: face, narrow_face, eyes, lips, nose, brows, ears, neck, scalp, eyeballs."""
    hit = ClosestPoint(scans.mean, scans.triangles).query(draped)
    near = hit.distance < 4.0
    corners = scans.triangles[hit.triangle]
    narrow = near & scans.narrow[corners].all(axis=1) & surface.skin
    face = (
        near
        & (scans.narrow | scans.face)[corners].all(axis=1)
        & surface.skin
        & ~surface.ears
        & ~surface.head.neck
    )
    # the scan model's face includes part of scalp and neck
    face &= (draped[:, 1] < 80) & (draped[:, 1] > -95) & (draped[:, 2] > -75)
    p = found["ibug68"].of(draped)[:, :2]
    flat = draped[:, :2]
    # the scan model's regions run down the throat
    above_throat = flat[:, 1] > p[8, 1] - 4.0
    narrow &= above_throat
    face &= above_throat
    face |= narrow
    front = surface.skin & (draped[:, 2] > -25)
    eyes = np.zeros(len(draped), bool)
    for first in (36, 42):
        eyes |= front & inside(flat, _grow(p[first : first + 6], 1.55, 1.9))
    brows = np.zeros(len(draped), bool)
    if "mediapipe478" in found:
        dense = found["mediapipe478"].of(draped)[:, :2]
        lines = [(dense[list(UPPER_BROWS[i : i + 5])], dense[list(LOWER_BROWS[i : i + 5])]) for i in (0, 5)]
    else:
        lines = [(p[i : i + 5] + [0, 4.0], p[i : i + 5] - [0, 4.5]) for i in (17, 22)]
    for upper, lower in lines:
        brows |= front & inside(flat, np.concatenate([upper + [0, 0.5], lower[::-1] - [0, 0.5]]))
    nose = front & inside(
        flat,
        np.concatenate(
            [p[[27]] + [-8, 2], p[[31]] + [-7, 2], p[[33]] + [0, -2], p[[35]] + [7, 2], p[[27]] + [8, 2]]
        ),
    )
    lips = front & inside(flat, _grow(p[48:60], 1.04, 1.08))
    scalp = surface.skin & ~face & ~surface.ears & ~surface.head.neck
    return {
        "face": face,
        "narrow_face": narrow,
        "eyes": eyes,
        "lips": lips,
        "nose": nose,
        "brows": brows & ~eyes,
        "ears": surface.ears,
        "neck": surface.head.neck,
        "scalp": scalp,
        "eyeballs": surface.head.eyeballs.copy(),
    }


def inside(points: Float, polygon: Float) -> Bool:
    """(P, 2) points within a simple polygon (even-odd rule)."""
    x, y = points[:, 0], points[:, 1]
    out = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0)):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        out ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return out


def _grow(polygon: Float, horizontal: float, vertical: float) -> Float:
    middle = polygon.mean(axis=0)
    return middle + (polygon - middle) * [horizontal, vertical]


def skin_colors(
    draped: Float, triangles: NDArray[np.int32], masks: dict[str, Bool]
) -> tuple[Float32, Float32]:
    """Hand-made mean albedo and components, sRGB-coded, until a learned model replaces them.

    Components, one standard deviation each: darker (melanin), redder (blood), yellower, lips, brows, beard,
    cheeks, scalp. They give the light estimate something other than grey to work against; they are not
    learned from anybody.

    Args:
        draped: (N, 3) mm.
        triangles: (T, 3) vertex ids.
        masks: (N,) regions.

    Returns:
        (N, 3) and (N, 3, 8).
    """
    soft = {k: _smooth(triangles, v.astype(float)) for k, v in masks.items()}
    n = len(draped)
    on_skin = masks["face"] | masks["narrow_face"] | masks["ears"] | masks["neck"] | masks["scalp"]
    mean = np.tile(SKIN, (n, 1))
    mean += soft["lips"][:, None] * np.array([-0.06, -0.16, -0.12])
    mean += soft["brows"][:, None] * np.array([-0.22, -0.20, -0.18])
    for side in (-1, 1):
        ball = masks["eyeballs"] & (np.sign(draped[:, 0]) == side)
        points = draped[ball]
        middle = (points.max(axis=0) + points.min(axis=0)) / 2
        off_axis = np.linalg.norm(points[:, :2] - middle[:2], axis=1)
        ahead = points[:, 2] > middle[2]
        color = np.tile(SCLERA, (len(points), 1))
        color[ahead & (off_axis < 6.2)] = IRIS
        color[ahead & (off_axis < 2.4)] = PUPIL
        mean[ball] = color
    for name, color in INNER_COLORS.items():
        if name in masks:
            mean[masks[name]] = color
    skin = on_skin.astype(float)[:, None]
    jaw = draped[:, 1] < -38
    beard = _smooth(triangles, (masks["face"] & jaw & ~masks["lips"]).astype(float))[:, None]
    cheeks = np.zeros(n)
    for side in (-1, 1):
        cheeks += np.exp(-((draped[:, 0] - 38 * side) ** 2 + (draped[:, 1] + 32) ** 2) / (2 * 14.0**2))
    parts = [
        skin * np.array([-0.13, -0.14, -0.13]),
        skin * np.array([0.035, -0.02, -0.01]),
        skin * np.array([0.01, 0.015, -0.045]),
        soft["lips"][:, None] * np.array([-0.03, -0.07, -0.05]),
        soft["brows"][:, None] * np.array([-0.13, -0.12, -0.11]),
        beard * np.array([-0.09, -0.08, -0.07]),
        (cheeks * on_skin)[:, None] * np.array([0.03, -0.035, -0.03]),
        (soft["scalp"] * (draped[:, 1] > 20))[:, None] * np.array([-0.15, -0.15, -0.15]),
    ]
    return mean.astype(np.float32), np.stack(parts, axis=2).astype(np.float32)


def _smooth(triangles: NDArray[np.int32], values: Float, rounds: int = 2) -> Float:
    mean = neighbour_mean(vertex_links(triangles, len(values), counted=True))
    for _ in range(rounds):
        values = 0.5 * values + 0.5 * (mean @ values)
    return values


def eyelid_rims(surface: HeadSurface, side: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Vertices of the upper and lower lid rim of one eye (0 right, 1 left), corners in both, by increasing
    x."""
    rim = surface.eye_rims[side]
    rest = surface.rest[rim]
    corners = [int(np.argmin(rest[:, 0])), int(np.argmax(rest[:, 0]))]
    a, b = rest[corners]
    chord = a[1] + (rest[:, 0] - a[0]) / (b[0] - a[0]) * (b[1] - a[1])
    above = rest[:, 1] >= chord
    above[corners] = True
    below = ~above
    below[corners] = True
    upper, lower = rim[above], rim[below]
    return upper[np.argsort(surface.rest[upper, 0])], lower[np.argsort(surface.rest[lower, 0])]
