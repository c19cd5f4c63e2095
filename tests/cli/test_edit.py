"""`facerelief edit`, as a user meets it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from command_line import run_command

import facerelief
from facerelief.examples import astronaut_path


def run(*words, code=0):
    result = run_command("edit", *words, code=code)
    if code == 1:
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The astronaut's face, saved."""
    whole = facerelief.read_image(astronaut_path())
    small = np.asarray(cv2.resize(whole[0:280, 90:370], (160, 160), interpolation=cv2.INTER_AREA))
    face = facerelief.reconstruct(small)[0]
    return face.save(tmp_path_factory.mktemp("out") / "photo" / "face0", texture_size=64)


def test_the_picture(folder, tmp_path):
    out = tmp_path / "new.png"
    words = (
        "--yaw",
        20,
        "--turn-pitch",
        5,
        "-e",
        "smile=0.8",
        "-e",
        "blink",
        "--light",
        "from-left",
        "-o",
        out,
    )
    said = run(folder, *words).stdout
    assert said.startswith(f"{out}: 160 x 160 px, pitch ")
    assert "yaw +20" in said
    picture = cv2.imread(str(out))
    photo = cv2.imread(str(folder / "photo.jpg"))
    assert picture.shape == photo.shape
    assert np.abs(picture.astype(int) - photo).mean() > 3
    run(folder, "--neutral", "--no-background", "-o", tmp_path / "new.jpg")
    assert (tmp_path / "new.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_output_is_not_replaced_unless_asked(folder, tmp_path):
    out = tmp_path / "new.png"
    out.write_bytes(b"mine")
    assert "already there; choose another name or give --overwrite" in run(folder, "-o", out, code=1).stderr
    assert out.read_bytes() == b"mine"
    run(folder, "-o", out, "--overwrite")
    assert cv2.imread(str(out)) is not None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-e", "smilee=1"), "'smilee' is unknown; did you mean smile"),
        (("-e", "smile=2"), "smile has weight 2, expected 0 to 1"),
        (("--light", "from-lefft"), "'from-lefft' is unknown; expected from-left,"),
        (("--light", "rotate:x"), "expected rotate:DEG"),
    ],
)
def test_unknown_names(folder, tmp_path, words, told):
    assert told in run(folder, *words, "-o", tmp_path / "new.png", code=1).stderr
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_edited(folder, tmp_path):
    out = tmp_path / "new.png"
    assert "face.json: no such file" in run(tmp_path, "-o", out, code=1).stderr
    told = run(folder.parent, "-o", out, code=1).stderr
    assert f"name one of them, such as {folder}" in told
    old = tmp_path / "old"
    old.mkdir()
    (old / "face.json").write_bytes((folder / "face.json").read_bytes())
    assert (
        "photo.jpg: no such file (made by an older version?); reconstruct"
        in run(old, "-o", out, code=1).stderr
    )


def test_wrong_command_lines(folder, tmp_path):
    assert "ends in .png or .jpg" in run(folder, "-o", tmp_path / "new.gif", code=2).stderr
    assert "expected NAME=WEIGHT" in run(folder, "-e", "smile=much", "-o", tmp_path / "n.png", code=2).stderr
    assert "no such folder" in run(folder, "-o", tmp_path / "nowhere" / "n.png", code=1).stderr
