"""Meshes of other systems: vertices and faces keep their order, and a damaged file ends in one line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import MeshError
from facerelief.geometry import Mesh
from facerelief.io.meshes import read_mesh
from facerelief.io.obj import write_obj
from facerelief.io.ply import write_ply

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.5], [0, 1, 0]], np.float32)
FAN = [[0, 1, 2], [0, 2, 3]]


def text(file: Path, content: str) -> Path:
    file.write_text(content, "utf-8")
    return file


@pytest.mark.parametrize(
    "content",
    [
        "v 0 0 0\nv 1 0 0\nv 1 1 .5\nv 0 1 0\nf 1 2 3\nf 1 3 4\n",
        "# c\no x\nv 0 0 0 1\nv 1 0 0 1 0 0\nv 1 1 .5\nv\t0 1 0 .1 .2 .3\nvt 0 0\nvn 0 0 1\nf 1/1 2/1 "
        "3/1\nf 1//1 3//1 4//1\n",
        "v 0 0 0\r\nv 1 0 0\r\nv 1 1 0.5\r\nv 0 1 0\r\nf -4 -3 -2 \\\r\n -1\r\n",
        "v 0 0 0\nv 1 0 0\nv 1 1 .5\nv 0 1 0\nf 1/1/1 2/1/1 3/1/1 4/1/1\n",
    ],
)
def test_obj_variants_are_one_mesh(tmp_path, content):
    mesh = read_mesh(text(tmp_path / "a.obj", content))
    assert np.array_equal(mesh.vertices, SQUARE)
    assert mesh.triangles.tolist() == FAN
    assert mesh.colors is None


def test_a_polygon_beside_triangles_becomes_a_fan(tmp_path):
    content = "v 0 0 0\nv 1 0 0\nv 1 1 .5\nv 0 1 0\nf 1 2 3\nf 1 2 3 4\n"
    assert read_mesh(text(tmp_path / "a.obj", content)).triangles.tolist() == [[0, 1, 2], *FAN]


def ply(kind: str, order: str, quad: bool = False) -> bytes:
    """Vertices with colours and a confidence, an element between, faces with a flag."""
    head = (
        f"ply\nformat {kind} 1.0\ncomment x\nelement vertex 4\nproperty float x\nproperty float y\nproperty "
        "double z\nproperty uchar red\nelement extra 2\nproperty short a\nelement face "
        f"{1 if quad else 2}\nproperty uchar flag\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = [[0, 1, 2, 3]] if quad else FAN
    if kind == "ascii":
        rows = [f"{x} {y} {z} 200" for x, y, z in SQUARE] + ["1", "2"]
        rows += [f"7 {len(f)} {' '.join(map(str, f))}" for f in faces]
        return (head + "\n".join(rows) + "\n").encode()
    body = b"".join(struct.pack(f"{order}ffdB", *map(float, p), 200) for p in SQUARE)
    body += struct.pack(f"{order}hh", 1, 2)
    body += b"".join(struct.pack(f"{order}BB{len(f)}i", 7, len(f), *f) for f in faces)
    return head.encode() + body


@pytest.mark.parametrize("quad", [False, True])
@pytest.mark.parametrize(
    ("kind", "order"), [("ascii", ""), ("binary_little_endian", "<"), ("binary_big_endian", ">")]
)
def test_ply_variants_are_one_mesh(tmp_path, kind, order, quad):
    (tmp_path / "a.ply").write_bytes(ply(kind, order, quad))
    mesh = read_mesh(tmp_path / "a.ply", scale=10.0)
    assert np.allclose(mesh.vertices, 10 * SQUARE)
    assert mesh.triangles.tolist() == FAN


@pytest.mark.parametrize("write", [write_obj, write_ply])
def test_our_own_files_come_back(tmp_path, write):
    file = tmp_path / f"a.{write.__name__[-3:]}"
    write(file, Mesh(SQUARE, np.array(FAN, np.int32), colors=np.full((4, 3), 0.5, np.float32)))
    mesh = read_mesh(file)
    assert np.allclose(mesh.vertices, SQUARE, atol=1e-5)
    assert mesh.triangles.tolist() == FAN


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.obj", b"", "without vertices"),
        ("a.obj", b"v 0 0\n", "damaged"),
        ("a.obj", b"v 0 0 x\n", "damaged"),
        ("a.obj", b"v 0 0 nan\nv 0 0 0\n", "1 vertices are not finite"),
        ("a.obj", b"v 0 0 0\nf 1 2 3\n", "outside 1..1"),
        ("a.obj", b"v 0 0 0\nf 0 1 1\n", "vertex 0"),
        ("a.obj", b"v 0 0 0\nf 1 1\n", "less than three corners"),
        ("a.ply", b"plyxx", "no PLY header"),
        ("a.ply", ply("binary_little_endian", "<")[:-9], "damaged"),
        ("a.ply", ply("ascii", "")[:-12], "damaged"),
        ("a.ply", ply("ascii", "").replace(b"vertex 4", b"vertex 99999999999"), "cannot be in this file"),
        ("a.ply", ply("ascii", "").replace(b"float y", b"float w"), "without x, y and z"),
        ("a.wrl", b"#VRML V2.0 utf8\n", "no Coordinate"),
        ("a.stl", b"solid", "not a known mesh file"),
    ],
)
def test_damaged_meshes_end_in_one_line(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MeshError, match=told) as caught:
        read_mesh(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_no_such_mesh(tmp_path):
    with pytest.raises(MeshError, match="cannot be read"):
        read_mesh(tmp_path / "none.obj")
