"""The training loop: AdamW, warm-up and cosine, averaged weights, checkpoints to go on from exactly.

Devices, precision and several processes are lightning's (Fabric); the loop is ours, since what a step does
must depend on its number and the checkpoint before it alone. A run that is killed and resumed ends with the
weights of one that was not.
"""

# pyright: reportPrivateImportUsage=false, reportMissingTypeStubs=false

from __future__ import annotations

import copy
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from facerelief._version import __version__
from facerelief.errors import FacereliefError, OutputError
from facerelief.io.atomic import output_error, write_bytes
from facerelief.lab.networks.data import Batches, Shards, start_worker
from facerelief.lab.networks.e2far import E2far
from facerelief.lab.networks.guo import CoarseNet, FineNet, TrackingNet, parameters_of
from facerelief.lab.networks.tasks import Task, TaskConfig, make_task, task_config
from facerelief.lab.networks.vgg_face import take_vgg_face
from facerelief.morphable import open_model
from facerelief.morphable.model import FaceModel

CHECKPOINT, METRICS, CONFIG = "last.pt", "metrics.json", "config.json"
FORMAT = 1


@dataclass(frozen=True)
class TrainConfig:
    """How a net is trained. All of it is kept with the run."""

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
    """Gradients are never longer than this."""
    ema: float = 0.998
    """Share of averaged weights that stays in a step; 0 for none. These weights are the ones measured and
    exported."""
    seed: int = 0
    """Decides the first weights, and which sample comes when and how."""
    start_from: str | None = None
    """Run whose net it starts from: of the same kind, or a CoarseNet for a Tracking CoarseNet."""
    weights: str | None = None
    """File of VGG-Face's weights that a UH-E2FAR's trunk starts from (`networks.vgg_face`)."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}: expected at least 0 and less than 1")


@dataclass(frozen=True)
class RunConfig:
    """What changes nothing in the result, but for rounding."""

    workers: int = 1
    """Processes that read samples; 0 for the training process itself."""
    precision: str = "32-true"
    """Lightning's word for it: "32-true", "bf16-mixed", ..."""
    accelerator: str = "auto"
    """Lightning's: "cpu", "gpu", ..."""
    devices: int | str = "auto"
    strategy: str = "auto"
    checkpoint_every: int = 500
    validate_every: int = 1000
    validate_samples: int = 512
    log_every: int = 25


@dataclass(frozen=True)
class State:
    """Where a run is: told after every `log_every` steps."""

    step: int
    steps: int
    loss: float
    """Mean since the last time."""
    parts: dict[str, float]
    images_per_s: float
    """Of wall time, since the last time."""
    images_per_cpu_s: float
    """The same of the training process's processor time."""
    metrics: dict[str, float] | None = None
    """Of held-out samples, where they were just measured."""


class Stopped(Exception):  # noqa: N818 - no error
    """A signal ended the run; a checkpoint is written."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by signal {signum} after step {step}")
        self.signum, self.step = signum, step


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of a step, from 0."""
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.lr * (step + 1) / rise
    along = (step - rise) / max(1, config.steps - rise)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def optimizer_of(net: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW whose decay leaves biases and norms alone."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


@torch.no_grad()
def average(into: nn.Module, net: nn.Module, share: float, step: int) -> None:
    """Move averaged weights a step toward the net's; at first they follow quickly."""
    share = min(share, (1 + step) / (10 + step))
    theirs = net.state_dict()
    for name, mine in into.state_dict().items():
        if mine.is_floating_point():
            mine.lerp_(theirs[name].to(mine.dtype), 1 - share)
        else:
            mine.copy_(theirs[name])


def train(
    config: TrainConfig,
    out: str | Path,
    run: RunConfig | None = None,
    *,
    resume: bool = False,
    model: FaceModel | None = None,
    progress: Callable[[State], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a net into the folder `out`; returns what `metrics.json` says.

    resume: go on from the folder's last checkpoint, or start where there is none. Writes config.json,
    last.pt, metrics.json and TensorBoard's files.

    Raises FacereliefError for data sets of no use, a run of another configuration, or a loss that is no
    longer finite; OutputError where `out` cannot be written; Stopped at SIGTERM and SIGINT.
    """
    run, out, model = run or RunConfig(), Path(out), model or open_model()
    # lightning's further processes begin here too
    first_process = os.environ.get("LOCAL_RANK", "0") == "0"
    found = _begin(out, config, resume) if first_process else _last(out, resume)
    task = make_task(config.task, model)
    shards = Shards(config.data, "train", config.task.kind)
    data = task.data(shards, config.seed, training=True)
    held_out = Shards(config.data, "val", config.task.kind)
    split = "val" if len(held_out) else "train"
    validation = task.data(held_out if len(held_out) else shards, 1, training=False)

    fabric = _fabric(run, out)
    fabric.launch()
    torch.manual_seed(config.seed)
    bare = task.net(data)
    if config.start_from is not None:
        _start_from(bare, config.start_from, model)
    if config.weights is not None:
        if not isinstance(bare, E2far):
            raise FacereliefError(f"{config.weights}: weights of VGG-Face are for the e2far net alone")
        take_vgg_face(bare, config.weights)
    for weights in bare.parameters():  # convolutions are quickest so
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    mean = copy.deepcopy(bare).eval() if config.ema else None
    first, history = 0, list[dict[str, float]]()
    if found is not None:
        first, history = found["step"], found["history"]
        bare.load_state_dict(found["net"])
        if mean is not None:
            mean.load_state_dict(found["mean"])
    net, optimizer = fabric.setup(bare, optimizer_of(bare, config))
    if found is not None:
        optimizer.load_state_dict(found["optimizer"])
    if mean is not None:
        mean.to(fabric.device)
    task.to(fabric.device)

    def save(step: int) -> None:
        if fabric.is_global_zero:
            _save(
                out,
                {
                    "format": FORMAT,
                    "version": __version__,
                    "config": asdict(config),
                    "model": [model.name, str(model.version)],
                    "data_sha256": shards.sha256,
                    "step": step,
                    "net": bare.state_dict(),
                    "mean": None if mean is None else mean.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "history": history,
                },
            )

    def measure(step: int) -> dict[str, float]:
        metrics = validate(task, bare if mean is None else mean, validation, config.batch, run, fabric.device)
        history.append({"step": step, **metrics})
        fabric.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, step)
        return metrics

    def tell(state: State) -> None:
        if fabric.is_global_zero:
            progress(state)

    batches = Batches(first, config.steps, config.batch, fabric.global_rank, fabric.world_size)
    loader = _loader(data, batches, run)
    clock = _Clock(config.batch)
    # closed where the loop is left early: readers hear no signals, and would keep a program from ending
    with _signals() as caught, closing(_in_one_line(loader)) as read:
        net.train()
        for step, batch in zip(range(first, config.steps), read):
            batch = type(batch)(*(x.to(fabric.device, non_blocking=True) for x in batch))
            task.phase(bare, step / config.steps)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            score = task.loss(bare, batch, task.forward(net, batch))
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(score.loss)
            norm = fabric.clip_gradients(net, optimizer, max_norm=config.clip, error_if_nonfinite=False)
            optimizer.step()
            if mean is not None:
                average(mean, bare, config.ema, step)
            done = step + 1
            clock.add({"loss": score.loss.detach(), **score.parts, "gradient": torch.as_tensor(norm)})
            last = done == config.steps
            if done % run.log_every == 0 or last:
                state = clock.state(done, config.steps)
                if not math.isfinite(state.loss):
                    raise FacereliefError(
                        f"{out}: the loss is {state.loss} at step {done}; start again with a lower --lr"
                    )
                told = {"loss": state.loss, **state.parts, "images_per_s": state.images_per_s}
                fabric.log_dict(
                    {f"train/{k}": v for k, v in told.items()} | {"lr": learning_rate(config, step)}, done
                )
                tell(state)
            if last or (run.validate_every and done % run.validate_every == 0):
                metrics = measure(done)
                net.train()
                clock = _Clock(config.batch)
                tell(State(done, config.steps, math.nan, {}, math.nan, math.nan, metrics))
            if last or done % run.checkpoint_every == 0 or caught:
                save(done)
            if caught and not last:
                raise Stopped(caught[0], done)
    about = {
        "kind": config.task.kind,
        "step": config.steps,
        "split": split,
        "parameters": parameters_of(bare),
        "train_samples": len(shards),
        "data_sha256": shards.sha256,
        "model": {"name": model.name, "version": str(model.version)},
        "metrics": history[-1] if history else {},
        "history": history,
    }
    if fabric.is_global_zero:
        write_bytes(out / METRICS, (json.dumps(about, indent=1) + "\n").encode())
    return about


def validate(
    task: Task, net: nn.Module, data: Any, batch: int, run: RunConfig, device: torch.device
) -> dict[str, float]:
    """Measures of a net on the first `validate_samples` of held-out data, in full precision."""
    count = min(run.validate_samples, len(data))
    where = list(range(0, count, batch))
    # every sample once, in the order of the data's own seed
    loader = _loader(data, [list(range(k, min(k + batch, count))) for k in where], run)
    measures: Any = task.measures(net)
    was = net.training
    net.eval()
    with torch.no_grad():
        for items in _in_one_line(loader):
            items = type(items)(*(x.to(device) for x in items))
            measures.add(items, task.forward(net, items))
    net.train(was)
    return measures.result()


def load_net(run: str | Path, model: FaceModel | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """(net, checkpoint) of a run: the averaged weights where there are some; in evaluation mode, on the CPU.

    Raises FacereliefError where there is no checkpoint, or it was trained with another face model.
    """
    file = Path(run) / CHECKPOINT
    found = _read(file)
    model = model or open_model()
    if found["model"] != [model.name, str(model.version)]:
        raise FacereliefError(f"{file}: trained with face model {' '.join(found['model'])}; give that one")
    task = make_task(task_config(found["config"]["task"]), model)
    net = task.net(None)
    net.load_state_dict(found["net"] if found["mean"] is None else found["mean"])
    return net.eval(), found


# ---------------------------------------------------------------- parts of it


def _begin(out: Path, config: TrainConfig, resume: bool) -> dict[str, Any] | None:
    """Take the folder; its checkpoint where the run goes on."""
    there = out / CHECKPOINT
    if there.exists() or (out / CONFIG).exists():
        if not resume:
            raise OutputError(f"{out}: holds a run; give --resume to go on with it, or choose another folder")
        try:
            before = json.loads((out / CONFIG).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise FacereliefError(
                f"{out / CONFIG}: cannot be read ({error}); choose another folder"
            ) from error
        now = json.loads(json.dumps(asdict(config)))
        differing = sorted(_differing(before, now))
        if differing:
            raise FacereliefError(
                f"{out}: begun with other {', '.join(differing)}; give the same, or choose another folder"
            )
        return _last(out, resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    write_bytes(out / CONFIG, (json.dumps(asdict(config), indent=1) + "\n").encode())
    return None


def _last(out: Path, resume: bool) -> dict[str, Any] | None:
    """The last checkpoint, where there is one to go on from."""
    return _read(out / CHECKPOINT) if resume and (out / CHECKPOINT).exists() else None


def _differing(a: Any, b: Any, name: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {*a, *b}:
            yield from _differing(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
    elif a != b:
        yield name


def _read(file: Path) -> dict[str, Any]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise whatever they like
        reason = " ".join(str(error).split())[:100]
        raise FacereliefError(
            f"{file}: cannot be read as a checkpoint ({reason}); give a run's folder"
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FacereliefError(f"{file}: no checkpoint of this version; train again")
    return found


def _save(out: Path, state: dict[str, Any]) -> None:
    """Whole or not at all, whenever the process is killed."""
    target, temporary = out / CHECKPOINT, out / f".tmp-{CHECKPOINT}"
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise output_error(target, error) from error


def _start_from(net: nn.Module, run: str, model: FaceModel) -> None:
    """Take over what an earlier run has learned."""
    other, _ = load_net(run, model)
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
    except Exception as error:  # lightning's words for devices that are not there
        reason = " ".join(str(error).split())[:200]
        raise FacereliefError(f"{reason}; give other --accelerator, --devices or --precision") from error


def _loader(data: Any, batches: Any, run: RunConfig) -> DataLoader[Any]:
    return DataLoader(
        data,
        batch_sampler=batches,
        num_workers=run.workers,
        worker_init_fn=start_worker,
        prefetch_factor=3 if run.workers else None,
        generator=torch.Generator(),  # leaves the net's random numbers alone
    )


def _in_one_line(loader: DataLoader[Any]) -> Generator[Any, None, None]:
    """Its batches. What a reading process says of its end is a page; the last line is the reason."""
    try:
        yield from loader
    except FacereliefError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FacereliefError(reason.removeprefix("facerelief.errors.FacereliefError: ")) from error


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that asked for an end since it began."""
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
    """Means and rates since the last time that somebody asked."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._clear()

    def _clear(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.steps, self.wall, self.cpu = 0, time.perf_counter(), time.process_time()

    def add(self, values: dict[str, torch.Tensor]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def state(self, step: int, steps: int) -> State:
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        images = self.steps * self.batch
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        self._clear()
        loss = means.pop("loss")
        return State(step, steps, loss, means, images / max(wall, 1e-9), images / max(cpu, 1e-9))


def describe(metrics: dict[str, float], names: Sequence[str] = ()) -> str:
    """Measures in one line: the found beside the baseline's."""
    parts: list[str] = []
    for name, value in metrics.items():
        if name.startswith("baseline_") or name in ("step", "samples") or (names and name not in names):
            continue
        beside = f" ({metrics[f'baseline_{name}']:.2f})" if f"baseline_{name}" in metrics else ""
        parts.append(f"{name} {value:.2f}{beside}")
    return ", ".join(parts)
