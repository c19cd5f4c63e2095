"""Basel 2017/2019 HDF5 files of the real layout, written here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.morphable import FaceModel, load_model

h5py = pytest.importorskip("h5py")


class Basel:
    """The arrays of a Basel 2017 file with the toy head as its mean."""

    def __init__(self, toy: FaceModel) -> None:
        rng = np.random.default_rng(0)
        n = toy.n_vertices
        self.toy = toy
        self.arrays: dict[str, Any] = {}
        means = {
            "shape": toy.mean.reshape(-1),
            "color": toy.albedo_mean.reshape(-1),
            "expression": rng.normal(size=3 * n) * 2,
        }
        sizes = {"shape": 3000.0, "color": 4.0, "expression": 900.0}
        for part, count in (("shape", 6), ("color", 5), ("expression", 4)):
            basis, _ = np.linalg.qr(rng.normal(size=(3 * n, count)))
            self.arrays[f"{part}/model/mean"] = means[part].astype(np.float32)
            self.arrays[f"{part}/model/pcaBasis"] = basis.astype(np.float32)
            variance = np.linspace(sizes[part], sizes[part] / 50, count)
            self.arrays[f"{part}/model/pcaVariance"] = variance.astype(np.float32)
            self.arrays[f"{part}/model/noiseVariance"] = np.float32(0)
            self.arrays[f"{part}/representer/cells"] = toy.triangles.T.astype(np.uint32)
            self.arrays[f"{part}/representer/points"] = toy.mean.T
        self.named = {"center.nose.tip": 40, "right.eye.corner_outer": 900, "left.eye.corner_outer": 1300}
        self.arrays["metadata/landmarks/json"] = self.landmark_text()

    def landmark_text(self) -> str:
        """A little off the vertex, as the file's are."""
        places = {name: (self.toy.mean[i] + 0.2).tolist() for name, i in self.named.items()}
        return json.dumps([{"id": name, "coordinates": place} for name, place in places.items()])

    def write(self, path: Path, **changes: Any) -> Path:
        with h5py.File(path, "w") as file:
            for name, array in (self.arrays | changes).items():
                if array is not None:
                    file[name] = array
        return path

    def motion(self, part: str, coefficients: list[float]) -> np.ndarray:
        basis, variance = (
            self.arrays[f"{part}/model/{x}"].astype(np.float64) for x in ("pcaBasis", "pcaVariance")
        )
        return (basis @ (np.sqrt(variance) * coefficients)).reshape(-1, 3)


@pytest.fixture
def basel(toy_model: FaceModel) -> Basel:
    return Basel(toy_model)


def test_known_coefficients_give_the_known_mesh(basel: Basel, tmp_path: Path) -> None:
    model = load_model(basel.write(tmp_path / "model2017-1_bfm_nomouth.h5"))
    a, e = [1.0, -1.0, 2.0, 0.0, 0.5, 1.0], [0.5, 1.0, -2.0, 0.0]
    mean_expression = basel.arrays["expression/model/mean"].reshape(-1, 3)
    expected = basel.toy.mean + basel.motion("shape", a) + mean_expression + basel.motion("expression", e)
    np.testing.assert_allclose(model.shape(a, [1.0, *e]), expected, atol=1e-3)
    assert (model.name, model.version) == ("basel2017", "2017")


def test_zero_is_neutral_and_the_mean_expression_is_a_component(basel: Basel, tmp_path: Path) -> None:
    model = load_model(basel.write(tmp_path / "m.h5"))
    np.testing.assert_allclose(model.shape(), basel.toy.mean, atol=1e-5)
    assert model.expression_names[:2] == ("expression_mean", "expression_000")
    assert model.n_expression == 5
    without = basel.write(tmp_path / "n.h5", **{"expression/model/mean": np.zeros(3 * model.n_vertices)})
    assert load_model(without).expression_names[0] == "expression_000"


def test_colours(basel: Basel, tmp_path: Path) -> None:
    b = [1.0, 0.0, -1.0, 0.0, 2.0]
    expected = basel.toy.albedo_mean + basel.motion("color", b)
    np.testing.assert_allclose(load_model(basel.write(tmp_path / "m.h5")).skin(b), expected, atol=1e-4)


def test_triangles_are_transposed_and_outward(basel: Basel, tmp_path: Path, toy_model: FaceModel) -> None:
    np.testing.assert_array_equal(load_model(basel.write(tmp_path / "m.h5")).triangles, toy_model.triangles)
    cells = np.ascontiguousarray(toy_model.triangles[:, ::-1].T)
    path = basel.write(tmp_path / "n.h5", **{"shape/representer/cells": cells})
    np.testing.assert_array_equal(load_model(path).triangles, toy_model.triangles)


@pytest.mark.parametrize(
    "form", ["text", "bytes", "array of text", "array of bytes", "characters", "dictionary"]
)
def test_landmarks_in_every_form_of_the_text(basel: Basel, tmp_path: Path, form: str) -> None:
    text = basel.landmark_text()
    records = json.loads(text)
    value: Any = {
        "text": text,
        "bytes": np.bytes_(text.encode()),
        "array of text": np.array([text], dtype=h5py.string_dtype()),
        "array of bytes": np.array([text.encode()]),
        "characters": np.frombuffer(text.encode(), np.uint8),
        "dictionary": json.dumps({record["id"]: record["coordinates"] for record in records}),
    }[form]
    model = load_model(basel.write(tmp_path / "m.h5", **{"metadata/landmarks/json": value}))
    found = {name: int(points.vertices[0, 0]) for name, points in model.landmarks.items()}
    assert found == basel.named


def test_models_without_landmarks_or_expressions(basel: Basel, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"metadata/landmarks/json": None, "expression/model/mean": None}
    model = load_model(basel.write(tmp_path / "model2019_face12.h5", **changes))
    assert model.landmarks == {}
    assert model.n_expression == 0
    assert model.name == "basel2019"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shape/model/mean", None, "lacks shape/model/mean"),
        ("shape/representer/cells", None, "lacks shape/representer/cells"),
        ("color/model/mean", None, "lacks color/model"),
        ("shape/model/pcaBasis", np.zeros((9, 6)), "pcaBasis has shape"),
        ("shape/model/pcaVariance", np.zeros(5), "pcaBasis has shape"),
        ("color/model/mean", np.zeros(9), "color/model/mean has 9 numbers"),
        ("shape/representer/cells", np.zeros((4, 8), np.int32), "cells has shape"),
        ("shape/representer/cells", np.full((3, 8), 10**6), "outside 0"),
        ("shape/model/mean", "text", "not an array of numbers"),
        ("metadata/landmarks/json", "{broken", "not a readable Basel"),
    ],
)
def test_malformed_files_are_named(basel: Basel, tmp_path: Path, name: str, value: Any, message: str) -> None:
    path = basel.write(tmp_path / "m.h5", **{name: value})
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_metres_are_noticed(basel: Basel, tmp_path: Path) -> None:
    path = basel.write(tmp_path / "m.h5", **{"shape/model/mean": basel.toy.mean.reshape(-1) / 1000})
    with pytest.raises(ModelError, match="other units"):
        load_model(path)


def test_truncated_file(basel: Basel, tmp_path: Path) -> None:
    path = basel.write(tmp_path / "m.h5")
    data = path.read_bytes()
    for size in (8, 100, len(data) // 2):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"m\.h5"):
            load_model(path)


def test_without_h5py_the_message_says_what_to_install(
    basel: Basel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = basel.write(tmp_path / "m.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModelError, match=r"pip install facerelief\[models\]"):
        load_model(path)
