"""One seed, one data set: whatever number of workers, whoever is killed, whenever the disk is full."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_maker

from facerelief.errors import FacereliefError, OutputError
from facerelief.lab.datasets import engine
from facerelief.lab.datasets.engine import synthesize
from facerelief.lab.datasets.fits import INDEX, FitFolder
from facerelief.lab.datasets.manifest import MANIFEST, RECIPE
from facerelief.lab.datasets.shards import read_shard
from facerelief.lab.datasets.splits import SPLITS, split_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
slow = pytest.mark.slow


def hashes(out: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(out.glob("*.tar"))}


def leftovers(out: Path) -> list[Path]:
    return list(out.glob(".tmp-*"))


# ---------------------------------------------------------------- what is in it


def test_every_photo_is_in_one_shard_of_its_split(whole, toy_fits):
    manifest = json.loads((whole / MANIFEST).read_text("utf-8"))
    sources: list[str] = []
    for row in manifest["shards"]:
        samples = list(read_shard(whole / row["file"]))
        assert len(samples) == row["samples"]
        assert row["file"].startswith(row["split"])
        assert {s.about["split"] for s in samples} <= {row["split"]}
        assert all(split_of(s.about["family"]) == row["split"] for s in samples)
        sources += [s.about["source"] for s in samples]
    assert len(sources) == 3 * 40
    assert len(set(sources)) == 40
    assert hashes(whole) == {row["file"]: row["sha256"] for row in manifest["shards"]}


def test_the_manifest_counts_what_is_there(whole):
    manifest = json.loads((whole / MANIFEST).read_text("utf-8"))
    samples = [s for f in whole.glob("*.tar") for s in read_shard(f)]
    for split, counts in manifest["counts"].items():
        mine = [s for s in samples if s.about["split"] == split]
        assert counts["samples"] == len(mine)
        assert counts["photos"] == len({s.about["source"] for s in mine})
        assert counts["persons"] == len({s.about["person"] for s in mine})
    for licence, counts in manifest["licences"].items():
        assert counts["samples"] == sum(s.about["licence"] == licence for s in samples)
    assert sum(c["samples"] for c in manifest["groups"].values()) == len(samples)
    assert manifest["config"] == {"size": 24}
    assert {"facerelief", "numpy"} <= manifest["versions"].keys()


def test_photos_of_no_use_are_recorded_and_left_out(whole):
    failures = json.loads((whole / MANIFEST).read_text("utf-8"))["failures"]
    assert failures["a/p040"] == "a/p040: too small"
    assert failures["b/p041"].startswith("b/p041: internal error (IndexError: out of range)")
    assert len(failures) == 2


def test_damaged_fits_and_changed_photos_are_recorded(fits_of, tmp_path, here):
    fits = fits_of(photos=6, persons=6)
    (fits.folder / "a" / "p000.fit.npz").write_bytes(b"PK nonsense")
    (fits.photos / "b" / "p001.jpg").write_bytes(b"another")
    manifest = synthesize(FitFolder(fits.folder), tmp_path / "out", toy_maker.RECIPE)
    assert "damaged" in manifest["failures"]["a/p000"]
    assert sum(c["photos"] for c in manifest["counts"].values()) == 5  # a toy maker looks at no photo


# ---------------------------------------------------------------- again and again


def test_a_finished_data_set_is_left_alone(toy_fits, whole, here):
    before = {f.name: f.stat().st_mtime_ns for f in whole.iterdir() if f.name != ".lock"}
    synthesize(toy_fits, whole, toy_maker.RECIPE)
    assert {f.name: f.stat().st_mtime_ns for f in whole.iterdir() if f.name != ".lock"} == before


@pytest.mark.parametrize("lost", ["train-000001.tar", "train-000001.json", MANIFEST])
def test_what_is_missing_is_made_and_nothing_else(toy_fits, whole, tmp_path, here, lost):
    out = tmp_path / "out"
    synthesize(toy_fits, out, toy_maker.RECIPE)
    (out / lost).unlink()
    (out / ".tmp-train-000001.tar.01234567").write_bytes(b"half")
    kept = {f.name: f.stat().st_mtime_ns for f in out.glob("*.tar") if f.stem != Path(lost).stem}
    made: list[str] = []
    synthesize(toy_fits, out, toy_maker.RECIPE, progress=lambda p: p.record and made.append(p.record["name"]))
    assert made == ([] if lost == MANIFEST else ["train-000001"])
    assert all((out / name).stat().st_mtime_ns == at for name, at in kept.items())
    assert hashes(out) == hashes(whole)
    assert not leftovers(out)
    assert (out / MANIFEST).exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 5}, "seed: 0 there, 5 asked"),
        ({"per_photo": 4}, "per_photo: 3 there, 4 asked"),
        ({"config": toy_maker.ToyConfig(size=32)}, "config.size: 24 there, 32 asked"),
        ({"image_format": "png"}, "picture: jpg there, png asked"),
        ({"limit": 3}, "limit: null there, 3 asked"),
    ],
)
def test_another_configuration_is_refused_in_one_line(toy_fits, whole, here, change, told):
    before = hashes(whole)
    with pytest.raises(OutputError, match="holds another data set") as error:
        synthesize(toy_fits, whole, replace(toy_maker.RECIPE, **change))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert hashes(whole) == before


def test_other_fits_are_refused(fits_of, tmp_path, here):
    synthesize(fits_of(photos=4), tmp_path / "out", toy_maker.RECIPE)
    with pytest.raises(OutputError, match=r"fits\.count: 4 there, 5 asked"):
        synthesize(fits_of(photos=5), tmp_path / "out", toy_maker.RECIPE)


def test_other_versions_are_refused(toy_fits, whole, here, monkeypatch):
    from facerelief.lab.datasets import manifest

    now = manifest.versions()
    monkeypatch.setattr(manifest, "versions", lambda: now | {"numpy": "1.0"})
    with pytest.raises(OutputError, match=r"versions\.numpy: .* there, 1\.0 asked"):
        synthesize(toy_fits, whole, toy_maker.RECIPE)


def test_a_folder_of_other_things_is_refused(toy_fits, tmp_path, here):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="already there and no data set"):
        synthesize(toy_fits, tmp_path, toy_maker.RECIPE)
    assert not (tmp_path / RECIPE).exists()


def test_missing_photos_and_other_models_are_told_before_anything_is_made(fits_of, tmp_path, here):
    fits = fits_of(photos=2)
    with pytest.raises(FacereliefError, match="are not there"):
        synthesize(FitFolder(fits.folder, tmp_path / "nowhere"), tmp_path / "out", toy_maker.RECIPE)
    about = json.loads((fits.folder / INDEX).read_text())
    (fits.folder / INDEX).write_text(json.dumps(about | {"model": "other"}))
    with pytest.raises(FacereliefError, match="fitted with model 'other'"):
        synthesize(FitFolder(fits.folder), tmp_path / "out", toy_maker.RECIPE)
    assert not (tmp_path / "out").exists()


def test_no_photo_is_told(fits_of, tmp_path, here):
    fits = fits_of(photos=1)
    split = next(s for s in SPLITS if s != fits.load("a/p000").split)
    with pytest.raises(FacereliefError, match="none of the 1 fits"):
        synthesize(fits, tmp_path / "out", replace(toy_maker.RECIPE, splits=(split,)))


@posix
def test_two_runs_at_once_are_refused(toy_fits, whole, here):
    with engine._only_run(whole), pytest.raises(OutputError, match="another run is writing"):
        synthesize(toy_fits, whole, toy_maker.RECIPE)


def test_a_full_disk_ends_in_one_line_and_keeps_what_is_finished(
    toy_fits, whole, tmp_path, here, monkeypatch
):
    out = tmp_path / "out"
    left = [4]

    class Full(engine.ShardWriter):
        def finish(self):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().finish()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "ShardWriter", Full)
        with pytest.raises(OutputError, match="the disk is full"):
            synthesize(toy_fits, out, toy_maker.RECIPE)
    assert len(hashes(out)) == 4
    assert not leftovers(out)
    synthesize(toy_fits, out, toy_maker.RECIPE)
    assert hashes(out) == hashes(whole)


# ---------------------------------------------------------------- workers


def test_two_workers_make_the_same_bytes(toy_fits, whole, tmp_path):
    manifest = synthesize(toy_fits, tmp_path / "out", toy_maker.RECIPE, workers=2)
    assert hashes(tmp_path / "out") == hashes(whole)
    there = json.loads((whole / MANIFEST).read_text("utf-8"))
    assert {k: v for k, v in manifest.items() if k != "seconds"} == {
        k: v for k, v in there.items() if k != "seconds"
    }


@posix
def test_a_worker_that_dies_is_replaced_and_its_shard_made_again(toy_fits, whole, tmp_path, monkeypatch):
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("TOY_FAULTS", str(faults))
    for photo in ("a_p000", "b_p007", "a_p020"):
        (faults / f"die-{photo}").touch()
    synthesize(toy_fits, tmp_path / "out", toy_maker.RECIPE, workers=2)
    assert not list(faults.iterdir())
    assert hashes(tmp_path / "out") == hashes(whole)
    assert not leftovers(tmp_path / "out")


@posix
def test_a_photo_that_always_kills_stops_its_shard_alone(toy_fits, whole, tmp_path, monkeypatch):
    faults, out = tmp_path / "faults", tmp_path / "out"
    faults.mkdir()
    monkeypatch.setenv("TOY_FAULTS", str(faults))
    (faults / "die-always-a_p000").touch()
    with pytest.raises(FacereliefError, match=r"1 shards could not be made: .*3 times \(signal 9\)") as error:
        synthesize(toy_fits, out, toy_maker.RECIPE, workers=2)
    assert "\n" not in str(error.value)
    assert len(hashes(out)) == len(hashes(whole)) - 1
    assert not leftovers(out)
    (faults / "die-always-a_p000").unlink()
    synthesize(toy_fits, out, toy_maker.RECIPE, workers=1)
    assert hashes(out) == hashes(whole)


# ---------------------------------------------------------------- killed, really

PROGRAM = """
import sys
import toy_maker
from facerelief.lab.datasets.engine import synthesize
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.manifest import Recipe
from facerelief.errors import FacereliefError

if __name__ == "__main__":
    recipe = Recipe(toy_maker.KIND, toy_maker.ToyConfig(), per_photo=3, photos_per_shard=5)
    if "big" in sys.argv:
        recipe = Recipe(toy_maker.KIND, toy_maker.ToyConfig(300), per_photo=3, photos_per_shard=5)
    try:
        synthesize(FitFolder(sys.argv[1]), sys.argv[2], recipe, workers=2, ray=sys.argv[3] or None)
    except FacereliefError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
"""


def command(folder: Path, fits: FitFolder, out: Path, ray: str = "", *more: str) -> list[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return [sys.executable, str(program), str(fits.folder), str(out), ray, *more]


def environment(faults: Path) -> dict[str, str]:
    paths = [str(Path(toy_maker.__file__).parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"TOY_FAULTS": str(faults), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def group_members(group: int) -> list[int]:
    """Processes of a process group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[2]) == group and rest[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def kill_and_go_on(tmp_path: Path, fits: FitFolder, ray: str, kills: int, pause: float) -> Path:
    """Start, kill -9 the run (not its workers) at several moments, go on to the end."""
    faults, out = tmp_path / "faults", tmp_path / "out"
    faults.mkdir()
    (faults / "slow").write_text("0.1")
    run = command(tmp_path, fits, out, ray)
    finished: set[str] = set()
    rng = np.random.default_rng(1)
    for _ in range(kills):
        process = subprocess.Popen(run, env=environment(faults), start_new_session=True)
        deadline = time.monotonic() + 90
        wanted = len(finished) + 1
        while len(set(out.glob("*.json"))) < wanted + 1 and time.monotonic() < deadline:
            assert process.poll() is None, "ended before it was killed"
            time.sleep(0.01)
        time.sleep(rng.uniform(0, pause))
        process.kill()
        process.wait()
        if ray:  # it ends by itself, within a minute or so
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif sys.platform == "linux":
            while group_members(process.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not group_members(process.pid), "somebody lives on"
        now = {f.stem for f in out.glob("*.json")} - {"recipe", "manifest"}
        assert finished <= now
        assert len(list(out.glob(".tmp-*.tar.*"))) <= 2
        finished = now
    before = {name: (out / f"{name}.tar").stat().st_mtime_ns for name in finished}
    subprocess.run(run, env=environment(faults), check=True, timeout=120)
    assert {name: (out / f"{name}.tar").stat().st_mtime_ns for name in finished} == before
    return out


@posix
@slow
def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, toy_fits, whole):
    out = kill_and_go_on(tmp_path, toy_fits, "", kills=3, pause=0.5)
    assert hashes(out) == hashes(whole)
    assert not leftovers(out)
    keys = [s.key for f in out.glob("*.tar") for s in read_shard(f)]
    assert len(keys) == len(set(keys)) == 3 * 40


@posix
@slow
def test_a_full_disk_of_a_real_run(tmp_path, toy_fits):
    """A limit to the size of files is as good as a full disk, and needs no disk."""
    out, faults = tmp_path / "out", tmp_path / "faults"
    faults.mkdir()
    run = command(tmp_path, toy_fits, out, "", "big")
    limited = ["sh", "-c", 'ulimit -f 1600; exec "$@"', "sh", *run]
    done = subprocess.run(limited, env=environment(faults), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {out}")
    assert "cannot write" in line
    assert not leftovers(out)
    finished = hashes(out)
    assert all((out / name).with_suffix(".json").exists() for name in finished)
    subprocess.run(run, env=environment(faults), check=True, timeout=120)
    assert finished.items() <= hashes(out).items()


# ---------------------------------------------------------------- Ray


@posix
@slow
def test_ray_makes_the_same_bytes_though_a_worker_dies(tmp_path, toy_fits, whole):
    pytest.importorskip("ray")
    faults, out = tmp_path / "faults", tmp_path / "out"
    faults.mkdir()
    (faults / "die-a_p000").touch()
    run = command(tmp_path, toy_fits, out, "local")
    subprocess.run(run, env=environment(faults), check=True, timeout=180)
    assert not (faults / "die-a_p000").exists()
    assert hashes(out) == hashes(whole)
    assert not leftovers(out)


@posix
@slow
def test_a_run_on_ray_that_is_killed_goes_on_where_it_was(tmp_path, toy_fits, whole):
    pytest.importorskip("ray")
    out = kill_and_go_on(tmp_path, toy_fits, "local", kills=1, pause=0.5)
    assert hashes(out) == hashes(whole)
    assert not leftovers(out)


def test_ray_that_is_not_installed_is_told(toy_fits, tmp_path, monkeypatch):
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *a: None if name == "ray" else find(name, *a))
    with pytest.raises(FacereliefError, match=r"needs ray: pip install 'facerelief\[scale\]'"):
        synthesize(toy_fits, tmp_path / "out", toy_maker.RECIPE, ray="local")
