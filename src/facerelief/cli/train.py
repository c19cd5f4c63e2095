"""`facerelief train coarse|tracking|fine|e2far|export`: networks from training data.

torch is imported when a training begins, not for its options.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import UseAppendAction, arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, need, note, progress, say
from facerelief.errors import OutputError

if TYPE_CHECKING:
    from facerelief.lab.networks.tasks import TaskConfig
    from facerelief.lab.networks.trainer import RunConfig, State, TrainConfig


@dataclass(frozen=True)
class Sizes:
    """Numbers of a preset, where the command line gives none."""

    steps: int
    batch: int
    lr: float
    width: float


@dataclass(frozen=True)
class Train:
    """Options of every training; a class below adds those of its network."""

    cpu: ClassVar[Sizes]
    """Numbers of `--preset cpu`."""
    paper: ClassVar[Sizes]
    """Numbers of `--preset paper`."""

    data: Annotated[UseAppendAction[tuple[Path, ...]], options.Needed(), arg(metavar="DIR")]
    """A data set; repeat it to learn from several."""
    out: Annotated[options.OutFolder, arg(metavar="RUN")]
    """Folder of the run."""
    start_from: Annotated[Path | None, arg(name="from", metavar="RUN")] = None
    """A run whose network it starts from (tracking: a CoarseNet's too)."""
    preset: Literal["cpu", "paper"] = "cpu"
    """cpu: an hour or two on two cores. paper: as in the paper, for accelerators."""
    steps: options.Count | None = None
    """Steps; the preset's unless given."""
    batch: options.Count | None = None
    """Samples of a step, of all devices together; the preset's unless given."""
    lr: Annotated[float | None, options.Range(0), arg(metavar="X")] = None
    """Highest learning rate; the preset's unless given."""
    augment: options.Weight = 1.0
    """Strength of the augmentation: 1 is the usual, 0 none."""
    no_flip: bool = False
    """Mirror no images; else half of them are mirrored."""
    ema: Annotated[float, options.Range(0, 0.99999), arg(metavar="X")] = 0.998
    """Averaging of weights; 0 for none."""
    seed: options.Seed = 0
    """Decides first weights, order and augmentation."""
    resume: bool = False
    """Go on with the run in the folder."""
    readers: Annotated[int, options.Range(0), arg(metavar="N")] = 1
    """Processes that read samples; 0: the training process itself."""
    threads: options.Threads = None
    """Threads of torch; its own choice unless given."""
    precision: str = "bf16-mixed"
    """lightning's: bf16-mixed, 32-true, 16-mixed."""
    accelerator: str = "auto"
    """lightning's: cpu, gpu, auto."""
    devices: str = "auto"
    """lightning's: how many, or auto."""
    strategy: str = "auto"
    """lightning's: ddp for several devices, auto."""
    checkpoint_every: options.Count = 500
    """Steps between checkpoints."""
    validate_every: Annotated[int, options.Range(0), arg(metavar="N")] = 1000
    """Steps between measurements; 0 for the end alone."""
    validate_samples: options.Count = 512
    """Held-out samples that are measured."""

    @property
    def sizes(self) -> Sizes:
        """The preset's numbers."""
        return self.paper if self.preset == "paper" else self.cpu

    def task(self) -> TaskConfig:
        """The network, what it sees, and its loss. Raises ValueError for what a configuration refuses."""
        raise NotImplementedError

    def train_config(self) -> TrainConfig:
        """All of the training that changes its result. Raises ValueError."""
        from facerelief.lab.networks.trainer import TrainConfig

        return TrainConfig(
            replace(self.task(), augment=self.augment, flip=not self.no_flip),
            tuple(str(folder) for folder in self.data),
            self.steps or self.sizes.steps,
            self.batch or self.sizes.batch,
            self.lr or self.sizes.lr,
            ema=self.ema,
            seed=self.seed,
            start_from=None if self.start_from is None else str(self.start_from),
        )

    def run_config(self) -> RunConfig:
        """The rest of it."""
        from facerelief.lab.networks.trainer import RunConfig

        return RunConfig(
            self.readers,
            self.precision,
            self.accelerator,
            int(self.devices) if self.devices.isdigit() else self.devices,
            self.strategy,
            self.checkpoint_every,
            self.validate_every,
            self.validate_samples,
        )

    def run(self) -> int:
        """Train. Returns the exit code."""
        _need_torch()
        import torch

        from facerelief.lab.networks.trainer import Stopped, describe, train

        try:
            config = self.train_config()
        except ValueError as error:
            raise UsageError(str(error)) from error
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            with _progress() as show:
                about = train(config, self.out, self.run_config(), resume=self.resume, progress=show)
        except (Stopped, KeyboardInterrupt) as stop:
            note(f"{str(stop) or 'stopped'}; give the same command with --resume to go on")
            return 130
        if os.environ.get("LOCAL_RANK", "0") != "0":  # one of lightning's further processes
            return 0
        metrics = about["metrics"]
        say(
            f"{self.out}: {about['kind']} net of {about['parameters'] / 1e6:.2f} M parameters, "
            f"{about['step']} steps; on {metrics['samples']} {about['split']} samples (without a net): "
            f"{describe(metrics)}"
        )
        return 0


HeadSize = Annotated[
    float | None,
    options.Range(0, 1),
    arg(
        metavar="X",
        help="Weight of head-size errors in the loss (one image does not show size): 0.1; --preset paper: 1.",
    ),
]


@dataclass(frozen=True)
class _Shape(Train):
    """Options of CoarseNet and Tracking CoarseNet."""

    kind: ClassVar[Literal["coarse", "tracking"]]

    size: Annotated[int | None, options.Range(32), arg(metavar="PX")] = None
    """Side of the crop, px; 224 unless given (tracking: that of --from)."""
    width: Annotated[float | None, arg(metavar="X")] = None
    """Channels over those of ResNet-18; the preset's unless given (tracking: those of --from)."""
    loss: Literal["split", "parameters"] = "split"
    """The paper's split loss, or squared errors of parameters."""
    axes: Literal[2, 3] = 3
    """Points are compared in the image (2), or in depth too (3)."""
    pose_share: Annotated[float | None, options.Range(0, 1), arg(metavar="X")] = None
    """Weight of the pose's part; adaptive unless given."""
    head_size: HeadSize = None

    def task(self) -> TaskConfig:
        """See `Train`."""
        from facerelief.lab.networks.guo import CoarseNetConfig
        from facerelief.lab.networks.losses import CoarseLoss
        from facerelief.lab.networks.run_folder import coarse_config
        from facerelief.lab.networks.tasks import TaskConfig

        paper = self.preset == "paper"
        first = CoarseNetConfig(width=self.sizes.width)
        if self.kind == "tracking" and self.start_from is not None:
            first = coarse_config(self.start_from)
        net = CoarseNetConfig(self.size or first.size, self.width or first.width)
        loss = CoarseLoss(
            self.loss,
            self.axes,
            pose_share=self.pose_share,
            size=_head_size(self.head_size, paper, CoarseLoss.size),
            neutral=0.0 if paper else CoarseLoss.neutral,
        )
        return TaskConfig(self.kind, net, coarse_loss=loss)


@dataclass(frozen=True)
class Coarse(_Shape):
    """Train CoarseNet: identity, expression and pose from one image.

    Data sets of the kinds coarse, renders or pairs.

    Examples:
        facerelief train coarse --data data/coarse -o runs/coarse
        facerelief train coarse --data data/coarse -o runs/coarse --resume
    """

    kind = "coarse"
    cpu = Sizes(8000, 32, 1e-3, 1.0)
    paper = Sizes(60000, 128, 1e-4, 1.0)


@dataclass(frozen=True)
class Tracking(_Shape):
    """Train Tracking CoarseNet: the change since the previous frame.

    Data sets of the kind pairs.

    Examples:
        facerelief train tracking --data data/pairs --from runs/coarse -o runs/track
    """

    kind = "tracking"
    cpu = Sizes(8000, 32, 1e-3, 0.5)
    paper = Sizes(60000, 128, 1e-4, 1.0)


@dataclass(frozen=True)
class Fine(Train):
    """Train FineNet: the relief of a coarse surface.

    Data sets of the kind fine.

    Examples:
        facerelief train fine --data data/fine -o runs/fine
    """

    cpu = Sizes(10000, 16, 1e-3, 32)
    paper = Sizes(60000, 32, 1e-4, 32)

    size: Annotated[int, options.Range(32), arg(metavar="PX")] = 256
    """Side of the data's images, px."""
    width: options.Count | None = None
    """Channels of the first level; the preset's unless given."""
    levels: Annotated[int, options.Range(1, 7), arg(metavar="N")] = 4
    """Resolutions of the U-Net."""
    loss: Literal["l1", "l2"] = "l1"
    """l1: absolute errors and normals. l2: squared errors alone."""
    normals: options.Weight = 20.0
    """Weight of the normals, with l1."""

    def task(self) -> TaskConfig:
        """See `Train`."""
        from facerelief.lab.networks.guo import FineNetConfig
        from facerelief.lab.networks.losses import FineLoss
        from facerelief.lab.networks.tasks import TaskConfig

        net = FineNetConfig(self.size, int(self.width or self.sizes.width), self.levels)
        return TaskConfig("fine", fine=net, fine_loss=FineLoss(self.loss, self.normals))


@dataclass(frozen=True)
class E2far(Train):
    """Train UH-E2FAR: neutral and expressive shape from one image.

    Data sets of the kinds coarse, renders or pairs.

    Examples:
        facerelief train e2far --data data/coarse -o runs/e2far
    """

    cpu = Sizes(8000, 32, 1e-3, 0.25)
    paper = Sizes(60000, 32, 1e-4, 1.0)

    size: Annotated[int, options.Range(48), arg(metavar="PX")] = 180
    """Side of the crop, px."""
    width: Annotated[float | None, arg(metavar="X")] = None
    """Channels over those of VGG-16; the preset's unless given."""
    head: Literal["fc", "pool"] | None = None
    """fc: the paper's hidden layers. pool: compact, on pooled features. Unless given: pool; --preset paper:
    fc."""
    norm: bool = False
    """Batch norms in the trunk: for training from scratch. Without --preset paper they are there anyway."""
    no_norm: bool = False
    """No batch norms in the trunk."""
    no_fusion: bool = False
    """The expression sees one level of features, not two."""
    single_task: bool = False
    """Score the expressive shape alone, not neutral shape and expression apart."""
    linear: bool = False
    """No activations behind the trunk, as a re-implementation has it."""
    neutral_weight: options.Weight = 1.0
    """Weight of the neutral shape's error."""
    expression_weight: options.Weight = 5.0
    """Weight of the expression's error."""
    head_size: HeadSize = None
    roots: bool = False
    """Score distances in mm instead of their squares."""
    weights: options.File = None
    """VGG-Face's weights (.mat or .pth) for the trunk to begin with."""
    frozen: Annotated[float | None, options.Range(0, 1), arg(metavar="X")] = None
    """Share of the steps in which the trunk stays as it began; a tenth with --weights, else 0."""

    def task(self) -> TaskConfig:
        """See `Train`."""
        from facerelief.lab.networks.e2far import E2farConfig, E2farLoss
        from facerelief.lab.networks.tasks import TaskConfig

        if self.norm and self.no_norm:
            raise ValueError("--norm and --no-norm exclude each other")
        paper = self.preset == "paper"
        net = E2farConfig(
            self.size,
            self.width or self.sizes.width,
            self.head or ("fc" if paper else "pool"),
            self.norm or not (paper or self.no_norm),
            fusion=not self.no_fusion,
            branches=not (self.single_task and self.no_fusion),
            linear=self.linear,
        )
        loss = E2farLoss(
            not self.single_task,
            self.neutral_weight,
            self.expression_weight,
            not self.roots,
            _head_size(self.head_size, paper, E2farLoss.size),
        )
        frozen = self.frozen if self.frozen is not None else 0.1 if self.weights is not None else 0.0
        return TaskConfig("e2far", e2far=net, e2far_loss=loss, frozen=frozen)

    def train_config(self) -> TrainConfig:
        """See `Train`."""
        weights = None if self.weights is None else str(self.weights)
        return replace(super().train_config(), weights=weights)


@dataclass(frozen=True)
class Export:
    """Write a run's network as ONNX with half-precision weights.

    The file is checked against torch.

    Examples:
        facerelief train export runs/coarse -o nets/coarse.onnx
    """

    trained: Annotated[options.Argument, arg(metavar="RUN")]
    """Folder of a run."""
    out: Annotated[options.OutFile, arg(metavar="FILE.onnx")]
    """The file to write."""
    overwrite: options.Overwrite = False

    def run(self) -> None:
        """Write the file."""
        if self.out.suffix.lower() != ".onnx":
            raise UsageError(f"{self.out}: the file's name ends in .onnx")
        if self.out.exists() and not self.overwrite:
            raise OutputError(f"{self.out}: already there; choose another name or give --overwrite")
        _need_torch()
        from facerelief.lab.networks.export import export_net

        about = export_net(self.trained, self.out)
        say(
            f"{self.out}: {about['kind']} net after {about['trained']['step']} steps, "
            f"{about['bytes'] / 1e6:.1f} MB, within {about['worst']:.5f} of the trained one"
        )


def _head_size(given: float | None, paper: bool, ours: float) -> float:
    """Weight of head-size errors in the loss."""
    return given if given is not None else 1.0 if paper else ours


def _need_torch() -> None:
    for module in ("torch", "lightning", "tensorboard"):
        need(module, "training", "train")


@contextmanager
def _progress() -> Iterator[Any]:
    """Progress of the steps, and a line for every measurement."""
    from facerelief.lab.networks.trainer import describe

    with progress("steps") as show:

        def follow(at: State) -> None:
            if at.metrics is not None:
                note(f"step {at.step}, held out (without a net): {describe(at.metrics)}")
                return
            parts = ", ".join(f"{name} {value:.3f}" for name, value in at.parts.items())
            show(at.step, at.steps, f"loss {at.loss:.4f} ({parts}), {at.images_per_s:.1f} images a second")

        yield follow
