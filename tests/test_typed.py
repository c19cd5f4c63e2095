"""Array types of signatures are defined in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import facerelief

PACKAGE = Path(facerelief.__file__).parent


def array_types(file: Path) -> list[str]:
    """Names that stand for an `NDArray[...]` in a file."""
    return [
        ast.unparse(node.targets[0])
        for node in ast.walk(ast.parse(file.read_text("utf-8"), str(file)))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Subscript)
        and ast.unparse(node.value.value).endswith("NDArray")
    ]


def test_no_other_file_defines_an_array_type():
    assert {"Float32", "Image"} <= set(array_types(PACKAGE / "typed.py"))
    others = {file: array_types(file) for file in PACKAGE.rglob("*.py") if file != PACKAGE / "typed.py"}
    assert not {file.name: names for file, names in others.items() if names}
