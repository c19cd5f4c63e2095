"""The rooms import each other only as `ROOMS` says, in no circle, and stay light where they must.

python tests/test_architecture.py       writes the table of docs/architecture.md anew from `ROOMS`
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import facerelief

PACKAGE = Path(facerelief.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


class Room(NamedTuple):
    """A folder of src/facerelief."""

    subject: str
    """Its content, for docs/architecture.md."""
    below: set[str]
    """Rooms it may import, in any line of its code; `errors` and `_version` always."""
    foreign: set[str]
    """Third-party packages it may import, in any line of its code."""


MATHS = {"geometry", "morphable", "rendering"}
LIBRARY = MATHS | {"runtime", "io", "video", "detection", "inverse", "face", "inference", "synthesis"}
LIBRARY |= {"facefolder", "tracking", "pipeline"}

ROOMS: dict[str, Room] = {
    "geometry": Room(
        "camera, rotations, meshes, normals, alignment, closest points, boxes, depth to mesh",
        set(),
        {"numpy", "scipy", "numba", "cv2"},
    ),
    "rendering": Room(
        "z-buffer rasteriser, spherical harmonics and light, textures, previews",
        {"geometry"},
        {"numpy", "scipy", "cv2"},
    ),
    "morphable": Room(
        "`FaceModel`, the open model, model files, statistics; `readers/` for Basel, FLAME, ICT",
        {"io"},
        {"numpy", "scipy", "h5py"},
    ),
    "runtime": Room(
        "ONNX networks on the processor (OpenVINO or ONNX Runtime); thread limits; worker pools",
        set(),
        {"numpy", "scipy", "cv2", "openvino", "onnxruntime", "threadpoolctl"},
    ),
    "io": Room(
        "files of images, meshes, maps and arrays, read and written; whole or not at all",
        {"geometry"},
        {"numpy", "scipy", "cv2", "PIL", "pi_heif"},
    ),
    "video": Room(
        "frames with times from video files and webcams, MP4 files from frames",
        {"io"},
        {"numpy", "cv2", "av"},
    ),
    "detection": Room("faces in images, 478 landmarks", {"geometry", "io", "runtime"}, {"numpy", "cv2"}),
    "inverse": Room(
        "inverse rendering: landmark fit, photometric fit, relief by shape from shading",
        MATHS | {"runtime"},
        {"numpy", "scipy", "cv2"},
    ),
    "face": Room("`Reconstruction`, the result type, alone", {"geometry", "morphable"}, {"numpy"}),
    "inference": Room(
        "networks at work and their inputs: crops, projected coordinates (PNCC), shading cues",
        MATHS | {"runtime", "inverse"},
        {"numpy", "cv2"},
    ),
    "synthesis": Room(
        "photos with another pose, expression or light: background warp, composition",
        MATHS | {"inverse", "face", "inference"},
        {"numpy", "scipy", "cv2"},
    ),
    "facefolder": Room(
        "one saved face: save, load, face.json, texture, relief in uv and merged, preview, face.glb",
        MATHS | {"io", "inverse", "face"},
        {"numpy", "cv2"},
    ),
    "tracking": Room(
        "a face followed through a video, smoothing, files of a track, overlay",
        MATHS | {"runtime", "io", "video", "detection", "inverse", "face", "inference", "facefolder"},
        {"numpy", "cv2"},
    ),
    "pipeline": Room(
        "`Reconstructor`, quality warnings, batches",
        MATHS | {"runtime", "io", "detection", "inverse", "face", "inference", "facefolder"},
        {"numpy"},
    ),
    "lab.scenes": Room(
        "hair, skin noise, shoulders, random lights and backgrounds of rendered images",
        {"geometry", "morphable", "rendering"},
        {"numpy", "cv2"},
    ),
    "lab.datasets": Room(
        "training data: fits of photo collections, kinds of samples, shards, the data engine",
        LIBRARY | {"lab.scenes"},
        {"numpy", "scipy", "cv2", "ray", "rich"},
    ),
    "lab.networks": Room(
        "CoarseNet, Tracking CoarseNet, FineNet, UH-E2FAR, landmark net, skin net: layers, losses, training, "
        "export; "
        "the only room with torch",
        LIBRARY | {"lab.datasets"},
        {"numpy", "scipy", "cv2", "torch", "lightning", "onnx"},
    ),
    "lab.evaluation": Room(
        "known 3D truth, photos, networks, comparison of methods, public protocols",
        LIBRARY | {"lab.scenes", "lab.datasets", "lab.building"},
        {"numpy", "scipy", "cv2", "matplotlib"},
    ),
    "lab.building": Room(
        "the open face model: geometry, statistics, albedo, report",
        LIBRARY | {"lab.datasets"},
        {"numpy", "scipy", "cv2", "matplotlib"},
    ),
    "lab.benchmarks": Room(
        "timings of stages, methods, tracking, data synthesis",
        LIBRARY | {"lab.datasets", "lab.evaluation"},
        {"numpy", "cv2"},
    ),
    "cli": Room(
        "the command line, one file a command",
        LIBRARY | {"lab.datasets", "lab.networks", "lab.evaluation", "lab.building", "lab.benchmarks"},
        {"numpy", "cv2", "tyro", "docstring_parser", "rich", "av", "torch"},
    ),
}
EVERYWHERE = {"errors", "_version", "examples", "typed"}
"""Files at the root without imports, which every room may use."""
ROOT = {"__init__", "__main__"}
"""Files at the root that import rooms: the public names and `python -m facerelief`."""
PUBLIC_FACE = {"face/reconstruction.py", "lab/benchmarks/stages.py"}
"""Files that call a public function of the package itself when they run: `Reconstruction.save` is shorthand
of `facerelief.save_reconstruction`."""

HEAVY = (
    "torch",
    "lightning",
    "ray",
    "matplotlib",
    "tyro",
    "rich",
    "fastapi",
    "starlette",
    "flask",
    "aiohttp",
    "uvicorn",
)
"""Packages that no inference path may need."""
OPTIONAL = (*HEAVY, "h5py", "onnx", "anny", "tflite", "ai_edge_litert")


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a dotted name or path below facerelief: ("lab", "datasets", ...) -> "lab.datasets"."""
    parts = tuple(part.removesuffix(".py") for part in parts)
    return ".".join(parts[:2]) if parts[0] == "lab" and len(parts) > 1 else parts[0]


def files_of_rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(room_of(file.relative_to(PACKAGE).parts), []).append(file)
    found.pop("lab.__init__")
    return found


def imports(file: Path) -> list[tuple[int, str, bool]]:
    """(line, dotted name, at run time?) of everything a file imports, also inside functions.

    A name imported from a module counts as module.name.
    """
    tree = ast.parse(file.read_text("utf-8"), str(file))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: list[tuple[int, str, bool]] = []
    for node in ast.walk(tree):
        used = id(node) not in typing_only
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, used) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}", used) for alias in node.names]
    return found


def first_circle(below: Mapping[str, Iterable[str]]) -> set[str]:
    """Names that import each other in a circle, empty where there is none."""
    left = {name: set(others) for name, others in below.items()}
    while free := [name for name, others in left.items() if not others & (left.keys() - {name})]:
        for name in free:
            del left[name]
    return set(left)


def test_every_room_has_a_row() -> None:
    unknown = set(files_of_rooms()) - set(ROOMS) - EVERYWHERE - ROOT
    assert not unknown, f"new in src/facerelief: {sorted(unknown)}; give it a row in ROOMS"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_arrows(room: str) -> None:
    allowed = ROOMS[room].below | EVERYWHERE | {room}
    wrong: list[str] = []
    for file in files_of_rooms()[room]:
        path = file.relative_to(PACKAGE).as_posix()
        for line, name, _ in imports(file):
            top, _, rest = name.partition(".")
            if top == "facerelief":
                fine = room_of(tuple(rest.split("."))) in allowed if rest else path in PUBLIC_FACE
            else:
                fine = top in sys.stdlib_module_names or top in ROOMS[room].foreign
            if not fine:
                wrong.append(f"{path}:{line} imports {name}")
    assert not wrong, f"{room} may import {sorted(allowed | ROOMS[room].foreign)} only:\n" + "\n".join(wrong)


def test_rooms_have_no_circle() -> None:
    assert not first_circle({name: room.below for name, room in ROOMS.items()})


def test_no_arrow_crosses_the_wall() -> None:
    """The library imports neither the lab nor the command line."""
    for room in LIBRARY:
        above = {name for name in ROOMS[room].below if name.startswith(("lab.", "cli"))}
        assert not above, f"{room}: {sorted(above)}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_files_inside_a_room_have_no_circle(room: str) -> None:
    files = files_of_rooms()[room]
    modules = {".".join(("facerelief", *f.relative_to(PACKAGE).with_suffix("").parts)): f for f in files}
    below: dict[str, set[str]] = {}
    for module, file in modules.items():
        names = [name for _, name, used in imports(file) if used]
        met = {other for name in names for other in (name, name.rpartition(".")[0]) if other in modules}
        below[module] = met - {module}
    assert not first_circle(below)


def test_every_file_has_its_tests() -> None:
    """src/facerelief/a/b.py is tested by tests/a/test_b.py, or its docstring says `Tested by tests/...`."""
    tests = Path(__file__).parent
    without: list[str] = []
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE)
        if path.name.startswith("_") or (tests / path.parent / f"test_{path.name}").is_file():
            continue
        docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        named = re.search(r"Tested by\s+tests/([\w/]+\.py)", docstring)
        if named is None or not (tests / named[1]).is_file():
            without.append(path.as_posix())
    assert not without, f"no test file and no `Tested by tests/...`: {without}"


def table() -> str:
    """The rows of docs/architecture.md."""

    def quoted(names: set[str]) -> str:
        if names >= LIBRARY:
            rest = sorted(names - LIBRARY)
            return ", ".join(["the library", *(f"`{name}`" for name in rest)])
        return ", ".join(f"`{name}`" for name in ROOMS if name in names) or "nothing of ours"

    rows = [
        f"| `{name.replace('.', '/')}` | {room.subject} | {quoted(room.below)} |"
        for name, room in ROOMS.items()
    ]
    return "\n".join(["| room | what lives there | may import |", "|---|---|---|", *rows])


def test_the_page_shows_this_table() -> None:
    assert table() in PAGE.read_text("utf-8"), "run `python tests/test_architecture.py`"


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
    "room", ["morphable", "geometry", "rendering", "inverse", "synthesis", "lab.evaluation", "video"]
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


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition("| room | what lives there")
    after = rest[rest.index("\n\n") :]
    PAGE.write_text(before + table() + after, "utf-8")
    print(f"{PAGE}: {len(ROOMS)} rooms")
