"""The command line: a table of commands, and `main`.

A command is a frozen dataclass in a file of its own, which is imported when it runs: `facerelief` and
`facerelief model` print their lists from the table here and import no room. Such a file looks like this:

    @dataclass(frozen=True)
    class Convert:
        \"\"\"Convert a model to facerelief's own file.

        Coordinates are rounded by at most 0.01 mm.

        Examples:
            facerelief model convert flame.pkl -o flame.npz
        \"\"\"

        source: Annotated[options.Argument, arg(metavar="FILE|FOLDER")]
        \"\"\"A model in any format known here.\"\"\"
        out: options.OutFile
        \"\"\"The .npz file to write.\"\"\"
        overwrite: options.Overwrite = False

        def run(self) -> None:
            from facerelief.morphable import load_model
            ...

The first line of the class's docstring is the table's; field docstrings are the help; types of shared options
and ranges of numbers are in `options`, printing is in `console`. `run` raises FacereliefError (`UsageError`
where the command line is wrong), and may return an exit code.

Exit codes: 0 something was done (or had been before), 1 nothing could be done, 2 the command line is wrong,
130 stopped by Ctrl-C or SIGTERM. Errors are one line on stderr.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from facerelief._version import __version__
from facerelief.cli.console import UsageError, note, say
from facerelief.errors import FacereliefError

ABOUT = "Dense 3D faces from photos, on an ordinary CPU."


class Command(NamedTuple):
    """A command of the table."""

    place: str
    """ "file:Class" in this package."""
    summary: str
    """The first line of the class's docstring."""


COMMANDS: dict[tuple[str, ...], Command] = {
    ("reconstruct",): Command("reconstruct:Reconstruct", "Turn photos into 3D faces."),
    ("track",): Command("track:Track", "Follow a face through a video."),
    ("edit",): Command("edit:Edit", "Re-render a photo with another pose, expression and light."),
    ("model", "info"): Command("model:Info", "Print facts about a face model."),
    ("model", "convert"): Command(
        "model:Convert", "Convert a Basel, FLAME or ICT-FaceKit model to facerelief's own file."
    ),
    ("model", "build"): Command(
        "model_build:Build", "Build the open face model anew from CC0 geometry and scan statistics."
    ),
    ("model", "albedo"): Command(
        "model_build:Albedo", "Learn a model's skin colours from photos by inverse rendering."
    ),
    ("fit",): Command("fit:Fit", "Inverse-render a folder of photos once, as the start of training data."),
    ("synthesize", "coarse"): Command(
        "synthesize:Coarse", "Make photos with another pose, expression and light."
    ),
    ("synthesize", "fine"): Command("synthesize:Fine", "Make photos with the wrinkles of other people."),
    ("synthesize", "pairs"): Command(
        "synthesize:Pairs", "Make images with earlier states of the face, as of neighbouring video frames."
    ),
    ("synthesize", "renders"): Command("synthesize:Renders", "Make random faces rendered before photos."),
    ("dataset", "info"): Command("dataset:Info", "Print counts, distributions and rate of a data set."),
    ("dataset", "show"): Command("dataset:Show", "Write random samples side by side as one image."),
    ("dataset", "verify"): Command("dataset:Verify", "Check that a data set is whole."),
    ("train", "coarse"): Command(
        "train:Coarse", "Train CoarseNet: identity, expression and pose from one image."
    ),
    ("train", "tracking"): Command(
        "train:Tracking", "Train Tracking CoarseNet: the change since the previous frame."
    ),
    ("train", "fine"): Command("train:Fine", "Train FineNet: the relief of a coarse surface."),
    ("train", "e2far"): Command(
        "train:E2far", "Train UH-E2FAR: neutral and expressive shape from one image."
    ),
    ("train", "export"): Command(
        "train:Export", "Write a run's network as ONNX with half-precision weights."
    ),
    ("evaluate", "fit"): Command(
        "evaluate_fit:Fit", "Reconstruct photos and measure how well the result explains them."
    ),
    ("evaluate", "nets"): Command(
        "evaluate_nets:Nets", "Measure the networks on held-out subjects, beside their targets."
    ),
    ("evaluate", "compare"): Command(
        "evaluate_compare:Compare", "Compare all methods on the same images, from the same detected faces."
    ),
    ("evaluate", "truth"): Command(
        "evaluate_truth:Truth", "Measure all methods on rendered heads whose exact shape is known."
    ),
    ("evaluate", "protocol"): Command(
        "evaluate_protocol:Protocol", "Score 3D faces against scans or annotations by a published protocol."
    ),
    ("bench", "images"): Command("bench:Images", "Time every stage of a reconstruction, beside its target."),
    ("bench", "synthesis"): Command("bench:Synthesis", "Time the making of training data."),
    ("bench", "track"): Command("bench:Track", "Time following a face through a video."),
}
"""Every command's words; in the order in which they are listed."""

GROUPS: dict[str, str] = {
    "model": "Look at, convert or build face models.",
    "synthesize": "Make training data from fits: shards of images with labels.",
    "dataset": "Look at training data, or check it.",
    "train": "Train networks on data sets, and export them to ONNX.",
    "evaluate": "Measure how good reconstructions are.",
    "bench": "Time reconstruction (bench alone), the making of training data, or tracking.",
}
"""First words that have commands below them."""
DEFAULTS: dict[str, str] = {"bench": "images"}
"""The command that a group's name alone means."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (`sys.argv` unless given) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with _terminated_like_interrupted():
            return _run(words)
    except SystemExit as left:  # tyro leaves this way after help and for a wrong command line
        return left.code if isinstance(left.code, int) else 1 if left.code else 0
    except UsageError as error:
        note(f"error: {error}; --help lists the options")
        return 2
    except FacereliefError as error:
        note(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        note("stopped")
        return 130
    except BrokenPipeError:  # nobody reads on, as in `facerelief ... | head`
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        say(f"facerelief {__version__}")
        return 0
    path = _path(words)
    if path in COMMANDS:
        from facerelief.cli.options import parse

        chosen = parse(load(path), words[len(_typed(path, words)) :], " ".join(("facerelief", *path)))
        return chosen.run() or 0
    rest = words[len(path) :]
    if not rest or rest[0] in ("-h", "--help"):
        _list(path)
        return 0 if rest else 2
    known = ", ".join(_names(path))
    raise UsageError(f"{' '.join(('facerelief', *path))} has no {rest[0]}: expected one of {known}")


def load(path: tuple[str, ...]) -> type[Any]:
    """The dataclass of a command."""
    file, _, name = COMMANDS[path].place.partition(":")
    return getattr(import_module(f"facerelief.cli.{file}"), name)


def _path(words: Sequence[str]) -> tuple[str, ...]:
    """The command or the group that the first words name; () for neither."""
    first = tuple(words[:1])
    if first in COMMANDS:
        return first
    if not first or first[0] not in GROUPS:
        return ()
    second = (*first, *words[1:2])
    if second in COMMANDS:
        return second
    default = DEFAULTS.get(first[0])
    if default is not None and words[1:2] not in (["-h"], ["--help"]):
        return (*first, default)
    return first


def _typed(path: tuple[str, ...], words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command's name that stand on the command line: a default's second word need not."""
    return path if tuple(words[: len(path)]) == path else path[:1]


def _names(path: tuple[str, ...]) -> dict[str, str]:
    """Words that may follow a group's name -> a line about each."""
    if path:
        return {words[1]: command.summary for words, command in COMMANDS.items() if words[:1] == path}
    first = {words[0]: COMMANDS[words].summary for words in COMMANDS if len(words) == 1}
    return first | GROUPS


def _list(path: tuple[str, ...]) -> None:
    names = _names(path)
    program = " ".join(("facerelief", *path))
    about = GROUPS[path[0]] if path else ABOUT
    width = min(shutil.get_terminal_size().columns, 100)
    left = max(map(len, names)) + 4
    lines = [f"usage: {program} COMMAND [OPTIONS]", "", about, ""]
    for name, summary in names.items():
        lines += textwrap.wrap(
            summary, width, initial_indent=f"  {name}".ljust(left), subsequent_indent=" " * left
        )
    lines += ["", f"{program} COMMAND --help shows a command's options and examples."]
    if not path:
        lines.append("facerelief --version prints the version.")
    say("\n".join(lines))


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C inside, so that no file is left half-written."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
