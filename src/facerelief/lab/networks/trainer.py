"""Training loop: AdamW, warm-up and cosine, averaged weights, checkpoints that resume exactly.

Devices, precision and several processes are Lightning's (Fabric). The loop is our own, since a step must
depend on nothing but its number and the checkpoint before it: a run that is killed and resumed ends with the
weights of one that was not.
"""

# pyright: reportPrivateImportUsage=false, reportMissingTypeStubs=false

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from facerelief._version import __version__
from facerelief.errors import FacereliefError
from facerelief.io.atomic import write_bytes
from facerelief.lab.networks import run_folder
from facerelief.lab.networks.e2far import E2far
from facerelief.lab.networks.guo import CoarseNet, FineNet, TrackingNet, parameters_of
from facerelief.lab.networks.loading import Batches, reading
from facerelief.lab.networks.order import Shards
from facerelief.lab.networks.run_config import RunConfig
from facerelief.lab.networks.tasks import Task, TaskConfig, make_task
from facerelief.lab.networks.vgg_face import take_vgg_face
from facerelief.morphable import open_model
from facerelief.morphable.model import FaceModel


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the result of a training. It is kept with the run."""

    task: TaskConfig = field(default_factory=TaskConfig)
    data: tuple[str, ...] = ()
    """Folders of data sets."""
    steps: int = 8000
    batch: int = 32
    """Samples of a step, of all devices together."""
    lr: float = 1e-3
    """Highest learning rate."""
    weight_decay: float = 0.01
    """Of weights, not of biases and norms."""
    warmup: float = 0.03
    """Share of the steps in which the rate rises; then it falls along a cosine to a hundredth."""
    clip: float = 10.0
    """Longest norm of the gradients."""
    ema: float = 0.998
    """Share of the averaged weights that stays in a step; 0 for no average. The averaged weights are the ones
    measured and exported."""
    seed: int = 0
    """Decides the first weights, and the order and augmentation of samples."""
    start_from: str | None = None
    """Run whose net it starts from: of the same kind, or a CoarseNet for a Tracking CoarseNet."""
    weights: str | None = None
    """File of VGG-Face's weights that a UH-E2FAR's trunk starts from (`networks.vgg_face`)."""
    shares: tuple[float, ...] = ()
    """Share of the samples that each data set gives; unless given, every sample comes as often."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")
        if self.shares and (len(self.shares) != len(self.data) or min(self.shares) <= 0):
            raise ValueError(f"shares are {self.shares}: expected one above 0 for each data set")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}: expected at least 0 and less than 1")


@dataclass(frozen=True)
class State:
    """Progress of a run, reported after every `log_every` steps."""

    step: int
    steps: int
    loss: float
    """Mean since the last report."""
    parts: dict[str, float]
    images_per_s: float
    """Of wall time, since the last report."""
    metrics: dict[str, float] | None = None
    """Of held-out samples, where they were just measured."""


class Stopped(Exception):  # noqa: N818 - no error
    """A signal ended the run; a checkpoint is written."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by signal {signum} after step {step}")
        self.signum, self.step = signum, step


def train(
    config: TrainConfig,
    out: str | Path,
    run: RunConfig | None = None,
    *,
    resume: bool = False,
    model: FaceModel | None = None,
    progress: Callable[[State], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a net into a folder.

    Args:
        config: the training.
        out: folder of the run (`networks.run_folder`).
        run: devices, processes, and intervals between reports.
        resume: go on from the folder's last checkpoint, or start where there is none.
        model: the face model; the open model by default.
        progress: called after every `log_every` steps and every measurement.

    Returns:
        The content of metrics.json.

    Raises:
        FacereliefError: data sets of no use, a run of another configuration, or a loss that is not finite.
        OutputError: `out` cannot be written.
        Stopped: SIGTERM or SIGINT.
    """
    return Trainer(config, Path(out), run or RunConfig(), resume, model or open_model(), progress)()


class Trainer:
    """One run: `prepare`, then a `step` for each batch, with `measure` and `save` between them."""

    net: nn.Module
    """The bare net, on the device."""
    mean: AveragedModel | None
    """Its averaged weights."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        run: RunConfig,
        resume: bool,
        model: FaceModel,
        progress: Callable[[State], None],
    ) -> None:
        """Take the folder and open the data; see `train`."""
        self.config, self.out, self.run, self.model, self.progress = config, out, run, model, progress
        if os.environ.get("LOCAL_RANK", "0") == "0":
            self.checkpoint = run_folder.take_folder(self.out, asdict(config), resume)
        else:  # lightning's further processes begin here too
            self.checkpoint = run_folder.last_checkpoint(self.out, resume)
        self.first = 0
        self.history: list[dict[str, float]] = []
        self.task = make_task(config.task, self.model)
        self.shards = Shards(config.data, "train", config.task.kind, config.shares)
        self.data = self.task.data(self.shards, config.seed, training=True)
        held_out = Shards(config.data, "val", config.task.kind)
        self.split = "val" if len(held_out) else "train"
        self.validation = self.task.data(held_out if len(held_out) else self.shards, 1, training=False)

    def __call__(self) -> dict[str, Any]:
        """Train to the last step; returns the content of metrics.json."""
        config, run = self.config, self.run
        self.prepare()
        fabric = self.fabric
        batches = Batches(self.first, config.steps, config.batch, fabric.global_rank, fabric.world_size)
        clock = _Clock(config.batch)
        with _signals() as caught, reading(self.data, batches, run.readers) as read:
            self.wrapped.train()
            for step, batch in zip(range(self.first, config.steps), read):
                clock.add(self.step(step, batch))
                done, last = step + 1, step + 1 == config.steps
                if done % run.log_every == 0 or last:
                    self._report(clock.state(done, config.steps))
                if last or (run.validate_every and done % run.validate_every == 0):
                    self.measure(done)
                    self.wrapped.train()
                    clock = _Clock(config.batch)
                if last or done % run.checkpoint_every == 0 or caught:
                    self.save(done)
                if caught and not last:
                    raise Stopped(caught[0], done)
        return self._finish()

    def prepare(self) -> None:
        """Make net, optimizer and average, and put the checkpoint's numbers into them."""
        config, found = self.config, self.checkpoint
        self.fabric = _fabric(self.run, self.out)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        self.net = net = self.task.net(self.data)
        if config.start_from is not None:
            _start_from(net, config.start_from, self.model)
        if config.weights is not None:
            if not isinstance(net, E2far):
                raise FacereliefError(f"{config.weights}: weights of VGG-Face are for the e2far net alone")
            take_vgg_face(net, config.weights)
        for weights in net.parameters():  # convolutions are quickest so
            if weights.ndim == 4:
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)
        self.mean = averaged(net, config.ema) if config.ema else None
        if found is not None:
            self.first, self.history = found["step"], found["history"]
            net.load_state_dict(found["net"])
            if self.mean is not None:
                self.mean.module.load_state_dict(found["mean"])
                self.mean.n_averaged.fill_(self.first + 1)
        self.wrapped, self.optimizer = self.fabric.setup(net, optimizer_of(net, config))
        if found is not None:
            self.optimizer.load_state_dict(found["optimizer"])
        if self.mean is not None:
            self.mean.to(self.fabric.device)
        self.task.to(self.fabric.device)

    def step(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Learn from one batch.

        Args:
            step: from 0.
            batch: an item of the task's data, with a batch axis first, on any device.

        Returns:
            Loss, its parts and the norm of the gradients, by name; scalars, detached.
        """
        config = self.config
        batch = type(batch)(*(x.to(self.fabric.device, non_blocking=True) for x in batch))
        self.task.phase(self.net, step / config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        score = self.task.loss(self.net, batch, self.task.forward(self.wrapped, batch))
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(score.loss)
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=config.clip, error_if_nonfinite=False
        )
        self.optimizer.step()
        if self.mean is not None:
            self.mean.update_parameters(self.net)
        return {"loss": score.loss.detach(), **score.parts, "gradient": torch.as_tensor(norm)}

    def measure(self, done: int) -> dict[str, float]:
        """Measure, log and report the averaged net on held-out samples, after `done` steps."""
        net = self.net if self.mean is None else self.mean.module
        metrics = validate(self.task, net, self.validation, self.config.batch, self.run, self.fabric.device)
        self.history.append({"step": done, **metrics})
        self.fabric.log_dict({f"{self.split}/{name}": value for name, value in metrics.items()}, done)
        self._show(State(done, self.config.steps, math.nan, {}, math.nan, metrics))
        return metrics

    def save(self, done: int) -> None:
        """Write the checkpoint after `done` steps."""
        if not self.fabric.is_global_zero:
            return
        run_folder.write_checkpoint(
            self.out,
            {
                "format": run_folder.FORMAT,
                "version": __version__,
                "config": asdict(self.config),
                "model": [self.model.name, str(self.model.version)],
                "data_sha256": self.shards.digest,
                "step": done,
                "net": self.net.state_dict(),
                "mean": None if self.mean is None else self.mean.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
            },
        )

    def _report(self, state: State) -> None:
        """Log and report the last steps. Raises FacereliefError for a loss that is not finite."""
        if not math.isfinite(state.loss):
            raise FacereliefError(
                f"{self.out}: the loss is {state.loss} at step {state.step}; start again with a lower --lr"
            )
        values = {"loss": state.loss, **state.parts, "images_per_s": state.images_per_s}
        rate = learning_rate(self.config, state.step - 1)
        self.fabric.log_dict({f"train/{k}": v for k, v in values.items()} | {"lr": rate}, state.step)
        self._show(state)

    def _show(self, state: State) -> None:
        if self.fabric.is_global_zero:
            self.progress(state)

    def _finish(self) -> dict[str, Any]:
        """Write metrics.json, and return its content."""
        about = {
            "kind": self.config.task.kind,
            "step": self.config.steps,
            "split": self.split,
            "parameters": parameters_of(self.net),
            "train_samples": len(self.shards),
            "data_sha256": self.shards.digest,
            "model": {"name": self.model.name, "version": str(self.model.version)},
            "metrics": self.history[-1] if self.history else {},
            "history": self.history,
        }
        if self.fabric.is_global_zero:
            write_bytes(self.out / run_folder.METRICS, (json.dumps(about, indent=1) + "\n").encode())
        return about


def validate(
    task: Task, net: nn.Module, data: Any, batch: int, run: RunConfig, device: torch.device
) -> dict[str, float]:
    """Measures of a net on the first `validate_samples` of held-out data, in full precision."""
    count = min(run.validate_samples, len(data))
    # every sample once, in the order of the data's own seed
    batches = [list(range(k, min(k + batch, count))) for k in range(0, count, batch)]
    measures: Any = task.measures(net)
    was = net.training
    net.eval()
    with torch.no_grad(), reading(data, batches, run.readers) as read:
        for items in read:
            items = type(items)(*(x.to(device) for x in items))
            measures.add(items, task.forward(net, items))
    net.train(was)
    return measures.result()


# ---------------------------------------------------------------- optimisation


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of a step, from 0: a linear rise, then a cosine (Loshchilov & Hutter, ICLR 2017)."""
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.lr * (step + 1) / rise
    along = (step - rise) / max(1, config.steps - rise)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def optimizer_of(net: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW without weight decay of biases and norms."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def averaged(net: nn.Module, share: float) -> AveragedModel:
    """Exponential moving average of a net's weights and of its norms' statistics.

    Update number n, from 1, keeps min(share, n / (9 + n)) of the average: it follows quickly at first.
    Whole numbers are copied.
    """

    @torch.no_grad()
    def move(means: Any, weights: Any, count: Tensor | int) -> None:
        kept = min(share, int(count) / (9 + int(count)))
        for mean, weight in zip(means, weights, strict=True):
            if mean.is_floating_point():
                mean.lerp_(weight.to(mean.dtype), 1 - kept)
            else:
                mean.copy_(weight)

    mean = AveragedModel(net, multi_avg_fn=move, use_buffers=True)
    mean.n_averaged.fill_(1)  # the copy that it begins with counts: torch would replace it
    return mean.eval()


def _start_from(net: nn.Module, run: str, model: FaceModel) -> None:
    """Take over the weights of an earlier run."""
    other, _ = run_folder.load_net(run, model)
    if not isinstance(net, CoarseNet | TrackingNet | FineNet | E2far):
        raise TypeError(f"{type(net).__name__} starts from no other net")
    wanted = (CoarseNet, TrackingNet) if isinstance(net, TrackingNet) else (type(net),)
    if not isinstance(other, wanted):
        names = " or ".join(kind.__name__ for kind in wanted)
        raise FacereliefError(f"{run}: holds a {type(other).__name__}, expected a {names} to start from")
    take: Any = net.start_from
    try:
        take(other)
    except ValueError as error:
        raise FacereliefError(f"{run}: {error}") from error


# ---------------------------------------------------------------- machinery


def _fabric(run: RunConfig, out: Path) -> Any:
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.loggers import TensorBoardLogger

        logger = TensorBoardLogger(root_dir=out, name="", version="tensorboard")
    except ImportError as error:
        raise FacereliefError(
            f"training needs lightning ({error}): pip install 'facerelief[train]'"
        ) from error
    precision: Any = run.precision
    try:
        return Fabric(
            accelerator=run.accelerator,
            devices=run.devices,
            strategy=run.strategy,
            precision=precision,
            loggers=[logger],
        )
    except Exception as error:  # lightning raises many kinds for devices that are not there
        reason = " ".join(str(error).split())[:200]
        raise FacereliefError(f"{reason}; give other --accelerator, --devices or --precision") from error


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Numbers of the signals SIGTERM and SIGINT that have come since the block began."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {
        s: signal.signal(s, lambda number, _: caught.append(number)) for s in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield caught
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class _Clock:
    """Means and rates since the last call of `state`."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._clear()

    def _clear(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps, self.wall = 0, time.perf_counter()

    def add(self, values: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def state(self, step: int, steps: int) -> State:
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        images, wall = self.steps * self.batch, time.perf_counter() - self.wall
        self._clear()
        loss = means.pop("loss")
        return State(step, steps, loss, means, images / max(wall, 1e-9))


def describe(metrics: dict[str, float], names: Sequence[str] = ()) -> str:
    """Measures in one line, each with the baseline's in brackets."""
    parts: list[str] = []
    for name, value in metrics.items():
        if name.startswith("baseline_") or name in ("step", "samples") or (names and name not in names):
            continue
        beside = f" ({metrics[f'baseline_{name}']:.2f})" if f"baseline_{name}" in metrics else ""
        parts.append(f"{name} {value:.2f}{beside}")
    return ", ".join(parts)
