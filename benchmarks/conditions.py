"""Warnings given for ordinary photos and for degraded copies of them.

    python benchmarks/conditions.py ../shared/data/photos --sources london us_congress --limit 20

Every photo counts as an ordinary one of one face, and any warning as a false alarm (some sources do contain
hard shadows and dark glasses: check the photos listed). `--degraded` photos of each source are then degraded
in all ways of `degradations`. Printed for each way: the shares of images with a face found, with a warning of
the right cause and of any cause, and the loss of confidence.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from degradations import CAUSES, DEGRADATIONS
from facerelief.detection import DetectedFace, detect_faces
from facerelief.inverse import InverseFit, fit_face
from facerelief.inverse.conditions import Conditions, measure_conditions
from facerelief.io.images import read_image
from facerelief.morphable import FaceModel, open_model
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE
from facerelief.pipeline.quality import confidence, warnings_about
from facerelief.pipeline.reconstructor import residuals

Examined = tuple[DetectedFace, InverseFit, Conditions]


def warnings_of(face: DetectedFace, fit: InverseFit, seen: Conditions) -> tuple[str, ...]:
    return warnings_about(face, fit.state.camera, residuals(fit).landmark_rms_mm, seen)


def confidence_of(face: DetectedFace, fit: InverseFit, seen: Conditions) -> float:
    return confidence(face, residuals(fit).landmark_rms_mm, seen)


def examine(model: FaceModel, image: NDArray[np.uint8]) -> Examined | None:
    """The best face of an image."""
    faces = detect_faces(image, max_faces=1)
    if not faces:
        return None
    face = faces[0]
    fit = fit_face(model, image, face.box, face.landmarks)
    return face, fit, measure_conditions(model, image, fit.state, fit.appearance)


def surroundings(
    image: NDArray[np.uint8], face: DetectedFace, side: float = 300
) -> tuple[NDArray[np.uint8], NDArray[np.floating]]:
    """The face with its surroundings, at most `side` px large, and its 68 landmarks there: faster to degrade
    than the whole photo."""
    import cv2

    middle, reach = face.landmarks.mean(axis=0), 1.3 * face.size
    height, width = image.shape[:2]
    left, top = (int(v) for v in np.clip(middle - reach, 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip(middle + reach, (left + 1, top + 1), (width, height)))
    zoom = min(1.0, side / face.size)
    crop = np.asarray(cv2.resize(image[top:bottom, left:right], None, fx=zoom, fy=zoom, interpolation=3))
    marks = (face.landmarks[list(IBUG68_AMONG_MEDIAPIPE)] - [left, top]) * zoom
    return np.ascontiguousarray(crop, np.uint8), marks


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("photos", type=Path, help="folder with one folder of JPEG files per source")
    parser.add_argument("--sources", nargs="+", help="folders to take (default: all)")
    parser.add_argument("--limit", type=int, help="at most this many photos a source, evenly chosen")
    parser.add_argument("--offset", type=int, default=0, help="leave out this many files first")
    parser.add_argument(
        "--degraded", type=int, default=5, help="photos a source that are also degraded (default 5)"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    model = open_model()
    sources = args.sources or sorted(p.name for p in args.photos.iterdir() if p.is_dir())
    ordinary: dict[str, dict[str, list[str]]] = {source: {} for source in sources}
    outcomes: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in DEGRADATIONS}
    tried = 0
    for source in sources:
        files = sorted((args.photos / source).glob("*.jpg"))[args.offset :]
        if not files:
            parser.error(f"{args.photos / source}: no .jpg files there")
        files = files[:: max(1, -(-len(files) // args.limit))] if args.limit else files
        every = max(1, len(files) // max(args.degraded, 1))
        for index, file in enumerate(files):
            image = read_image(file)
            clean = examine(model, image)
            if clean is None:
                continue
            ordinary[source][file.name] = list(warnings_of(*clean))
            if index % every or index // every >= args.degraded:
                continue
            tried += 1
            crop, marks = surroundings(image, clean[0])
            for name, degrade in DEGRADATIONS.items():
                rng = np.random.default_rng(zlib.crc32(f"{source}/{file.name} {name}".encode()))
                found = examine(model, degrade(crop, marks, rng))
                if found is not None:
                    said = warnings_of(*found)
                    right = any(word in line for line in said for word in CAUSES[name])
                    outcomes[name].append((right, bool(said), confidence_of(*found) / confidence_of(*clean)))

    print(f"{'source':14s} {'photos':>7s} {'warned':>8s}")
    for source, photos in ordinary.items():
        warned = {name: lines for name, lines in photos.items() if lines}
        print(f"{source:14s} {len(photos):7d} {len(warned) / max(len(photos), 1):8.1%}")
        for name, lines in warned.items():
            print(f"  {name}: {'; '.join(lines)}")
    table: dict[str, dict[str, float]] = {}
    print(f"{'degraded':18s} {'found':>8s} {'right':>8s} {'any':>8s} {'confidence x':>14s}")
    for name, rows in outcomes.items():
        if not rows:
            continue
        right, some, ratio = np.array(rows, float).T
        table[name] = {
            "found": len(rows) / tried,
            "right": float(right.mean()),
            "any": float(some.mean()),
            "confidence": float(np.median(ratio)),
        }
        print("{:18s} {found:8.1%} {right:8.1%} {any:8.1%} {confidence:14.2f}".format(name, **table[name]))
    if args.json:
        args.json.write_text(json.dumps({"ordinary": ordinary, "degraded": table}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
