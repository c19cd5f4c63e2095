"""Agreement of FineData's images with the relief of their labels.

    python benchmarks/fine_agreement.py FITS [--photos FOLDER] [--samples 120] [--seed 0] [--json FILE]

Relief is estimated from each synthesised image by shape from shading, given the label's coarse depth, light
and parametric albedo, and compared with the label: correlation inside the mask after a difference of
Gaussians, deviations in px of the 256 px crop: 1.5 and 10 ("all"), 1.5 and 4 ("wrinkles"), 4 and 10
("folds"). "photo" is sample 0 of each, the untouched photo with the relief found in it at the photo's own
resolution; "moved" have another face's relief, "relit" another light as well; "changed" are both. Medians
over the samples; the middle half of "all" in brackets. Subjects are from all splits; three changed
samples of each photo.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.detail import brow_share
from facerelief.inverse.relief import solve_relief
from facerelief.lab.datasets.fine import FineMaker
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.evaluation.truth.relief import BANDS, band_passed
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering.rasterizer import interpolate, rasterize

SHOWN = ("all", "wrinkles", "folds")
EACH = 4


def estimated_relief(model: FaceModel, sample: Sample) -> NDArray[Any]:
    """Relief (S, S), mm, by shape from shading on a sample's image."""
    labels = sample.labels
    size = len(sample.image)
    camera = WeakPerspective.from_vector(labels["camera"])
    uvz = camera.project(model.shape(labels["identity"], labels["expression"]))
    fragments = rasterize(uvz, model.triangles, size, size, cull_backfaces=True)
    skin = np.clip(model.skin(labels["albedo"]), 0.02, 1.2)
    across = interpolate(fragments, model.triangles, np.column_stack([skin, brow_share(model)]))
    mask = labels["mask"] > 0
    depth = np.where(mask, labels["depth_coarse"], np.nan)
    found = solve_relief(
        sample.image.astype(np.float32) / 255,
        across[:, :, :3],
        depth,
        labels["light"],
        camera.scale,
        mask,
        trust=1 - np.float32(0.9) * across[:, :, 3],
    )
    return found.displacement


def correlation(a: NDArray[Any], b: NDArray[Any], mask: NDArray[np.bool_], band: str, unit: float) -> float:
    """Correlation of two reliefs (S, S) in a band inside a mask."""
    low, high = (s * unit for s in BANDS[band])
    x, y = (band_passed(v, mask, low, high)[mask] for v in (a, b))
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("fits", type=Path, help="folder that `facerelief fit` made")
    parser.add_argument("--photos", type=Path, help="where the photos are now")
    parser.add_argument("--samples", type=int, default=120, help="moved samples (default 120)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    model = open_model()
    fits = FitFolder(args.fits, args.photos)
    make = FineMaker(fits, model)
    photos = min(-(-args.samples // (EACH - 1)), len(fits))
    names = [fits.names[int(k * len(fits) / photos)] for k in range(photos)]
    kinds: dict[str, list[dict[str, float]]] = {"photo": [], "moved": [], "relit": []}
    spent = 0.0
    count = 0
    for name in names:
        try:
            samples = make(fits.load(name), EACH, args.seed)
            while True:
                started = time.perf_counter()
                sample = next(samples, None)
                spent += time.perf_counter() - started
                if sample is None:
                    break
                count += 1
                label = sample.labels["displacement"].astype(np.float32)
                mask, unit = sample.labels["mask"] > 0, len(sample.image) / 256
                found = estimated_relief(model, sample)
                row = {band: correlation(label, found, mask, band, unit) for band in SHOWN}
                truth = band_passed(label, mask, 1.5 * unit, 10 * unit)[mask]
                row["mm"] = float(np.sqrt((truth * truth).mean()))
                number = sample.about["number"]
                kinds["photo" if number == 0 else "relit" if sample.about["relit"] else "moved"].append(row)
        except FacereliefError as error:
            print(error)
    print(
        f"{len(names)} photos, {count} samples, {1e3 * spent / max(count, 1):.0f} ms a sample with the pools"
    )
    print(f"{'':8}{'samples':>8}{'all':>20}{'wrinkles':>10}{'folds':>8}{'label mm':>10}")
    kinds["changed"] = kinds["moved"] + kinds["relit"]
    out: dict[str, dict[str, float]] = {}
    for kind, rows in kinds.items():
        if not rows:
            continue
        middle = {key: float(np.median([row[key] for row in rows])) for key in rows[0]}
        low, high = np.quantile([row["all"] for row in rows], [0.25, 0.75])
        out[kind] = {**middle, "all_low": float(low), "all_high": float(high), "samples": len(rows)}
        spread = f"{middle['all']:.2f} ({low:.2f}..{high:.2f})"
        print(
            f"{kind:8}{len(rows):8d}{spread:>20}{middle['wrinkles']:10.2f}{middle['folds']:8.2f}"
            f"{middle['mm']:10.3f}"
        )
    if args.json:
        args.json.write_text(json.dumps(out, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
