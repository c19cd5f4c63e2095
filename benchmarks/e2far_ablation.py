"""Effect of the multi-task loss and the fusion-CNN of UH-E2FAR: four cells, the same data and budget.

    python benchmarks/e2far_ablation.py RUNS --data DIR [--data DIR] --held-out DIR [--seed 0 --seed 1]

Single task: the expressive shape's error alone; multi-task: the neutral shape's and the expression's apart.
No fusion: both from pool5; fusion: the expression from pool4 and pool5. Single task without fusion has one
head for all, the plain regressor. Finished runs are not repeated, stopped ones continued, so several
processes may share the seeds. Held out are the subjects of the split `test` of --held-out. Prints tables in
Markdown: root mean square distances of the face region's vertices, mm, means over samples, mean and standard
deviation over seeds; below them the effect of each part, seed by seed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facerelief.geometry.alignment import procrustes
from facerelief.io.atomic import write_bytes
from facerelief.lab.evaluation.metrics.face_errors import expression_groups
from facerelief.lab.networks.data import CoarseItem
from facerelief.lab.networks.e2far import E2farConfig, E2farLoss, ShapeError
from facerelief.lab.networks.layer import MorphableLayer
from facerelief.lab.networks.order import Shards
from facerelief.lab.networks.run_config import RunConfig
from facerelief.lab.networks.run_folder import METRICS, load_net
from facerelief.lab.networks.tasks import TaskConfig, make_task
from facerelief.lab.networks.trainer import TrainConfig, train
from facerelief.morphable import FaceModel, open_model

CELLS = {
    "single task, no fusion": (False, False),
    "single task, fusion": (False, True),
    "multi-task, no fusion": (True, False),
    "multi-task, fusion": (True, True),
}
"""Multi-task, fusion."""
MEASURES = ("neutral_mm", "offset_mm", "expressive_mm", "neutral_rigid_mm", "expressive_rigid_mm")
GROUPS = ("neutral", "smile", "mouth open", "eyes closed")
ROWS = "rows.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", action="append", required=True, help="data sets to learn from")
    parser.add_argument("--held-out", required=True, help="data set whose test subjects are measured")
    parser.add_argument("--seed", type=int, action="append", help="0, 1 and 2 unless given")
    parser.add_argument("--size", type=int, default=112, help="side of the crop, px")
    parser.add_argument("--width", type=float, default=0.25, help="channels over those of VGG-16")
    parser.add_argument("--steps", type=int, default=700, help="of 32 samples each")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--samples", type=int, default=1500, help="held-out samples")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seeds = args.seed or [0, 1, 2]

    model = open_model()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CELLS}
    for seed in seeds:
        for name, (multi, fusion) in CELLS.items():
            net = E2farConfig(
                args.size, args.width, "pool", norm=True, fusion=fusion, branches=multi or fusion
            )
            task = TaskConfig("e2far", e2far=net, e2far_loss=E2farLoss(multi, size=1.0))
            config = TrainConfig(task, tuple(args.data), args.steps, 32, args.lr, seed=seed)
            folder = args.runs / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}"
            found[name].append(measured(model, config, folder, args.held_out, args.samples))
    print(f"{args.steps} steps of 32 samples, {args.size} px, width {args.width}, seeds {seeds}", end="")
    print(f", {found['multi-task, fusion'][0]['all']['samples']} held-out samples\n")
    print_means(found)
    print_groups(found)
    print_effects(found)


def measured(
    model: FaceModel, config: TrainConfig, folder: Path, held_out: str, samples: int
) -> dict[str, Any]:
    """Measures of a cell's network on held-out subjects; trained first if it has no finished run."""
    if not (folder / METRICS).is_file():
        run = RunConfig(precision="bf16-mixed", validate_every=0, validate_samples=64, accelerator="cpu")
        train(config, folder, run, resume=True, progress=lambda at: report(folder.name, at))
    file = folder / ROWS
    asked = {"samples": samples, "held_out": Path(held_out).name, "config": asdict(config)}
    asked = json.loads(json.dumps(asked))
    if file.is_file():
        known = json.loads(file.read_text("utf-8"))
        if known["asked"] == asked:
            return known["found"]
    found = rows(model, config, folder, held_out, samples)
    write_bytes(file, json.dumps({"asked": asked, "found": found}).encode())
    return found


def rows(model: FaceModel, config: TrainConfig, folder: Path, held_out: str, samples: int) -> dict[str, Any]:
    net, _ = load_net(folder, model)
    task = make_task(replace(config.task, flip=False), model)
    data: Any = task.data(Shards([held_out], "test", "e2far"), 1, training=False)
    error, layer = ShapeError(model), MorphableLayer(model, landmark_weight=1.0)
    measures: list[dict[str, float]] = []
    groups: list[tuple[str, ...]] = []
    count = min(samples, len(data))
    for start in range(0, count, 32):
        items = [data[k] for k in range(start, min(start + 32, count))]
        batch = CoarseItem(*(torch.from_numpy(np.stack(x)) for x in zip(*items)))
        with torch.no_grad():
            out = task.forward(net, batch)
        out = out._replace(expression=out.expression.clamp(*model.expression_bounds))
        blank = torch.zeros_like(out.identity), torch.zeros_like(out.expression)
        for prefix, (identity, expression) in {"": out, "mean_face_": blank}.items():
            apart, moved = identity - batch.identity, expression - batch.expression
            columns = {
                "neutral_mm": error.neutral(apart).sqrt().tolist(),
                "offset_mm": error.offset(moved).sqrt().tolist(),
                "expressive_mm": error.expressive(apart, moved).sqrt().tolist(),
            }
            zero = torch.zeros_like(expression)
            for name, own, true in (
                ("neutral", layer.shape(identity, zero), layer.shape(batch.identity, zero)),
                (
                    "expressive",
                    layer.shape(identity, expression),
                    layer.shape(batch.identity, batch.expression),
                ),
            ):
                columns[f"{name}_rigid_mm"] = [rigid(a.numpy(), b.numpy()) for a, b in zip(own, true)]
            for k in range(len(items)):
                if prefix == "":
                    measures.append({})
                    groups.append(expression_groups(model, items[k].expression))
                measures[start + k] |= {prefix + name: values[k] for name, values in columns.items()}

    def part(members: list[dict[str, float]]) -> dict[str, float]:
        means = {name: float(np.mean([m[name] for m in members])) for name in measures[0]} if members else {}
        return {"samples": len(members), **means}

    return {"all": part(measures)} | {
        group: part([m for m, own in zip(measures, groups) if group in own]) for group in GROUPS
    }


def rigid(own: np.ndarray, true: np.ndarray) -> float:
    moved = procrustes(own, true, with_scale=False).apply(own.astype(np.float64))
    return float(np.sqrt(np.square(moved - true).sum(axis=1).mean()))


def print_means(found: dict[str, list[dict[str, Any]]]) -> None:
    print("| | " + " | ".join(MEASURES) + " |\n|---|" + "---|" * len(MEASURES))
    first = next(iter(found.values()))[0]["all"]
    print("| mean face | " + " | ".join(f"{first[f'mean_face_{name}']:.2f}" for name in MEASURES) + " |")
    for cell, runs in found.items():
        print(
            f"| {cell} | "
            + " | ".join(mean_and_deviation([run["all"][name] for run in runs]) for name in MEASURES)
            + " |"
        )


def print_groups(found: dict[str, list[dict[str, Any]]]) -> None:
    for name in ("neutral_mm", "expressive_mm"):
        print(f"\n{name} by expression:\n")
        sizes = {group: next(iter(found.values()))[0][group]["samples"] for group in GROUPS}
        there = [group for group in GROUPS if sizes[group]]
        print("| | " + " | ".join(f"{g} ({sizes[g]})" for g in there) + " |\n|---|" + "---|" * len(there))
        for cell, runs in found.items():
            print(
                f"| {cell} | "
                + " | ".join(mean_and_deviation([run[g][name] for run in runs]) for g in there)
                + " |"
            )


def print_effects(found: dict[str, list[dict[str, Any]]]) -> None:
    """Reduction of the error by each part, per cent, for each seed."""
    pairs = {
        "multi-task, without fusion": ("single task, no fusion", "multi-task, no fusion"),
        "multi-task, with fusion": ("single task, fusion", "multi-task, fusion"),
        "fusion, single task": ("single task, no fusion", "single task, fusion"),
        "fusion, multi-task": ("multi-task, no fusion", "multi-task, fusion"),
        "both": ("single task, no fusion", "multi-task, fusion"),
    }
    print("\nPer cent off the error, seed by seed:\n")
    names = ("neutral_mm", "offset_mm", "expressive_mm")
    print("| part | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for part, (without, with_) in pairs.items():
        cells = []
        for name in names:
            off = [100 * (1 - b["all"][name] / a["all"][name]) for a, b in zip(found[without], found[with_])]
            cells.append(", ".join(f"{x:+.1f}" for x in off))
        print(f"| {part} | " + " | ".join(cells) + " |")


def mean_and_deviation(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1 if len(values) > 1 else 0):.2f}"


def report(name: str, at: Any) -> None:
    if at.metrics is None and (at.step % 100 == 0 or at.step == at.steps):
        print(f"{name}: step {at.step} of {at.steps}, loss {at.loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
