"""`facerelief synthesize`, `dataset` and `bench synthesis`: options, lines, exit codes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import toy_maker
from command_line import run_command as run

from facerelief.cli import synthesize
from facerelief.cli.app import COMMANDS, load
from facerelief.cli.options import parse
from facerelief.errors import FacereliefError
from facerelief.lab.datasets.fine import FineConfig
from facerelief.lab.datasets.kinds import KINDS, Kind


@dataclasses.dataclass(frozen=True)
class Toy(synthesize.Synthesize):
    """Make noise."""

    kind = "toy"
    sample: toy_maker.ToyConfig


@pytest.fixture
def toys(monkeypatch, here):
    """The command `facerelief synthesize toy`."""
    monkeypatch.setitem(KINDS, "toy", toy_maker.KIND)
    monkeypatch.setattr(synthesize, "Toy", Toy, raising=False)
    monkeypatch.setitem(COMMANDS, "synthesize toy", "Make noise.")


def test_toys_are_made_and_made_no_second_time(toys, toy_fits, tmp_path):
    out = tmp_path / "out"
    asked = ("synthesize", "toy", toy_fits.folder, "-o", out, "--per-photo", 2, "--size", 32, "--seed", 4)
    result = run(*asked, "--photos-per-shard", 8)
    lines = result.stdout.splitlines()
    assert sum(line.startswith("left out: ") for line in lines) == 2
    assert lines[-1].startswith(f"{out}: 80 samples (train ")
    assert lines[-1].endswith("2 photos left out")
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["config"] == {"size": 32}
    assert (recipe["seed"], recipe["per_photo"], recipe["photos_per_shard"]) == (4, 2, 8)
    before = {f: f.stat().st_mtime_ns for f in out.glob("*.tar")}
    run(*asked, "--photos-per-shard", 8)
    assert {f: f.stat().st_mtime_ns for f in out.glob("*.tar")} == before
    refused = run(*asked, code=1)
    assert refused.stderr.splitlines()[-1] == (
        f"error: {out}: holds another data set (photos_per_shard: 8 there, 32 asked); choose another folder, "
        "or ask for the same"
    )


def test_choices_of_photos_and_pictures(toys, toy_fits, tmp_path):
    out = tmp_path / "out"
    asked = ("synthesize", "toy", toy_fits.folder, "-o", out, "--per-photo", 1)
    run(*asked, "--split", "train", "--limit", 6, "--format", "png")
    assert {f.name for f in out.glob("*.tar")} == {"train-000000.tar"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"]["train"]["photos"] + len(manifest["failures"]) == 6
    assert manifest["picture"] == "png"


@pytest.mark.parametrize("wrong", [("--split", "all"), ("--split", ","), ("--per-photo", 0), ("--limit", 0)])
def test_a_wrong_command_line_is_refused(toys, toy_fits, tmp_path, wrong):
    run("synthesize", "toy", toy_fits.folder, "-o", tmp_path / "out", *wrong, code=2)
    assert not (tmp_path / "out").exists()


def test_photos_that_moved(toys, fits_of, tmp_path):
    fits = fits_of(photos=3)
    shutil.move(fits.photos, tmp_path / "elsewhere")
    asked = ("synthesize", "toy", fits.folder, "-o", tmp_path / "out", "--per-photo", 1)
    assert "are not there" in run(*asked, code=1).stderr
    run(*asked, "--photos", tmp_path / "elsewhere")


def test_nothing_of_use_is_a_failure(toys, fits_of, tmp_path):
    fits = fits_of(photos=0, odd=("useless", "buggy"))
    result = run("synthesize", "toy", fits.folder, "-o", tmp_path / "out", code=1)
    assert "no photo was of use" in result.stderr


def test_no_fits_are_told(toys, tmp_path):
    assert "facerelief fit" in run("synthesize", "toy", tmp_path, "-o", tmp_path / "out", code=1).stderr


# ---------------------------------------------------------------- options of the kinds


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_offers_its_configuration(name):
    _, configuration = KINDS[name].load()
    fields = dataclasses.fields(configuration)
    words = run("synthesize", name, "--help").stdout.split()
    for field in fields:
        option = f"--{'no-' if field.default is True else ''}{field.name.replace('_', '-')}"
        if not dataclasses.is_dataclass(getattr(configuration(), field.name)):
            assert words.count(option) == 1, option
    assert dataclasses.asdict(load(f"synthesize {name}")(sample=configuration(), fits=None, out=None).sample)


def test_options_become_the_configuration(toy_fits, tmp_path):
    words = [str(toy_fits.folder), "-o", "out", "--gains", "0.5", "0.75", "--bands", "1", "--no-transfer"]
    asked = parse(load("synthesize fine"), words, "facerelief synthesize fine")
    assert asked.recipe().config == FineConfig(gains=(0.5, 0.75), bands=1, transfer=False)
    result = run("synthesize", "fine", *words[:1], "-o", tmp_path / "out", "--bands", 2, code=2)
    assert "bands is 2: expected 1 or 3" in result.stderr


def test_a_kind_that_cannot_be_imported():
    with pytest.raises(FacereliefError, match="nowhere:Maker: cannot be imported"):
        Kind("x", "nowhere:Maker", "nowhere:Config").load()
