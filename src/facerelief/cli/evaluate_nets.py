"""`facerelief evaluate nets`: how good the networks are."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import Console

    from facerelief.lab.datasets.fits import FitFolder
    from facerelief.lab.datasets.samples import Sample
    from facerelief.lab.evaluation.nets.fine import PhotoRelief
    from facerelief.morphable import FaceModel

LEAST_CONFIDENCE = 0.6
"""Fits believed less are no measure of FineNet."""
LEAST_FACE_PX = 200.0
"""Nor are those of smaller faces."""

_Nets = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="coarse.onnx, tracking.onnx and fine.onnx to measure; the shipped ones if not given.",
    ),
]


class JsonCommand(TyperCommand):
    """A command whose --json may have a file behind it, and prints without."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for k, arg in enumerate(args):
            if arg == "--json" and (k + 1 == len(args) or args[k + 1].startswith("-")):
                args = [*args[: k + 1], "-", *args[k + 1 :]]
                break
        return super().parse_args(ctx, args)


JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="[FILE]", help="Write JSON to a file, or print it in place of tables."),
]


# ---------------------------------------------------------------- evaluate nets


def evaluate_nets(
    coarse: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A data set of the kinds coarse or renders.")
    ] = None,
    fine: Annotated[Path | None, typer.Option(metavar="DIR", help="A data set of the kind fine.")] = None,
    pairs: Annotated[Path | None, typer.Option(metavar="DIR", help="A data set of the kind pairs.")] = None,
    fits: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Photos fitted with `facerelief fit`: held-out persons."),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the fits' photos are, if they have moved.")
    ] = None,
    clips: Annotated[
        list[Path] | None, typer.Option("--clip", metavar="FILE", help="A video of one face (repeatable).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="val|test", help="Which; test, or val where there is no test.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many samples, photos and frames of each; all if not given.")
    ] = None,
    nets: _Nets = None,
    as_json: JsonOption = None,
) -> None:
    """Measure the networks on whom they have not seen, beside what they have to reach.

    CoarseNet on a coarse data set, FineNet on FineData and on photos, Tracking CoarseNet on pairs, the
    tracker on clips: any of them. What the numbers mean: docs/nets.md.
    """
    if not any((coarse, fine, pairs, fits, clips)):
        raise typer.BadParameter("nothing to measure on: give --coarse, --fine, --pairs, --fits or --clip")
    if split not in (None, "val", "test"):
        raise typer.BadParameter(f"--split {split}: expected val or test")
    from facerelief.morphable import open_model

    model = open_model()
    about: dict[str, Any] = {"nets": "shipped" if nets is None else nets.resolve().name}
    if coarse is not None:
        about["coarse"] = _coarse(model, nets, coarse, split, limit)
    if fine is not None:
        about["fine"] = _fine(model, nets, fine, split, limit)
    if fits is not None:
        about["photos"] = _photos(model, nets, fits, photos, split, limit)
    if pairs is not None:
        about["pairs"] = _pairs(model, nets, pairs, split, limit)
    if clips:
        about["clips"] = {clip.name: _clip(model, nets, clip, limit) for clip in clips}
    if as_json is None or str(as_json) != "-":
        _print(about)
    write_json(about, as_json)


def _coarse(
    model: FaceModel, nets: Path | None, folder: Path, split: str | None, limit: int | None
) -> dict[str, Any]:
    from facerelief.inference.runners import CoarseRunner
    from facerelief.lab.evaluation.nets.coarse import coarse_report, evaluate_coarse

    net = CoarseRunner(model, nets=nets)
    part, count, samples = held_out(model, folder, ("coarse", "renders", "pairs"), split, limit)
    rows = evaluate_coarse(model, net, samples, progress=_note("coarse", count))
    return {"data": folder.name, "split": part} | coarse_report(rows)


def _fine(
    model: FaceModel, nets: Path | None, folder: Path, split: str | None, limit: int | None
) -> dict[str, Any]:
    from facerelief.inference.runners import FineRunner
    from facerelief.lab.evaluation.nets.fine import evaluate_fine, fine_report, relief_of

    net = FineRunner(model, nets=nets)
    part, count, samples = held_out(model, folder, ("fine",), split, limit)
    rows = evaluate_fine(relief_of(net), samples, _note("fine", count))
    return {"data": folder.name, "split": part} | fine_report(rows)


def _photos(
    model: FaceModel,
    nets: Path | None,
    folder: Path,
    photos: Path | None,
    split: str | None,
    limit: int | None,
) -> dict[str, Any]:
    from facerelief.inference.runners import FineRunner
    from facerelief.lab.datasets.fits import FitFolder
    from facerelief.lab.evaluation.nets.fine import evaluate_photos, photo_report

    net = FineRunner(model, nets=nets)
    fits = FitFolder(folder, photos)
    names = held_out_fits(fits, split, limit)
    rows = evaluate_photos(
        model, net, photo_reliefs(model, fits, names, net.size), _note("photos", len(names))
    )
    return {"split": split or "val and test"} | photo_report(rows)


def _pairs(
    model: FaceModel, nets: Path | None, folder: Path, split: str | None, limit: int | None
) -> dict[str, Any]:
    from facerelief.inference.runners import CoarseRunner, TrackingRunner
    from facerelief.lab.evaluation.nets.tracking import evaluate_pairs, pair_report

    both = TrackingRunner(model, nets=nets), CoarseRunner(model, nets=nets)
    part, count, samples = held_out(model, folder, ("pairs",), split, limit)
    rows = evaluate_pairs(model, *both, samples, _note("pairs", count))
    return {"data": folder.name, "split": part} | pair_report(rows)


def _clip(model: FaceModel, nets: Path | None, clip: Path, limit: int | None) -> dict[str, Any]:
    from facerelief.lab.evaluation.nets.clips import evaluate_clip
    from facerelief.tracking.tracker import Tracker
    from facerelief.video import VideoReader

    folder = None if nets is None else str(nets)
    with VideoReader(clip, limit=limit) as reader:
        frames = list(reader)
    return evaluate_clip(
        [frame.image for frame in frames],
        [frame.time for frame in frames],
        lambda config: Tracker(model, replace(config, nets=folder)),
        progress=lambda text: print(f"{clip.name}: {text}", file=sys.stderr, flush=True),
    )


def _note(what: str, total: int) -> Callable[[int], None]:
    def note(done: int) -> None:
        if done % 100 == 0 or done == total:
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    return note


# ---------------------------------------------------------------- what is held out


def held_out(
    model: FaceModel, folder: Path, kinds: Sequence[str], split: str | None, limit: int | None
) -> tuple[str, int, Iterator[Sample]]:
    """Split, count and samples, evenly spread, of a data set's held-out persons: of the test split unless
    told, or where it is empty the val split.

    Raises FacereliefError for a folder of another kind or face model, or without such samples.
    """
    from facerelief.errors import FacereliefError
    from facerelief.lab.datasets.inspection import DataSet, spread
    from facerelief.lab.datasets.shards import decode_sample

    data = DataSet(folder)
    if data.recipe.get("kind") not in kinds:
        raise FacereliefError(
            f"{folder}: holds {data.recipe.get('kind')}, expected {' or '.join(kinds)}; give another folder"
        )
    made_with = data.recipe.get("model", {})
    if (made_with.get("name"), made_with.get("version")) != (model.name, str(model.version)):
        raise FacereliefError(
            f"{folder}: made with face model {made_with.get('name')!r} version {made_with.get('version')}, "
            f"expected {model.name!r} version {model.version}; make the data set again"
        )
    wanted = ("test", "val") if split is None else (split,)
    part, places = next(((name, p) for name in wanted if (p := data.places(name))), ("", []))
    if not places:
        raise FacereliefError(f"{folder}: no samples of {' or '.join(wanted)}; make some")
    chosen = spread(places, limit or len(places))

    def read() -> Iterator[Sample]:
        for place, key, members in data.members(chosen):
            try:
                yield decode_sample(key, members)
            except ValueError as error:
                raise FacereliefError(
                    f"{folder / place.shard}.tar: sample {key}: {error}; make the shard again"
                ) from error

    return part, len(chosen), read()


def held_out_fits(fits: FitFolder, split: str | None, limit: int | None) -> list[str]:
    """Names of held-out photos whose fit is sure and whose face is large enough, evenly spread; both splits
    unless told. Raises FacereliefError where there are none."""
    from facerelief.errors import FacereliefError

    wanted = ("val", "test") if split is None else (split,)
    names: list[str] = []
    for name in fits.names:
        fit = fits.load(name)
        left, top, right, bottom = fit.box
        large = max(right - left, bottom - top) >= LEAST_FACE_PX
        if fit.split in wanted and fit.confidence >= LEAST_CONFIDENCE and large:
            names.append(name)
    if not names:
        raise FacereliefError(
            f"{fits.folder}: no sure fits of {' or '.join(wanted)} with a face of {LEAST_FACE_PX:.0f} px; "
            "fit more photos"
        )
    count = min(limit or len(names), len(names))
    return [names[int(k * len(names) / count)] for k in range(count)]


def photo_reliefs(
    model: FaceModel, fits: FitFolder, names: Sequence[str], size: int
) -> Iterator[PhotoRelief]:
    """Photos with the relief of their fits in crops of `size` px, as FineData's first sample of each has it:
    unchanged."""
    from facerelief.inverse.landmark_fit import FaceState
    from facerelief.lab.datasets.fine import FineConfig, FineMaker
    from facerelief.lab.evaluation.nets.fine import PhotoRelief

    make = FineMaker(fits, model, FineConfig(size=size))
    for name in names:
        fit = fits.load(name)
        labels = next(make(fit, 1, 0)).labels
        state = FaceState(fit.camera, fit.identity, fit.expression)
        displacement = labels["displacement"].astype("float32")
        yield PhotoRelief(fit.group, fits.image(fit), state, displacement, labels["mask"] > 0)


# ---------------------------------------------------------------- printing


def write_json(about: dict[str, Any], file: Path | None) -> None:
    """As JSON to a file, or to the terminal for "-"; what could not be measured is null. Raises
    OutputError."""
    if file is None:
        return
    text = json.dumps(without_nan(about), indent=1, allow_nan=False)
    if str(file) == "-":
        print(text)
        return
    from facerelief.io.atomic import write_bytes

    write_bytes(file, f"{text}\n".encode())


def without_nan(value: Any) -> Any:
    """A document in which what could not be measured is null: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: without_nan(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_MM = ("rigid_mm", "similar_mm", "level_mm", "posed_mm", "surface_mm")
_MARKS = ("nme68", "nme51")
_ANGLES = ("pitch", "yaw", "roll")
_RELIEF = ("normal_deg", "coarse_normal_deg", "band_r", "found_over_true", "error_mm", "coarse_error_mm")
_CLIP = ("shown", "found", "jitter_px", "jitter_percent", "jitter_over_per_frame")
_DRIFT = ("drift_first", "drift_last", "drift_ratio", "drift_shift")


def _print(about: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=150)
    if (found := about.get("coarse")) is not None:
        _print_coarse(console, found)
    for key, title in (("fine", "FineNet on FineData"), ("photos", "FineNet on photos, against the fit")):
        if (found := about.get(key)) is not None:
            names = _RELIEF if key == "fine" else ("band_r", "found_over_true", "found_mm", "true_mm")
            _table(console, f"{title}, {found['split']}", found["parts"], names)
            print_bars(console, found["bars"])
    if (found := about.get("pairs")) is not None:
        _print_pairs(console, found)
    for name, found in about.get("clips", {}).items():
        title = f"{name}: {found['frames']} frames, landmarks {found['face_px']:.0f} px across"
        _table(console, title, found["tracks"], (*_CLIP, *_DRIFT))
        for what in ("detector", "filter", "backward", "leaving"):
            told = ", ".join(f"{key} {_number(value)}" for key, value in found[what].items())
            console.print(f"{what}: {told}", highlight=False)
        print_bars(console, found["bars"])


def _print_coarse(console: Console, found: dict[str, Any]) -> None:
    from facerelief.lab.evaluation.nets.coarse import METHODS

    title = f"CoarseNet, {found['samples']} samples of {found['split']}"
    names = (*_MM, *_MARKS, *_ANGLES)
    _table(console, title, {m: found["all"][m] for m in METHODS if m in found["all"]}, names)
    for what in ("by_yaw", "by_expression"):
        rows = {
            f"{part}: {method}": values[method] | {"samples": values[method]["samples"]}
            for part, values in found[what].items()
            for method in METHODS
            if method in values
        }
        _table(console, what.replace("_", " "), rows, ("rigid_mm", "level_mm", *_MARKS, "yaw"))
    _calibration(console, found["calibration"])
    print_bars(console, found["bars"])


def _print_pairs(console: Console, found: dict[str, Any]) -> None:
    from facerelief.lab.evaluation.nets.tracking import METHODS

    rows = {
        f"{part}: {method}": values[method] | {"samples": values["samples"]}
        for part, values in found["parts"].items()
        for method in METHODS
    }
    title = f"Tracking CoarseNet, {found['samples']} pairs of {found['split']}, true identity"
    _table(console, title, rows, ("level_mm", "posed_mm", "surface_mm", *_MARKS, *_ANGLES))
    for limit, shares in found["changes_above"].items():
        told = ", ".join(f"{100 * share:.1f} % of {name}" for name, share in shares.items())
        console.print(f"pose changes by more than {limit} deviations: {told}", highlight=False)
    _calibration(console, found["calibration"])
    print_bars(console, found["bars"])


def _calibration(console: Console, found: dict[str, Any]) -> None:
    told = (
        f"stated error: rank correlation {_number(found['spearman'])}, right times {_number(found['factor'])}"
    )
    rows = {str(k): row for k, row in enumerate(found["bins"], 1)}
    _table(console, told, rows, ("stated_mm", "true_mm", "true_p90_mm"), head="fifth")


def print_bars(console: Console, bars: Sequence[Mapping[str, Any]]) -> None:
    """A table of `evaluation.nets.Bar` documents: measured, expected, met or not."""
    from rich.table import Table

    table = Table("bar")
    for column in ("measured", "expected", ""):
        table.add_column(column, justify="right")
    for bar in bars:
        limit = f">= {bar['at_least']:g}" if "at_least" in bar else f"<= {bar['at_most']:g}"
        met = {True: "ok", False: "missed", None: "not measured"}[bar["met"]]
        table.add_row(bar["what"], _number(bar["value"]), limit, met)
    console.print(table)


def _table(
    console: Console,
    title: str,
    rows: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    head: str = "",
) -> None:
    from rich.table import Table

    counted = any("samples" in row for row in rows.values())
    table = Table(head, title=title)
    for column in (*(["samples"] if counted else []), *names):
        table.add_column(column, justify="right")
    for label, row in rows.items():
        count = [str(row.get("samples", ""))] if counted else []
        table.add_row(label, *count, *(_number(row.get(name)) for name in names))
    console.print(table)


def _number(value: Any) -> str:
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    return str(value) if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
