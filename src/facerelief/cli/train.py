"""`facerelief train coarse|tracking|fine|e2far|export`: networks from training data."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_type_hints

import typer

if TYPE_CHECKING:
    from facerelief.lab.networks.trainer import RunConfig, State, TrainConfig

train_app = typer.Typer(no_args_is_help=True, help="Train networks on data sets, and export them to ONNX.")


class Preset(StrEnum):
    """Sizes of a training."""

    cpu = "cpu"
    paper = "paper"


class ShapeLoss(StrEnum):
    """Losses of CoarseNet and Tracking CoarseNet."""

    SPLIT = "split"
    PARAMETERS = "parameters"


class ReliefLoss(StrEnum):
    """Losses of FineNet."""

    L1 = "l1"
    L2 = "l2"


class Head(StrEnum):
    """What follows UH-E2FAR's trunk."""

    fc = "fc"
    pool = "pool"


@dataclass(frozen=True)
class _Sizes:
    """What a preset says where the command line does not."""

    steps: int
    batch: int
    lr: float
    width: float


_PRESETS: dict[tuple[str, str], _Sizes] = {
    ("cpu", "coarse"): _Sizes(8000, 32, 1e-3, 1.0),
    ("cpu", "tracking"): _Sizes(8000, 32, 1e-3, 0.5),
    ("cpu", "fine"): _Sizes(10000, 16, 1e-3, 32),
    ("cpu", "e2far"): _Sizes(8000, 32, 1e-3, 0.25),
    ("paper", "coarse"): _Sizes(60000, 128, 1e-4, 1.0),
    ("paper", "tracking"): _Sizes(60000, 128, 1e-4, 1.0),
    ("paper", "fine"): _Sizes(60000, 32, 1e-4, 32),
    ("paper", "e2far"): _Sizes(60000, 32, 1e-4, 1.0),
}

_Data = Annotated[
    list[Path], typer.Option("--data", metavar="DIR", help="A data set (repeat for more to learn from).")
]
_Out = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run.")]
_From = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="RUN", help="A run whose net it starts from (tracking: a CoarseNet's too)."
    ),
]
_Preset = Annotated[
    Preset, typer.Option(help="cpu: an hour or two on two cores. paper: as in the paper, for accelerators.")
]
_Steps = Annotated[int | None, typer.Option(min=1, help="Steps; the preset's unless given.")]
_Batch = Annotated[int | None, typer.Option(min=1, help="Samples of a step, of all devices together.")]
_Lr = Annotated[float | None, typer.Option(min=0.0, help="Highest learning rate.")]
_Size = Annotated[int, typer.Option(min=32, help="Side of the crop, px.")]
_Width = Annotated[float | None, typer.Option(help="Channels over those of ResNet-18.")]
_Loss = Annotated[ShapeLoss, typer.Option(help="The paper's split loss, or squared errors of parameters.")]
_Axes = Annotated[
    int, typer.Option(min=2, max=3, help="Points are compared in the picture, or in depth too.")
]
_Share = Annotated[
    float | None,
    typer.Option("--pose-share", min=0.0, max=1.0, help="Weight of the pose's part; adaptive unless given."),
]
_HeadSize = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="How much a wrong size of the head counts, which no picture tells: 0.1; --preset paper: 1.",
    ),
]
_Augment = Annotated[
    float, typer.Option(min=0.0, help="How often pictures are spoilt; 1 is the usual, 0 never.")
]
_Flip = Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the pictures.")]
_Ema = Annotated[float, typer.Option(min=0.0, max=0.99999, help="Averaging of weights; 0 for none.")]
_Seed = Annotated[int, typer.Option(min=0, help="Decides first weights, order and spoiling.")]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
_Workers = Annotated[int, typer.Option(min=0, help="Processes that read samples.")]
_Threads = Annotated[int | None, typer.Option(min=1, help="Threads of torch; its own choice unless given.")]
_Precision = Annotated[str, typer.Option(help="lightning's: bf16-mixed, 32-true, 16-mixed.")]
_Accelerator = Annotated[str, typer.Option(help="lightning's: cpu, gpu, auto.")]
_Devices = Annotated[str, typer.Option(help="lightning's: how many, or auto.")]
_Strategy = Annotated[str, typer.Option(help="lightning's: ddp for several devices, auto.")]
_CheckpointEvery = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")]
_ValidateEvery = Annotated[int, typer.Option(min=0, help="Steps between measurements; 0 for the end alone.")]
_ValidateSamples = Annotated[int, typer.Option(min=1, help="Held-out samples that are measured.")]


def _common(
    data: _Data,
    out: _Out,
    start_from: _From = None,
    preset: _Preset = Preset.cpu,
    steps: _Steps = None,
    batch: _Batch = None,
    lr: _Lr = None,
    augment: _Augment = 1.0,
    flip: _Flip = True,
    ema: _Ema = 0.998,
    seed: _Seed = 0,
    resume: _Resume = False,
    workers: _Workers = 1,
    threads: _Threads = None,
    precision: _Precision = "bf16-mixed",
    accelerator: _Accelerator = "auto",
    devices: _Devices = "auto",
    strategy: _Strategy = "auto",
    checkpoint_every: _CheckpointEvery = 500,
    validate_every: _ValidateEvery = 1000,
    validate_samples: _ValidateSamples = 512,
) -> None:
    """The options of every training; its signature is all that is used."""


def _training(own: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of every training, before its own, which are keywords.

    own gets all of them in its first argument.
    """
    parameters: list[inspect.Parameter] = []
    for source in (_common, own):
        hints = get_type_hints(source, include_extras=True)
        parameters += [
            p.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, p in inspect.signature(source).parameters.items()
            if name != "given"
        ]
    names = {p.name for p in parameters} & set(inspect.signature(own).parameters)

    @functools.wraps(own)
    def command(**given: Any) -> None:
        own(given, **{name: given[name] for name in names})

    del command.__wrapped__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return train_app.command()(command)


def _shape_command(kind: Literal["coarse", "tracking"], what: str) -> Callable[..., None]:
    def own(
        given: dict[str, Any],
        *,
        size: _Size = 224,
        width: _Width = None,
        loss: _Loss = ShapeLoss.SPLIT,
        axes: _Axes = 3,
        pose_share: _Share = None,
        head_size: _HeadSize = None,
    ) -> None:
        _need_torch()
        from facerelief.lab.networks.guo import CoarseNetConfig
        from facerelief.lab.networks.losses import CoarseLoss
        from facerelief.lab.networks.tasks import TaskConfig

        sizes = _PRESETS[str(given["preset"]), kind]
        with _refused():
            net = CoarseNetConfig(size, width or sizes.width)
            neutral = 0.0 if given["preset"] == Preset.paper else CoarseLoss.neutral
            score = CoarseLoss(
                loss.value,
                2 if axes == 2 else 3,
                pose_share=pose_share,
                size=_counted(head_size, given, CoarseLoss.size),
                neutral=neutral,
            )
        task = TaskConfig(
            kind,
            net,
            coarse_loss=score,
            augment=given["augment"],
            flip=given["flip"],
        )
        _train(task, sizes, given)

    own.__name__, own.__doc__ = kind, what
    return _training(own)


coarse = _shape_command(
    "coarse", "CoarseNet: identity, expression and pose from one picture. Data: coarse, renders or pairs."
)
tracking = _shape_command(
    "tracking", "Tracking CoarseNet: what changed since the previous frame. Data: pairs."
)


@_training
def fine(
    given: dict[str, Any],
    *,
    size: Annotated[int, typer.Option(min=32, help="Side of the data's pictures, px.")] = 256,
    width: Annotated[int | None, typer.Option(min=1, help="Channels of the first level.")] = None,
    levels: Annotated[int, typer.Option(min=1, max=7, help="Resolutions of the U-Net.")] = 4,
    loss: Annotated[
        ReliefLoss, typer.Option(help="l1: and normals. l2: squared errors alone.")
    ] = ReliefLoss.L1,
    normals: Annotated[float, typer.Option(min=0.0, help="Weight of the normals, with l1.")] = 20.0,
) -> None:
    """FineNet: the relief of a coarse surface. Data: fine."""
    _need_torch()
    from facerelief.lab.networks.guo import FineNetConfig
    from facerelief.lab.networks.losses import FineLoss
    from facerelief.lab.networks.tasks import TaskConfig

    sizes = _PRESETS[str(given["preset"]), "fine"]
    with _refused():
        net = FineNetConfig(size, int(width or sizes.width), levels)
        score = FineLoss(loss.value, normals)
    task = TaskConfig("fine", fine=net, fine_loss=score, augment=given["augment"], flip=given["flip"])
    _train(task, sizes, given)


@_training
def e2far(
    given: dict[str, Any],
    *,
    size: Annotated[int, typer.Option(min=48, help="Side of the crop, px.")] = 180,
    width: Annotated[float | None, typer.Option(help="Channels over those of VGG-16.")] = None,
    head: Annotated[
        Head | None, typer.Option(help="fc: the paper's hidden layers. pool: compact, on pooled features.")
    ] = None,
    norm: Annotated[
        bool | None,
        typer.Option("--norm/--no-norm", help="Batch norms in the trunk: it learns from nothing."),
    ] = None,
    fusion: Annotated[
        bool, typer.Option("--fusion/--no-fusion", help="The expression sees two levels of features.")
    ] = True,
    multi_task: Annotated[
        bool,
        typer.Option(
            "--multi-task/--single-task",
            help="Score neutral shape and expression apart, or the expressive shape alone.",
        ),
    ] = True,
    linear: Annotated[
        bool, typer.Option("--linear", help="No activations behind the trunk, as a re-implementation has it.")
    ] = False,
    neutral_weight: Annotated[
        float, typer.Option(min=0.0, help="Weight of the neutral shape's error.")
    ] = 1.0,
    expression_weight: Annotated[
        float, typer.Option(min=0.0, help="Weight of the expression's error.")
    ] = 5.0,
    head_size: _HeadSize = None,
    roots: Annotated[
        bool, typer.Option("--roots", help="Score distances in mm instead of their squares.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="VGG-Face's weights (.mat or .pth) for the trunk to begin with."),
    ] = None,
    frozen: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the steps in which the trunk stays as it began; a tenth with --weights, else 0.",
        ),
    ] = None,
) -> None:
    """UH-E2FAR: neutral and expressive shape from one picture. Data: coarse, renders or pairs."""
    _need_torch()
    from facerelief.lab.networks.e2far import E2farConfig, E2farLoss
    from facerelief.lab.networks.tasks import TaskConfig

    paper = given["preset"] == Preset.paper
    sizes = _PRESETS[str(given["preset"]), "e2far"]
    with _refused():
        net = E2farConfig(
            size,
            width or sizes.width,
            str(head or ("fc" if paper else "pool")),  # type: ignore[arg-type]
            not paper if norm is None else norm,
            fusion=fusion,
            branches=multi_task or fusion,
            linear=linear,
        )
        counts = _counted(head_size, given, E2farLoss.size)
        score = E2farLoss(multi_task, neutral_weight, expression_weight, not roots, counts)
    task = TaskConfig(
        "e2far",
        e2far=net,
        e2far_loss=score,
        frozen=(0.1 if weights is not None else 0.0) if frozen is None else frozen,
        augment=given["augment"],
        flip=given["flip"],
    )
    _train(task, sizes, {**given, "weights": weights})


@train_app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The .onnx file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a run's net as ONNX with half-precision weights, and check it against torch."""
    if out.suffix.lower() != ".onnx":
        raise typer.BadParameter(f"{out}: the file's name ends in .onnx")
    if out.exists() and not overwrite:
        _fail(f"{out}: already there; choose another name or give --overwrite")
    _need_torch()
    from facerelief.lab.networks.export import export_net

    about = export_net(run, out)
    print(
        f"{out}: {about['kind']} net after {about['trained']['step']} steps, {about['bytes'] / 1e6:.1f} MB, "
        f"within {about['worst']:.5f} of the trained one"
    )


def _counted(head_size: float | None, given: dict[str, Any], ours: float) -> float:
    """How much a wrong size of the head counts."""
    return head_size if head_size is not None else 1.0 if given["preset"] == Preset.paper else ours


@contextmanager
def _refused() -> Iterator[None]:
    """What a configuration refuses is the command line's fault."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _train(task: Any, sizes: _Sizes, given: dict[str, Any]) -> None:
    from facerelief.lab.networks.trainer import RunConfig, TrainConfig

    start, weights = given["start_from"], given.get("weights")
    config = TrainConfig(
        task,
        tuple(str(folder) for folder in given["data"]),
        given["steps"] or sizes.steps,
        given["batch"] or sizes.batch,
        given["lr"] or sizes.lr,
        ema=given["ema"],
        seed=given["seed"],
        start_from=None if start is None else str(start),
        weights=None if weights is None else str(weights),
    )
    run = RunConfig(
        given["workers"],
        given["precision"],
        given["accelerator"],
        int(given["devices"]) if given["devices"].isdigit() else given["devices"],
        given["strategy"],
        given["checkpoint_every"],
        given["validate_every"],
        given["validate_samples"],
    )
    _go(config, run, given["out"], given["resume"], given["threads"])


def _go(config: TrainConfig, run: RunConfig, out: Path, resume: bool, threads: int | None) -> None:
    import torch

    from facerelief.lab.networks.trainer import Stopped, describe, train

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with _shown() as show:
            about = train(config, out, run, resume=resume, progress=show)
    except Stopped as stop:
        print(f"{stop}; give the same command with --resume to go on", file=sys.stderr)
        raise typer.Exit(130 if stop.signum == signal.SIGINT else 143) from None
    except KeyboardInterrupt:
        print("stopped; give the same command with --resume to go on", file=sys.stderr)
        raise typer.Exit(130) from None
    if os.environ.get("LOCAL_RANK", "0") != "0":  # one of lightning's further processes
        return
    metrics = about["metrics"]
    print(
        f"{out}: {about['kind']} net of {about['parameters'] / 1e6:.2f} M numbers, {about['step']} steps; "
        f"on {metrics['samples']} {about['split']} samples (without a net): {describe(metrics)}"
    )


def _need_torch() -> None:
    for module in ("torch", "lightning", "tensorboard"):
        if find_spec(module) is None:
            _fail(f"training needs {module}: pip install 'facerelief[train]'")


def _fail(line: str) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    raise typer.Exit(1)


@contextmanager
def _shown() -> Iterator[Callable[[State], None]]:
    """A bar where somebody is looking, else a line now and then; measurements always."""
    lines = _Lines()
    if not sys.stderr.isatty():
        yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("steps"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("steps", total=None, text="")

        def show(at: State) -> None:
            if at.metrics is not None:
                lines(at)
                return
            text = f"loss {at.loss:.3f}, {at.images_per_s:.0f} images a second"
            bar.update(task, completed=at.step, total=at.steps, text=text)

        yield show


class _Lines:
    """Progress in plain lines, at most one in ten seconds."""

    def __init__(self) -> None:
        self.last = -1e9

    def __call__(self, at: State) -> None:
        now = time.monotonic()
        if at.metrics is not None:
            from facerelief.lab.networks.trainer import describe

            _note(f"step {at.step}, held out (without a net): {describe(at.metrics)}")
        elif now - self.last >= 10 or at.step == at.steps:
            self.last = now
            parts = ", ".join(f"{name} {value:.3f}" for name, value in at.parts.items())
            rate = f"{at.images_per_s:.1f} images a second"
            _note(f"step {at.step} of {at.steps}, loss {at.loss:.4f} ({parts}), {rate}")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
