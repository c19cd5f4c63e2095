"""Recipes of the presets, put together from steps: a case and its prediction -> the score of the case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.alignment import Similarity, procrustes
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.io.meshes import read_mesh
from facerelief.lab.evaluation.protocols.cases import Case, CaseScore, Prediction, load_scan
from facerelief.lab.evaluation.protocols.files.landmark_files import (
    LANDMARK_SUFFIXES,
    Landmarks,
    read_landmarks,
    shared,
)
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.steps import alignment, checks, crops, distances
from facerelief.lab.evaluation.protocols.steps.nonrigid import deform
from facerelief.lab.evaluation.protocols.steps.statistics import normalized_mean_error, rmse

REALY_KEYPOINTS: dict[str, tuple[int, ...]] = {
    "nose": (27, 28, 29, 30, 31, 32, 33, 34, 35),
    "mouth": (48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 64),
    "forehead": (*range(36, 48), *range(17, 27)),
    "cheek": (*range(48, 61), 64, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
"""REALY's keypoints of each region, of its 85."""
REALY_NOSE_RIGID = (27, 28, 29, 30, 31, 35, 32, 33, 34, 70, 71)
"""Those of the nose in the rigid step."""
FOREHEAD_MM = 40.0
"""Cut above the line between the eyes; Deep3D's own is not published."""
TIGHT_SUBJECT = "subject_28"
TIGHT_RADIUS_MM = 60.0
"""GANFit's public code measures this subject of MICC in a smaller sphere."""
FACING = 0.5
"""In the direction from prediction to scan: least cosine between the normals of the two."""


@dataclass(frozen=True)
class Settings:
    """Facts about the files that the user states."""

    data_unit: str = "mm"
    """Unit of the scans."""


def score_now(
    case: Case, prediction: Prediction, settings: Settings, *, with_scale: bool = True
) -> CaseScore:
    """NoW, or with `with_scale` off its metrical variant."""
    mesh, landmarks, warnings = _checked(prediction, scale_free=with_scale)
    scan, marks = load_scan(case.scans[0], settings.data_unit)
    checks.check_handedness(*shared(landmarks, marks), prediction.source)
    seven = marks.seven
    points = crops.cropped(scan.vertices, crops.now_crop(scan.vertices, seven), str(case.scans[0].mesh))
    surface = alignment.Surface.of(mesh)
    start = procrustes(landmarks.seven, seven, with_scale=with_scale)
    pose = alignment.scan_to_surface(points, surface, start, with_scale=with_scale)
    distance = distances.point_to_surface(points, surface, pose)
    values = {
        "median": float(np.median(distance)),
        "mean": float(distance.mean()),
        "std": float(distance.std()),
    }
    return CaseScore(case, values, distance.astype(np.float32), warnings)


def score_now_metrical(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """NoW with the prediction's own scale."""
    return score_now(case, prediction, settings, with_scale=False)


def score_micc_deep3d(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """MICC as Deep3D: 95 mm about the nose tip without the forehead, ICP with scale, point-to-plane RMSE."""
    mesh, landmarks, warnings = _checked(prediction, scale_free=True)
    scan, marks = load_scan(case.scans[0], settings.data_unit)
    mine, theirs = shared(landmarks, marks)
    checks.check_handedness(mine, theirs, prediction.source)
    region = crops.nose_crop(scan.vertices, crops.nose_tip(scan, marks)) & crops.below_forehead(
        scan.vertices, marks, FOREHEAD_MM
    )
    points = crops.cropped(scan.vertices, region, str(case.scans[0].mesh))
    surface = alignment.Surface.of(mesh)
    pose = alignment.scan_to_surface(points, surface, procrustes(mine, theirs), with_scale=True)
    distance = distances.point_to_plane(points, surface, pose)
    return CaseScore(case, {"rmse": rmse(distance)}, distance.astype(np.float32), warnings)


def score_micc_genova(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """MICC in both directions with a similarity found anew in each round; the better of the two frontal
    scans."""
    mesh, landmarks, warnings = _checked(prediction, scale_free=True)
    radius = TIGHT_RADIUS_MM if case.subject == TIGHT_SUBJECT else crops.NOSE_RADIUS_MM
    values: dict[str, float] = {}
    for take in case.scans:
        scan, marks = load_scan(take, settings.data_unit)
        warnings += checks.check_surface(scan, str(take.mesh))
        mine, theirs = shared(landmarks, marks)
        checks.check_handedness(mine, theirs, prediction.source)
        start = procrustes(mine, theirs)
        posed = Mesh(start.apply(mesh.vertices), mesh.triangles)
        posed_marks = Landmarks(start.apply(landmarks.points).astype(np.float64), landmarks.source)
        ours, other = alignment.Surface.of(posed), alignment.Surface.of(scan)
        still = Similarity.identity()
        tip = crops.nose_tip(scan, marks)
        points = crops.cropped(scan.vertices, crops.nose_crop(scan.vertices, tip, radius), str(take.mesh))
        _, there = alignment.similarity_icp(points, ours, still)
        tip = crops.nose_tip(posed, posed_marks)
        region = np.flatnonzero(crops.nose_crop(posed.vertices, tip, radius))
        near = other.nearest(posed.vertices[region].astype(np.float64), still)
        facing = vertex_normals(posed.vertices, posed.triangles)[region] * other.normals(near, still)
        # the scan does not reach there, or it is the inside of something: eyeballs, the mouth
        there_too = ~distances.on_rim(other, near) & (facing.sum(axis=1) > FACING)
        points = crops.cropped(posed.vertices[region], there_too, prediction.source)
        _, back = alignment.similarity_icp(points, other, still)
        values[take.name] = distances.symmetric_mean(there.distance, back.distance)
    return CaseScore(case, values | {"mean": min(values.values())}, None, warnings)


def score_realy(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """REALY: globally by 7 keypoints, then each region by itself, rigidly and through a non-rigid
    correspondence."""
    mesh, landmarks, warnings = _checked(prediction, scale_free=True)
    keypoints = _realy_keypoints(case, case.scale_mm)
    mine, theirs = shared(landmarks, keypoints)
    checks.check_handedness(mine, theirs, prediction.source)
    # in the units of the scans, as the weights of the non-rigid step are meant
    targets = keypoints.points / case.scale_mm
    surface = alignment.Surface.of(mesh)
    start = alignment.deviation_scale(landmarks.seven, keypoints.seven / case.scale_mm)
    for marks in (landmarks, keypoints):
        if len(marks) not in (68, 85):  # BU-3DFE's 83 are in another order
            raise EvaluationError(
                f"{marks.source}: {len(marks)} landmarks; REALY's regions need its 85, or iBUG's 68"
            )
    count = min(len(landmarks), len(keypoints))
    values: dict[str, float] = {}
    for scan in case.scans:
        region = read_mesh(scan.mesh)
        points = region.vertices.astype(np.float64)
        ids = [
            i for i in (REALY_NOSE_RIGID if scan.name == "nose" else REALY_KEYPOINTS[scan.name]) if i < count
        ]
        share = len(points) / len(ids) / (4 if scan.name == "cheek" else 1)
        pose = alignment.keypoint_icp(
            points, surface, start, landmarks.points[ids], targets[ids], max(int(share), 1)
        )
        goals = surface.nearest(points, pose).point
        guides = [i for i in REALY_KEYPOINTS[scan.name] if i < count]
        if scan.name == "cheek":
            deformed = deform(points, region.triangles, goals)
        else:
            own = np.array([int(np.sum((points - t) ** 2, axis=1).argmin()) for t in targets[guides]])
            own, first = np.unique(own, return_index=True)
            # a vertex goes as its keypoint goes, not to its keypoint, from which it may lie some way off
            goal = points[own] + (pose.apply(landmarks.points[guides]) - targets[guides])[first]
            deformed = deform(points, region.triangles, goals, own, goal)
        corresponding = surface.nearest(deformed, pose).point
        values[scan.name] = float(distances.known(corresponding, points).mean()) * case.scale_mm
    return CaseScore(case, values | {"all": float(np.mean(list(values.values())))}, None, warnings)


def score_bu3dfe(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """BU-3DFE, our own open recipe: 95 mm about the nose tip, rigid ICP, point-to-surface RMSE; with scale
    beside."""
    mesh, landmarks, warnings = _checked(prediction, scale_free=False)
    scan, marks = load_scan(case.scans[0], settings.data_unit)
    mine, theirs = shared(landmarks, marks)
    checks.check_handedness(mine, theirs, prediction.source)
    region = crops.nose_crop(scan.vertices, crops.nose_tip(scan, marks))
    points = crops.cropped(scan.vertices, region, str(case.scans[0].mesh))
    surface = alignment.Surface.of(mesh)
    values: dict[str, float] = {}
    for name, with_scale in (("rmse", False), ("rmse_with_scale", True)):
        start = procrustes(mine, theirs, with_scale=with_scale)
        pose = alignment.scan_to_surface(points, surface, start, with_scale=with_scale)
        values[name] = rmse(distances.point_to_surface(points, surface, pose))
    return CaseScore(case, values, None, warnings)


def score_true(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """Known correspondence: mean distance of corresponding vertices after the best rigid motion; with scale
    beside."""
    file = case.scans[0].mesh
    truth = read_mesh(file, checks.UNITS[settings.data_unit])
    if prediction.mesh is None:
        raise EvaluationError(f"{prediction.source}: no mesh")
    mine, theirs = prediction.mesh.vertices.astype(np.float64), truth.vertices.astype(np.float64)
    if len(mine) != len(theirs):
        raise EvaluationError(
            f"{prediction.source}: {len(mine)} vertices, {file} has {len(theirs)}; known correspondence "
            "needs one topology, use another preset for this"
        )
    checks.check_extent(truth, str(file), option="--data-unit", unit=settings.data_unit)
    checks.check_extent(prediction.mesh, prediction.source, option=prediction.option, unit=prediction.unit)
    checks.check_handedness(mine, theirs, prediction.source)
    mask = _vertex_mask(case.mask, len(theirs))
    mine, theirs = mine[mask], theirs[mask]
    distance = distances.known(procrustes(mine, theirs, with_scale=False).apply(mine), theirs)
    scaled = distances.known(procrustes(mine, theirs).apply(mine), theirs)
    values = {"mean": float(distance.mean()), "rmse": rmse(distance), "mean_with_scale": float(scaled.mean())}
    return CaseScore(case, values, distance.astype(np.float32), [])


def score_aflw2000(case: Case, prediction: Prediction, settings: Settings) -> CaseScore:
    """AFLW2000-3D: 68 points in the image."""
    if prediction.points is None or case.points is None:
        raise EvaluationError(f"{prediction.source}: no points in the image")
    checks.check_handedness(prediction.points, case.points, prediction.source)
    return CaseScore(case, {"nme": normalized_mean_error(prediction.points, case.points), "yaw": case.yaw})


def _checked(prediction: Prediction, *, scale_free: bool) -> tuple[Mesh, Landmarks, list[str]]:
    mesh, landmarks = prediction.surface()
    checks.check_face_order(landmarks)
    warnings = checks.check_size(
        landmarks, matters=not scale_free, option=prediction.option, unit=prediction.unit
    )
    return mesh, landmarks, warnings + checks.check_surface(mesh, prediction.source)


def _realy_keypoints(case: Case, scale_mm: float) -> Landmarks:
    """(85, 3) mm: the vertices of the keypoint mesh, or of a landmark file."""
    file = case.scans[0].landmarks
    if file is None:
        raise EvaluationError(
            f"{case.name}: no keypoints of this scan in REALY_HIFI3D_keypoints/; copy them again"
        )
    if file.suffix.lower() in LANDMARK_SUFFIXES:
        landmarks = read_landmarks(file, scale_mm)
    else:
        landmarks = Landmarks(read_mesh(file, scale_mm).vertices.astype(np.float64), str(file))
    checks.check_face_order(landmarks)
    checks.check_size(landmarks, matters=True, option="metrical_scale.txt in")
    return landmarks


def _vertex_mask(file: Path | None, count: int) -> NDArray[np.int64]:
    """Ids of the measured vertices."""
    if file is None:
        return np.arange(count)
    try:
        if file.suffix == ".npy":
            found = np.load(file, allow_pickle=False).reshape(-1).astype(np.int64)
        else:
            found = np.array([int(x) for x in file.read_text("utf-8").replace(",", " ").split()], np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise EvaluationError(
            f"{file}: no readable mask ({error}); give vertex ids, or a 0 or 1 for each"
        ) from error
    if len(found) == count and set(np.unique(found)) <= {0, 1}:
        found = np.flatnonzero(found)
    if len(found) < 3 or found.min() < 0 or found.max() >= count:
        raise EvaluationError(
            f"{file}: expected at least three vertex ids in 0..{count - 1}, or a 0 or 1 for each"
        )
    return found
