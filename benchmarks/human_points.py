"""Distance of a face's outline and landmarks from points that people set on the London portraits.

    python benchmarks/human_points.py PHOTOS POINTS [--method fit] [--model open2] [--json FILE]

PHOTOS holds portraits of the Face Research Lab London Set, POINTS one text file of 189 points for each (their
template; pixel centres at integers), named as the photo. All numbers are in % of the distance of the outer
eye corners. "jaw": mean distance of the nine points of the jaw's visible outline from the line through
landmarks 0 to 16. "chin": its lowest point from landmark 8. "inner": mean over corners of the eyes and the
mouth and the lips' middles. "width": of the face at the height of the mouth's corners, found less set, and
the correlation of the two over the portraits.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.typed import Float

OUTER_EYES, MOUTH, CHIN = (18, 27), (87, 93), 129
JAW = slice(125, 134)
INNER = {18: 36, 22: 39, 23: 42, 27: 45, 87: 48, 93: 54, 90: 51, 106: 57}
"""Point of the template -> iBUG landmark."""


@dataclass(frozen=True)
class OutlineErrors:
    """One portrait, in % of the distance of the outer eye corners."""

    jaw: float
    chin: float
    inner: float
    width: float
    width_set: float


def distance_to_line(points: Float, line: Float) -> Float:
    """(P,) least distance of points (P, 2) from a polyline (L, 2)."""
    start, way = line[:-1], np.diff(line, axis=0)
    along = ((points[:, None] - start) * way).sum(axis=2) / np.maximum((way**2).sum(axis=1), 1e-12)
    nearest = start + np.clip(along, 0, 1)[..., None] * way
    return np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1)


def width_at(line: Float, height: float) -> float:
    """Distance of the outermost crossings of a polyline (L, 2) with a row; NaN for fewer than two."""
    before, after = line[:-1], line[1:]
    crossing = (before[:, 1] - height) * (after[:, 1] - height) <= 0
    crossing &= before[:, 1] != after[:, 1]
    share = (height - before[crossing, 1]) / (after[crossing, 1] - before[crossing, 1])
    u = before[crossing, 0] + share * (after[crossing, 0] - before[crossing, 0])
    return float(np.ptp(u)) if len(u) > 1 else float("nan")


def errors(points: Float, found: Float) -> OutlineErrors:
    """Errors of landmarks (68, 2) against points (189, 2), px of the same image."""
    unit = 100 / np.linalg.norm(points[OUTER_EYES[0]] - points[OUTER_EYES[1]])
    height = float(points[list(MOUTH), 1].mean())
    own, true = width_at(found[:17], height), width_at(points[JAW], height)
    inner = np.linalg.norm(points[list(INNER)] - found[list(INNER.values())], axis=1)
    return OutlineErrors(
        float(distance_to_line(points[JAW], found[:17]).mean() * unit),
        float(np.linalg.norm(points[CHIN] - found[8]) * unit),
        float(inner.mean() * unit),
        float((own - true) * unit),
        float(true * unit),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("points", type=Path)
    parser.add_argument("--method", default="fit")
    parser.add_argument("--model", default="open2")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    reconstruct = Reconstructor(chosen.model, ReconstructorConfig(chosen.method, max_faces=1))
    rows: dict[str, OutlineErrors] = {}
    for file in sorted(chosen.points.glob("*.txt")):
        try:
            face = reconstruct(chosen.photos / f"{file.stem}.jpg")[0]
        except FacereliefError as error:
            print(error)
            continue
        rows[file.stem] = errors(np.loadtxt(file), face.landmarks68_px.astype(np.float64) - 0.5)
    values = np.array([[r.jaw, r.chin, r.inner, r.width, r.width_set] for r in rows.values()])
    both = values[np.isfinite(values).all(axis=1)]
    correlation = np.corrcoef(both[:, 3] + both[:, 4], both[:, 4])[0, 1]
    jaw, chin, inner = values[:, :3].mean(axis=0)
    print(
        f"{len(rows)} portraits, % of the eye distance: jaw {jaw:.2f}, chin {chin:.2f}, inner {inner:.2f}, "
        f"width {both[:, 3].mean():+.2f}, its correlation {correlation:.3f}"
    )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({name: asdict(row) for name, row in rows.items()}, indent=1))


if __name__ == "__main__":
    main()
