"""The command line: the list of commands, and `main`.

A command is a frozen dataclass in a file of its own, which is imported when it runs: `facerelief` and
`facerelief model` print their lists from the texts here and import nothing else. `fit.py` is a short example.
The first line of the class's docstring stands here too. A field is an option, its docstring the help. Types
of shared options are in `options`, printing is in `console`. `run` raises FacereliefError (`UsageError` where
the command line is wrong), and may return an exit code.

Exit codes: 0 something was done (or had been before), 1 nothing could be done, 2 the command line is wrong,
130 stopped by Ctrl-C or SIGTERM. Errors are one line on stderr.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from facerelief._version import __version__
from facerelief.cli.console import UsageError, handled_signals, note, say
from facerelief.errors import FacereliefError

ABOUT = "Dense 3D faces from photos, on an ordinary CPU."

COMMANDS = {
    "reconstruct": "Turn photos into 3D faces.",
    "track": "Follow a face through a video.",
    "edit": "Re-render a photo with another pose, expression and light.",
    "gallery": "Render .glb heads: front, 45 degrees, profile, smile, open jaw, closed eyes.",
    "model info": "Print facts about a face model.",
    "model convert": "Convert a Basel, FLAME or ICT-FaceKit model to facerelief's own file.",
    "model build": "Build the open face model anew.",
    "model albedo": "Learn a model's skin colours from photos by inverse rendering.",
    "fit": "Inverse-render a folder of photos once, as the start of training data.",
    "synthesize coarse": "Make photos with another pose, expression and light.",
    "synthesize fine": "Make photos with the wrinkles of other people.",
    "synthesize pairs": "Make images with earlier states of the face, as of neighbouring video frames.",
    "synthesize renders": "Make random faces rendered before photos.",
    "synthesize wrinkles": "Draw wrinkles of known height into photos of smooth faces.",
    "dataset info": "Print counts, distributions and rate of a data set.",
    "dataset show": "Write random samples side by side as one image.",
    "dataset verify": "Check that a data set is whole.",
    "train coarse": "Train CoarseNet: identity, expression and pose from one image.",
    "train tracking": "Train Tracking CoarseNet: the change since the previous frame.",
    "train fine": "Train FineNet: the relief of a coarse surface.",
    "train e2far": "Train UH-E2FAR: neutral and expressive shape from one image.",
    "train landmarks": "Train the landmark net on heads that are rendered beside it.",
    "train skin": "Train the skin net on heads that are rendered beside it.",
    "train export": "Write a run's network as ONNX with half-precision weights.",
    "evaluate fit": "Reconstruct photos and measure how well the result explains them.",
    "evaluate models": "Compare face models by their fits of the same photos.",
    "evaluate relief": "Measure the wrinkles of photos without a known shape.",
    "evaluate roll": "Turn photos and clips by any angle and compare the faces with the upright ones.",
    "evaluate maps": "Measure how well a face's normal map shows its relief.",
    "evaluate nets": "Measure the networks on held-out subjects, beside their targets.",
    "evaluate compare": "Compare all methods on the same images, from the same detected faces.",
    "evaluate truth": "Measure all methods on rendered heads whose exact shape is known.",
    "evaluate protocol": "Score 3D faces against scans or annotations by a published protocol.",
    "bench images": "Time every stage of a reconstruction, beside its target.",
    "bench synthesis": "Time the making of training data.",
    "bench track": "Time following a face through a video.",
}
"""Every command with the first line of its class's docstring, in the order in which they are listed."""

GROUPS = {
    "model": "Look at, convert or build face models.",
    "synthesize": "Make training data from fits: shards of images with labels.",
    "dataset": "Look at training data, or check it.",
    "train": "Train networks on data sets, and export them to ONNX.",
    "evaluate": "Measure how good reconstructions are.",
    "bench": "Time reconstruction (bench alone), the making of training data, or tracking.",
}
"""First words that have commands below them."""
DEFAULTS = {"bench": "bench images"}
"""The command that a group's name alone means."""
_FILES = {"model build": "model_build", "model albedo": "model_build", "evaluate": "evaluate_{word}"}
"""Files of commands and groups that are not in the file of their first word."""


def load(name: str) -> type[Any]:
    """The dataclass of a command: Fit for "evaluate fit"."""
    group, _, word = name.partition(" ")
    file = (_FILES.get(name) or _FILES.get(group) or group).format(word=word)
    return getattr(import_module(f"facerelief.cli.{file}"), (word or group).capitalize())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (`sys.argv` unless given) and return its exit code."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt  # SIGTERM stops like Ctrl-C, so that no file is left half-written

    try:
        with handled_signals(interrupt, signal.SIGTERM):
            return _run(list(sys.argv[1:] if argv is None else argv))
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
    name, rest = _named(words)
    program = f"facerelief {name}".rstrip()
    if name in COMMANDS:
        from facerelief.cli.options import parse

        return parse(load(name), rest, program).run() or 0
    if name:
        below = {
            words.split()[1]: summary for words, summary in COMMANDS.items() if words.startswith(f"{name} ")
        }
    else:
        below = {words: summary for words, summary in COMMANDS.items() if " " not in words} | GROUPS
    if rest and rest[0] not in ("-h", "--help"):
        raise UsageError(f"{program} has no {rest[0]}: expected one of {', '.join(below)}")
    _list(program, GROUPS.get(name, ABOUT), below)
    if not name:
        say("facerelief --version prints the version.")
    return 0 if rest else 2


def _named(words: list[str]) -> tuple[str, list[str]]:
    """The command or the group that the first words name, "" for neither, and the words after it."""
    group, command = " ".join(words[:1]), " ".join(words[:2])
    if command in COMMANDS and command != group:
        return command, words[2:]
    if group in DEFAULTS and words[1:2] not in (["-h"], ["--help"]):
        return DEFAULTS[group], words[1:]
    return (group, words[1:]) if group in COMMANDS or group in GROUPS else ("", words)


def _list(program: str, about: str, names: dict[str, str]) -> None:
    """Print commands with a line about each."""
    width = min(shutil.get_terminal_size().columns, 100)
    left = max(map(len, names)) + 4
    say(f"usage: {program} COMMAND [OPTIONS]\n\n{about}\n")
    for name, summary in names.items():
        first, next_line = f"  {name}".ljust(left), " " * left
        say(textwrap.fill(summary, width, initial_indent=first, subsequent_indent=next_line))
    say(f"\n{program} COMMAND --help shows a command's options and examples.")
