"""Training on portraits that processes render beside it: of the landmark net and of the skin net.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerelief._version import __version__
from facerelief.errors import FacereliefError
from facerelief.io.atomic import write_bytes
from facerelief.lab.datasets.portraits import CANVAS, PortraitConfig, PortraitMaker
from facerelief.lab.networks import run_folder
from facerelief.lab.networks.landmark_augment import Batch, CanvasAugment, CanvasAugmenter
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
class PortraitTrainConfig:
    """Configuration of any training on portraits. It is kept with the run."""

    points: int = POINTS
    """Least number of points."""
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
class PortraitMachine:
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

    def __init__(
        self, model: FaceModel, vertices: Int32, processes: int, seed: int, *, skin: bool = False
    ) -> None:
        """Start them. They are forked: make no use of a GPU before.

        Args:
            model: Face model.
            vertices: (N,) ids of the points.
            processes: Their number.
            seed: Of the portraits.
            skin: Whether canvases have the channel of bare skin.
        """
        # compiled and prepared once, before the processes part
        self.maker = PortraitMaker(model, vertices, PortraitConfig(skin=skin))
        self.maker(8, 0)
        channels = self.maker.config.channels
        slots, size = 2 * processes, CANVAS * CANVAS * channels
        shapes = ((slots, _BATCH, CANVAS, CANVAS, channels), (slots, _BATCH, len(vertices), 2))
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

    def __init__(self, capacity: int, points: int, device: torch.device, channels: int = 4) -> None:
        self.images = torch.empty((capacity, CANVAS, CANVAS, channels), dtype=torch.uint8, device=device)
        self.points = torch.empty((capacity, points, 2), device=device)
        self.capacity, self.total = capacity, 0

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def add(self, images: NDArray[np.uint8], points: NDArray[np.float32]) -> None:
        """Copy canvases (B, C, C, channels) and their points (B, N, 2)."""
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


class PortraitTraining(ABC):
    """One run. A kind of net says what is made, measured and learned."""

    kind: str
    """Of the run's configuration."""
    skin = False
    """Whether canvases have the channel of bare skin."""

    def __init__(
        self,
        config: PortraitTrainConfig,
        out: Path,
        model: FaceModel,
        machine: PortraitMachine,
        resume: bool,
    ) -> None:
        """Take the folder and start the renderers.

        Args:
            config: The training.
            out: Folder of the run.
            model: Face model.
            machine: Devices and processes.
            resume: Go on from the folder's last checkpoint.

        Raises:
            OutputError: `out` cannot be written, or holds a run and `resume` is off.
        """
        self.out, self.model, self.machine = out, model, machine
        self.vertices = dense_points(model, config.points)
        self.config = config
        self.kept = {"task": {"kind": self.kind, **_plain(config)}, "model": model.name}
        self.found = run_folder.take_folder(out, self.kept, resume)
        spent = 0.0 if self.found is None else float(self.found["spent"])
        self.spent, self.steps = spent, 0 if self.found is None else int(self.found["step"])
        # other canvases after a resumption
        self.renderers = RenderPool(
            model, self.vertices, machine.renderers, config.seed + 1000 * self.steps, skin=self.skin
        )
        self.history: list[dict[str, float]] = [] if self.found is None else self.found["history"]

    @abstractmethod
    def make_net(self) -> nn.Module:
        """The untrained net, on the CPU; called when the first canvases are there."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Loss of the net on a batch."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Errors of the averaged net on the held-out canvases."""

    def about(self) -> dict[str, Any]:
        """Entries of metrics.json for this kind of net."""
        return {}

    def __call__(
        self,
        backgrounds: NDArray[np.uint8] | None,
        progress: Callable[[Progress], None],
        checkpointed: Callable[[PortraitTraining], None],
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
            "kind": self.kind,
            "step": self.steps,
            "minutes": config.minutes,
            **self.about(),
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
        channels = self.renderers.maker.config.channels
        self.pool = CanvasPool(config.pool, len(self.vertices), device, channels)
        self.held_out = CanvasPool(config.validation, len(self.vertices), device, channels)
        while self.pool.total < min(config.first, config.pool):
            self._collect()
            time.sleep(0.01)
        self.net = self.make_net().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.found is not None:
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
            loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.mean.update_parameters(self.net)
        return loss.detach()

    def _checkpoint(
        self, progress: Callable[[Progress], None], checkpointed: Callable[[PortraitTraining], None]
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


def averaged_net(
    run: str | Path, kind: str, make: Callable[[dict[str, Any]], nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged net of a run, in evaluation mode on the CPU, and the whole checkpoint.

    Args:
        run: Folder of the run.
        kind: Of its net.
        make: Makes the net from its stored configuration.

    Raises:
        FacereliefError: There is no checkpoint of such a net.
    """
    found = run_folder.last_checkpoint(Path(run), resume=True)
    if found is None or found["config"]["task"].get("kind") != kind:
        raise FacereliefError(f"{run}: holds no net of kind {kind}; give the folder of a run of train {kind}")
    fields: dict[str, Any] = found["config"]["task"]["net"]
    net = make({k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    net.load_state_dict(found["mean"])
    return net.eval(), found


def _plain(config: PortraitTrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config)))


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
