"""Errors of fits to rendered, detected random instances of the model.

    python benchmarks/fit_truth.py [--cases 60] [--seed 0] [--json FILE]

Shape errors are mm between corresponding narrow-face vertices after the best similarity, pose errors degrees
of rotation; "neutral" compares the shapes without expression. "mean face" is the mean shape in the pose
fitted to landmarks, the baseline; "exact landmarks" is stage 1 without errors of the detector.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from facerelief.detection import detect_faces
from facerelief.inverse import FaceState, LandmarkFitConfig, fit_landmarks, fit_photometric
from facerelief.inverse.landmark_fit import landmark_term
from facerelief.lab.evaluation.truth.model_renders import (
    TruthCase,
    TruthConfig,
    rotation_error,
    truth_cases,
    vertex_error,
)
from facerelief.morphable import FaceModel, open_model

BINS = ((0.0, 20.0), (20.0, 40.0), (40.0, 60.0))
METHODS = ("mean face", "landmarks", "landmarks + photometric", "exact landmarks")


def measure(model: FaceModel, case: TruthCase) -> dict[str, dict[str, float]] | None:
    """Errors of every method on one image, or None where no face was detected."""
    faces = detect_faces(case.image, max_faces=1)
    if not faces:
        return None
    face = faces[0]
    term = landmark_term(model, "mediapipe478", LandmarkFitConfig())
    first = fit_landmarks(model, face.landmarks)
    second = fit_photometric(model, case.image, face.box, face.landmarks, first)
    exact = term.project(FaceState(case.camera, case.identity, case.expression))
    states = {
        "mean face": term.start(face.landmarks.astype(np.float64), np.ones(len(face.landmarks), bool)),
        "landmarks": first.state,
        "landmarks + photometric": second.state,
        "exact landmarks": fit_landmarks(model, exact).state,
    }
    mask = model.regions["narrow_face"]
    out: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        shape = model.shape(state.identity, state.expression)
        out[name] = {
            "shape_mm": float(vertex_error(shape, case.vertices, mask).mean()),
            "neutral_mm": float(vertex_error(model.shape(state.identity), case.neutral, mask).mean()),
            "pose_deg": rotation_error(state.camera, case.camera),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=60, help="images")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    model = open_model()
    rows: list[tuple[float, dict[str, dict[str, float]]]] = []
    missed = 0
    for case in truth_cases(model, arguments.cases, TruthConfig(seed=arguments.seed)):
        found = measure(model, case)
        if found is None:
            missed += 1
        else:
            rows.append((abs(float(np.degrees(case.camera.yaw))), found))
    report: list[dict[str, object]] = []
    print(f"{arguments.cases} images, {missed} without a detected face\n")
    print("| yaw, degrees | images | method | shape mm | neutral shape mm | pose degrees (median) |")
    print("|---|---|---|---|---|---|")
    for low, high in (*BINS, (0.0, 60.0)):
        chosen = [r for yaw, r in rows if low <= yaw <= high]
        for method in METHODS:
            if not chosen:
                continue
            shape = np.array([r[method]["shape_mm"] for r in chosen])
            neutral = np.array([r[method]["neutral_mm"] for r in chosen])
            pose = np.array([r[method]["pose_deg"] for r in chosen])
            print(
                f"| {low:.0f} to {high:.0f} | {len(chosen)} | {method} "
                f"| {shape.mean():.2f} ± {shape.std():.2f} "
                f"| {neutral.mean():.2f} ± {neutral.std():.2f} | {np.median(pose):.1f} |"
            )
            report.append(
                {
                    "yaw": [low, high],
                    "images": len(chosen),
                    "method": method,
                    "shape_mm": float(shape.mean()),
                    "neutral_mm": float(neutral.mean()),
                    "pose_deg_median": float(np.median(pose)),
                }
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
