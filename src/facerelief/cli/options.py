"""Option types of all commands, and the one way from a dataclass to options (tyro).

A command is a frozen dataclass: a field is an option, its docstring is the help, a nested dataclass of
another room adds its own fields. Types here give shared options one name and one meaning; a field's docstring
replaces their help. Importing this imports tyro: only a command's own file does.
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
        if self.open:
            inside, expected = self.low < value < self.high, f"between {self.low:g} and {self.high:g}"
        else:
            most = "" if self.high == float("inf") else f" and at most {self.high:g}"
            inside, expected = self.low <= value <= self.high, f"at least {self.low:g}{most}"
        if not inside:
            raise UsageError(f"{option} is {value:g}: expected {expected}")


@dataclass(frozen=True)
class Needed:
    """A list that needs at least one member."""


Count = Annotated[int, Range(1)]
Seed = Annotated[int, Range(0)]
Weight = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Degrees = Annotated[float, arg(metavar="DEG")]
Names = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")]
"""Texts, the option repeated for each."""
Files = Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="FILE")]
"""Files, the option repeated for each."""
File = Annotated[Path | None, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER")]
NeededFile = Annotated[Path, arg(metavar="FILE")]
NeededFolder = Annotated[Path, arg(metavar="FOLDER")]
Argument = Annotated[Path, Positional, arg(metavar="PATH")]
"""A file or folder without an option's name."""
Arguments = Annotated[tuple[Path, ...], Positional, Needed(), arg(metavar="PATH")]
"""One or more of them."""

# options with one name and one meaning in all commands
OutFile = Annotated[Path, arg(aliases=("-o",), metavar="FILE")]
OutFolder = Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
Group = Annotated[UseAppendAction[tuple[str, ...]], arg(name="group", metavar="NAME")]
"""`--group`: groups of a collection of photos."""
Split = Annotated[
    Literal["val", "test"] | None,
    arg(metavar="val|test", help="Split to measure on; test, or val where there is no test."),
]
Model = Annotated[str, arg(metavar="open|open2|FILE")]
"""`--model`: the embedded face model or a model file."""
Nets = Annotated[Path | None, arg(metavar="DIR")]
"""`--nets`: folder with other networks than the shipped ones."""
Overwrite = Annotated[bool, arg(help="Replace existing results.")]
JsonFile = Annotated[
    Path | None, arg(metavar="FILE", help="Write the result as JSON; - prints it in place of tables.")
]
"""`--json FILE`; see `console.report`."""
Workers = Annotated[int, Range(1), arg(help="Processes that work at once.")]
"""`--workers`: processes that compute, never ones that only read."""
Limit = Annotated[int | None, Range(1)]
"""`--limit`: at most this many inputs."""
Threads = Annotated[
    int | None, Range(1), arg(help="Threads of all libraries; their own choice unless given.")
]


_UNIONS = (Union, types.UnionType)
_METAVARS = {int: "N", float: "X"}
_MARKERS = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.SuppressFixed,
)


def parse(kind: type[T], words: Sequence[str], command: str) -> T:
    """Options of a command from the words after its name.

    Args:
        kind: A dataclass; its docstring is the description, its fields are the options.
        words: The rest of the command line.
        command: The command's whole name, "facerelief reconstruct".

    Raises:
        UsageError: A number out of its `Range`, or an empty list that is `Needed`.
        SystemExit: After help (0) and for words that are no options (2), once tyro has printed its message.
    """
    if "-h" in words or "--help" in words:
        _print_description(kind)
    registry = ConstructorRegistry()
    registry.struct_rule(_documented)
    registry.primitive_rule(_optional)
    options = tyro.cli(
        kind, prog=command, description="", args=list(words), config=_MARKERS, registry=registry
    )
    _check(options)
    return options


def _print_description(kind: type[Any]) -> None:
    """Print the docstring, and before its examples the paragraphs of a base class but for its first.

    Text is wrapped to the terminal; indented lines, the examples, stay as they are.
    """
    width = min(shutil.get_terminal_size().columns, 100)
    *parts, examples = (inspect.getdoc(kind) or "").split("\n\n")
    if kind.__base__ is not object:
        parts += (inspect.getdoc(kind.__base__) or "").split("\n\n")[1:]
    shown = [textwrap.fill(part, width, break_on_hyphens=False) for part in parts]
    say("\n\n".join([*shown, examples]) + "\n")


def _documented(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Rule for tyro: field docstrings are the help, each a single paragraph."""
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
        hint = hints[field.name]
        rules = [
            arg(metavar=_METAVARS.get(_plain(hint))),
            *_metadata(hint),
            arg(help=texts[field.name] or None),
        ]
        if default is None or isinstance(default, bool) or default == "":
            rules.append(arg(help_behavior_hint=""))
        if any(isinstance(rule, Needed) for rule in rules):
            rules.append(arg(help_behavior_hint="(required)"))
        fields.append(StructFieldSpec(field.name, cast(Any, Annotated[hint, *rules]), default))
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
    """Rule for tyro: a type or None is shown as the type itself."""
    plain = _plain(info.type)
    if get_origin(info.type) not in _UNIONS or get_origin(plain) in _UNIONS or plain is bool:
        return None
    inner = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(plain, info.markers))
    if isinstance(inner, UnsupportedTypeAnnotationError):
        return None
    return dataclasses.replace(
        inner,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: [] if value is None else inner.str_from_instance(value),
    )


def _plain(hint: Any) -> Any:
    """A type without its `Annotated` and without None: int for `Count | None`."""
    if get_origin(hint) is Annotated:
        return _plain(hint.__origin__)
    members = [member for member in get_args(hint) if member is not type(None)]
    return _plain(members[0]) if get_origin(hint) in _UNIONS and len(members) == 1 else hint


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
    """Members of a text with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def image_suffix(file: Path) -> str:
    """The lower-case ending of an image file to be written. Raises UsageError for an unknown one."""
    suffix = file.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{file}: the image's name ends in .png or .jpg")
    return suffix


def note_missing_nets(folder: Path | None, names: Sequence[str]) -> None:
    """Print the networks missing in the chosen folder: the shipped ones replace them.

    Raises ModelError where there is no such folder.
    """
    from facerelief.inference.runners import nets_folder

    chosen = nets_folder(folder)
    for name in names:
        if not (chosen / f"{name}.onnx").is_file():
            note(f"{chosen}: no {name}.onnx; the shipped network is used")
