"""The front door: formats are known by content, and anything else is one line that says what to give."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from facerelief import morphable
from facerelief.errors import ModelError
from facerelief.morphable import FaceModel, load_model, open_model, save_model
from facerelief.morphable.readers._assembly import outward


def test_own_files_whatever_their_name(toy_model: FaceModel, tmp_path: Path) -> None:
    for name in ("model.npz", "model", "model.h5"):
        path = tmp_path / name
        save_model(toy_model, path)
        assert load_model(path).name == "toy"
        assert load_model(str(path)).name == "toy"


def _zip(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"hello")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"hello", "not a known face model"),
        (b"\xff\xd8\xff\xe0 a picture", "not a known face model"),
        (b"v 0 0 0\n", "not a known face model"),
        (_zip("readme.txt"), "zip or .npz of something else"),
        (_zip("v_template.npy"), "something else"),
        (_zip("meta.npy"), "model"),
        (b"PK\x03\x04 not a zip", "damaged"),
        (b"\x89HDF\r\n\x1a\n", "not a readable Basel"),
        (b"MATLAB 5.0 MAT-file" + b" " * 200, "not a readable MATLAB|lacks"),
        (b"MATLAB 7.3 MAT-file" + b" " * 600, "save it with -v7"),
        (b"\x80\x04N.", "not a FLAME model"),
    ],
)
def test_anything_else_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "thing.bin"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.npz: cannot be read \(No such file"):
        load_model(tmp_path / "absent.npz")
    with pytest.raises(ModelError, match="without generic_neutral_mesh"):
        load_model(tmp_path)


def test_open_model_is_read_once(
    toy_model: FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(toy_model, tmp_path / "open_model.npz")
    monkeypatch.setattr(morphable, "OPEN_MODEL_PATH", tmp_path / "open_model.npz")
    open_model.cache_clear()
    try:
        assert open_model() is open_model()
        assert open_model().name == "toy"
        open_model.cache_clear()
        monkeypatch.setattr(morphable, "OPEN_MODEL_PATH", tmp_path / "absent.npz")
        with pytest.raises(ModelError, match="install facerelief again"):
            open_model()
    finally:
        open_model.cache_clear()


def test_importing_the_room_needs_only_numpy() -> None:
    code = (
        "import sys, facerelief.morphable; "
        "print([m for m in ('scipy', 'h5py', 'torch', 'chumpy', 'cv2') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_outward_turns_all_or_nothing(toy_model: FaceModel) -> None:
    triangles = toy_model.triangles
    np.testing.assert_array_equal(outward(toy_model.mean, triangles), triangles)
    np.testing.assert_array_equal(outward(toy_model.mean, triangles[:, ::-1]), triangles)
    # a mask: only the front of the head, open behind
    front = triangles[(toy_model.mean[triangles][:, :, 2] > 30).all(axis=1)]
    np.testing.assert_array_equal(outward(toy_model.mean, front), front)
    np.testing.assert_array_equal(outward(toy_model.mean, front[:, ::-1]), front)
    # a flat sheet facing the viewer
    sheet = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(outward(sheet, faces), faces)
    np.testing.assert_array_equal(outward(sheet, faces[:, ::-1]), faces)
    assert outward(sheet, np.zeros((0, 3), np.int32)).shape == (0, 3)
