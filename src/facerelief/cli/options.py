"""Option types of all commands, and the one way from a dataclass to options (tyro).

A command is a frozen dataclass: a field is an option, its docstring is the help, a nested dataclass of
another room adds its own fields. Types here give shared options one name and one meaning; a field's docstring
replaces their help where a command has something particular to say. Importing this imports tyro: only a
command's own file does.
"""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import textwrap
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import docstring_parser
import tyro
from tyro.conf import Positional, UseAppendAction, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
    UnsupportedTypeAnnotationError,
)

from facerelief.cli.console import UsageError, note, say

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Numbers that an option accepts; in a type, `Annotated[int, Range(1)]`."""

    low: float = -float("inf")
    high: float = float("inf")
    open: bool = False
    """The ends are not accepted."""

    def check(self, option: str, value: float) -> None:
        """Raises UsageError for a number outside."""
        inside = self.low < value < self.high if self.open else self.low <= value <= self.high
        if not inside:
            most = "" if self.high == float("inf") else f" and at most {self.high:g}"
            expected = f"at least {self.low:g}{most}"
            if self.open:
                expected = f"between {self.low:g} and {self.high:g}"
            raise UsageError(f"{option} is {value:g}: expected {expected}")


@dataclass(frozen=True)
class Needed:
    """A list that needs at least one member."""


# ---------------------------------------------------------------- numbers, flags, lists

Count = Annotated[int, Range(1), arg(metavar="N")]
"""A number from 1."""
OptionalCount = Annotated[int | None, Range(1), arg(metavar="N")]
Seed = Annotated[int, Range(0), arg(metavar="N")]
"""A seed of everything random."""
Weight = Annotated[float, Range(0.0), arg(metavar="X")]
"""A number that is not negative."""
Degrees = Annotated[float, arg(metavar="DEG")]
OptionalDegrees = Annotated[float | None, arg(metavar="DEG")]
Names = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")]
"""Texts, the option repeated for each."""
Files = Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="FILE")]
"""Files, the option repeated for each."""

# ---------------------------------------------------------------- files and folders

File = Annotated[Path | None, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER")]
NeededFile = Annotated[Path, arg(metavar="FILE")]
NeededFolder = Annotated[Path, arg(metavar="FOLDER")]
Argument = Annotated[Path, Positional, arg(metavar="PATH")]
"""A file or folder without an option's name."""
Arguments = Annotated[tuple[Path, ...], Positional, Needed(), arg(metavar="PATH")]
"""One or more of them."""
OutFile = Annotated[Path, arg(aliases=("-o",), metavar="FILE")]
"""`--out` of a command that writes one file."""
OutFolder = Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
"""`--out` of a command that fills a folder."""
Group = Annotated[UseAppendAction[tuple[str, ...]], arg(name="group", metavar="NAME")]
"""`--group`: groups of a collection of photos."""

# ---------------------------------------------------------------- options with one meaning everywhere

Split = Annotated[Literal["val", "test"] | None, arg(metavar="val|test")]
"""`--split`: held-out part of a data set."""
Model = Annotated[str, arg(metavar="open|FILE")]
"""`--model`: the embedded face model or a model file."""
Nets = Annotated[Path | None, arg(metavar="DIR")]
"""`--nets`: folder with other networks than the shipped ones."""
Overwrite = Annotated[bool, arg(help="Replace what is there already.")]
"""`--overwrite`: without it nothing that exists is replaced."""
JsonFile = Annotated[
    Path | None, arg(metavar="FILE", help="Write the result as JSON; - prints it in place of tables.")
]
"""`--json FILE`; see `console.report`."""
Workers = Annotated[int, Range(1), arg(metavar="N", help="Processes that work at once.")]
"""`--workers`: processes that work, never ones that only read."""
Limit = Annotated[int | None, Range(1), arg(metavar="N")]
"""`--limit`: at most this many inputs."""
Threads = Annotated[
    int | None, Range(1), arg(metavar="N", help="Threads of everything; each part's own choice unless given.")
]
"""`--threads`."""


# ---------------------------------------------------------------- parsing

_MARKERS = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.SuppressFixed,
)


def parse(kind: type[T], words: Sequence[str], command: str) -> T:
    """Options of a command from the words after its name.

    Args:
        kind: a dataclass; its docstring is the description, its fields are the options.
        words: the rest of the command line.
        command: the command's whole name, "facerelief reconstruct".

    Raises:
        UsageError: for numbers that `Range` refuses, or a list without a member.
        SystemExit: after help (0) and for words that are no options (2); tyro has printed then.
    """
    if "-h" in words or "--help" in words:
        _print_description(kind)
    options = tyro.cli(
        kind,
        prog=command,
        description="",
        args=list(words),
        config=_MARKERS,
        registry=_registry(),
    )
    _check(options)
    return options


def _print_description(kind: type[Any]) -> None:
    """Print the docstring wrapped to the terminal; indented lines, the examples, stay as they are."""
    width = min(shutil.get_terminal_size().columns, 100)
    parts = (inspect.getdoc(kind) or "").split("\n\n")
    shown = (part if "\n " in part else textwrap.fill(part, width) for part in parts)
    say("\n\n".join(shown) + "\n")


def _registry() -> ConstructorRegistry:
    """Rules for tyro: help from field docstrings, and `X | None` shown as X."""
    registry = ConstructorRegistry()
    registry.struct_rule(_documented)
    registry.primitive_rule(_optional)
    return registry


def _documented(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A dataclass whose field docstrings are the help, each a single paragraph."""
    if not dataclasses.is_dataclass(info.type):
        return None
    hints = get_type_hints(info.type, include_extras=True)
    texts = helps(info.type)
    fields: list[StructFieldSpec] = []
    for field in dataclasses.fields(info.type):
        if isinstance(info.default, info.type):
            default = getattr(info.default, field.name)
        elif field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = tyro.MISSING_NONPROP
        kind = Annotated[hints[field.name], arg(help=texts[field.name] or None)]
        if default is None or isinstance(default, bool) or default == "":
            kind = Annotated[kind, arg(help_behavior_hint="")]
        if any(isinstance(rule, Needed) for rule in _metadata(kind)):
            kind = Annotated[kind, arg(help_behavior_hint="(required)")]
        fields.append(StructFieldSpec(field.name, cast(Any, kind), default))
    return StructConstructorSpec(info.type, tuple(fields))


def helps(kind: type[Any]) -> dict[str, str]:
    """Field -> its help, one paragraph: its docstring, else what its type says; empty where neither is."""
    found: dict[str, str] = {}
    for base in kind.__mro__:
        if base.__module__ != "builtins":
            for field in docstring_parser.parse_from_object(base).params:
                found.setdefault(field.arg_name, " ".join((field.description or "").split()))
    for name, hint in get_type_hints(kind, include_extras=True).items():
        typed = [text for rule in _metadata(hint) if (text := getattr(rule, "help", None))]
        found[name] = found.get(name) or next(reversed(typed), "")
    return found


def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A type or None as the type itself: that it may be left out need not be said twice."""
    if get_origin(info.type) not in (Union, types.UnionType):
        return None
    members = [member for member in get_args(info.type) if member is not type(None)]
    if len(members) != 1 or members[0] is bool:
        return None
    inner = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(members[0], info.markers))
    if isinstance(inner, UnsupportedTypeAnnotationError):
        return None
    return dataclasses.replace(
        inner,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: [] if value is None else inner.str_from_instance(value),
    )


def _check(options: Any) -> None:
    """Raises UsageError for a field that its type's `Range` or `Needed` refuses."""
    hints = get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value, rules = getattr(options, field.name), _metadata(hints[field.name])
        if dataclasses.is_dataclass(value):
            _check(value)
            continue
        positional = Positional in rules
        names = [getattr(rule, "metavar" if positional else "name", None) for rule in rules]
        name = next(filter(None, reversed(names)), field.name.replace("_", "-"))
        name = name if positional else f"--{name}"
        for rule in rules:
            if isinstance(rule, Needed) and not value:
                raise UsageError(f"{name} is missing: give at least one")
            if isinstance(rule, Range) and value is not None:
                for number in value if isinstance(value, tuple) else (value,):
                    rule.check(name, number)


def _metadata(hint: Any) -> list[Any]:
    """Metadata of an `Annotated` type and of the types inside it."""
    if get_origin(hint) is Annotated:
        return [*hint.__metadata__, *_metadata(hint.__origin__)]
    return [rule for inner in get_args(hint) for rule in _metadata(inner)]


def configured(configuration: Callable[..., T], **values: Any) -> T:
    """A configuration of these values. Raises UsageError where it refuses them."""
    try:
        return configuration(**values)
    except ValueError as error:
        raise UsageError(str(error)) from error


def names(text: str) -> list[str]:
    """Members of a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def image_suffix(file: Path) -> str:
    """The lower-case ending of an image file to be written. Raises UsageError for an unknown one."""
    suffix = file.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{file}: the image's name ends in .png or .jpg")
    return suffix


def note_missing_nets(folder: Path | None, names: Sequence[str]) -> None:
    """Print which networks the chosen folder lacks, since the shipped ones are used for them.

    Raises ModelError where there is no such folder.
    """
    from facerelief.inference.runners import nets_folder

    chosen = nets_folder(folder)
    for name in names:
        if not (chosen / f"{name}.onnx").is_file():
            note(f"{chosen}: no {name}.onnx; the shipped network is used")
