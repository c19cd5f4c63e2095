"""`facerelief evaluate fit` as a user meets it: figures of what can be measured, a line about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import run_command

import facerelief
from facerelief.examples import astronaut_path

FIGURES = {
    "group",
    "photos",
    "coarse_error",
    "full_error",
    "share",
    "coarse_cells",
    "fine_cells",
    "fine_cells_10_90",
    "relief_mm",
    "edge_correlation",
    "confidence",
    "warned",
    "median_ms",
}


def run(*words: object, code: int = 0) -> Any:
    return run_command("evaluate", "fit", *words, code=code)


def strict(text: str) -> dict:
    """JSON without Python's NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The open model with few components: quicker to fit."""
    path = tmp_path_factory.mktemp("model") / "small.npz"
    facerelief.save_model(facerelief.open_model().truncated(identity=10, albedo=5), path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two portraits, one of them mirrored, and two files that are no portraits."""
    folder = tmp_path_factory.mktemp("photos") / "album"
    folder.mkdir()
    whole = facerelief.read_image(astronaut_path())
    small = np.asarray(cv2.resize(whole[30:230, 110:310], (130, 130), interpolation=cv2.INTER_AREA))
    for name, picture in (("eileen", small), ("neelie", small[:, ::-1])):
        assert cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
    assert cv2.imwrite(str(folder / "grey [wall].png"), np.full((64, 64, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def about(photos, model, tmp_path_factory) -> dict:
    names = tmp_path_factory.mktemp("names") / "old.txt"
    names.write_text("# over 60\nneelie\n\nsomebody else\n", "utf-8")
    return strict(run("--photos", photos, "--model", model, "--old", names, "--json", "-").stdout)


def test_figures_of_each_group(about):
    assert about.keys() == {"groups", "failures", "tone", "identity"}
    album, old = about["groups"]
    assert (album["group"], album["photos"]) == ("album", 2)
    assert (old["group"], old["photos"]) == ("over 60", 1)
    for row in about["groups"]:
        assert row.keys() >= FIGURES
        assert 0 < row["full_error"] < row["coarse_error"] < 0.15
        assert row["share"] == pytest.approx(row["full_error"] / row["coarse_error"])
        low, high = row["fine_cells_10_90"]
        assert low <= row["fine_cells"] <= high
        assert {"detect", "fit_photometric", "relief"} <= row["median_ms"].keys()


def test_tones_and_what_two_photos_cannot_tell(about):
    tone = about["tone"]["album"]
    assert sum(row["photos"] for row in tone["rows"]) == 2
    assert tone["light_share"] is None
    assert about["identity"] == {}


def test_what_is_no_portrait_is_named_and_the_rest_measured(about, photos):
    assert {Path(file).name for file in about["failures"]} == {"grey [wall].png", "broken.jpg"}
    for file, why in about["failures"].items():
        assert why.startswith(file)
        assert "\n" not in why


def test_table(photos, model):
    result = run("--photos", photos, "--model", model, "--limit", 3)
    assert "3 of 3 photos" in result.stderr
    assert "album" in result.stdout
    left_out = [line for line in result.stdout.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == 2
    assert str(photos / "grey [wall].png") in "".join(left_out)


def test_nothing_but_bad_pictures(tmp_path, model):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    about = strict(run("--photos", tmp_path, "--model", model, "--json", "-").stdout)
    assert about["groups"] == []
    assert list(about["failures"]) == [str(tmp_path / "broken.jpg")]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("wrong", ["folder", "group", "model", "names"])
def test_wrong_settings_end_in_one_line(wrong, workers, photos, model, tmp_path):
    settings: dict[str, object] = {"--photos": photos, "--model": model, "--workers": workers}
    absent = tmp_path / "absent"
    settings |= {
        "folder": {"--photos": absent},
        "group": {"--group": "nobody"},
        "model": {"--model": absent},
        "names": {"--old": absent},
    }[wrong]
    result = run(*(part for pair in settings.items() for part in pair), code=1)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert ("nobody" if wrong == "group" else str(absent)) in line


def test_limits_are_checked(photos):
    run("--photos", photos, "--limit", 0, code=2)
    run("--photos", photos, "--workers", 0, code=2)
    run(code=2)
