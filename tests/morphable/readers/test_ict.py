"""ICT-FaceKit: the folder of OBJ files and the packed file, written here; the real one where it is shared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.morphable import load_model
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.morphable.readers.ict import arkit_name

SHARED = Path(__file__).parents[4] / "shared" / "data" / "ict"


def _grid() -> tuple[np.ndarray, list[list[int]], np.ndarray]:
    """A bowl-shaped face of 9 x 11 vertices in cm, its quads (outward), and its uv."""
    x, y = np.meshgrid(np.linspace(-7, 7, 9), np.linspace(-10, 10, 11))
    points = np.stack([x, y, 10 - x**2 / 10 - y**2 / 20], axis=-1).reshape(-1, 3)
    ids = np.arange(99).reshape(11, 9)
    quads = np.stack([ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]], axis=-1).reshape(-1, 4)
    return points, quads.tolist(), np.stack([x / 14 + 0.5, y / 20 + 0.5], axis=-1).reshape(-1, 2)


POINTS, QUADS, UV = _grid()
NAMES = ["browDown_L", "browDown_R", "browInnerUp_L", "cheekPuff_R", "jawOpen", "mouthLeft", "PupilDilate_L"]
MOVES = np.random.default_rng(0).normal(size=(len(NAMES), 99, 3))
IDENTITY = np.random.default_rng(1).normal(size=(3, 99, 3))


def _obj(points: np.ndarray, faces: list[str] | None = None) -> str:
    lines = ["mtllib ICTFaceModelMaterial.mtl", *(f"v {x:.15f} {y:.15f} {z:.15f}" for x, y, z in points)]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in UV]
    lines += ["usemtl face", "s 1", *(faces if faces is not None else _faces())]
    return "\n".join(lines) + "\n"


def _faces() -> list[str]:
    """Quads as the repository writes them, the texture ids running the other way round to tell them apart."""
    return ["f " + " ".join(f"{i + 1}/{99 - i}" for i in quad) for quad in QUADS]


def _write_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generic_neutral_mesh.obj").write_text(_obj(POINTS))
    for k, move in enumerate(IDENTITY):
        (folder / f"identity{k:03d}.obj").write_text(_obj(POINTS + move, []))
    for name, move in zip(NAMES, MOVES):
        (folder / f"{name}.obj").write_text(_obj(POINTS + move))
    (folder / "vertex_indices.json").write_text(
        json.dumps({"expressions": NAMES, "idx_to_landmark_verts": list(range(68))})
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write_folder(tmp_path / "FaceXModel")


def test_folder_known_coefficients_give_the_known_mesh(folder: Path) -> None:
    model = load_model(folder)
    a = np.array([1.0, -2.0, 0.5])
    weights = {"jawOpen": 0.7, "browDownLeft": 1.0, "browInnerUp_L": 0.2}
    expected = POINTS + np.tensordot(a, IDENTITY, 1)
    expected = expected + 0.7 * MOVES[4] + 1.0 * MOVES[0] + 0.2 * MOVES[2]
    np.testing.assert_allclose(model.shape(a, model.expression_weights(weights)), expected * 10, atol=1e-3)
    assert model.expression_kind == "blendshape"
    for label in ("mean", "identity", "expression", "albedo_mean", "albedo", "uv"):
        assert getattr(model, label).dtype == np.float32
        assert getattr(model, label).flags.c_contiguous


def test_quads_become_two_triangles_with_their_texture(folder: Path) -> None:
    model = load_model(folder)
    assert len(model.triangles) == len(model.uv_triangles) == 2 * len(QUADS)
    a, b, c, d = QUADS[5]
    assert model.triangles[10:12].tolist() == [[a, b, c], [a, c, d]]
    np.testing.assert_array_equal(model.uv_triangles, 98 - model.triangles)
    np.testing.assert_allclose(model.uv, UV, atol=1e-5)


def test_inward_faces_are_turned_with_their_texture(folder: Path) -> None:
    faces = ["f " + " ".join(reversed(face.split()[1:])) for face in _faces()]
    (folder / "generic_neutral_mesh.obj").write_text(_obj(POINTS, faces))
    model = load_model(folder)
    corners = model.mean[model.triangles]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()
    np.testing.assert_array_equal(model.uv_triangles, 98 - model.triangles)


def test_the_repository_folder_will_do(folder: Path) -> None:
    np.testing.assert_array_equal(load_model(folder.parent).mean, load_model(folder).mean)


def test_landmarks_from_the_index_file(folder: Path) -> None:
    np.testing.assert_array_equal(load_model(folder).landmarks["ibug68"].vertices[:, 0], np.arange(68))
    (folder / "vertex_indices.json").unlink()
    assert load_model(folder).landmarks == {}  # the known list is for the real vertex counts only
    (folder / "vertex_indices.json").write_text("{broken")
    with pytest.raises(ModelError, match=r"vertex_indices\.json: not a landmark table"):
        load_model(folder)
    (folder / "vertex_indices.json").write_text('{"idx_to_landmark_verts": [5000]}')
    with pytest.raises(ModelError, match="landmarks ibug68"):
        load_model(folder)


def test_faces_without_texture_and_from_the_end(folder: Path) -> None:
    faces = ["f " + " ".join(f"{i - 99}//1" for i in quad) for quad in QUADS]
    (folder / "generic_neutral_mesh.obj").write_text(_obj(POINTS, faces))
    model = load_model(folder)
    assert model.triangles[:2].tolist() == [QUADS[0][:3], [QUADS[0][0], *QUADS[0][2:]]]
    assert len(model.uv) == len(model.uv_triangles) == 0


def test_names_are_arkits_where_it_has_them(folder: Path) -> None:
    assert load_model(folder).expression_names == (
        "PupilDilate_L",
        "browDownLeft",
        "browDownRight",
        "browInnerUp_L",
        "cheekPuff_R",
        "jawOpen",
        "mouthLeft",
    )
    assert arkit_name("eyeLookOut_R") == "eyeLookOutRight"
    assert [arkit_name(name) for name in ("cheekRaiser_L", "mouthLeft", "tongue", "")] == [
        *("cheekRaiser_L", "mouthLeft", "tongue", "")
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("identity001.obj", "v 0 0 0\n", r"identity001\.obj: 1 vertices"),
        ("jawOpen.obj", "v 0 0\n" * 99, r"jawOpen\.obj: malformed v"),
        ("jawOpen.obj", "v 0 zero 0\n", r"jawOpen\.obj: malformed v"),
        ("jawOpen.obj", "", r"jawOpen\.obj: 0 vertices"),
        ("generic_neutral_mesh.obj", _obj(POINTS, ["f 1 2 100"]), "malformed faces"),
        ("generic_neutral_mesh.obj", _obj(POINTS, ["f 0 1 2"]), "malformed faces"),
        ("generic_neutral_mesh.obj", _obj(POINTS, ["f 1 2 x"]), "malformed faces"),
        ("generic_neutral_mesh.obj", "hello", "0 vertices|vertices"),
    ],
)
def test_malformed_files_are_named(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_incomplete_folders_are_named(folder: Path) -> None:
    for file in folder.glob("identity*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"no identity000\.obj files"):
        load_model(folder)
    (folder / "generic_neutral_mesh.obj").unlink()
    with pytest.raises(ModelError, match=r"without generic_neutral_mesh\.obj"):
        load_model(folder)


# ---- packed


def _packed(**changes: Any) -> dict[str, Any]:
    quads = np.array(QUADS)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    arrays: dict[str, Any] = {"mean_cm": POINTS.astype(np.float32), "expression_names": np.array(NAMES)}
    for label, moves in (("identity", IDENTITY), ("expression", MOVES)):
        scale = np.abs(moves).max(axis=(1, 2)) / 32767
        arrays[label] = np.rint(moves / scale[:, None, None]).astype(np.int16)
        arrays[f"{label}_scale_cm"] = scale.astype(np.float32)
    arrays |= {"triangles": triangles, "uv": UV.astype(np.float32), "uv_triangles": triangles}
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def test_packed_known_coefficients_give_the_known_mesh(tmp_path: Path) -> None:
    path = tmp_path / "ict_facekit_light.npz"
    np.savez(path, **_packed())
    model = load_model(path)
    a, e = np.array([1.0, -2.0, 0.5]), np.array([0.1, 0, 0, 1, 0.5, 0, 0])
    expected = POINTS + np.tensordot(a, IDENTITY, 1) + np.tensordot(e, MOVES, 1)
    np.testing.assert_allclose(model.shape(a, e), expected * 10, atol=0.01)
    assert model.expression_names[:2] == ("browDownLeft", "browDownRight")
    assert model.regions == {}


def test_packed_with_mediapipe_points(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **_packed())
    rng = np.random.default_rng(0)
    corners, weights = rng.integers(0, 99, (478, 3)), rng.dirichlet((1, 1, 1), 478)
    np.savez(tmp_path / "mediapipe478_to_ict.npz", tri=corners, bary=weights, spread_mm=np.zeros(478))
    model = load_model(tmp_path / "m.npz")
    expected = (POINTS[corners] * weights[:, :, None]).sum(axis=1) * 10
    np.testing.assert_allclose(model.landmarks["mediapipe478"].of(model.mean), expected, atol=1e-3)
    np.savez(tmp_path / "mediapipe478_to_ict.npz", tri=corners[:5], bary=weights)
    with pytest.raises(ModelError, match=r"mediapipe478_to_ict\.npz: not a landmark table"):
        load_model(tmp_path / "m.npz")


def test_packed_with_the_real_vertex_count_has_regions_and_landmarks(tmp_path: Path) -> None:
    n = 24_591
    rng = np.random.default_rng(0)
    moves = rng.integers(-99, 99, (1, n, 3)).astype(np.int16)
    points = rng.normal(size=(n, 3)).astype(np.float32) * 5
    np.savez(
        tmp_path / "m.npz",
        **_packed(mean_cm=points, identity=moves, expression=moves, expression_names=np.array(["jawOpen"]))
        | {"identity_scale_cm": np.ones(1, np.float32), "expression_scale_cm": np.ones(1, np.float32)},
    )
    model = load_model(tmp_path / "m.npz")
    assert model.regions["narrow_face"].sum() == 6706
    assert model.regions["face"].sum() == 9409
    assert not (model.regions["eyeballs"] & model.regions["teeth"]).any()
    assert sum(mask.sum() for name, mask in model.regions.items() if name != "narrow_face") == n
    assert len(model.landmarks["ibug68"]) == 68


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"triangles": None}, "lacks triangles"),
        ({"identity": np.zeros((3, 98, 3), np.int16)}, "identity has shape"),
        ({"expression_names": np.array(["one"])}, "expression has shape"),
        ({"triangles": np.full((2, 3), 99, np.int32)}, "outside 0..98"),
        ({"expression_names": np.array([{}], dtype=object)}, "damaged"),
        ({"mean_cm": np.full((99, 3), np.inf, np.float32)}, "not finite"),
    ],
)
def test_malformed_packed_files_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, **_packed(**changes))
    with pytest.raises(ModelError, match=message):
        load_model(path)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the developers' shared data folder is absent")
def test_the_real_packed_file() -> None:
    model = load_model(SHARED / "ict_facekit_light.npz")
    assert (model.n_vertices, model.n_identity, model.n_expression) == (24_591, 100, 57)
    ibug, mediapipe = (model.landmarks[name].of(model.mean) for name in ("ibug68", "mediapipe478"))
    eye_to_eye = ibug[45] - ibug[36]
    assert eye_to_eye[0] == pytest.approx(89.2, abs=0.5)  # mm, and the person's left eye at x > 0
    assert ibug[30, 2] > ibug[36, 2] > 0  # the nose in front
    assert ibug[8, 1] < ibug[51, 1] < ibug[27, 1]  # y up
    np.testing.assert_allclose(mediapipe[1], ibug[30], atol=15)
    assert set(ARKIT_NAMES) - set(model.expression_names) == {"browInnerUp", "cheekPuff", "tongueOut"}
    blink = model.expression[:, :, model.expression_names.index("eyeBlinkLeft")]
    moved = np.linalg.norm(blink, axis=1) > 1
    assert (model.mean[moved, 0] > 0).all()
    corners = model.mean[model.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = model.regions["narrow_face"][model.triangles].all(axis=1)
    assert (normals[front, 2] > 0).mean() > 0.8
