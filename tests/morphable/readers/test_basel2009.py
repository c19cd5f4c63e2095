"""Basel 2009 files of the real layout, written here: known coefficients must give the known mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from facerelief.errors import ModelError
from facerelief.morphable import FaceModel, load_model
from facerelief.morphable.readers.basel2009 import IBUG68_FROM_1, ibug68, load_basel2009


class Basel:
    """A Basel 2009 folder with the toy head as its mean: N vertices, of which M carry expressions."""

    def __init__(self, folder: Path, toy: FaceModel, components: int = 7, expressions: int = 4) -> None:
        rng = np.random.default_rng(0)
        self.folder, self.toy = folder, toy
        self.path = folder / "01_MorphableModel.mat"
        n = toy.n_vertices
        self.pc, _ = np.linalg.qr(rng.normal(size=(3 * n, components)))
        self.ev = np.linspace(9e5, 1e5, components)
        self.tex_pc, _ = np.linalg.qr(rng.normal(size=(3 * n, components)))
        self.tex_ev = np.linspace(4000, 500, components)
        self.mu = toy.mean.astype(np.float64).reshape(-1) * 1000  # um
        self.tex_mu = toy.albedo_mean.astype(np.float64).reshape(-1) * 255
        # counted from 1, and clockwise from outside as the real file's
        self.tl = toy.triangles[:, ::-1].astype(np.float64) + 1
        # without the vertices around the mouth
        mouth = np.hypot(toy.mean[:, 0], toy.mean[:, 1] + 48) < 12
        self.keep = np.flatnonzero(~(mouth & (toy.mean[:, 2] > 0)))
        m = len(self.keep)
        self.exp_mu = rng.normal(size=3 * m) * 300
        self.exp_pc, _ = np.linalg.qr(rng.normal(size=(3 * m, expressions)))
        self.exp_ev = np.linspace(4.5e5, 2e3, expressions)

    def write_model(self, **changes: Any) -> None:
        arrays = {
            "shapeMU": self.mu[:, None],
            "shapePC": self.pc,
            "shapeEV": self.ev[:, None],
            "texMU": self.tex_mu[:, None],
            "texPC": self.tex_pc,
            "texEV": self.tex_ev[:, None],
        }
        content: dict[str, Any] = {name: array.astype(np.float32) for name, array in arrays.items()}
        content |= {"tl": self.tl, "segbin": np.ones((self.toy.n_vertices, 4))}
        content |= changes
        savemat(self.path, {name: array for name, array in content.items() if array is not None})

    def write_expression(self) -> None:
        """As the authors' program writes it: Eigen's column-major matrix."""
        with open(self.folder / "Exp_Pca.bin", "wb") as handle:
            handle.write(np.int32(len(self.exp_ev)).tobytes())
            handle.write(self.exp_mu.astype("<f4").tobytes())
            handle.write(self.exp_pc.astype("<f4").tobytes(order="F"))

    def write_std(self) -> None:
        np.savetxt(self.folder / "std_exp.txt", self.exp_ev[None])

    def write_index(self, name: str = "model_info.mat") -> None:
        savemat(self.folder / name, {"trimIndex": (self.keep + 1).astype(np.uint16)[:, None], "other": 1})


@pytest.fixture
def basel(tmp_path: Path, toy_model: FaceModel) -> Basel:
    files = Basel(tmp_path, toy_model)
    files.write_model()
    return files


@pytest.fixture
def complete(basel: Basel) -> Basel:
    basel.write_expression()
    basel.write_std()
    basel.write_index()
    return basel


def test_identity_in_mm_and_deviations(basel: Basel) -> None:
    model = load_model(basel.path)
    a = np.array([1.0, -2.0, 0.5, 0, 3, 0, -1])
    expected = (basel.mu + basel.pc @ (basel.ev * a)).reshape(-1, 3) / 1000
    np.testing.assert_allclose(model.shape(a), expected, atol=2e-3)
    assert model.n_expression == 0
    assert model.expression_kind == "pca"
    assert model.name == "basel2009"


def test_colours_in_0_to_1(basel: Basel) -> None:
    b = np.array([1.0, 0, -1, 0, 0, 2, 0])
    expected = (basel.tex_mu + basel.tex_pc @ (basel.tex_ev * b)).reshape(-1, 3) / 255
    np.testing.assert_allclose(load_model(basel.path).skin(b), expected, atol=1e-4)


def test_triangles_are_turned_outward(basel: Basel, toy_model: FaceModel) -> None:
    model = load_model(basel.path)
    np.testing.assert_array_equal(model.triangles, toy_model.triangles)
    # and left alone where they are right already
    basel.write_model(tl=toy_model.triangles + 1.0)
    np.testing.assert_array_equal(load_model(basel.path).triangles, toy_model.triangles)


def test_expressions_live_on_the_trimmed_topology(complete: Basel) -> None:
    model = load_model(complete.path)
    keep = complete.keep
    assert model.n_vertices == len(keep) < complete.toy.n_vertices
    e = np.array([1.0, -0.5, 2.0, 1.0])
    offset = (complete.exp_mu + complete.exp_pc @ (complete.exp_ev * e)).reshape(-1, 3)
    neutral = complete.mu.reshape(-1, 3)[keep]
    np.testing.assert_allclose(model.shape(expression=e), (neutral + offset) / 1000, atol=2e-3)
    # the mean expression belongs to the mean: vertices = mu_id + mu_exp
    np.testing.assert_allclose(model.mean, (neutral + complete.exp_mu.reshape(-1, 3)) / 1000, atol=1e-3)


def test_trimmed_triangles_are_the_same_surface(complete: Basel, toy_model: FaceModel) -> None:
    model = load_model(complete.path)
    inside = np.isin(toy_model.triangles, complete.keep).all(axis=1)
    np.testing.assert_array_equal(complete.keep[model.triangles], toy_model.triangles[inside])


def test_the_row_major_trap(complete: Basel) -> None:
    """Reading the basis row by row, as a re-implementation does, gives another surface: we would see it."""
    model = load_model(complete.path)
    m = len(complete.keep)
    numbers = np.fromfile(complete.folder / "Exp_Pca.bin", "<f4", offset=4)[3 * m :]
    scrambled = numbers.reshape(3 * m, 4)[:, 0].reshape(-1, 3) * complete.exp_ev[0] / 1000
    right = complete.exp_pc[:, 0].reshape(-1, 3) * complete.exp_ev[0] / 1000
    np.testing.assert_allclose(model.expression[:, :, 0], right, atol=1e-3)
    assert np.abs(scrambled - right).max() > 1.0


@pytest.mark.parametrize("name", ["model_info.mat", "BFM_exp_idx.mat", "BFM09_model_info.mat"])
def test_index_file_names(basel: Basel, name: str) -> None:
    basel.write_expression()
    basel.write_std()
    basel.write_index(name)
    assert load_model(basel.path).n_vertices == len(basel.keep)


def test_files_given_by_hand(complete: Basel, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = {}
    for name in ("Exp_Pca.bin", "std_exp.txt", "model_info.mat"):
        moved[name] = (complete.folder / name).rename(elsewhere / name)
    assert load_model(complete.path).n_expression == 0
    model = load_basel2009(
        complete.path,
        expression=moved["Exp_Pca.bin"],
        expression_std=moved["std_exp.txt"],
        index=moved["model_info.mat"],
    )
    assert model.n_expression == 4


def test_arrays_are_float32_int32_and_contiguous(complete: Basel) -> None:
    model = load_model(complete.path)
    for label in ("mean", "identity", "expression", "albedo_mean", "albedo", "uv"):
        array = getattr(model, label)
        assert array.dtype == np.float32, label
        assert array.flags.c_contiguous, label
    assert model.triangles.dtype == model.uv_triangles.dtype == np.int32


def test_missing_companions_are_named(basel: Basel) -> None:
    basel.write_expression()
    with pytest.raises(ModelError, match=r"std_exp\.txt: missing"):
        load_model(basel.path)
    basel.write_std()
    with pytest.raises(ModelError, match=r"Exp_Pca\.bin: .*put one of model_info\.mat"):
        load_model(basel.path)


def test_damaged_companions_are_named(complete: Basel) -> None:
    basis = complete.folder / "Exp_Pca.bin"
    data = basis.read_bytes()
    for broken in (b"", b"\x04\x00", data[:-1], data[:1000], b"\xff" * 1000):
        basis.write_bytes(broken)
        with pytest.raises(ModelError, match=r"Exp_Pca\.bin: .*do not hold an expression basis"):
            load_model(complete.path)
    basis.write_bytes(data)
    std = complete.folder / "std_exp.txt"
    for text, message in (("1 2 3", "3 deviations for the 4"), ("one two", "not a list of numbers")):
        std.write_text(text)
        with pytest.raises(ModelError, match=message):
            load_model(complete.path)
    complete.write_std()
    for index in ([0, 1, 2], [1, 1, 2], [1, 2, 99999]):
        savemat(complete.folder / "model_info.mat", {"trimIndex": np.array(index)})
        with pytest.raises(ModelError, match="trimIndex must name different vertices"):
            load_model(complete.path)
    savemat(complete.folder / "model_info.mat", {"trimIndex": np.arange(1, 50)})
    with pytest.raises(ModelError, match="files of two models"):
        load_model(complete.path)
    savemat(complete.folder / "model_info.mat", {"tri": np.arange(1, 50)})
    with pytest.raises(ModelError, match=r"model_info\.mat: lacks trimIndex"):
        load_model(complete.path)


def test_malformed_models_are_named(basel: Basel) -> None:
    n = basel.toy.n_vertices
    for changes, message in (
        ({"shapePC": None}, "lacks shapePC"),
        ({"shapePC": basel.pc.T}, "shapePC has shape"),
        ({"texMU": np.zeros((30, 1))}, "texPC has shape"),
        ({"tl": np.zeros((5, 3))}, "outside 1"),
        ({"tl": np.full((5, 3), n + 1)}, "outside 1"),
        ({"tl": np.ones((5, 4))}, "tl has shape"),
        ({"shapeMU": np.full((3 * n, 1), np.nan)}, "not finite"),
        ({"shapeMU": basel.mu[:, None] / 1000}, "other units"),
        ({"shapeMU": np.array(["text"])}, "not an array of numbers"),
    ):
        basel.write_model(**changes)
        with pytest.raises(ModelError, match=message) as caught:
            load_model(basel.path)
        assert str(caught.value).startswith(str(basel.path))
        assert "\n" not in str(caught.value)


def test_truncated_mat_file(basel: Basel) -> None:
    data = basel.path.read_bytes()
    for size in (125, 128, 200, len(data) // 2):
        basel.path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"01_MorphableModel\.mat"):
            load_model(basel.path)


def test_landmarks_on_the_full_topology(tmp_path: Path) -> None:
    """53,490 vertices with few components: the one place where the format's own counts matter."""
    n, kept = 53_490, 53_215
    angle = np.linspace(0, 2 * np.pi, n)
    points = np.stack([80e3 * np.cos(angle), 100e3 * np.sin(angle), 30e3 * np.sin(7 * angle)], axis=1)
    triangles = np.stack([np.arange(n - 2), np.arange(1, n - 1), np.arange(2, n)], axis=1)
    zeros = np.zeros((3 * n, 1), np.float32)
    savemat(
        tmp_path / "01_MorphableModel.mat",
        {
            "shapeMU": points.reshape(-1, 1).astype(np.float32),
            "shapePC": zeros,
            "shapeEV": np.ones((1, 1)),
            "texMU": zeros,
            "texPC": zeros,
            "texEV": np.ones((1, 1)),
            "tl": triangles + 1,
        },
    )
    full = load_model(tmp_path / "01_MorphableModel.mat")
    assert full.n_vertices == n
    assert full.landmarks == {}  # the ids below are of the other numbering
    removed = np.random.default_rng(0).choice(n, n - kept, replace=False)
    keep = np.setdiff1d(np.arange(n), removed)
    savemat(tmp_path / "BFM_exp_idx.mat", {"trimIndex": (keep + 1)[:, None]})
    model = load_model(tmp_path / "01_MorphableModel.mat")
    landmarks = model.landmarks["ibug68"]
    assert len(landmarks) == 68
    np.testing.assert_allclose(
        landmarks.of(model.mean), points[keep][np.array(IBUG68_FROM_1) - 1] / 1000, atol=0.01
    )


def test_landmark_ids_count_from_0() -> None:
    """The published lists are Matlab's; 3DDFA's own, from 0, begins 21873, 22149; its nose 8161, 8177."""
    ids = ibug68(53_215)["ibug68"].vertices[:, 0]
    assert ids[:2].tolist() == [21873, 22149]
    assert ids[27:29].tolist() == [8161, 8177]
    assert len(set(ids.tolist())) == 68
    assert ibug68(53_490) == {}
