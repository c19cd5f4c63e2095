"""Public names are a promise: tests/api_surface.json lists them, and none goes or comes unnoticed.

python tests/test_api_surface.py        writes the list anew; commit it with a line in CHANGELOG.md
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

import facerelief

SURFACE = Path(__file__).with_name("api_surface.json")
PACKAGE = Path(facerelief.__file__).parent
UPDATE = "if that is meant, run `python tests/test_api_surface.py` and say so in CHANGELOG.md"


def surface() -> dict[str, list[str]]:
    """Module -> its public names, for the package and every room that has an __all__."""
    rooms = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))
    names = ["facerelief", *(f"facerelief.{room}" for room in rooms)]
    modules = {name: importlib.import_module(name) for name in names}
    return {name: sorted(module.__all__) for name, module in modules.items() if hasattr(module, "__all__")}


def test_no_public_name_is_gone() -> None:
    now, promised = surface(), json.loads(SURFACE.read_text("utf-8"))
    gone = [
        f"{module}.{name}"
        for module in promised
        for name in promised[module]
        if name not in now.get(module, [])
    ]
    assert not gone, f"gone from the public names: {', '.join(gone)}; {UPDATE}"


def test_no_public_name_is_new() -> None:
    now, promised = surface(), json.loads(SURFACE.read_text("utf-8"))
    new = [
        f"{module}.{name}" for module in now for name in now[module] if name not in promised.get(module, [])
    ]
    assert not new, f"new public names: {', '.join(new)}; {UPDATE}"


@pytest.mark.parametrize("module", sorted(surface()))
def test_public_names_exist_and_have_a_docstring(module: str) -> None:
    room = importlib.import_module(module)
    for name in room.__all__:
        value = getattr(room, name)
        assert not callable(value) or value.__doc__, f"{module}.{name} has no docstring"
        assert name in dir(room)


if __name__ == "__main__":
    SURFACE.write_text(json.dumps(surface(), indent=2) + "\n", "utf-8")
    print(f"{SURFACE}: {sum(map(len, surface().values()))} names")
