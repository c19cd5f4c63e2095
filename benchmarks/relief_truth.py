"""Errors of shape from shading on known folds and wrinkles: random faces with procedural relief.

    python benchmarks/relief_truth.py [--cases 50] [--seed 0] [--jpeg 0] [--ablate] [--json FILE]
        [--sheet FILE.jpg]

"plain" images show the model's smooth albedo, "textured" ones also moles, freckles, blotches, stubble and
brow hairs; both have camera noise of 2/255. The solver is given the coarse depth, the smooth albedo and the
light. Correlations are between true and recovered displacement inside the mask after a difference of
Gaussians, deviations in px of a face 256 px wide: 1.5 and 10 ("all"), 0.75 and 1.5 ("fine"), 1.5 and 4
("wrinkles"), 4 and 10 ("folds"). Angles are between true normals and those of the coarse and the refined
depth; "gain" is the median share of the coarse angle removed by the relief, "gain on grid" the same with
the true depth on the image's pixels as truth: true normals have slopes finer than a pixel, which no depth map
of that size has. Medians over the images.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.depth import normals_from_depth
from facerelief.inverse.relief import Relief, solve_relief
from facerelief.inverse.relief_config import ReliefConfig
from facerelief.lab.evaluation.truth.relief import (
    BANDS,
    ReliefCase,
    ReliefTruthConfig,
    relief_cases,
    relief_measures,
)
from facerelief.morphable import FaceModel, open_model

DEFAULT = ReliefConfig()
ABLATIONS: dict[str, ReliefConfig] = {
    "default": DEFAULT,
    "mu1 / 10": replace(DEFAULT, displacement=DEFAULT.displacement / 10),
    "mu1 x 10": replace(DEFAULT, displacement=DEFAULT.displacement * 10),
    "mu2 / 4": replace(DEFAULT, laplacian=DEFAULT.laplacian / 4),
    "mu2 x 4": replace(DEFAULT, laplacian=DEFAULT.laplacian * 4),
    "plain mu1 |d|^2": replace(DEFAULT, sparse_power=0.0),
    "not robust": replace(DEFAULT, robust=float("inf"), contrast=float("inf")),
    "not whitened": replace(DEFAULT, whiten=False),
}


def solve(case: ReliefCase, config: ReliefConfig) -> tuple[Relief, float]:
    """The relief and the time spent, ms."""
    color = case.image.astype(np.float32) / 255
    started = time.perf_counter()
    found = solve_relief(
        color, case.albedo, case.depth, case.light, case.scale, case.mask, config, case.trust
    )
    return found, 1e3 * (time.perf_counter() - started)


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Medians; "gain" is the share of the coarse surface's angle removed."""
    for row in rows:
        row["gain"] = 1 - row["normals_refined_deg"] / row["normals_coarse_deg"]
        row["gain_grid"] = 1 - row["grid_refined_deg"] / row["grid_coarse_deg"]
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0]}


def clay(normals: NDArray[Any]) -> NDArray[np.uint8]:
    lamp = np.array([-0.5, 0.6, 0.7]) / np.linalg.norm([-0.5, 0.6, 0.7])
    shaded = np.clip(np.nan_to_num(normals) @ lamp, 0, 1) * 0.8 + 0.1
    return (255 * shaded).astype(np.uint8)[..., None].repeat(3, 2)


def sheet(cases: list[ReliefCase], config: ReliefConfig, out: Path) -> None:
    """Image, true and recovered normals in clay, true and recovered relief (grey is 0, black -0.4 mm)."""
    import cv2

    def grey(d: NDArray[Any]) -> NDArray[np.uint8]:
        return (255 * np.clip(d / 0.8 + 0.5, 0, 1)).astype(np.uint8)[..., None].repeat(3, 2)

    rows: list[NDArray[np.uint8]] = []
    for case in cases:
        found = solve(case, config)[0]
        tiles = [
            case.image,
            clay(case.normals),
            clay(normals_from_depth(case.depth + found.displacement, case.scale)),
            grey(np.where(case.mask, case.displacement, 0)),
            grey(found.displacement),
        ]
        small = [cv2.resize(tile, (360, 440), interpolation=cv2.INTER_AREA) for tile in tiles]
        rows.append(np.hstack(small).astype(np.uint8))
    done, data = cv2.imencode(out.suffix, np.vstack(rows)[..., ::-1])
    if not done:
        raise SystemExit(f"{out}: cannot be encoded")
    out.write_bytes(data.tobytes())


def measure(
    model: FaceModel, count: int, truth: ReliefTruthConfig, variants: dict[str, ReliefConfig]
) -> dict[str, dict[str, float]]:
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for case in relief_cases(model, count, truth):
        for name, config in variants.items():
            found, spent = solve(case, config)
            rows[name].append({**relief_measures(case, found.displacement), "ms": spent})
    return {name: summary(found) for name, found in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=50, help="faces")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faces")
    parser.add_argument("--jpeg", type=int, default=0, help="JPEG quality (4:2:0) of the images; 0: none")
    parser.add_argument("--ablate", action="store_true", help="also vary the solver's weights and parts")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--sheet", type=Path, help="write an image of the first six textured faces")
    arguments = parser.parse_args()
    model = open_model()
    variants = ABLATIONS if arguments.ablate else {"default": DEFAULT}
    report: list[dict[str, object]] = []
    names = [*BANDS]
    print(f"{arguments.cases} faces, seed {arguments.seed}\n")
    print(
        f"| images | solver | {' | '.join(names)} | coarse, deg | refined, deg | gain | gain on grid | ms |"
    )
    print("|---" * (len(names) + 7) + "|")
    for kind in ("plain", "textured"):
        truth = ReliefTruthConfig(textured=kind == "textured", seed=arguments.seed, jpeg=arguments.jpeg)
        for name, found in measure(model, arguments.cases, truth, variants).items():
            cells = [f"{found[f'correlation_{band}']:.2f}" for band in names]
            cells += [f"{found[f'normals_{which}_deg']:.2f}" for which in ("coarse", "refined")]
            cells += [f"{100 * found[key]:.0f} %" for key in ("gain", "gain_grid")]
            cells += [f"{found['ms']:.0f}"]
            print(f"| {kind} | {name} | {' | '.join(cells)} |")
            report.append({"images": kind, "solver": name, **found})
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.sheet:
        truth = ReliefTruthConfig(seed=arguments.seed, jpeg=arguments.jpeg)
        sheet(list(relief_cases(model, 6, truth)), DEFAULT, arguments.sheet)


if __name__ == "__main__":
    main()
