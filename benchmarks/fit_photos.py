"""Laws of the fit on real photos: stage 2 improves the image without losing the landmarks.

    python benchmarks/fit_photos.py FOLDER [FOLDER ...] [--count 100] [--seed 0] [--json FILE]

Takes `count` photos at random (seeded) and prints the share whose photometric residual falls, the landmark
residual's ratio after to before, and the stages' times on one thread.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from facerelief.detection import detect_faces
from facerelief.inverse import fit_face
from facerelief.io.images import read_image
from facerelief.morphable import open_model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = sorted(p for folder in arguments.folders for p in folder.rglob("*.jpg"))
    chosen = np.random.default_rng(arguments.seed).permutation(len(files))[: arguments.count]
    model = open_model()
    rows: list[dict[str, float]] = []
    for index in chosen:
        image = read_image(files[index])
        faces = detect_faces(image, max_faces=1)
        if not faces:
            print(f"{files[index].name}: no face")
            continue
        face = faces[0]
        fit = fit_face(model, image, face.box, face.landmarks)
        first, second = fit.landmarks, fit.photometric
        rows.append(
            {
                "before": second.residual_before,
                "after": second.residual_after,
                "ratio": second.landmark_rms_px / first.rms_px,
                "landmark_mm": second.landmark_rms_px / second.state.camera.scale,
                "face_px": face.size,
                **fit.timings_ms,
            }
        )
    # the first image includes compilation
    timed = rows[1:] or rows
    column = {key: np.array([r[key] for r in timed]) for key in rows[0]}
    near = column["face_px"] > 250
    report = {
        "photos": len(rows),
        "residual_falls_share": float(np.mean([r["after"] < r["before"] for r in rows])),
        "residual_before_median": float(np.median(column["before"])),
        "residual_after_median": float(np.median(column["after"])),
        "landmark_ratio_max": float(max(r["ratio"] for r in rows)),
        "landmark_ratio_median": float(np.median(column["ratio"])),
        "landmark_rms_mm_median": float(np.median(column["landmark_mm"])),
        "fit_landmarks_ms_median": float(np.median(column["fit_landmarks"])),
        "fit_landmarks_ms_p90": float(np.percentile(column["fit_landmarks"], 90)),
        "fit_photometric_ms_median": float(np.median(column["fit_photometric"])),
        "fit_photometric_ms_p90_large_faces": float(np.percentile(column["fit_photometric"][near], 90))
        if near.any()
        else float("nan"),
    }
    for key, value in report.items():
        print(f"{key:40s} {value:.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
