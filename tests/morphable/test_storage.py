"""The own model file: what goes in comes out within the stated rounding, and damage is named."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from full_models import with_correctives, with_quads

from facerelief.errors import ModelError
from facerelief.morphable import Contour, FaceModel, SurfacePoints, load_model, save_model


@pytest.fixture(scope="module")
def full_model(toy_model: FaceModel) -> FaceModel:
    """A toy model with everything a model may hold."""
    rng = np.random.default_rng(0)
    points = SurfacePoints(
        rng.integers(0, 2242, (478, 3)).astype(np.int32), rng.dirichlet((1, 1, 1), 478).astype(np.float32)
    )
    contour = Contour(np.array([0, 1, 16], np.int32), rng.integers(0, 2242, (3, 9)).astype(np.int32))
    return replace(
        toy_model,
        landmarks={**toy_model.landmarks, "mediapipe478": points},
        contours={"ibug68": contour},
        regions={**toy_model.regions, "odd": np.arange(2242) % 3 == 0},
        version="7",
        licence="none; é",
    )


def test_round_trip_within_tolerance(full_model: FaceModel, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    for tolerance in (0.01, 0.001):
        save_model(full_model, path, tolerance_mm=tolerance)
        again = load_model(path)
        for label in ("identity", "expression"):
            assert np.abs(getattr(again, label) - getattr(full_model, label)).max() <= tolerance
        assert np.abs(again.albedo - full_model.albedo).max() <= 1e-3
        for label in ("mean", "triangles", "albedo_mean", "uv", "uv_triangles", "symmetry"):
            np.testing.assert_array_equal(getattr(again, label), getattr(full_model, label))
            assert getattr(again, label).dtype == getattr(full_model, label).dtype
        for label in ("name", "version", "licence", "expression_names", "expression_kind"):
            assert getattr(again, label) == getattr(full_model, label)
        assert list(again.landmarks) == ["ibug68", "mediapipe478"]
        for name, points in full_model.landmarks.items():
            np.testing.assert_array_equal(again.landmarks[name].vertices, points.vertices)
            np.testing.assert_array_equal(again.landmarks[name].weights, points.weights)
        contour = again.contours["ibug68"]
        np.testing.assert_array_equal(contour.candidates, full_model.contours["ibug68"].candidates)
        np.testing.assert_array_equal(contour.landmarks, full_model.contours["ibug68"].landmarks)
        for name, mask in full_model.regions.items():
            np.testing.assert_array_equal(again.regions[name], mask)


def test_second_round_trip_changes_nothing(full_model: FaceModel, tmp_path: Path) -> None:
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    save_model(full_model, paths[0])
    save_model(load_model(paths[0]), paths[1])
    first, second = (load_model(path) for path in paths)
    np.testing.assert_allclose(second.identity, first.identity, atol=1e-6)
    np.testing.assert_allclose(second.expression, first.expression, atol=1e-6)


def test_same_model_same_bytes(full_model: FaceModel, tmp_path: Path) -> None:
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        save_model(full_model, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_model_without_bases_or_extras(toy_model: FaceModel, tmp_path: Path) -> None:
    bare = replace(
        toy_model.truncated(identity=0, albedo=0),
        expression=np.zeros((2242, 3, 0), np.float32),
        expression_names=(),
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        landmarks={},
        regions={},
        symmetry=None,
    )
    save_model(bare, tmp_path / "bare.npz")
    again = load_model(tmp_path / "bare.npz")
    assert (again.n_identity, again.n_expression, again.n_albedo) == (0, 0, 0)
    assert again.symmetry is None
    assert again.landmarks == {}


def test_small_and_large_components_share_a_basis(toy_model: FaceModel, tmp_path: Path) -> None:
    """8-bit and 16-bit components interleaved, and one that is all zero."""
    rng = np.random.default_rng(1)
    sizes = np.array([20.0, 0.5, 30.0, 0.0, 0.2, 15.0])
    identity = (rng.uniform(-1, 1, (2242, 3, 6)) * sizes).astype(np.float32)
    save_model(replace(toy_model, identity=identity), tmp_path / "m.npz")
    again = load_model(tmp_path / "m.npz")
    assert np.abs(again.identity - identity).max() <= 0.01
    assert not again.identity[:, :, 3].any()


def _local(toy_model: FaceModel) -> FaceModel:
    """Expressions that move few vertices each, and colours of one half of the head."""
    rng = np.random.default_rng(2)
    expression = np.zeros((2242, 3, 4), np.float32)
    for k, count in enumerate((300, 0, 1, 900)):
        expression[rng.choice(2242, count, replace=False), :, k] = rng.normal(0, 5, (count, 3))
    albedo = rng.normal(0, 0.05, (2242, 3, 3)).astype(np.float32)
    albedo[toy_model.mean[:, 0] > 0] = 0.0
    names = ("one", "none", "point", "many")
    return replace(toy_model, expression=expression, expression_names=names, albedo=albedo)


def test_local_expressions_and_colours_survive(toy_model: FaceModel, tmp_path: Path) -> None:
    """Stored sparse, and by rows."""
    model = _local(toy_model)
    save_model(model, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        assert {"expression_vertices", "albedo_rows"} <= set(archive.files)
    again = load_model(tmp_path / "m.npz")
    assert np.abs(again.expression - model.expression).max() <= 0.01
    assert np.abs(again.albedo - model.albedo).max() <= 1e-3
    assert not again.expression[:, :, 1].any()
    assert not again.albedo[toy_model.mean[:, 0] > 0].any()


def test_files_of_version_1_are_read(toy_model: FaceModel, tmp_path: Path) -> None:
    save_model(toy_model, tmp_path / "new.npz")
    old = _rewritten(tmp_path / "new.npz", tmp_path / "old.npz", _meta(format_version=1))
    np.testing.assert_array_equal(load_model(old).identity, load_model(tmp_path / "new.npz").identity)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expression_count", np.array([300, 0, 1], np.int32)),
        ("expression_count", np.array([300, 0, 2, 899], np.int32)[::-1].copy() + 1),
        ("expression_vertices", np.full(1201, 2242, np.uint16)),
        ("expression_values", np.zeros((5, 3), np.int16)),
        ("albedo_rows", np.array([1, 2], np.int32)),
    ],
)
def test_sparse_bases_that_do_not_fit_are_refused(
    toy_model: FaceModel, tmp_path: Path, name: str, value: np.ndarray
) -> None:
    save_model(_local(toy_model), tmp_path / "good.npz")
    path = _rewritten(tmp_path / "good.npz", tmp_path / "bad.npz", _set(name, value))
    with pytest.raises(ModelError, match=r"bad\.npz"):
        load_model(path)


# ---- damage


Arrays = dict[str, np.ndarray]


def _rewritten(source: Path, target: Path, change: Callable[[Arrays], None]) -> Path:
    with np.load(source) as archive:
        arrays = {name: archive[name] for name in archive.files}
    change(arrays)
    np.savez(target, **arrays)  # type: ignore[arg-type]
    return target


def _meta(**changes: object) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        meta = json.loads(arrays["meta"].tobytes())
        arrays["meta"] = np.frombuffer(json.dumps(meta | changes).encode(), np.uint8)

    return change


def _set(name: str, value: np.ndarray) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("mean"), "mean"),
        (lambda arrays: arrays.pop("identity_scale"), "identity_scale"),
        (lambda arrays: arrays.pop("landmarks_ibug68_vertices"), "landmarks_ibug68_vertices"),
        (_meta(format="something"), "not a facerelief model"),
        (_meta(format_version=99), "format 99"),
        (_meta(expression_names=["one"]), "expression"),
        (_set("meta", np.frombuffer(b"{not json", np.uint8)), "model"),
        (_set("mean", np.zeros((2242, 2), np.float32)), "mean"),
        (_set("mean", np.zeros((10, 3), np.float32)), "identity"),
        (_set("triangles", np.array([[0, 1, 2242]], np.int32)), "triangles"),
        (_set("identity_is16", np.ones(2, bool)), "identity|model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_content_is_one_line_naming_the_file(
    full_model: FaceModel, tmp_path: Path, change: Callable[[Arrays], None], message: str
) -> None:
    save_model(full_model, tmp_path / "good.npz")
    path = _rewritten(tmp_path / "good.npz", tmp_path / "bad.npz", change)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_truncation_is_a_model_error(full_model: FaceModel, tmp_path: Path) -> None:
    save_model(full_model, tmp_path / "good.npz")
    data = (tmp_path / "good.npz").read_bytes()
    path = tmp_path / "bad.npz"
    for size in (0, 1, 3, 4, 30, 100, len(data) // 2, len(data) - 100, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"bad\.npz"):
            load_model(path)


def test_flipped_bytes_never_escape_as_another_error(full_model: FaceModel, tmp_path: Path) -> None:
    save_model(full_model, tmp_path / "good.npz")
    data = (tmp_path / "good.npz").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.npz"
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            load_model(path)
        except ModelError:
            refused += 1
    assert refused > 30  # every member has a checksum


def test_object_arrays_are_refused(full_model: FaceModel, tmp_path: Path) -> None:
    """An .npz can carry pickles; they are never opened."""
    save_model(full_model, tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name == "mean.npy":
                buffer = io.BytesIO()
                np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
                content = buffer.getvalue()
            bad.writestr(name, content)
    with pytest.raises(ModelError, match=r"bad\.npz"):
        load_model(tmp_path / "bad.npz")


def test_correctives_and_quads_round_trip(toy_model: FaceModel, tmp_path: Path) -> None:
    model = with_quads(with_correctives(toy_model))
    a, e = np.ones(5), np.ones(52)
    for tolerance in (0.01, 0.001):
        save_model(model, tmp_path / "model.npz", tolerance_mm=tolerance)
        again = load_model(tmp_path / "model.npz")
        assert again.quads == model.quads > 0
        assert [c.unit for c in again.correctives] == [c.unit for c in model.correctives]
        for one, two in zip(again.correctives, model.correctives):
            np.testing.assert_array_equal(one.vertices, two.vertices)
            assert one.basis.dtype == np.float32
            assert np.abs(one.basis - two.basis).max() <= tolerance
        # every coefficient's rounding adds up
        bound = tolerance * (len(a) + len(e) + 3 * len(a))
        assert np.abs(again.shape(a, e) - model.shape(a, e)).max() <= bound


def test_models_without_them_load_as_before(toy_model: FaceModel, tmp_path: Path) -> None:
    """Files written before correctives and quads existed lack their entries."""
    save_model(toy_model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    meta = json.loads(arrays["meta"].tobytes())
    del meta["correctives"], meta["quads"]
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(tmp_path / "old.npz", **arrays)
    old = load_model(tmp_path / "old.npz")
    assert (old.correctives, old.quads) == ((), 0)
