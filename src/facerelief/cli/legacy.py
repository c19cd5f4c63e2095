"""Commands that are still on typer; each goes when its file has a dataclass in `app.COMMANDS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from facerelief.cli.console import note as _note
from facerelief.cli.console import say as _say
from facerelief.cli.evaluate import evaluate_app
from facerelief.cli.evaluate_nets import JsonCommand, bench_track
from facerelief.cli.fit import datasets_app
from facerelief.cli.synthesize import bench_synthesis
from facerelief.cli.track import track
from facerelief.cli.train import train_app
from facerelief.errors import FacereliefError


class _Group(TyperGroup):
    """Commands whose deliberate errors end in one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FacereliefError as error:
            _fail(str(error))


def _fail(line: str) -> NoReturn:
    _note(f"error: {line}")
    raise typer.Exit(1)


app = typer.Typer(
    name="facerelief",
    cls=_Group,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(datasets_app)
app.add_typer(train_app, name="train")
app.command()(track)


class _BenchGroup(TyperGroup):
    """`bench PICTURE...` and plain `bench` mean `bench pictures`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["pictures", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=_BenchGroup,
    help="Time things on this machine: reconstruction (pictures, which need not be said), synthesis, or "
    "tracking.",
)
app.add_typer(bench_app, name="bench")
bench_app.command("synthesis")(bench_synthesis)
bench_app.command("track", cls=JsonCommand)(bench_track)


@bench_app.command("pictures")
def bench(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE...]", help="Pictures to time; the portrait that is shipped unless given."
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds, after one to warm up.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of everything; as each part likes unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time every stage on this machine, beside what it should take."""
    from facerelief.examples import astronaut_path
    from facerelief.lab.benchmarks.stages import bench_reconstruct
    from facerelief.lab.benchmarks.timing import report

    pictures = images or [astronaut_path()]
    measured = bench_reconstruct(pictures, repeat=repeat, threads=threads, progress=_note)
    about = report(measured, pictures=[p.name for p in pictures], repeat=repeat, threads=threads)
    if as_json:
        _say(json.dumps(about, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage")
    for column in ("calls", "median ms", "90 % ms", "bar ms"):
        table.add_column(column, justify="right")
    table.add_column("what")
    for row in measured:
        bar = "" if row.bar_ms is None else f"{row.bar_ms:g} {'ok' if row.within else 'over'}"
        table.add_row(row.name, str(row.calls), f"{row.median_ms:.2f}", f"{row.p90_ms:.2f}", bar, row.what)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(table)
    where = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    console.print(f"{where['processor']}, {where['cores']} cores, {where['system']}", highlight=False)
    console.print(f"Python {where['python']}, {versions}", highlight=False)
