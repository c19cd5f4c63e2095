"""Training of the landmark net on portraits that processes render beside it.

Canvases go through shared memory into a pool on the device; each is used many times, always with another
crop, background and camera (`landmark_augment`). A pool that is full replaces its oldest canvases. Since it
grows with time, a run is not repeated bit by bit; it goes on from its last checkpoint.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerelief._version import __version__
from facerelief.errors import FacereliefError
from facerelief.io.atomic import write_bytes
from facerelief.lab.datasets.portraits import CANVAS, PortraitMaker
from facerelief.lab.networks import run_folder
from facerelief.lab.networks.landmark_augment import Batch, CanvasAugment, CanvasAugmenter
from facerelief.lab.networks.landmarks import (
    LandmarkLoss,
    LandmarkNet,
    LandmarkNetConfig,
    landmark_loss,
)
from facerelief.lab.networks.trainer import averaged, optimizer_of
from facerelief.morphable.dense_points import POINTS, dense_points
from facerelief.morphable.model import FaceModel
from facerelief.runtime.threads import single_thread
from facerelief.typed import Int32

_BATCH = 16
"""Canvases that a process renders at a time, and twice of which it may be ahead."""
_PORTRAIT, _VALIDATION = 0x90A7, 0x7A1
"""Streams of random numbers."""


@dataclass(frozen=True)
class LandmarkTrainConfig:
    """All that decides a training. It is kept with the run."""

    points: int = POINTS
    """Least number of points."""
    net: LandmarkNetConfig = field(default_factory=LandmarkNetConfig)
    loss: LandmarkLoss = field(default_factory=LandmarkLoss)
    augment: CanvasAugment = field(default_factory=CanvasAugment)
    minutes: float = 60.0
    """Time of the training; the learning rate follows the clock."""
    batch: int = 64
    lr: float = 2e-3
    """Highest learning rate."""
    weight_decay: float = 0.02
    warmup: float = 0.03
    """Share of the time in which the rate rises; then it falls along a cosine to a hundredth."""
    clip: float = 20.0
    """Longest norm of the gradients."""
    ema: float = 0.998
    """Share of the averaged weights that stays in a step."""
    pool: int = 20000
    """Most canvases that are kept, 200 kB each."""
    first: int = 1024
    """Canvases with which the training begins, after those for measuring."""
    validation: int = 256
    """Canvases that are measured and never trained on."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("minutes", "batch", "lr", "pool", "first", "validation"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")


@dataclass(frozen=True)
class LandmarkMachine:
    """Devices and processes."""

    device: str = "cpu"
    renderers: int = 1
    """Processes that render."""
    compiled: bool = False
    """Compile the net with torch.compile."""
    checkpoint_every: float = 120.0
    """Seconds between checkpoints."""
    log_every: float = 20.0
    """Seconds between reports."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    done: float
    """Share of the time."""
    step: int
    loss: float
    """Mean since the last report."""
    images_per_s: float
    """Trained on, since the last report."""
    pool: int
    """Canvases so far."""
    metrics: dict[str, float] | None = None


# ---------------------------------------------------------------- rendering processes


class RenderPool:
    """Processes that fill slots of shared memory with canvases."""

    def __init__(self, model: FaceModel, vertices: Int32, processes: int, seed: int) -> None:
        """Start them. They are forked: make no use of a GPU before."""
        # compiled and prepared once, before the processes part
        self.maker = PortraitMaker(model, vertices)
        self.maker(8, 0)
        slots, size = 2 * processes, CANVAS * CANVAS * 4
        shapes = ((slots, _BATCH, CANVAS, CANVAS, 4), (slots, _BATCH, len(vertices), 2))
        raw = RawArray("B", slots * _BATCH * size), RawArray("f", slots * _BATCH * len(vertices) * 2)
        self.images: NDArray[np.uint8] = np.frombuffer(raw[0], np.uint8).reshape(shapes[0])
        self.points: NDArray[np.float32] = np.frombuffer(raw[1], np.float32).reshape(shapes[1])
        self.full = np.frombuffer(RawArray("B", slots), np.uint8)
        context = multiprocessing.get_context("fork")
        self.processes = [
            context.Process(target=self._render, args=(k, processes, seed), daemon=True)
            for k in range(processes)
        ]
        for process in self.processes:
            process.start()

    def _render(self, number: int, processes: int, seed: int) -> None:
        import cv2

        cv2.setNumThreads(0)
        parent, round_ = os.getppid(), 0
        with single_thread():
            while os.getppid() == parent:
                slot = number + processes * (round_ % 2)
                if self.full[slot]:
                    time.sleep(0.005)
                    continue
                made = self.maker(_BATCH, [_PORTRAIT, seed, number, round_])
                self.images[slot], self.points[slot] = made.image, made.points
                self.full[slot] = 1
                round_ += 1

    def take(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """Batches that are ready. Each must be copied before the next one is asked for."""
        for slot in np.flatnonzero(np.array(self.full)):
            yield self.images[slot], self.points[slot]
            self.full[slot] = 0
        if not any(process.is_alive() for process in self.processes):
            raise FacereliefError("all rendering processes have ended; their errors are above")

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(5)


class CanvasPool:
    """Canvases on the device, the oldest replaced when it is full."""

    def __init__(self, capacity: int, points: int, device: torch.device) -> None:
        self.images = torch.empty((capacity, CANVAS, CANVAS, 4), dtype=torch.uint8, device=device)
        self.points = torch.empty((capacity, points, 2), device=device)
        self.capacity, self.total = capacity, 0

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def add(self, images: NDArray[np.uint8], points: NDArray[np.float32]) -> None:
        """Copy canvases (B, C, C, 4) and their points (B, N, 2)."""
        device = self.images.device
        at = (self.total + torch.arange(len(images), device=device)) % self.capacity
        self.images[at] = torch.from_numpy(images).to(device)
        self.points[at] = torch.from_numpy(points).to(device)
        self.total += len(images)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Random canvases and their points."""
        index = torch.randint(len(self), (count,), device=self.images.device)
        return self.images[index], self.points[index]


# ---------------------------------------------------------------- training


def train_landmarks(
    config: LandmarkTrainConfig,
    out: str | Path,
    model: FaceModel,
    machine: LandmarkMachine | None = None,
    *,
    backgrounds: NDArray[np.uint8] | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    checkpointed: Callable[[LandmarkTraining], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a landmark net into a folder.

    Args:
        config: The training.
        out: Folder of the run.
        model: Face model, whose dense points it learns.
        machine: Devices and processes.
        backgrounds: (M, h, w, 3) parts of photos to put behind the heads.
        resume: Go on from the folder's last checkpoint.
        progress: Called every `log_every` seconds.
        checkpointed: Called after every checkpoint.

    Returns:
        The content of metrics.json.

    Raises:
        FacereliefError: A loss that is not finite, or renderers that fail.
        OutputError: `out` cannot be written, or holds a run and `resume` is off.
    """
    training = LandmarkTraining(config, Path(out), model, machine or LandmarkMachine(), resume)
    try:
        return training(backgrounds, progress, checkpointed)
    finally:
        training.renderers.close()


class LandmarkTraining:
    """One run."""

    def __init__(
        self, config: LandmarkTrainConfig, out: Path, model: FaceModel, machine: LandmarkMachine, resume: bool
    ) -> None:
        """Take the folder and start the renderers; see `train_landmarks`."""
        self.out, self.model, self.machine = out, model, machine
        vertices = dense_points(model, config.points)
        # the net learns as many points as there are
        net = LandmarkNetConfig(**{**asdict(config.net), "points": len(vertices)})
        self.config = config = LandmarkTrainConfig(**{**_fields(config), "net": net})
        self.vertices = vertices
        kept = {"task": {"kind": "landmarks", **_plain(config)}, "model": model.name}
        self.kept = kept
        self.found = run_folder.take_folder(out, kept, resume)
        spent = 0.0 if self.found is None else float(self.found["spent"])
        self.spent, self.steps = spent, 0 if self.found is None else int(self.found["step"])
        # other canvases after a resumption
        self.renderers = RenderPool(model, vertices, machine.renderers, config.seed + 1000 * self.steps)
        self.history: list[dict[str, float]] = [] if self.found is None else self.found["history"]

    def __call__(
        self,
        backgrounds: NDArray[np.uint8] | None,
        progress: Callable[[Progress], None],
        checkpointed: Callable[[LandmarkTraining], None],
    ) -> dict[str, Any]:
        """Train until the time is spent; returns the content of metrics.json."""
        self._prepare(backgrounds)
        started, config, machine = time.perf_counter() - self.spent, self.config, self.machine
        whole = 60.0 * config.minutes
        reported = saved = time.perf_counter()
        total, since = torch.zeros((), device=self.device), 0
        while (now := time.perf_counter()) - started < whole:
            self.spent = now - started
            self._collect()
            total += self._step(self.spent / whole)
            since, self.steps = since + 1, self.steps + 1
            if now - reported > machine.log_every:
                loss = float(total) / since
                if not math.isfinite(loss):
                    raise FacereliefError(f"{self.out}: the loss is {loss}; start again with a lower --lr")
                rate = since * config.batch / (time.perf_counter() - reported)
                progress(Progress(self.spent / whole, self.steps, loss, rate, self.pool.total))
                reported, since = time.perf_counter(), 0
                total.zero_()
            if now - saved > machine.checkpoint_every:
                self._checkpoint(progress, checkpointed)
                saved = time.perf_counter()
        self.spent = whole
        self._checkpoint(progress, checkpointed)
        about = {
            "kind": "landmarks",
            "step": self.steps,
            "minutes": config.minutes,
            "points": len(self.vertices),
            "canvases": self.pool.total,
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "model": {"name": self.model.name, "version": str(self.model.version)},
            "metrics": self.history[-1] if self.history else {},
            "history": self.history,
        }
        write_bytes(self.out / run_folder.METRICS, (json.dumps(about, indent=1) + "\n").encode())
        return about

    def _prepare(self, backgrounds: NDArray[np.uint8] | None) -> None:
        """Net and pool on the device; waits for the first canvases."""
        config = self.config
        self.device = device = torch.device(self.machine.device)
        torch.manual_seed(config.seed)
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
        mirror = mirror_of_points(self.model, self.vertices)
        behind = np.zeros((0, 8, 8, 3), np.uint8) if backgrounds is None else backgrounds
        self.augmenter = CanvasAugmenter(
            torch.from_numpy(mirror).to(device), torch.from_numpy(behind).to(device), config.augment,
            config.seed + self.steps,
        )  # fmt: skip
        self.pool = CanvasPool(config.pool, len(self.vertices), device)
        self.held_out = CanvasPool(config.validation, len(self.vertices), device)
        self.net = LandmarkNet(config.net)
        self.net.vertices.copy_(torch.from_numpy(self.vertices))
        self.net = self.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        while self.pool.total < min(config.first, config.pool):
            self._collect()
            time.sleep(0.01)
        if self.found is None:
            index = torch.randint(len(self.pool), (4096,), device=device)
            self.net.start_from_points(self.augmenter.crop(self.pool.points[index], CANVAS)[1])
        else:
            self.net.load_state_dict(self.found["net"])
        self.mean = averaged(self.net, config.ema)
        self.optimizer = optimizer_of(self.net, config)  # type: ignore[arg-type]
        if self.found is not None:
            self.mean.module.load_state_dict(self.found["mean"])
            self.mean.n_averaged.fill_(self.steps + 1)
            self.optimizer.load_state_dict(self.found["optimizer"])
        self.called: Any = torch.compile(self.net) if self.machine.compiled else self.net

    def _collect(self) -> None:
        """Move the canvases that are ready to the device; the first ones are held out."""
        for images, points in self.renderers.take():
            pool = self.held_out if self.held_out.total < self.held_out.capacity else self.pool
            pool.add(images, points)

    def _step(self, done: float) -> Tensor:
        config = self.config
        batch = self.augmenter(*self.pool.sample(config.batch))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * rate_at(done, config.warmup)
        with _autocast(self.device):
            out = self.called(batch.image.contiguous(memory_format=torch.channels_last))
        loss = landmark_loss(out, batch.points, config.loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.mean.update_parameters(self.net)
        return loss.detach()

    def _checkpoint(
        self, progress: Callable[[Progress], None], checkpointed: Callable[[LandmarkTraining], None]
    ) -> None:
        metrics = self.measure()
        self.history.append({"step": self.steps, "minutes": self.spent / 60, **metrics})
        done = self.spent / (60.0 * self.config.minutes)
        progress(Progress(done, self.steps, math.nan, math.nan, self.pool.total, metrics))
        self.save()
        checkpointed(self)

    @torch.no_grad()
    def held_out_batches(self) -> Iterator[Batch]:
        """The held-out canvases, the same every time."""
        with torch.random.fork_rng([]):
            augmenter = CanvasAugmenter(
                self.augmenter.mirror, self.augmenter.backgrounds, self.config.augment, _VALIDATION
            )
            for k in range(0, len(self.held_out), 64):
                chosen = slice(k, min(k + 64, len(self.held_out)))
                yield augmenter(self.held_out.images[chosen], self.held_out.points[chosen])

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Errors of the averaged net on the held-out canvases.

        "error_px" mean distance, px of the crop; "percent" the same in % of the distance of the outer eye
        corners; "calibration" mean squared error over the stated variance, 1 where sigma is right.
        """
        net, marks = self.mean.module, self.model.landmarks["ibug68"]
        ids = marks.vertices[[36, 45], marks.weights[[36, 45]].argmax(axis=1)]
        corners = np.searchsorted(self.vertices, ids).tolist()
        error, percent, ratio = [], [], []
        for batch in self.held_out_batches():
            out = net(batch.image)
            square = (out.points - batch.points).square().sum(dim=2)
            eyes = (batch.points[:, corners[0]] - batch.points[:, corners[1]]).norm(dim=1)
            error.append(square.sqrt().mean(dim=1))
            percent.append(100 * square.sqrt().mean(dim=1) / eyes.clamp_min(8.0))
            ratio.append((0.5 * square * (-2 * out.log_sigma).exp()).mean(dim=1))
        names = {"error_px": error, "percent": percent, "calibration": ratio}
        return {name: float(torch.cat(values).mean()) for name, values in names.items()}

    def save(self) -> None:
        """Write the checkpoint."""
        run_folder.write_checkpoint(
            self.out,
            {
                "format": run_folder.FORMAT,
                "version": __version__,
                "config": self.kept,
                "model": [self.model.name, str(self.model.version)],
                "step": self.steps,
                "spent": self.spent,
                "net": self.net.state_dict(),
                "mean": self.mean.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
            },
        )


def rate_at(done: float, warmup: float) -> float:
    """Learning rate after a share of the time, as a share of the highest: a rise, then a cosine."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-6)))


def mirror_of_points(model: FaceModel, vertices: Int32) -> NDArray[np.int64]:
    """(N,) index of each point's mirror image among the points."""
    if model.symmetry is None:
        raise FacereliefError(f"face model {model.name!r} has no mirror; its points cannot be mirrored")
    place = {int(v): k for k, v in enumerate(vertices)}
    return np.array([place[int(model.symmetry[v])] for v in vertices], np.int64)


def load_landmark_net(run: str | Path) -> tuple[LandmarkNet, dict[str, Any]]:
    """The averaged net of a run, in evaluation mode on the CPU, and the whole checkpoint.

    Raises:
        FacereliefError: There is no checkpoint of a landmark net.
    """
    found = run_folder.last_checkpoint(Path(run), resume=True)
    if found is None or found["config"]["task"].get("kind") != "landmarks":
        raise FacereliefError(f"{run}: holds no landmark net; give the folder of a run of train landmarks")
    fields: dict[str, Any] = found["config"]["task"]["net"]
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    net = LandmarkNet(LandmarkNetConfig(**known))
    net.load_state_dict(found["mean"])
    return net.eval(), found


def _fields(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def _plain(config: LandmarkTrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config)))


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
