"""The command line as a whole: lists, help, exit codes, signals."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import typing

import pytest
from command_line import run_command as run
from tyro.conf import Positional

import facerelief
from facerelief.cli import app
from facerelief.cli.app import COMMANDS, GROUPS, load
from facerelief.cli.model import Info
from facerelief.cli.options import helps
from facerelief.errors import ModelError
from facerelief.lab.datasets.kinds import KINDS

OPTION = re.compile(r"--[a-z][a-z0-9-]*")


def fields(kind: type) -> dict[str, tuple[typing.Any, str]]:
    """Name -> type and help of all options of a dataclass, those of nested dataclasses among them."""
    hints, texts = typing.get_type_hints(kind, include_extras=True), helps(kind)
    found: dict[str, tuple[typing.Any, str]] = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        new = fields(hint) if dataclasses.is_dataclass(hint) else {field.name: (hint, texts[field.name])}
        assert not new.keys() & found.keys(), "two options of one name"
        found |= new
    return found


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert app.main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    first, *_ = text.splitlines()
    assert first == COMMANDS[command]
    assert "<bool>" not in text
    assert "…" not in text
    assert f"\nExamples:\n    facerelief {command.removesuffix(' images')}" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("usage:")) <= 80
    shown = set(OPTION.findall(text))
    for name, (hint, told) in fields(load(command)).items():
        given = [rule.name for rule in getattr(hint, "__metadata__", ()) if getattr(rule, "name", None)]
        spelled = (given or [name])[-1].replace("_", "-")
        assert told, f"{name} has no help"
        positional = Positional in getattr(hint, "__metadata__", ())
        assert positional or {f"--{spelled}", f"--no-{spelled}"} & shown, f"{name} is not shown whole"


def test_every_kind_of_training_data_has_a_command():
    assert {name.split()[1] for name in COMMANDS if name.startswith("synthesize ")} == set(KINDS)


def test_options_of_one_name_have_one_meaning():
    meanings: dict[str, set[str]] = {}
    for command in COMMANDS:
        for name, (hint, _) in fields(load(command)).items():
            if name in ("json", "overwrite", "out", "limit", "workers", "nets", "threads"):
                inner = hint.__origin__ if typing.get_origin(hint) is typing.Annotated else hint
                meanings.setdefault(name, set()).add(str(inner))
    assert meanings["json"] == meanings["nets"] == {"pathlib.Path | None"}
    assert meanings["overwrite"] == {"<class 'bool'>"}
    assert meanings["out"] == {"<class 'pathlib.Path'>"}
    assert meanings["limit"] <= {"int | None", "<class 'int'>"}
    assert meanings["threads"] <= {"int | None", "<class 'int'>"}


def test_lists_of_commands():
    for words in ((), ("-h",), ("--help",)):
        text = run(*words, code=0 if words else 2).stdout
        for name in [*GROUPS, "reconstruct", "track", "edit", "fit"]:
            assert f"  {name} " in text
    for group in GROUPS:
        text = run(group, "--help").stdout
        for first, word in (command.split() for command in COMMANDS if " " in command):
            assert first != group or f"  {word} " in text
    assert run("--version").stdout == f"facerelief {facerelief.__version__}\n"


def test_unknown_commands():
    assert run("recunstruct", code=2).stderr.startswith("error: facerelief has no recunstruct: expected")
    assert "facerelief model has no show: expected one of info, " in run("model", "show", code=2).stderr


@pytest.mark.parametrize("words", [[], ["model"]])
def test_lists_import_no_option_machinery(words):
    code = f"import sys\nfrom facerelief.cli.app import main\nmain({words!r})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tyro", "rich", "numpy"} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["reconstruct", "track", "edit"])
def test_help_does_not_import_rooms(command):
    code = f"import sys\nfrom facerelief.cli.app import main\nmain([{command!r}, '-h'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "scipy", "numba", "openvino"} & set(done.stdout.splitlines()[-1].split())


# ---------------------------------------------------------------- endings


def test_python_m_facerelief_is_the_command_line(tmp_path):
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "facerelief", *words]
        return subprocess.run(command, capture_output=True, text=True)

    assert call("--version").stdout == f"facerelief {facerelief.__version__}\n"
    assert call("model", "info", str(tmp_path / "gone")).returncode == 1
    assert call("model", "info", "--nothing").returncode == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ModelError("x.npz: broken"), 1, "error: x.npz: broken"),
        (KeyboardInterrupt(), 130, "stopped"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_endings_of_every_command(monkeypatch, error, code, line):
    def fail(self: Info) -> None:
        raise error

    monkeypatch.setattr(Info, "run", fail)
    assert run("model", "info", code=code).stderr.strip() == line


def test_sigterm_ends_like_ctrl_c(monkeypatch):
    monkeypatch.setattr(Info, "run", lambda self: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert run("model", "info", code=130).stderr == "stopped\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there")
@pytest.mark.parametrize("closing", ["| head -c 1", ">&-"])
def test_a_reader_that_leaves_is_no_error(closing):
    command = f"{sys.executable} -m facerelief model info {closing}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
