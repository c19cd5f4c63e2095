"""Distance of the labels of synthesised images from a detector's landmarks.

    python benchmarks/coarse_labels.py FITS [--photos 60] [--per-photo 6] [--kind coarse|renders]
        [--split val] [--json FILE]

Landmarks detected on synthesised images are compared with the labels (51 inner points of 68; the jaw's points
are defined differently by detector and face model): mean distance in % of the distance between the eyes,
median over the images, by yaw. For comparison the same on the photos themselves, whose label is the fit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.detection import detect_faces
from facerelief.errors import FacereliefError
from facerelief.lab.datasets.coarse import CoarseMaker
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.renders import RenderMaker
from facerelief.morphable import open_model
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE

BINS = ((0, 15), (15, 30), (30, 45), (45, 90))


def disagreement(found: NDArray[Any], marks: NDArray[Any]) -> float:
    """Mean distance of inner landmarks (68, 2) and (68, 2), % of the distance between the eyes."""
    eyes = np.linalg.norm(marks[36:42].mean(axis=0) - marks[42:48].mean(axis=0))
    # in profile the eyes' distance is no measure of the face's size
    eyes = max(float(eyes), 0.35 * float(np.ptp(marks[17:, 1])))
    return 100 * float(np.linalg.norm(found[17:] - marks[17:], axis=1).mean()) / eyes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fits", type=Path)
    parser.add_argument("--photos", type=int, default=60, help="evenly chosen")
    parser.add_argument("--per-photo", type=int, default=6)
    parser.add_argument("--kind", choices=("coarse", "renders"), default="coarse")
    parser.add_argument("--split", default="val")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder, model = FitFolder(arguments.fits), open_model()
    names = [name for name in folder.names if folder.load(name).split == arguments.split]
    names = names[:: max(len(names) // arguments.photos, 1)][: arguments.photos]
    maker = (CoarseMaker if arguments.kind == "coarse" else RenderMaker)(folder, model)
    ids = list(IBUG68_AMONG_MEDIAPIPE)
    rows: list[tuple[float, float]] = []
    own: list[float] = []
    missed: list[float] = []
    for name in names:
        fit = folder.load(name)
        marks = model.landmarks["ibug68"].of(fit.camera.project(model.shape(fit.identity, fit.expression)))
        own.append(disagreement(fit.landmarks[ids], marks[:, :2]))
        try:
            samples = list(maker(fit, arguments.per_photo, arguments.seed))
        except FacereliefError:
            continue
        for sample in samples:
            yaw = abs(float(np.degrees(sample.labels["camera"][1])))
            faces = detect_faces(sample.image, max_faces=1)
            if faces:
                marks = sample.labels["landmarks68"][:, :2]
                rows.append((yaw, disagreement(faces[0].landmarks[ids], marks)))
            else:
                missed.append(yaw)
    print(f"{len(names)} photos: fit against detector {np.median(own):.1f} % (median)\n")
    print("| yaw, degrees | images | face found | median % | 90th percentile % |")
    print("|---|---|---|---|---|")
    report: list[dict[str, float]] = []
    for low, high in (*BINS, (0, 90)):
        inside = [value for yaw, value in rows if low <= yaw < high]
        lost = sum(low <= yaw < high for yaw in missed)
        if inside:
            total = len(inside) + lost
            median, tail = np.percentile(inside, [50, 90])
            share = f"{100 * len(inside) / total:.0f} %"
            print(f"| {low} to {high} | {total} | {share} | {median:.1f} | {tail:.1f} |")
            report.append(
                {"from": low, "to": high, "images": total, "median": float(median), "p90": float(tail)}
            )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"photos": float(np.median(own)), "bins": report}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
