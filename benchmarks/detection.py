"""Number of photos with exactly one face found, and time of the detection.

    python benchmarks/detection.py ../shared/data/photos --sources us_congress london canada faker

Every photo is expected to show one face. Printed are the photos with at least one and with exactly one face
found, the others by name, and milliseconds a photo after warm-up: `detect_faces` on the decoded image
(reading the file is timed apart), for each number of threads given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from facerelief.detection import DetectedFace, detect_faces
from facerelief.io.images import read_image
from facerelief.runtime import set_threads


def milliseconds(times: list[float]) -> dict[str, float]:
    """Median and 90th percentile of times in seconds, in ms."""
    ms = np.array(times) * 1e3
    return {"median": round(float(np.median(ms)), 2), "p90": round(float(np.percentile(ms, 90)), 2)}


def describe(faces: list[DetectedFace]) -> str:
    """One line on the faces found."""
    if not faces:
        return "no face"
    items = (f"{face.size:.0f} px, {face.confidence:.2f}/{face.landmark_confidence:.2f}" for face in faces)
    return f"{len(faces)} faces: " + "; ".join(items)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("photos", type=Path, help="folder with one folder of JPEG files per source")
    parser.add_argument("--sources", nargs="+", help="folders to take (default: all)")
    parser.add_argument("--limit", type=int, help="at most this many photos a source, evenly chosen")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[2, 1], help="numbers of threads to time (default 2 1)"
    )
    parser.add_argument(
        "--timed", type=int, default=200, help="photos timed for each number of threads (default 200)"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    sources = args.sources or sorted(p.name for p in args.photos.iterdir() if p.is_dir())
    files: list[Path] = []
    for source in sources:
        found = sorted((args.photos / source).glob("*.jpg"))
        if not found:
            parser.error(f"{args.photos / source}: no .jpg files there")
        files += found[:: max(1, -(-len(found) // args.limit))] if args.limit else found

    counts: dict[str, list[int]] = {source: [] for source in sources}
    others: dict[str, str] = {}
    reading: list[float] = []
    for file in files:
        start = time.perf_counter()
        image = read_image(file)
        reading.append(time.perf_counter() - start)
        faces = detect_faces(image)
        counts[file.parent.name].append(len(faces))
        if len(faces) != 1:
            others[str(file.relative_to(args.photos))] = describe(faces)

    timed = files[:: max(1, len(files) // args.timed)]
    timings: dict[str, dict[str, float]] = {}
    for threads in args.threads:
        set_threads(threads)
        cv2.setNumThreads(threads)
        for file in timed[:10]:
            detect_faces(read_image(file))
        times: list[float] = []
        for file in timed:
            image = read_image(file)
            start = time.perf_counter()
            detect_faces(image)
            times.append(time.perf_counter() - start)
        timings[str(threads)] = milliseconds(times)

    total = np.concatenate([np.array(c) for c in counts.values()])
    rates = {
        source: {
            "photos": len(c),
            "found": float(np.mean(np.array(c) >= 1)),
            "one": float(np.mean(np.array(c) == 1)),
        }
        for source, c in [*counts.items(), ("all", total)]
    }
    print(f"{'source':14s} {'photos':>7s} {'found':>9s} {'exactly one':>12s}")
    for source, rate in rates.items():
        print(f"{source:14s} {rate['photos']:7d} {rate['found']:9.2%} {rate['one']:12.2%}")
    for name, reason in others.items():
        print(f"  {name}: {reason}")
    for threads, ms in timings.items():
        print(
            f"detect_faces, {threads} threads, {len(timed)} photos: "
            f"median {ms['median']} ms, p90 {ms['p90']} ms"
        )
    read_ms = milliseconds(reading)
    print(f"read_image (not counted above): median {read_ms['median']} ms, p90 {read_ms['p90']} ms")
    if args.json:
        figures = {"rates": rates, "others": others, "detect_ms": timings, "read_ms": read_ms}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
