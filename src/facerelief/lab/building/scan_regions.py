"""Landmarks, outline candidates and regions of open model 2.

Tested by tests/lab/building/test_scan_model.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.lab.building.scan_mesh import HeadMesh
from facerelief.lab.building.surface import (
    IBUG_MIRROR,
    LOWER_BROWS,
    UPPER_BROWS,
    inside,
    iris_places,
    mediapipe_mirror,
    outline_row,
    surface_points,
)
from facerelief.morphable.landmark_sets import OUTLINES
from facerelief.morphable.model import Contour, SurfacePoints, concatenate_points
from facerelief.typed import Bool, Float, Float64, Int32

MULTI_PIE_OUTLINE = (
    *(1278, 1272, 12, 1834, 243, 781, 2199, 1447, 966),
    *(3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496),
)
"""Source vertices of the jaw landmarks 0 to 16 on the outline of the face."""
EAR_UV = (0.11, 0.42, 0.72)
"""Ears in the source's face tile: distance from either side and range along v."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The model's mean surface, as this module needs it."""

    mean: Float64
    """(N, 3) mm."""
    triangles: Int32
    uv: Float64
    """(N, 2) one uv of each vertex."""
    mesh: HeadMesh
    symmetry: Int32

    @property
    def skin(self) -> Bool:
        return self.mesh.vertices_of("face", "sides", "crown", "behind_ears", "bust")

    @property
    def eyeballs(self) -> Bool:
        return self.mesh.vertices_of("eyeballs")

    def triangles_of(self, mask: Bool) -> Int32:
        """(T, 3) triangles whose corners all lie in a mask."""
        return self.triangles[mask[self.triangles].all(axis=1)]


def place_landmarks(surface: Surface, points68: Float, points478: Float) -> dict[str, SurfacePoints]:
    """Both landmark sets on the surface, left and right alike.

    Args:
        surface: Mean surface.
        points68: (68, 3) mm, iBUG's points on the mean.
        points478: (478, 3) mm, MediaPipe's; the last ten, the irises, are placed anew.
    """
    skin = surface.triangles_of(surface.skin)
    dense = surface_points(points478[:468], surface.mean, skin)
    irises = surface_points(_irises(surface), surface.mean, surface.triangles_of(surface.eyeballs))
    mirror = mediapipe_mirror(points478)
    return {
        "ibug68": _symmetric(surface_points(points68, surface.mean, skin), surface, IBUG_MIRROR),
        "mediapipe478": _symmetric(concatenate_points([dense, irises]), surface, mirror),
    }


def _irises(surface: Surface) -> Float:
    sides = np.sign(surface.mean[:, 0])
    return iris_places([surface.mean[surface.eyeballs & (sides == side)] for side in (-1, 1)])


def _symmetric(points: SurfacePoints, surface: Surface, mirror: NDArray[np.integer]) -> SurfacePoints:
    """Each point averaged with the mirror image of its partner."""
    at = points.of(surface.mean)
    wanted = 0.5 * (at + at[mirror] * [-1, 1, 1])
    ball = surface.eyeballs[points.vertices[:, 0]]
    vertices, weights = points.vertices.copy(), points.weights.copy()
    for chosen, mask in ((~ball, surface.skin), (ball, surface.eyeballs)):
        if chosen.any():
            placed = surface_points(wanted[chosen], surface.mean, surface.triangles_of(mask))
            vertices[chosen], weights[chosen] = placed.vertices, placed.weights
    return SurfacePoints(vertices, weights)


def outline_contours(
    surface: Surface, found: dict[str, SurfacePoints], masks: dict[str, Bool]
) -> dict[str, Contour]:
    """Rows of outline candidates, as in `surface.contours`."""
    centre = np.array([0.0, -25.0])
    allowed = surface.skin & ~masks["ears"] & ~masks["neck"] & (surface.mean[:, 2] > -85)
    ids = np.flatnonzero(allowed)
    polar = surface.mean[ids, :2] - centre
    angle = np.arctan2(polar[:, 1], polar[:, 0])
    out: dict[str, Contour] = {}
    for name, chain in OUTLINES.items():
        at = found[name].of(surface.mean)[list(chain)]
        rows = [outline_row(point, centre, surface.mean, ids, angle) for point in at]
        kept = [(k, row) for k, row in zip(chain, rows) if row is not None]
        out[name] = Contour(
            np.array([k for k, _ in kept], np.int32), np.array([row for _, row in kept], np.int32)
        )
    return out


def region_masks(surface: Surface, found: dict[str, SurfacePoints]) -> dict[str, Bool]:
    """(N,) masks of all regions, each symmetric."""
    mean, flat, skin = surface.mean, surface.mean[:, :2], surface.skin
    p = found["ibug68"].of(mean)[:, :2]
    dense = found["mediapipe478"].of(mean)[:, :2]
    part = surface.mesh.vertices_of
    inset, low, high = EAR_UV
    u, v = surface.uv.T
    ears = part("behind_ears") | (
        part("sides") & (np.minimum(u, 1.0 - u) < inset) & (v > low) & (v < high) & (np.abs(mean[:, 0]) > 60)
    )
    chin = p[8, 1]
    neck = (
        skin
        & ~ears
        & ((mean[:, 1] < chin - 4.0) | (part("bust") | (mean[:, 1] < p[4, 1]) & (mean[:, 2] < -75)))
    )
    narrow = part("face") & ~neck
    face = skin & ~ears & ~neck & (part("face") | part("sides")) & (mean[:, 1] < 85) & (mean[:, 2] > -75)
    front = skin & (mean[:, 2] > -30)
    eyes, lids = np.zeros(len(mean), bool), np.zeros(len(mean), bool)
    for first in (36, 42):
        eyes |= front & inside(flat, _grown(p[first : first + 6], 1.55, 1.9))
        lids |= front & inside(flat, _grown(p[first : first + 6], 1.25, 1.75))
    brows = np.zeros(len(mean), bool)
    for k in (0, 5):
        upper, lower = dense[list(UPPER_BROWS[k : k + 5])], dense[list(LOWER_BROWS[k : k + 5])]
        brows |= front & inside(flat, np.concatenate([upper + [0, 1.0], lower[::-1] - [0, 1.0]]))
    bridge, tip = p[[27]], p[33]
    nose = front & inside(
        flat,
        np.concatenate(
            [bridge + [-8, 2], p[[31]] + [-7, 2], tip[None] - [0, 2], p[[35]] + [7, 2], bridge + [8, 2]]
        ),
    )
    lips = front & inside(flat, _grown(p[48:60], 1.04, 1.08))
    masks = {
        "face": face | narrow,
        "narrow_face": narrow,
        "eyes": eyes,
        "lids": lids,
        "lips": lips,
        "nose": nose,
        "brows": brows & ~eyes,
        "ears": ears,
        "neck": neck,
        "scalp": skin & ~face & ~narrow & ~ears & ~neck,
    }
    masks = {name: mask | mask[surface.symmetry] for name, mask in masks.items()}
    return masks | {
        name: part(name) for name in ("eyeballs", "eye_sockets", "teeth", "gums", "tongue", "mouth", "lashes")
    }


def _grown(polygon: Float, horizontal: float, vertical: float) -> Float:
    middle = polygon.mean(axis=0)
    return middle + (polygon - middle) * [horizontal, vertical]
