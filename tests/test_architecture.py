"""The rooms import each other only as docs/architecture.md says, and stay light where they must."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import facerelief

PACKAGE = Path(facerelief.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "examples": set(),
    "geometry": set(),
    "runtime": {"errors"},
    "video": {"errors"},
    "morphable": {"errors"},
    "rendering": {"geometry"},
    "export": {"errors", "_version", "geometry"},
    "detection": {"errors", "runtime"},
    "inverse": {"errors", "geometry", "morphable", "rendering"},
    "pipeline": {
        "errors",
        "geometry",
        "runtime",
        "morphable",
        "rendering",
        "export",
        "detection",
        "inverse",
        "video",
    },
    "synthesis": {
        "errors",
        "geometry",
        "morphable",
        "rendering",
        "inverse",
        "pipeline",
    },
    "datasets": {
        "errors",
        "_version",
        "geometry",
        "runtime",
        "morphable",
        "rendering",
        "export",
        "detection",
        "inverse",
        "pipeline",
        "synthesis",
    },
    "evaluation": {
        "errors",
        "geometry",
        "runtime",
        "morphable",
        "rendering",
        "detection",
        "inverse",
        "pipeline",
    },
    "networks": {
        "errors",
        "_version",
        "geometry",
        "runtime",
        "morphable",
        "rendering",
        "export",
        "datasets",
    },
    "building": {
        "errors",
        "geometry",
        "runtime",
        "morphable",
        "rendering",
        "detection",
        "inverse",
        "evaluation",
    },
}
"""Room -> the rooms it may import, in any line of its code. The faces of the tool may import everything."""
FACES = {
    "cli",
    "cli_compare",
    "cli_dataset",
    "cli_datasets",
    "cli_evaluate",
    "cli_nets",
    "cli_protocol",
    "cli_synthesize",
    "cli_track",
    "cli_train",
    "cli_truth",
    "benchmarking",
    "method_benchmark",
    "track_benchmark",
    "__main__",
}

FOREIGN: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "examples": set(),
    "geometry": {"numpy", "scipy", "numba", "cv2"},
    "runtime": {"numpy", "openvino", "onnxruntime"},
    "video": {"numpy", "cv2", "av"},
    "morphable": {"numpy", "scipy", "h5py"},
    "rendering": {"numpy", "scipy", "cv2"},
    "export": {"numpy", "scipy", "cv2"},
    "detection": {"numpy", "cv2"},
    "inverse": {"numpy", "scipy", "numba", "cv2", "threadpoolctl"},
    "pipeline": {"numpy", "scipy", "cv2", "threadpoolctl"},
    "synthesis": {"numpy", "scipy", "cv2"},
    "datasets": {"numpy", "cv2", "scipy", "webdataset", "ray", "rich"},
    "evaluation": {"numpy", "scipy", "cv2", "matplotlib"},
    "networks": {"numpy", "scipy", "cv2", "torch", "lightning", "onnx"},
    "building": {"numpy", "scipy", "cv2", "matplotlib"},
}
"""Room -> the third-party packages it may import, in any line of its code."""

HEAVY = (
    "torch",
    "lightning",
    "ray",
    "webdataset",
    "viser",
    "matplotlib",
    "typer",
    "rich",
    "fastapi",
    "starlette",
    "flask",
    "aiohttp",
    "uvicorn",
)
"""What no inference path may need."""
OPTIONAL = (*HEAVY, "h5py", "onnx", "anny", "tflite", "ai_edge_litert")


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        name = parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(file)
    return found


def imports(file: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, also inside functions."""
    tree = ast.parse(file.read_text("utf-8"), str(file))
    package = ("facerelief", *file.relative_to(PACKAGE).parts[:-1])
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module == "facerelief":
                found += [(node.lineno, f"facerelief.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, module))
    return found


def test_every_room_has_a_row() -> None:
    unknown = set(rooms()) - set(ALLOWED) - FACES
    assert not unknown, (
        f"new in src/facerelief: {sorted(unknown)}; give it a row here and in docs/architecture.md"
    )


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_arrows(room: str) -> None:
    wrong: list[str] = []
    for file in rooms()[room]:
        for line, name in imports(file):
            top, _, rest = name.partition(".")
            where = f"{file.relative_to(PACKAGE)}:{line} imports {name}"
            if top == "facerelief":
                target = rest.split(".")[0]
                if target != room and target not in ALLOWED[room]:
                    wrong.append(where)
            elif top not in sys.stdlib_module_names and top not in FOREIGN[room]:
                wrong.append(where)
    assert not wrong, f"{room} may import {sorted(ALLOWED[room] | FOREIGN[room])} only:\n" + "\n".join(wrong)


def test_arrows_have_no_cycle() -> None:
    left = dict(ALLOWED)
    while left:
        free = [room for room, below in left.items() if not below & left.keys()]
        assert free, f"a cycle among {sorted(left)}"
        for room in free:
            del left[room]


def test_the_page_says_the_same() -> None:
    rows = re.findall(r"^\| `(\w+)/?(?:\.py)?` \|[^|]*\|([^|]*)\|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {room: set(re.findall(r"`(\w+)`", cell)) for room, cell in rows}
    ours = {
        room: below - {"errors", "_version"} for room, below in ALLOWED.items() if (PACKAGE / room).is_dir()
    }
    assert {room: told.get(room) for room in ours} == ours


def run(code: str) -> list[str]:
    """Run code in a fresh interpreter that lacks every optional package; it prints a JSON list."""
    lock = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {OPTIONAL!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import json\n"
        "def loaded():\n"
        "    tops = {name.partition('.')[0] for name in sys.modules}\n"
        "    return sorted(tops - set(sys.stdlib_module_names) - {'facerelief'})\n"
    )
    done = subprocess.run([sys.executable, "-c", lock + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_facerelief_imports_nothing_else() -> None:
    tops = run("import facerelief\nprint(json.dumps(loaded()))")
    assert not set(tops) & {"numpy", "numba", "cv2", "openvino", "scipy", "trimesh", "av"}, tops


@pytest.mark.parametrize(
    "room", ["morphable", "geometry", "rendering", "inverse", "synthesis", "evaluation", "video"]
)
def test_rooms_of_mathematics_import_numpy_only(room: str) -> None:
    tops = run(
        f"import numpy\nbefore = set(loaded())\nimport facerelief.{room}\n"
        "print(json.dumps(sorted(set(loaded()) - before)))"
    )
    assert not set(tops) & {"numba", "cv2", "openvino", "scipy", "trimesh", "h5py", "av"}, tops


def test_a_photo_becomes_a_folder_without_any_optional_package(tmp_path: Path) -> None:
    code = (
        "import facerelief\n"
        "from facerelief.examples import astronaut_path\n"
        f"facerelief.reconstruct(astronaut_path())[0].save({str(tmp_path / 'face0')!r})\n"
        "print(json.dumps(loaded()))\n"
    )
    tops = run(code)
    assert not set(tops) & set(OPTIONAL), tops
    assert (tmp_path / "face0" / "face.json").is_file()
