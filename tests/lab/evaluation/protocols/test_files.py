"""Mesh and landmark files of other systems: order is kept, and what is damaged ends in one line."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import MeshError
from facerelief.geometry import Mesh
from facerelief.io.meshes import non_manifold_edges, open_edges, read_mesh
from facerelief.io.obj import write_obj
from facerelief.io.ply import write_ply
from facerelief.lab.evaluation.protocols.files.landmark_files import (
    IBUG_SEVEN,
    Landmarks,
    landmarks_beside,
    read_landmarks,
    shared,
)
from facerelief.lab.evaluation.protocols.problems import EvaluationError

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


def test_edges_are_counted():
    assert len(open_edges(np.array(FAN))) == 4
    assert non_manifold_edges(np.array(FAN)) == 0
    assert non_manifold_edges(np.array([*FAN, [0, 2, 4]])) == 1
    assert non_manifold_edges(np.array([*FAN, [0, 2, 2]])) == 0  # no area, no edge
    assert non_manifold_edges(np.zeros((0, 3), int)) == 0


# ---------------------------------------------------------------- landmarks

POINTS = np.round(np.random.default_rng(0).normal(size=(7, 3)) * 40, 3)


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


def landmark_file(folder: Path, suffix: str) -> Path:
    file = folder / f"a{suffix}"
    if suffix == ".npy":
        np.save(file, POINTS)
    elif suffix == ".pkl":
        file.write_bytes(pickle.dumps(POINTS.tolist()))
    elif suffix == ".json":
        file.write_text(json.dumps({"landmarks": POINTS.tolist()}), "utf-8")
    elif suffix == ".ljson":
        file.write_text(json.dumps({"groups": {"A": {"landmarks": {"points": POINTS.tolist()}}}}), "utf-8")
    elif suffix == ".pp":
        rows = [f'<point y="{y}" x="{x}" z="{z}" name="p"/>' for x, y, z in POINTS]
        skipped = '<point x="9" y="9" z="9" active="0" name="no"/>'
        file.write_text(f"<PickedPoints>{skipped}{''.join(rows)}</PickedPoints>", "utf-8")
    else:
        first = "{k} " if suffix == ".bnd" else ""
        comma = "," if suffix == ".csv" else " "
        file.write_text(
            "".join(first.format(k=k) + comma.join(map(str, p)) + "\n" for k, p in enumerate(POINTS))
        )
    return file


@pytest.mark.parametrize("suffix", [".npy", ".pkl", ".json", ".ljson", ".pp", ".txt", ".csv", ".bnd"])
def test_landmark_files_say_the_same(tmp_path, suffix):
    file = landmark_file(tmp_path, suffix)
    assert np.allclose(read_landmarks(file, 2.0).points, 2 * POINTS)
    assert landmarks_beside(tmp_path / "a.obj") == file


def test_transposed_arrays_and_face_json(tmp_path):
    np.save(tmp_path / "a.npy", np.repeat(POINTS[:1], 68, axis=0).T)
    assert len(read_landmarks(tmp_path / "a.npy")) == 68
    text(tmp_path / "face.json", json.dumps({"schema": 1, "landmarks68_mm": np.ones((68, 3)).tolist()}))
    assert len(read_landmarks(tmp_path / "face.json")) == 68


def test_pickles_that_run_things_are_refused(tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "b.npy", np.array([Bomb()], object), allow_pickle=True)
    for name in ("a.pkl", "b.npy"):
        with pytest.raises(EvaluationError, match="refused"):
            read_landmarks(tmp_path / name)
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "1 2 3\n4 5\n", "different lengths"),
        ("a.txt", "", "no readable landmarks"),
        ("a.txt", "a b c\n", "no readable landmarks"),
        ("a.txt", "1 2 3\n" * 6, "6 landmarks; expected 5, 7, 51, 68, 83 or 85"),
        ("a.txt", "1 2\n" * 7, "three coordinates"),
        ("a.txt", "1 2 nan\n" * 7, "not finite"),
        ("a.json", "{", "no readable landmarks"),
        ("a.json", '{"a": 1}', 'no "landmarks"'),
        ("a.pp", "<PickedPoints/>", "no readable landmarks"),
    ],
)
def test_damaged_landmarks_end_in_one_line(tmp_path, name, content, told):
    with pytest.raises(EvaluationError, match=told) as caught:
        read_landmarks(text(tmp_path / name, content))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_orders_name_the_same_points(person):
    marks = person.marks
    full = Landmarks(marks, "a")
    seven = Landmarks(marks[list(IBUG_SEVEN)], "b")
    inner = Landmarks(marks[17:], "c")
    eyes = [(marks[36] + marks[39]) / 2, (marks[42] + marks[45]) / 2]
    five = Landmarks(np.array([*eyes, marks[30], marks[48], marks[54]]), "d")
    assert np.allclose(full.seven, seven.points)
    assert np.allclose(inner.seven, seven.points)
    for other in (seven, inner, five):
        mine, theirs = shared(full, other)
        assert len(mine) >= 5
        assert np.allclose(mine, theirs)
    assert len(shared(full, full)[0]) == 68
    with pytest.raises(EvaluationError, match="needs the 7"):
        _ = five.seven
