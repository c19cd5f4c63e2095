"""FLAME files of the real layout, written here: Python-2 style pickles with chumpy arrays, and .npz."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from facerelief.errors import ModelError
from facerelief.morphable import load_model
from facerelief.morphable.readers.flame import load_flame

ROWS, COLUMNS = 12, 16


class Flame:
    """The arrays of a FLAME file with an egg of ROWS x COLUMNS vertices as its template, in metres."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        theta = np.pi * (np.arange(ROWS) + 1) / (ROWS + 1)
        phi = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
        theta, phi = (angle.reshape(-1) for angle in np.meshgrid(theta, phi, indexing="ij"))
        egg = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=1)
        ids = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
        right = np.roll(ids, -1, axis=1)
        quads = np.stack([ids[:-1], ids[1:], right[1:], right[:-1]], axis=-1).reshape(-1, 4)
        self.triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        n = len(egg)
        regressor = rng.random((5, n)) * (rng.random((5, n)) < 0.3)
        regressor /= regressor.sum(axis=1, keepdims=True)
        weights = rng.dirichlet(np.full(5, 0.5), n)
        self.arrays: dict[str, Any] = {
            "v_template": egg * [0.08, 0.11, 0.09],
            "shapedirs": rng.normal(size=(n, 3, 400)) * 1e-3,
            "f": self.triangles.astype(np.uint32),
            "J_regressor": sp.csc_matrix(regressor),
            "weights": weights,
            "posedirs": np.zeros((n, 3, 36)),
            "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
            "bs_style": "lbs",
            "bs_type": "lrotmin",
        }


class _Ch:
    """Pickles as chumpy's Ch does."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self._itr, self._dirty_vars, self._depends_on_deps = x, None, {"x"}, {}


_Ch.__module__, _Ch.__qualname__, _Ch.__name__ = "chumpy.ch", "Ch", "Ch"


def _write_pickle(path: Path, content: dict[str, Any], protocol: int = 2) -> Path:
    """A pickle whose `_Ch` objects claim to be chumpy's, and whose names are those of old libraries."""

    class Pickler(pickle._Pickler):  # type: ignore[misc, name-defined]
        def save_global(self, obj: Any, name: str | None = None) -> None:
            if obj is _Ch:
                self.write(b"cchumpy.ch\nCh\n")
            else:
                super().save_global(obj, name)

    Pickler.dispatch = {**pickle._Pickler.dispatch, type: Pickler.save_global}  # type: ignore[attr-defined]
    out = io.BytesIO()
    Pickler(out, protocol).dump(content)
    data = out.getvalue()
    for new, old in ((b"numpy._core.", b"numpy.core."), (b"scipy.sparse._csc", b"scipy.sparse.csc")):
        data = data.replace(b"c" + new, b"c" + old)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def flame() -> Flame:
    return Flame()


def _with_chumpy(arrays: dict[str, Any]) -> dict[str, Any]:
    wrapped = {name: _Ch(arrays[name]) for name in ("v_template", "shapedirs", "posedirs")}
    return arrays | wrapped


def _expected(flame: Flame, a: np.ndarray, e: np.ndarray) -> np.ndarray:
    return 1000 * (flame.arrays["v_template"] + flame.arrays["shapedirs"] @ np.concatenate([a, e]))


@pytest.mark.parametrize("form", ["chumpy, protocol 0", "chumpy, protocol 2", "plain pickle", "npz"])
def test_known_coefficients_give_the_known_mesh(flame: Flame, tmp_path: Path, form: str) -> None:
    path = tmp_path / "generic_model.pkl"
    match form:
        case "npz":
            path = path.with_suffix(".npz")
            dense = flame.arrays | {"J_regressor": flame.arrays["J_regressor"].toarray()}
            np.savez(path, **dense)
        case "plain pickle":
            path.write_bytes(pickle.dumps(flame.arrays))
        case _:
            _write_pickle(path, _with_chumpy(flame.arrays), int(form[-1]))
            assert b"chumpy.ch" in path.read_bytes()
            assert b"numpy._core" not in path.read_bytes()
    model = load_model(path)
    rng = np.random.default_rng(1)
    a, e = rng.normal(size=300), rng.normal(size=100)
    np.testing.assert_allclose(model.shape(a, e), _expected(flame, a, e), atol=0.01)
    assert model.identity.shape[2] == 300
    assert model.expression_names[0] == "expression_000"
    assert model.expression_names[-1] == "jawOpen"
    assert model.n_expression == 101
    assert model.expression_kind == "pca"
    np.testing.assert_array_equal(model.triangles, flame.triangles)
    for label in ("mean", "identity", "expression", "albedo_mean", "albedo"):
        assert getattr(model, label).dtype == np.float32
        assert getattr(model, label).flags.c_contiguous
    assert "chumpy" not in __import__("sys").modules


def test_jaw_turns_about_its_joint(flame: Flame, tmp_path: Path) -> None:
    path = _write_pickle(tmp_path / "generic_model.pkl", flame.arrays)
    angle = 0.2
    moved = load_flame(path, jaw_angle=angle).expression[:, :, -1]
    points = flame.arrays["v_template"] * 1000
    joint = (flame.arrays["J_regressor"] @ points)[2]
    c, s = np.cos(angle), np.sin(angle)
    for i in (0, 100, 150):
        x, y, z = points[i] - joint
        turned = joint + np.array([x, c * y - s * z, s * y + c * z])
        expected = flame.arrays["weights"][i, 2] * (turned - points[i])
        np.testing.assert_allclose(moved[i], expected, atol=1e-3)
    in_front = points[:, 2] > joint[2] + 20
    assert (moved[in_front, 1] < 0).all()  # the chin goes down


def test_jaw_can_be_left_out_and_is_when_unknown(flame: Flame, tmp_path: Path) -> None:
    path = _write_pickle(tmp_path / "generic_model.pkl", flame.arrays)
    assert load_flame(path, jaw_angle=0).n_expression == 100
    arrays = {name: array for name, array in flame.arrays.items() if name != "weights"}
    assert load_model(_write_pickle(path, arrays)).n_expression == 100
    # an .npz whose regressor is an object array: the pickle inside is not opened
    npz = tmp_path / "flame.npz"
    np.savez(npz, **(flame.arrays | {"J_regressor": np.array(flame.arrays["J_regressor"], dtype=object)}))
    assert load_model(npz).n_expression == 100


def test_landmark_tables_beside_the_model(flame: Flame, tmp_path: Path) -> None:
    path = _write_pickle(tmp_path / "generic_model.pkl", flame.arrays)
    rng = np.random.default_rng(2)
    faces, weights = rng.integers(0, len(flame.triangles), 68), rng.dirichlet((1, 1, 1), 68)
    table = {"full_lmk_faces_idx": faces[None], "full_lmk_bary_coords": weights[None]}
    np.save(tmp_path / "landmark_embedding.npy", np.array(table, dtype=object), allow_pickle=True)
    static = {"lmk_face_idx": faces[17:].astype(np.uint32), "lmk_b_coords": weights[17:]}
    _write_pickle(tmp_path / "flame_static_embedding.pkl", static)
    model = load_model(path)
    corners = flame.arrays["v_template"][flame.triangles[faces]] * 1000
    expected = (corners * weights[:, :, None]).sum(axis=1)
    np.testing.assert_allclose(model.landmarks["ibug68"].of(model.mean), expected, atol=1e-3)
    np.testing.assert_allclose(model.landmarks["ibug51"].of(model.mean), expected[17:], atol=1e-3)


def test_landmarks_do_not_depend_on_the_winding(flame: Flame, tmp_path: Path) -> None:
    """Weights go with the file's corners, even where the triangles are turned afterwards."""
    inward = flame.arrays | {"f": flame.arrays["f"][:, ::-1]}
    path = _write_pickle(tmp_path / "generic_model.pkl", inward)
    table = {"lmk_face_idx": np.arange(51), "lmk_b_coords": np.tile([1.0, 0.0, 0.0], (51, 1))}
    _write_pickle(tmp_path / "flame_static_embedding.pkl", table)
    model = load_model(path)
    np.testing.assert_array_equal(model.triangles, flame.triangles)
    np.testing.assert_array_equal(model.landmarks["ibug51"].vertices[:, 0], flame.triangles[:51, 2])


@pytest.mark.parametrize(
    "table",
    [
        {"lmk_face_idx": np.arange(51)},
        {"lmk_face_idx": np.arange(50), "lmk_b_coords": np.zeros((51, 3))},
        {"lmk_face_idx": np.arange(51) + 10**6, "lmk_b_coords": np.zeros((51, 3))},
        {"lmk_face_idx": np.arange(51) - 1, "lmk_b_coords": np.zeros((51, 3))},
        [1, 2, 3],
    ],
)
def test_malformed_landmark_tables_are_named(flame: Flame, tmp_path: Path, table: Any) -> None:
    path = _write_pickle(tmp_path / "generic_model.pkl", flame.arrays)
    _write_pickle(tmp_path / "flame_static_embedding.pkl", table)
    with pytest.raises(ModelError, match=r"flame_static_embedding\.pkl: not a table of 51 landmarks"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v_template": None}, "lacks v_template"),
        ({"shapedirs": np.zeros((9, 3, 400))}, "expected"),
        ({"shapedirs": np.zeros((ROWS * COLUMNS, 1200))}, "expected"),
        ({"f": np.zeros((4, 4), np.int32)}, "f has shape"),
        ({"f": np.full((4, 3), 5000)}, "leaves 0"),
        ({"v_template": "text"}, "v_template is not an array"),
        ({"v_template": np.array(["a"])}, "not an array of numbers"),
        ({"v_template": np.zeros((ROWS * COLUMNS, 3))}, "other units"),
    ],
)
def test_malformed_models_are_named(
    flame: Flame, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    content = {name: array for name, array in (flame.arrays | changes).items() if array is not None}
    path = _write_pickle(tmp_path / "generic_model.pkl", content)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_hostile_model_is_refused_unrun(flame: Flame, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(flame.arrays | {"extra": Hostile()}))
    with pytest.raises(ModelError, match=r"generic_model\.pkl: asks for 'posix\.mkdir'"):
        load_model(path)
    np.savez(path.with_suffix(".npz"), **(flame.arrays | {"f": np.array(Hostile(), dtype=object)}))
    with pytest.raises(ModelError):
        load_model(path.with_suffix(".npz"))
    good = _write_pickle(path, flame.arrays)
    np.save(tmp_path / "landmark_embedding.npy", np.array(Hostile(), dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match=r"landmark_embedding\.npy"):
        load_model(good)
    assert not (tmp_path / "ran").exists()


def test_another_pickle_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(ModelError, match="holds a list, not a FLAME model"):
        load_model(path)
