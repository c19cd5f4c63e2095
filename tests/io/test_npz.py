"""npz files: NumPy reads them, and their bytes depend on the arrays alone."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from facerelief.io.npz import write_npz

ARRAYS = {
    "b": np.arange(12.0).reshape(3, 4),
    "a": np.array(["x", "longer"]),
    "mask": np.eye(3, dtype=bool),
    "empty": np.zeros((0, 3), np.float32),
}


def packed(arrays, **settings):
    out = io.BytesIO()
    write_npz(out, arrays, compressed=lambda name, size: size > 150, **settings)
    return out.getvalue()


def test_arrays_come_back_in_order():
    with np.load(io.BytesIO(packed(ARRAYS)), allow_pickle=False) as archive:
        assert archive.files == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert archive[name].dtype == array.dtype
            np.testing.assert_array_equal(archive[name], array)


def test_bytes_depend_on_neither_memory_layout_nor_byte_order_nor_time(monkeypatch):
    same = {name: np.asfortranarray(array) for name, array in ARRAYS.items()}
    same["b"] = same["b"].astype(">f8")
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert packed(same) == packed(ARRAYS)


def test_large_arrays_alone_are_compressed():
    arrays = {"large": np.zeros(1000), "small": np.zeros(2)}
    with zipfile.ZipFile(io.BytesIO(packed(arrays))) as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
    assert kinds == {"large.npy": zipfile.ZIP_DEFLATED, "small.npy": zipfile.ZIP_STORED}
    assert len(packed(arrays)) < 1000


def test_objects_are_refused():
    with pytest.raises(ValueError, match="Object arrays"):
        packed({"a": np.array([{}])})
