"""A small stand-in for ICT-FaceKit, in its packed layout: the open model's own skin in its vertex order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from facerelief.morphable import FaceModel, open_model

COUNT, SKIN, NARROW, FACE, EYEBALLS = 24_591, 11_248, 6_706, 9_409, 21_451
OFFSET = np.array([0.0, 36.2, 79.9])
"""mm from the open model's origin to this one's."""
UNITS = {
    "jawOpen": "jawOpen",
    "mouthSmile_L": "mouthSmileLeft",
    "mouthSmile_R": "mouthSmileRight",
    "eyeBlink_L": "eyeBlinkLeft",
    "eyeBlink_R": "eyeBlinkRight",
    "mouthPucker": "mouthPucker",
    "browDown_L": "browDownLeft",
    "browDown_R": "browDownRight",
    "noseSneer_L": "noseSneerLeft",
    "noseSneer_R": "noseSneerRight",
}


def write_ict_layout(folder: Path, identity: int = 4) -> Path:
    """Write the folder; its first components and its expressions are the open model's."""
    ours = open_model()
    source, known = vertex_source(ours)
    folder.mkdir(parents=True, exist_ok=True)
    place = np.full(ours.n_vertices, -1)
    place[source[known]] = np.flatnonzero(known)
    triangles = place[ours.triangles]
    triangles = triangles[(triangles >= 0).all(axis=1)].astype(np.int32)
    names = [ours.expression_names.index(name) for name in UNITS.values()]
    arrays = {
        "mean_cm": ((ours.mean[source] + OFFSET) / 10).astype(np.float32),
        "expression_names": np.array(list(UNITS)),
        "triangles": triangles,
        "uv": np.zeros((1, 2), np.float32),
        "uv_triangles": np.zeros_like(triangles),
    }
    for label, basis in (
        ("identity", ours.identity[:, :, :identity]),
        ("expression", ours.expression[:, :, names]),
    ):
        moves = basis[source].transpose(2, 0, 1) / 10
        scale = np.abs(moves).max(axis=(1, 2)) / 32_767
        arrays[label] = np.rint(moves / scale[:, None, None]).astype(np.int16)
        arrays[f"{label}_scale_cm"] = scale.astype(np.float32)
    np.savez(folder / "ict_facekit_light.npz", **arrays)
    marks = ours.landmarks["ibug68"].of(ours.mean)
    skin = ours.mean[source[:SKIN]]
    ids = [int(np.linalg.norm(skin - mark, axis=1).argmin()) for mark in marks]
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": ids}))
    return folder


def vertex_source(ours: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """(24591,) the open model's vertex at each place, and (24591,) whether it is there for more than to fill
    the place."""
    part = ours.regions
    order = [part["narrow_face"], part["face"], part["neck"] | part["scalp"]]
    done = part["eyeballs"].copy()
    ids = []
    for mask in order:
        ids.append(np.flatnonzero(mask & ~done))
        done |= mask
    skin = np.concatenate(ids)[:SKIN]
    assert len(skin) == SKIN
    balls = np.flatnonzero(part["eyeballs"])
    source = np.full(COUNT, balls[0])
    known = np.zeros(COUNT, bool)
    source[:SKIN], known[:SKIN] = skin, True
    source[EYEBALLS : EYEBALLS + len(balls)], known[EYEBALLS : EYEBALLS + len(balls)] = balls, True
    # both sides of the rest are filled with eyeball vertices of their own side, so that boxes stay right
    source[EYEBALLS + len(balls) :] = balls[0]
    return source, known
