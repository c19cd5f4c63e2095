"""`facerelief train coarse|tracking|fine|e2far|landmarks|skin|export`: networks from training data.

torch is imported when a training begins, not for its options.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import UseAppendAction, arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, need, note, progress, say
from facerelief.errors import OutputError
from facerelief.lab.networks.run_config import RunConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from facerelief.lab.networks.portrait_training import PortraitMachine, Progress
    from facerelief.lab.networks.tasks import TaskConfig
    from facerelief.lab.networks.trainer import State, TrainConfig


@dataclass(frozen=True)
class Preset:
    """Numbers of `--preset` where the command line gives none."""

    steps: int
    batch: int
    lr: float
    width: float


@dataclass(frozen=True)
class Train:
    """Options of every training; a class below adds those of its network."""

    cpu: ClassVar[Preset]
    paper: ClassVar[Preset]

    data: Annotated[UseAppendAction[tuple[Path, ...]], options.Needed(), arg(metavar="DIR")]
    """A data set; repeat it to learn from several."""
    out: Annotated[options.OutFolder, arg(metavar="RUN")]
    """Folder of the run."""
    share: Annotated[UseAppendAction[tuple[float, ...]], arg(metavar="S")] = ()
    """Share of each data set, in the order of --data; every sample comes as often unless given."""
    start_from: Annotated[Path | None, arg(name="from", metavar="RUN")] = None
    """Run whose network is the start (tracking: also a CoarseNet's)."""
    preset: Literal["cpu", "paper"] = "cpu"
    """cpu: an hour or two on two cores. paper: as in the paper, for accelerators."""
    steps: options.Count | None = None
    """Steps; the preset's unless given."""
    batch: options.Count | None = None
    """Samples of a step, of all devices together; the preset's unless given."""
    lr: options.Weight | None = None
    """Highest learning rate; the preset's unless given."""
    augment: options.Weight = 1.0
    """Strength of the augmentation: 1 is the usual, 0 none."""
    no_flip: bool = False
    """Mirror no images; by default half of them are mirrored."""
    ema: Annotated[float, options.Range(0, 0.99999)] = 0.998
    """Share of the averaged weights that stays in a step; 0: no averaging."""
    seed: options.Seed = 0
    """Seed of first weights, order and augmentation."""
    resume: bool = False
    """Continue the run in the folder."""
    threads: options.Threads = None
    machine: RunConfig = field(default_factory=lambda: RunConfig(precision="bf16-mixed"))

    @property
    def numbers(self) -> Preset:
        """The preset's numbers."""
        return self.paper if self.preset == "paper" else self.cpu

    def task(self) -> TaskConfig:
        """Network, data and loss. Raises ValueError where a configuration refuses a value."""
        raise NotImplementedError

    def train_config(self) -> TrainConfig:
        """Everything that decides the result. Raises ValueError."""
        from facerelief.lab.networks.trainer import TrainConfig

        return TrainConfig(
            replace(self.task(), augment=self.augment, flip=not self.no_flip),
            tuple(str(folder) for folder in self.data),
            self.steps or self.numbers.steps,
            self.batch or self.numbers.batch,
            self.lr or self.numbers.lr,
            ema=self.ema,
            seed=self.seed,
            shares=self.share,
            start_from=None if self.start_from is None else str(self.start_from),
        )

    def run(self) -> int:
        """Train. Returns the exit code."""
        _need_torch()
        import torch

        from facerelief.lab.networks.trainer import Stopped, describe, train

        config = options.configured(self.train_config)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            with progress("steps") as show:

                def follow(at: State) -> None:
                    if at.metrics is not None:
                        note(f"step {at.step}, held out (without a net): {describe(at.metrics)}")
                        return
                    parts = ", ".join(f"{name} {value:.3f}" for name, value in at.parts.items())
                    speed = f"{at.images_per_s:.1f} images a second"
                    show(at.step, at.steps, f"loss {at.loss:.4f} ({parts}), {speed}")

                about = train(config, self.out, self.machine, resume=self.resume, progress=follow)
        except (Stopped, KeyboardInterrupt) as stop:
            note(f"{str(stop) or 'stopped'}; give the same command with --resume to go on")
            return 130
        if os.environ.get("LOCAL_RANK", "0") == "0":  # else one of lightning's further processes
            metrics = about["metrics"]
            say(
                f"{self.out}: {about['kind']} net of {about['parameters'] / 1e6:.2f} M parameters, "
                f"{about['step']} steps; on {metrics['samples']} {about['split']} samples (without a net): "
                f"{describe(metrics)}"
            )
        return 0


@dataclass(frozen=True)
class _Shape(Train):
    """Options of the networks that find a face's shape."""

    head_size: options.Share | None = None
    """Weight of head-size errors in the loss (one image does not show size): 0.1; --preset paper: 1."""

    def size_weight(self, usual: float) -> float:
        """Weight of head-size errors; `usual` is the one of --preset cpu."""
        return self.head_size if self.head_size is not None else 1.0 if self.preset == "paper" else usual


@dataclass(frozen=True)
class _CoarseShape(_Shape):
    """Options of CoarseNet and Tracking CoarseNet."""

    kind: ClassVar[Literal["coarse", "tracking"]]

    size: Annotated[int | None, options.Range(32), arg(metavar="PX")] = None
    """Side of the crop, px; 224 unless given (tracking: that of --from)."""
    width: float | None = None
    """Channels over those of ResNet-18; the preset's unless given (tracking: those of --from)."""
    loss: Literal["split", "parameters"] = "split"
    """The paper's split loss, or squared errors of parameters."""
    axes: Literal[2, 3] = 3
    """Compare points in the image (2), or with their depth (3)."""
    pose_share: options.Share | None = None
    """Weight of the pose's part; adaptive unless given."""

    def task(self) -> TaskConfig:
        """See `Train`."""
        from facerelief.lab.networks import guo, losses, run_folder, tasks

        first = guo.CoarseNetConfig(width=self.numbers.width)
        if self.kind == "tracking" and self.start_from is not None:
            first = run_folder.coarse_config(self.start_from)
        loss = losses.CoarseLoss(
            self.loss,
            self.axes,
            pose_share=self.pose_share,
            size=self.size_weight(losses.CoarseLoss.size),
            neutral=0.0 if self.preset == "paper" else losses.CoarseLoss.neutral,
        )
        net = guo.CoarseNetConfig(self.size or first.size, self.width or first.width)
        return tasks.TaskConfig(self.kind, net, coarse_loss=loss)


@dataclass(frozen=True)
class Coarse(_CoarseShape):
    """Train CoarseNet: identity, expression and pose from one image.

    Data sets of the kinds coarse, renders or pairs.

    Examples:
        facerelief train coarse --data data/coarse -o runs/coarse
        facerelief train coarse --data data/coarse -o runs/coarse --resume
    """

    kind = "coarse"
    cpu, paper = Preset(8000, 32, 1e-3, 1.0), Preset(60000, 128, 1e-4, 1.0)


@dataclass(frozen=True)
class Tracking(_CoarseShape):
    """Train Tracking CoarseNet: the change since the previous frame.

    Data sets of the kind pairs.

    Examples:
        facerelief train tracking --data data/pairs --from runs/coarse -o runs/track
    """

    kind = "tracking"
    cpu, paper = Preset(8000, 32, 1e-3, 0.5), Preset(60000, 128, 1e-4, 1.0)


@dataclass(frozen=True)
class Fine(Train):
    """Train FineNet: the relief of a coarse surface.

    Data sets of the kinds fine and wrinkles.

    Examples:
        facerelief train fine --data data/fine -o runs/fine
        facerelief train fine --data fine --share 1 --data wrinkles --share 2 -o run
    """

    cpu, paper = Preset(10000, 16, 1e-3, 32), Preset(60000, 32, 1e-4, 32)

    size: Annotated[int, options.Range(32), arg(metavar="PX")] = 256
    """Side of the data's images, px."""
    width: options.Count | None = None
    """Channels of the first level; the preset's unless given."""
    levels: Annotated[int, options.Range(1, 7)] = 4
    """Resolutions of the U-Net."""
    loss: Literal["l1", "l2"] = "l1"
    """l1: absolute errors and normals. l2: squared errors only."""
    normals: options.Weight = 20.0
    """Weight of the normals, with l1."""
    bands: options.Weight = 1.0
    """Weight of two bands of relief, wrinkles and folds, with l1."""
    strength: options.Weight = 0.02
    """Weight of the strength of both bands over the true one, with l1."""
    trust: options.Weight = 0.05
    """Weight of the mask of trust; 0: the network states none."""

    def task(self) -> TaskConfig:
        """See `Train`."""
        from facerelief.lab.networks import guo, losses, tasks

        width = self.width or int(self.numbers.width)
        net = guo.FineNetConfig(self.size, width, self.levels, trust=self.trust > 0)
        loss = losses.FineLoss(
            self.loss, self.normals, bands=self.bands, strength=self.strength, trust=self.trust
        )
        return tasks.TaskConfig("fine", fine=net, fine_loss=loss)


@dataclass(frozen=True)
class E2far(_Shape):
    """Train UH-E2FAR: neutral and expressive shape from one image.

    Data sets of the kinds coarse, renders or pairs.

    Examples:
        facerelief train e2far --data data/coarse -o runs/e2far
    """

    cpu, paper = Preset(8000, 32, 1e-3, 0.25), Preset(60000, 32, 1e-4, 1.0)

    size: Annotated[int, options.Range(48), arg(metavar="PX")] = 180
    """Side of the crop, px."""
    width: float | None = None
    """Channels over those of VGG-16; the preset's unless given."""
    head: Literal["fc", "pool"] | None = None
    """fc: the paper's hidden layers. pool: compact, on pooled features. Unless given: pool; --preset paper:
    fc."""
    norm: bool = False
    """Batch norms in the trunk, for training from scratch; the default without --preset paper."""
    no_norm: bool = False
    """No batch norms in the trunk."""
    no_fusion: bool = False
    """Expression from one level of features, not two."""
    single_task: bool = False
    """One loss of the expressive shape, not one of the neutral shape and one of the expression."""
    linear: bool = False
    """No activations behind the trunk, as in a re-implementation."""
    neutral_weight: options.Weight = 1.0
    """Weight of the neutral shape's error."""
    expression_weight: options.Weight = 5.0
    """Weight of the expression's error."""
    roots: bool = False
    """Distances in mm in the loss, not their squares."""
    weights: options.File = None
    """VGG-Face's weights (.mat or .pth), the trunk's first ones."""
    frozen: options.Share | None = None
    """Share of the steps in which the trunk stays fixed; a tenth with --weights, else 0."""

    def task(self) -> TaskConfig:
        """See `Train`."""
        from facerelief.lab.networks import e2far, tasks

        if self.norm and self.no_norm:
            raise ValueError("--norm and --no-norm exclude each other")
        paper = self.preset == "paper"
        net = e2far.E2farConfig(
            self.size,
            self.width or self.numbers.width,
            self.head or ("fc" if paper else "pool"),
            self.norm or not (paper or self.no_norm),
            fusion=not self.no_fusion,
            branches=not (self.single_task and self.no_fusion),
            linear=self.linear,
        )
        loss = e2far.E2farLoss(
            not self.single_task,
            self.neutral_weight,
            self.expression_weight,
            not self.roots,
            self.size_weight(e2far.E2farLoss.size),
        )
        frozen = self.frozen if self.frozen is not None else 0.1 if self.weights is not None else 0.0
        return tasks.TaskConfig("e2far", e2far=net, e2far_loss=loss, frozen=frozen)

    def train_config(self) -> TrainConfig:
        """See `Train`."""
        weights = None if self.weights is None else str(self.weights)
        return replace(super().train_config(), weights=weights)


@dataclass(frozen=True)
class _OnPortraits:
    """Options of training on heads that are rendered beside it."""

    out: Annotated[options.OutFolder, arg(metavar="RUN")]
    """Folder of the run."""
    minutes: Annotated[float, options.Range(0, open=True), arg(metavar="MIN")] = 600.0
    """Time of the training."""
    batch: options.Count = 64
    """Images of a step."""
    lr: options.Weight = 2e-3
    """Highest learning rate."""
    renderers: options.Count = 1
    """Processes that render."""
    pool: options.Count = 20000
    """Most renders that are kept, 200 kB each, in the device's memory."""
    backgrounds: options.Folder = None
    """Photos to put behind the heads; parts of their corners."""
    device: str = "cpu"
    """torch's name: cpu, cuda."""
    compile: bool = False
    """Compile the net with torch.compile."""
    seed: options.Seed = 0
    """Seed of first weights and renders."""
    resume: bool = False
    """Continue the run in the folder."""
    threads: options.Threads = None

    def run(self) -> int:
        """Train. Returns the exit code."""
        _need_torch()
        import torch

        from facerelief.lab.datasets.photos import background_parts
        from facerelief.lab.networks import portrait_training

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        behind = None if self.backgrounds is None else background_parts(self.backgrounds)
        machine = portrait_training.PortraitMachine(self.device, self.renderers, self.compile)
        with progress("seconds") as show:

            def follow(at: Progress) -> None:
                if at.metrics is not None:
                    note(f"step {at.step}, held out: {self.described(at.metrics)}")
                    return
                speed = f"{at.images_per_s:.1f} images a second, {at.pool} renders"
                show(
                    round(60 * at.done * self.minutes),
                    round(60 * self.minutes),
                    f"loss {at.loss:.3f}, {speed}",
                )

            about = self.train(machine, behind, follow)
        say(f"{self.out}: {about['step']} steps; {self.described(about['metrics'])}")
        return 0

    def numbers(self) -> dict[str, Any]:
        """Fields of the training's configuration."""
        names = ("minutes", "batch", "lr", "pool", "seed")
        return {name: getattr(self, name) for name in names}

    def train(
        self, machine: PortraitMachine, behind: NDArray[np.uint8] | None, follow: Callable[[Progress], None]
    ) -> dict[str, Any]:
        """Train the net; returns the content of metrics.json."""
        raise NotImplementedError

    def described(self, metrics: dict[str, float]) -> str:
        """Measures in words."""
        raise NotImplementedError


@dataclass(frozen=True)
class Landmarks(_OnPortraits):
    """Train the landmark net on heads that are rendered beside it.

    It finds 721 points of open model 2, each with its uncertainty.

    Its images are rendered by processes beside it. The learning rate follows the clock: give the time it has.

    Examples:
        facerelief train landmarks --minutes 600 --renderers 2 -o runs/landmarks
        facerelief train landmarks --minutes 30 --batch 512 --renderers 15 -o run
    """

    def train(
        self, machine: PortraitMachine, behind: NDArray[np.uint8] | None, follow: Callable[[Progress], None]
    ) -> dict[str, Any]:
        """See `_OnPortraits`."""
        from facerelief.lab.networks.landmark_training import LandmarkTrainConfig, train_landmarks
        from facerelief.morphable import open_model

        config = options.configured(lambda: LandmarkTrainConfig(**self.numbers()))
        return train_landmarks(
            config, self.out, open_model("open2"), machine, backgrounds=behind, resume=self.resume,
            progress=follow,
        )  # fmt: skip

    def described(self, metrics: dict[str, float]) -> str:
        """See `_OnPortraits`."""
        return (
            f"error {metrics['error_px']:.2f} px of the crop, "
            f"{metrics['percent']:.2f} % of the eye distance; "
            f"square of error over sigma {metrics['calibration']:.2f}"
        )


@dataclass(frozen=True)
class Skin(_OnPortraits):
    """Train the skin net on heads that are rendered beside it.

    It finds the pixels of bare skin: no hair, brows, beard, glasses, hands, clothes, eyes or open mouth.

    Its images are rendered by processes beside it. The learning rate follows the clock: give the time it has.

    Examples:
        facerelief train skin --minutes 30 --batch 16 --lr 0.003 -o runs/skin
    """

    def train(
        self, machine: PortraitMachine, behind: NDArray[np.uint8] | None, follow: Callable[[Progress], None]
    ) -> dict[str, Any]:
        """See `_OnPortraits`."""
        from facerelief.lab.networks.skin_training import SkinTrainConfig, train_skin
        from facerelief.morphable import open_model

        config = options.configured(lambda: SkinTrainConfig(**self.numbers()))
        return train_skin(
            config, self.out, open_model("open2"), machine, backgrounds=behind, resume=self.resume,
            progress=follow,
        )  # fmt: skip

    def described(self, metrics: dict[str, float]) -> str:
        """See `_OnPortraits`."""
        return f"error of the share {metrics['error']:.3f}, overlap {metrics['overlap']:.3f}"


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


def _need_torch() -> None:
    for module in ("torch", "lightning", "tensorboard"):
        need(module, "training", "train")
