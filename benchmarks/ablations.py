"""Trainings of equal length that differ in one thing, measured on the same held-out samples.

    python benchmarks/ablations.py RUNS --coarse DIR --renders DIR --fine DIR --fine-own DIR --fine-one DIR

Each run is a folder in RUNS; finished runs are not repeated, stopped ones continued. Trainings whose data
sets are not given are left out. Prints tables in Markdown. Held out, for all, are the subjects of the `val`
split of --coarse (photo-realistic images) and --fine (relief in three bands).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from facerelief.lab.networks.guo import CoarseNetConfig, FineNetConfig
from facerelief.lab.networks.losses import CoarseLoss, FineLoss
from facerelief.lab.networks.order import Shards
from facerelief.lab.networks.run_config import RunConfig
from facerelief.lab.networks.run_folder import METRICS, load_net
from facerelief.lab.networks.tasks import TaskConfig, make_task
from facerelief.lab.networks.trainer import TrainConfig, train, validate
from facerelief.morphable import open_model

SHAPE = ("surface_mm", "posed_mm", "nme", "yaw_deg")
RELIEF = ("error_percent", "normal_deg", "band_r")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    for name in ("coarse", "renders", "fine", "fine-own", "fine-one"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--size", type=int, default=96, help="side of CoarseNet's crop, px")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=2000, help="of CoarseNet, 32 samples each")
    parser.add_argument("--fine-width", type=int, default=16)
    parser.add_argument("--fine-steps", type=int, default=1000, help="of FineNet, 16 samples each")
    parser.add_argument("--samples", type=int, default=1000, help="held-out samples")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    if args.coarse:
        net = CoarseNetConfig(args.size, args.width)
        paper = CoarseLoss(size=1.0, neutral=0.0)
        base = TrainConfig(TaskConfig("coarse", net, coarse_loss=paper), (args.coarse,), args.steps, 32)
        runs = {
            "split loss, adaptive weight": base,
            "split loss, equal weights": with_loss(base, replace(paper, pose_share=0.5)),
            "parameter loss": with_loss(base, replace(paper, kind="parameters")),
            "split loss, identity by itself, its size a tenth": with_loss(base, CoarseLoss()),
        }
        if args.renders:
            runs["split loss, pure renders"] = replace(base, data=(args.renders,))
        table("CoarseNet", runs, args, args.coarse, SHAPE)
    if args.fine:
        net = FineNetConfig(width=args.fine_width)
        base = TrainConfig(TaskConfig("fine", fine=net), (args.fine,), args.fine_steps, 16)
        loss = replace(base.task, fine_loss=FineLoss("l2"))
        runs = {"three bands of other faces' relief": base}
        if args.fine_one:
            runs["one band"] = replace(base, data=(args.fine_one,))
        if args.fine_own:
            runs["own relief alone"] = replace(base, data=(args.fine_own,))
        runs["three bands, squared errors"] = replace(base, task=loss)
        table("FineNet", runs, args, args.fine, RELIEF)


def with_loss(config: TrainConfig, loss: CoarseLoss) -> TrainConfig:
    return replace(config, task=replace(config.task, coarse_loss=loss))


def table(
    title: str, runs: dict[str, TrainConfig], args: argparse.Namespace, held_out: str, names: tuple[str, ...]
) -> None:
    """Train the networks without a finished run, measure all, print a table."""
    rows: dict[str, dict[str, float]] = {}
    for name, config in runs.items():
        folder = args.runs / name.replace(" ", "_").replace(",", "").replace("'", "")
        run = RunConfig(precision="bf16-mixed", validate_every=0, accelerator="cpu")
        if not (folder / METRICS).is_file():
            train(config, folder, run, resume=True, progress=lambda at, name=name: report(name, at))
        model = open_model()
        net, _ = load_net(folder, model)
        task = make_task(config.task, model)
        data = task.data(Shards([held_out], "val", config.task.kind), 1, training=False)
        run = replace(run, validate_samples=args.samples)
        rows[name] = validate(task, net, data, 32, run, torch.device("cpu"))
    steps, batch = (getattr(next(iter(runs.values())), x) for x in ("steps", "batch"))
    samples = int(next(iter(rows.values()))["samples"])
    print(f"\n{title}: {steps} steps of {batch} samples each, {samples} held-out samples\n")
    print("| training | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    first = next(iter(rows.values()))
    blank = {n: f"{first[f'baseline_{n}']:.3f}" if f"baseline_{n}" in first else "" for n in names}
    print("| none | " + " | ".join(blank[n] for n in names) + " |")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[n]:.3f}" for n in names) + " |", flush=True)


def report(name: str, at: object) -> None:
    step, steps = getattr(at, "step", 0), getattr(at, "steps", 0)
    if step % 500 == 0 or step == steps:
        print(f"{name}: step {step} of {steps}, loss {getattr(at, 'loss', 0.0):.4f}", flush=True)


if __name__ == "__main__":
    main()
