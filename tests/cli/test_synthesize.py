"""`facerelief synthesize`, `dataset` and `bench synthesis`: options, lines, exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy_maker
from command_line import run_command

from facerelief.cli.synthesize import configuration_fields
from facerelief.errors import FacereliefError
from facerelief.io.images import read_image
from facerelief.lab.datasets.kinds import KINDS, Kind


def run(*args: object, code: int = 0):
    return run_command(*args, code=code)


@pytest.fixture(autouse=True)
def toys(monkeypatch, here):
    monkeypatch.setitem(KINDS, "toy", toy_maker.KIND)


def test_toys_are_made_and_made_no_second_time(toy_fits, tmp_path):
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


def test_choices_of_photos_and_pictures(toy_fits, tmp_path):
    out = tmp_path / "out"
    asked = ("synthesize", "toy", toy_fits.folder, "-o", out, "--per-photo", 1)
    run(*asked, "--split", "train", "--limit", 6, "--format", "png")
    assert {f.name for f in out.glob("*.tar")} == {"train-000000.tar"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"]["train"]["photos"] + len(manifest["failures"]) == 6
    assert manifest["picture"] == "png"


@pytest.mark.parametrize("wrong", [("--split", "all"), ("--split", ","), ("--per-photo", 0), ("--limit", 0)])
def test_a_wrong_command_line_is_refused(toy_fits, tmp_path, wrong):
    run("synthesize", "toy", toy_fits.folder, "-o", tmp_path / "out", *wrong, code=2)
    assert not (tmp_path / "out").exists()


def test_photos_that_moved(fits_of, tmp_path):
    fits = fits_of(photos=3)
    shutil.move(fits.photos, tmp_path / "elsewhere")
    asked = ("synthesize", "toy", fits.folder, "-o", tmp_path / "out", "--per-photo", 1)
    assert "are not there" in run(*asked, code=1).stderr
    run(*asked, "--photos", tmp_path / "elsewhere")


def test_nothing_of_use_is_a_failure(fits_of, tmp_path):
    fits = fits_of(photos=0, odd=("useless", "buggy"))
    result = run("synthesize", "toy", fits.folder, "-o", tmp_path / "out", code=1)
    assert "no photo was of use" in result.stderr


def test_no_fits_are_told(tmp_path):
    assert "facerelief fit" in run("synthesize", "toy", tmp_path, "-o", tmp_path / "out", code=1).stderr


# ---------------------------------------------------------------- options of the kinds

MODULE = '''
from dataclasses import dataclass, field
from typing import Literal
from other_constants import SIDE as S
LOW: float = 0.5
def _secret() -> list[int]: ...
@dataclass(frozen=True)
class Config:
    """A configuration."""
    size: int = S
    """Side of the
    picture, px."""
    low: float = LOW
    """Least."""
    pair: tuple[float, float] = (1.0, 2.0)
    mode: Literal["a", "b"] = "b"
    """How."""
    most: int | None = None
    """At most."""
    fast: bool = False
    """Hurry."""
    rows: list[int] = field(default_factory=list)
    """No option."""
'''


def test_fields_of_a_configuration_are_read_from_its_source(tmp_path, monkeypatch):
    (tmp_path / "made_up_config.py").write_text(MODULE)
    (tmp_path / "other_constants.py").write_text("SIDE = 77\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {field.name: field for field in configuration_fields("made_up_config:Config")}
    assert {name: field.default for name, field in found.items()} == {
        "size": 77,
        "low": 0.5,
        "pair": (1.0, 2.0),
        "mode": "b",
        "most": None,
        "fast": False,
    }
    assert found["size"].help == "Side of the picture, px."
    assert found["pair"].help == ""
    assert [m.value for m in found["mode"].type] == ["a", "b"]
    assert "made_up_config" not in sys.modules


@pytest.mark.parametrize("name", [name for name in KINDS if name != "toy"])
def test_every_kind_offers_its_configuration(name):
    kind = KINDS[name]
    try:
        _, configuration = kind.load()
    except FacereliefError:
        pytest.skip(f"{name} is not there")
    text = run("synthesize", name, "--help").stdout
    fields = configuration_fields(kind.config)
    assert fields
    for field in fields:
        assert field.help, f"{kind.config}: {field.name} has no docstring"
        assert getattr(configuration(), field.name) == field.default
        assert f"--{field.name.replace('_', '-')}"[:20] in text


def test_a_kind_that_is_not_there_is_told():
    with pytest.raises(FacereliefError, match="nowhere:Maker: cannot be imported"):
        Kind("x", "", "nowhere:Maker", "nowhere:Config").load()


def test_help_waits_for_no_room():
    code = (
        "import sys\nfrom facerelief.cli.app import main\n"
        "main(['synthesize', 'coarse', '--help'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "scipy", "ray"} & set(done.stdout.splitlines()[-1].split())


# ---------------------------------------------------------------- dataset, bench


def test_info_show_and_verify(whole, tmp_path):
    text = run("dataset", "info", whole).stdout
    for part in ("toy, 120 samples", "licence a", "yaw, deg", "landmarks68 68x3", "left out: a/p040"):
        assert part in text
    facts = json.loads(run("dataset", "info", whole, "--json", "--split", "val").stdout)
    assert facts["looked_at"] == facts["splits"]["val"]["samples"]
    for name in ("sheet.jpg", "sheet.png"):
        run("dataset", "show", whole, "-o", tmp_path / name, "--count", 6, "--group", "a")
        assert read_image(tmp_path / name).shape == (192, 6 * 192, 3)
    run("dataset", "show", whole, "-o", tmp_path / "sheet.gif", code=2)
    assert "whole, 120 samples" in run("dataset", "verify", whole).stdout


def test_verify_tells_every_problem_and_fails(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "train-000000.tar").unlink()
    (out / "val-000000.tar").write_bytes(b"")
    result = run("dataset", "verify", out, code=1)
    assert {line.partition(":")[0] for line in result.stdout.splitlines()} == {
        "train-000000.tar",
        "val-000000.tar",
    }
    assert "problems in" in result.stderr


def test_folders_that_are_none_are_told_in_one_line(tmp_path):
    for command in (("info",), ("verify",), ("show", "-o", tmp_path / "x.jpg")):
        (line,) = run("dataset", *command, tmp_path, code=1).stderr.splitlines()
        assert line.startswith(f"error: {tmp_path / 'recipe.json'}: cannot be read")


def test_bench_synthesis_prints_rates(toy_fits):
    asked = ("bench", "synthesis", toy_fits.folder, "--kind", "toy", "--photos", 12, "--per-photo", 2)
    text = run(*asked, "--workers", 1).stdout
    for part in ("samples/s", "MB/s", "encode ms", "render ms", "memory MB"):
        assert part in text
    document = json.loads(run(*asked, "--workers", 1, "--json", "--size", 32).stdout)
    assert [m["workers"] for m in document["runs"]] == [1]
    assert document["machine"]["cores"] >= 1
    run("bench", "synthesis", toy_fits.folder, "--kind", "nothing", code=2)


def test_bench_of_pictures_needs_no_name(monkeypatch):
    from facerelief.lab.benchmarks import stages as benchmarking

    given: list[list[Path]] = []
    monkeypatch.setattr(benchmarking, "bench_reconstruct", lambda pictures, **_: given.append(pictures) or [])
    for line in (("x.jpg", "--json"), ("--json", "x.jpg"), ("pictures", "x.jpg", "--json")):
        run("bench", *line)
    assert given == [[Path("x.jpg")]] * 3
    run("bench", "--json")
    assert given[-1][0].name == "astronaut.jpg"
