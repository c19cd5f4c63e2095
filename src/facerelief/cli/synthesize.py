"""`facerelief synthesize KIND`: training data from fits. Options of a kind are its configuration's fields."""

from __future__ import annotations

import ast
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from facerelief.lab.datasets.kinds import KINDS, Kind

if TYPE_CHECKING:
    from facerelief.lab.benchmarks.synthesis import SynthesisTiming
    from facerelief.lab.datasets.engine import Progress
    from facerelief.lab.datasets.manifest import Recipe


class PictureKind(StrEnum):
    """How pictures are coded."""

    jpg = "jpg"
    png = "png"


# ---------------------------------------------------------------- options from a configuration


@dataclass(frozen=True)
class Field:
    """A field of a configuration as an option."""

    name: str
    type: Any
    default: Any
    help: str


_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "tuple[float, float]": tuple[float, float],
    "tuple[int, int]": tuple[int, int],
}


def configuration_fields(place: str) -> list[Field]:
    """The fields of a dataclass ("module:Class") with their docstrings, read from its source, not imported.

    Fields of other types than numbers, text, choices and pairs are no options, and are left out.
    """
    module, _, name = place.partition(":")
    tree = _source(module)
    found: list[Field] = []
    (definition,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for node, following in zip(definition.body, [*definition.body[1:], ast.Pass()]):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
            continue
        kind = _type(node.target.id, node.annotation)
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        try:
            default = _value(module, tree, node.value)
        except ValueError:
            continue
        if kind is not None:
            found.append(Field(node.target.id, kind, default, text))
    return found


def _source(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def _type(name: str, annotation: ast.expr) -> Any:
    """The type of an option, None where there is none."""
    if isinstance(annotation, ast.BinOp) and ast.unparse(annotation.right) == "None":
        inner = _type(name, annotation.left)
        return None if inner is None else inner | None
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        choices = ast.literal_eval(annotation.slice)
        choices = choices if isinstance(choices, tuple) else (choices,)
        if all(isinstance(choice, str) for choice in choices):
            return StrEnum(name, {choice: choice for choice in choices})
    return _TYPES.get(ast.unparse(annotation))


def _value(module: str, tree: ast.Module, node: ast.expr) -> Any:
    """A constant, also one that has a name here or in the module it is imported from. Raises ValueError."""
    if not isinstance(node, ast.Name):
        return ast.literal_eval(node)
    for line in tree.body:
        if isinstance(line, ast.Assign) and any(ast.unparse(t) == node.id for t in line.targets):
            return _value(module, tree, line.value)
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == node.id and line.value:
            return _value(module, tree, line.value)
        if isinstance(line, ast.ImportFrom) and line.module:
            for alias in line.names:
                if (alias.asname or alias.name) == node.id:
                    return _value(line.module, _source(line.module), ast.Name(alias.name))
    raise ValueError(f"{node.id} in {module} is no constant")


def make_config(kind: Kind, given: dict[str, Any]) -> Any:
    """A kind's configuration from option values. Raises BadParameter where it refuses them."""
    _, configuration = kind.load()
    values = {
        field.name: str(value) if isinstance(value := given[field.name], StrEnum) else value
        for field in configuration_fields(kind.config)
        if field.name in given
    }
    try:
        return configuration(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


# ---------------------------------------------------------------- the command of a kind

_Fits = Annotated[Path, typer.Argument(metavar="FITS", help="A folder that `facerelief fit` made.")]
_Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the shards go.")]
_PerPhoto = Annotated[int, typer.Option(min=1, help="Samples of each photo.")]
_Seed = Annotated[int, typer.Option(min=0, help="Decides everything random: one seed, the same bytes.")]
_Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Shards made at once, each by a process: 1, or with --ray all that the cluster can.",
    ),
]
_Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on a Ray cluster: its address, or local for one of this machine. The folders of fits, "
        "photos and results must be shared by all its nodes, under the same names.",
    ),
]
_Split = Annotated[str, typer.Option(metavar="NAMES", help="Which splits to make, with commas between.")]
_Limit = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="PHOTOS", help="So many photos, drawn by the seed; all of them unless given."
    ),
]
_Format = Annotated[
    PictureKind, typer.Option("--format", help="How pictures are coded: JPEG of quality 95, or PNG.")
]
_PhotosPerShard = Annotated[
    int,
    typer.Option(min=1, help="Photos whose samples share a shard: what a kill loses at most, per worker."),
]
_Photos = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where the photos are now, if they have moved since they were fitted."
    ),
]

_COMMON: dict[str, tuple[Any, Any]] = {
    "fits": (_Fits, inspect.Parameter.empty),
    "out": (_Out, inspect.Parameter.empty),
    "per_photo": (_PerPhoto, 30),
    "seed": (_Seed, 0),
    "workers": (_Workers, None),
    "ray": (_Ray, None),
    "split": (_Split, "train,val,test"),
    "limit": (_Limit, None),
    "format": (_Format, PictureKind.jpg),
    "photos_per_shard": (_PhotosPerShard, 32),
    "photos": (_Photos, None),
}
"""Options that every kind has: annotation and default."""


def _command(kind: Kind) -> Callable[..., None]:
    """The command of a kind, with a parameter for every option."""

    def command(**given: Any) -> None:
        _synthesize(kind, given)

    parameters = dict(_COMMON)
    for field in configuration_fields(kind.config):
        option = typer.Option(help=field.help, rich_help_panel="What samples are like")
        if field.name in parameters:
            raise TypeError(f"{kind.config}: the field {field.name} is named like an option of every kind")
        parameters[field.name] = (Annotated[field.type, option], field.default)
    command.__doc__ = (
        f"{kind.what}\n\nWhat is there is left alone, so a run that was stopped goes on where it was. "
        "Photos of no use are recorded and left out."
    )
    command.__annotations__ = {name: annotation for name, (annotation, _) in parameters.items()}
    signature = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in parameters.items()
    ]
    command.__signature__ = inspect.Signature(signature)  # pyright: ignore[reportFunctionMemberAccess]
    return command


class _Kinds(TyperGroup):
    """A command for each kind, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(KINDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in KINDS:
            return None
        app = typer.Typer(
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        app.command(cmd_name)(_command(KINDS[cmd_name]))
        return typer.main.get_command(app)


synthesize_app = typer.Typer(
    cls=_Kinds, no_args_is_help=True, help="Make training data from fits: shards of pictures with labels."
)


@synthesize_app.callback()
def _root() -> None:
    pass


def make_recipe(kind: Kind, given: dict[str, Any]) -> Recipe:
    """The recipe that options ask for. Raises BadParameter."""
    from facerelief.lab.datasets.manifest import Recipe
    from facerelief.lab.datasets.splits import SPLITS

    splits = tuple(dict.fromkeys(name.strip() for name in given["split"].split(",") if name.strip()))
    if not splits or not set(splits) <= set(SPLITS):
        raise typer.BadParameter(f"--split {given['split']}: expected some of {','.join(SPLITS)}")
    return Recipe(
        kind=kind,
        config=make_config(kind, given),
        per_photo=given["per_photo"],
        seed=given["seed"],
        picture="png" if given["format"] == PictureKind.png else "jpg",
        splits=splits,
        limit=given["limit"],
        photos_per_shard=given["photos_per_shard"],
    )


def _synthesize(kind: Kind, given: dict[str, Any]) -> None:
    recipe = make_recipe(kind, given)
    from facerelief.lab.datasets.engine import synthesize
    from facerelief.lab.datasets.fits import FitFolder

    out: Path = given["out"]
    fits = FitFolder(given["fits"], given["photos"])
    try:
        with _shown() as show:
            manifest = synthesize(
                fits, out, recipe, workers=given["workers"], ray=given["ray"], progress=show
            )
    except KeyboardInterrupt:
        print("stopped; give the same command again to go on", file=sys.stderr)
        raise typer.Exit(130) from None
    _report(out, manifest)


def _report(out: Path, manifest: dict[str, Any]) -> None:
    failures = manifest["failures"]
    for name in list(failures)[:10]:
        print(f"left out: {name}: {failures[name]}")
    if len(failures) > 10:
        print(f"left out: {len(failures) - 10} more; {out / 'manifest.json'} has all")
    counts = manifest["counts"]
    samples = sum(row["samples"] for row in counts.values())
    size = sum(row["bytes"] for row in counts.values()) / 1e6
    each = ", ".join(f"{split} {row['samples']}" for split, row in counts.items())
    print(
        f"{out}: {samples} samples ({each}) of {sum(row['photos'] for row in counts.values())} photos in "
        f"{len(manifest['shards'])} shards, {size:.1f} MB; {len(failures)} photos left out"
    )
    if not samples:
        _fail(f"{out}: no photo was of use; the lines above say why")


def _fail(line: str) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    raise typer.Exit(1)


@contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """A bar where somebody is looking, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("shards"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    rate = _Rate()
    with bar:
        task = bar.add_task("shards", total=None, text="")

        def show(at: Any) -> None:
            bar.update(task, completed=at.shards, total=at.shards_total, text=rate.text(at))

        yield show


class _Rate:
    """Samples a second since the run began."""

    def __init__(self) -> None:
        self.start: tuple[float, int] | None = None

    def text(self, at: Progress) -> str:
        now = time.monotonic()
        began, samples = self.start = self.start or (now, at.samples)
        per_s = (at.samples - samples) / (now - began) if now > began else 0.0
        bad = f", {at.failures} photos left out" if at.failures else ""
        return f"{at.samples} samples, {per_s:.1f} a second{bad}"


class _Lines:
    """Progress in plain lines, at most one in ten seconds."""

    def __init__(self) -> None:
        self.rate, self.last = _Rate(), -1e9

    def __call__(self, at: Progress) -> None:
        now, text = time.monotonic(), self.rate.text(at)
        if now - self.last >= 10 or at.shards == at.shards_total:
            self.last = now
            print(f"{at.shards} of {at.shards_total} shards, {text}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- timings


def bench_synthesis(
    fits: _Fits,
    kind: Annotated[str, typer.Option(metavar="|".join(KINDS), help="What is made.")] = "coarse",
    photos: Annotated[int, typer.Option(min=1, help="Photos, drawn by the seed.")] = 48,
    per_photo: _PerPhoto = 10,
    photos_per_shard: Annotated[int, typer.Option(min=1, help="Photos whose samples share a shard.")] = 4,
    size: Annotated[
        int | None, typer.Option(min=32, help="Side of the pictures, px; the kind's own unless given.")
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Processes at work; may be repeated. 1 and 2 unless given."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Time a Ray cluster too; local for one here.")
    ] = None,
    seed: _Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time the making of training data: samples and MB a second, where the time goes, memory of workers."""
    if kind not in KINDS:
        raise typer.BadParameter(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    import json
    from dataclasses import asdict

    from facerelief.lab.benchmarks.synthesis import bench_synthesis as measure
    from facerelief.lab.benchmarks.timing import machine
    from facerelief.lab.datasets.fits import FitFolder
    from facerelief.lab.datasets.manifest import Recipe

    recipe = Recipe(
        KINDS[kind],
        make_config(KINDS[kind], {} if size is None else {"size": size}),
        per_photo=per_photo,
        seed=seed,
        limit=photos,
        photos_per_shard=photos_per_shard,
    )
    folder = FitFolder(fits)
    runs: list[tuple[int, str | None]] = [(number, None) for number in workers or (1, 2)]
    if ray is not None:
        runs.append((max(number for number, _ in runs), ray))
    measured: list[SynthesisTiming] = []
    for number, address in runs:
        print(f"{kind} with {number} workers{' on Ray' if address else ''}", file=sys.stderr, flush=True)
        measured.append(measure(folder, recipe, workers=number, ray=address))
    if as_json:
        print(json.dumps({"machine": machine(), "runs": [asdict(m) for m in measured]}, indent=1))
        return
    _print_timings(kind, measured, machine())


def _print_timings(kind: str, measured: Sequence[SynthesisTiming], where: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("workers", title=f"{kind}: making training data")
    stages = list(dict.fromkeys(name for m in measured for name in m.ms))
    heads = ("samples", "samples/s", "with start", "MB/s", *(f"{name} ms" for name in stages))
    for head in (*heads, "memory MB: first, last, most"):
        table.add_column(head, justify="right")
    for m in measured:
        table.add_row(
            f"{m.workers}{' on Ray' if m.ray else ''}",
            str(m.samples),
            f"{m.samples_per_s:.1f}",
            f"{m.whole_samples_per_s:.1f}",
            f"{m.mb_per_s:.1f}",
            *(f"{m.ms.get(name, 0.0):.1f}" for name in stages),
            ", ".join(f"{mb:.0f}" for mb in m.memory_mb),
        )
    console = Console() if sys.stdout.isatty() else Console(width=180)
    console.print(table)
    console.print(f"{where['processor']}, {where['cores']} cores, {where['system']}", highlight=False)
