"""`facerelief model info|convert` as a user meets them."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from command_line import leftovers, names
from command_line import run_command as run

import facerelief


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def bad_models(folder: Path) -> dict[str, tuple[Path, str]]:
    """Kind -> file and what its error line says."""
    facerelief.save_model(facerelief.open_model().truncated(identity=2), folder / "good.npz")
    with np.load(folder / "good.npz") as archive:
        arrays = dict(archive)
    np.savez(folder / "shapes.npz", **{**arrays, "identity_q16": arrays["identity_q16"][:-5]})
    np.savez(folder / "triangles.npz", **{**arrays, "triangles": arrays["triangles"] + 10**6})
    (folder / "evil.pkl").write_bytes(pickle.dumps({"shapedirs": Hostile(folder / "owned")}))
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:5000])
    (folder / "letter.npz").write_text("Dear reader,")
    (folder / "empty.mat").write_bytes(b"")
    return {
        "shapes": (folder / "shapes.npz", "expected"),
        "triangles": (folder / "triangles.npz", "triangles"),
        "hostile": (folder / "evil.pkl", "system"),
        "cut": (folder / "cut.npz", "model file"),
        "letter": (folder / "letter.npz", "not a known face model"),
        "empty": (folder / "empty.mat", "empty file"),
        "gone": (folder / "gone.npz", "cannot be read"),
        "folder": (folder, "expected"),
    }


@pytest.mark.parametrize(
    "kind", ["shapes", "triangles", "hostile", "cut", "letter", "empty", "gone", "folder"]
)
def test_bad_models_end_in_one_line(kind, tmp_path, photo):
    folder = tmp_path / "models"
    folder.mkdir()
    path, words = bad_models(folder)[kind]
    for command in (
        ("reconstruct", photo, "-o", tmp_path / "out", "--model", path),
        ("model", "info", path),
        ("model", "convert", path, "-o", tmp_path / "new.npz"),
    ):
        result = run(*command, code=1)
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        assert str(path) in line
        assert words in line
    assert not (folder / "owned").exists()
    assert not (tmp_path / "new.npz").exists()
    assert not leftovers(tmp_path)
    assert names(tmp_path / "out") == set()


def test_model_info(model_file):
    text = run("model", "info").stdout
    assert "name                   facerelief-open\n" in text
    assert "identity components    100\n" in text
    facts = json.loads(run("model", "info", model_file, "--json", "-").stdout)
    assert facts["identity_components"] == 20
    assert facts["landmarks"]["ibug68"] == 68


def test_model_convert(model_file, tmp_path):
    out = tmp_path / "new.npz"
    line = run("model", "convert", model_file, "-o", out).stdout
    assert line.startswith(f"{out}: facerelief-open ")
    assert "20 identity, 52 expression" in line
    old, new = facerelief.load_model(model_file), facerelief.load_model(out)
    np.testing.assert_allclose(new.shape([2, -2]), old.shape([2, -2]), atol=0.05)
    assert "already there" in run("model", "convert", model_file, "-o", out, code=1).stderr
    run("model", "convert", model_file, "-o", out, "--overwrite")
    run("model", "convert", model_file, "-o", tmp_path / "new.txt", code=2)
    assert (
        "no such folder" in run("model", "convert", model_file, "-o", tmp_path / "x" / "y.npz", code=1).stderr
    )
    assert names(tmp_path) == {"new.npz"}


def test_model_convert_on_a_full_disk(model_file, tmp_path, monkeypatch):
    def fill_up(model, path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facerelief.morphable.save_model", fill_up)
    result = run("model", "convert", model_file, "-o", tmp_path / "new.npz", code=1)
    assert "the disk is full" in result.stderr
    assert names(tmp_path) == set()
