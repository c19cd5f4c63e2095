"""What is told of a data set is what was put in, and every damage is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.inspection import TILE, DataSet, contact_sheet, describe, spread, verify
from facerelief.lab.datasets.manifest import MANIFEST, RECIPE
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import ShardWriter, encode_sample, read_shard


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The toy data set, to be damaged."""
    return shutil.copytree(whole, tmp_path / "copy")


def rewrite(out: Path, name: str, change: Callable[[list[Sample]], list[Sample]]) -> None:
    """Change a shard's samples, and everything that is told of its bytes."""
    file = out / f"{name}.tar"
    samples = change(list(read_shard(file)))
    writer = ShardWriter(file)
    for sample in samples:
        writer.write(sample.key, encode_sample(sample))
    writer.finish()
    new = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}
    record = json.loads((out / f"{name}.json").read_text())
    (out / f"{name}.json").write_text(json.dumps(record | new))
    manifest = json.loads((out / MANIFEST).read_text())
    for row in manifest["shards"]:
        if row["file"] == f"{name}.tar":
            row.update(new)
    (out / MANIFEST).write_text(json.dumps(manifest))


def changed(sample: Sample, key: str = "", labels: dict | None = None, about: dict | None = None) -> Sample:
    return Sample(
        key or sample.key, sample.image, sample.labels | (labels or {}), sample.about | (about or {})
    )


def test_a_data_set_just_made_is_whole(whole):
    assert list(verify(whole)) == []


def test_every_place_leads_to_its_sample(whole):
    data = DataSet(whole)
    places = data.places()
    assert len(places) == 120
    keys = {(s.key) for f in whole.glob("*.tar") for s in read_shard(f)}
    found = [(place, key, members) for place, key, members in data.members(places)]
    assert {key for _, key, _ in found} == keys
    for place, _, members in found:
        about = json.loads(members["json"])
        assert (about["split"], about["group"]) == (place.split, place.group)
    only = data.places("val", ["b"])
    assert {(p.split, p.group) for p in only} <= {("val", "b")}
    assert len(list(data.members(only, ("json",)))) == len(only)


def test_distributions_are_those_of_the_labels(whole):
    facts = describe(DataSet(whole), samples=10_000)
    labels = [s.labels for f in whole.glob("*.tar") for s in read_shard(f)]
    yaw = np.degrees([row["camera"][1] for row in labels])
    assert facts["distributions"]["yaw"][2] == pytest.approx(np.median(yaw), abs=0.06)
    assert facts["distributions"]["box"] == [20.0] * 5
    used = np.stack([row["expression"] for row in labels]) > 0.2
    assert facts["expressions"]["jawOpen"] == pytest.approx(used[:, 17].mean(), abs=0.1)
    assert facts["samples"] == 120
    assert sum(row["samples"] for row in facts["splits"].values()) == 120
    assert sum(row["samples"] for row in facts["groups"].values()) == 120
    assert set(facts["licences"]) == {"licence a", "licence b"}
    assert len(facts["failures"]) == 2
    assert facts["labels"]["landmarks68"] == {"shape": [68, 3], "dtype": "float32"}
    json.dumps(facts)


@pytest.mark.parametrize(("count", "most"), [(5, 9), (9, 5), (100, 7)])
def test_spread_takes_so_many_of_everywhere(count, most):
    taken = spread(range(count), most)  # type: ignore[arg-type]
    assert len(taken) == len(set(taken)) == min(count, most)
    assert taken[0] == 0
    assert max(np.diff([*taken, count])) <= -(-count // len(taken))


def test_the_sheet_shows_pictures_and_landmarks_by_turns(whole):
    data = DataSet(whole)
    sheet = contact_sheet(data, count=12, columns=4)
    assert sheet.shape == (3 * TILE, 4 * TILE, 3)
    green = (sheet == (0, 255, 0)).all(axis=2)
    drawn = [green[r : r + TILE, c : c + TILE].sum() > 100 for r in range(0, 3 * TILE, TILE)
             for c in range(0, 4 * TILE, TILE)]  # fmt: skip
    assert drawn == [False, True] * 6
    np.testing.assert_array_equal(sheet, contact_sheet(data, count=12, columns=4))
    assert (sheet != contact_sheet(data, count=12, columns=4, seed=1)).any()
    assert contact_sheet(data, count=9999, split="val", columns=8).shape[1] <= 8 * TILE


def test_landmarks_are_drawn_where_they_are(whole, copy):
    marks = np.zeros((68, 3), np.float32) + [6, 18, 0]  # px of 24
    for record in DataSet(copy).records:
        rewrite(copy, record["name"], lambda all_: [changed(s, labels={"landmarks68": marks}) for s in all_])
    sheet = contact_sheet(DataSet(copy), count=2)
    rows, columns = np.nonzero((sheet == (0, 255, 0)).all(axis=2))
    assert rows.mean() + 0.5 == pytest.approx(18 / 24 * TILE, abs=0.6)
    assert columns.mean() + 0.5 == pytest.approx(TILE + 6 / 24 * TILE, abs=0.6)


def test_no_samples_to_show_is_told(whole):
    with pytest.raises(FacereliefError, match="no samples of train nobody"):
        contact_sheet(DataSet(whole), split="train", groups=["nobody"])


def test_what_is_no_data_set_is_told(tmp_path):
    with pytest.raises(FacereliefError, match=r"recipe\.json: cannot be read"):
        DataSet(tmp_path)
    (tmp_path / RECIPE).write_text('{"schema": "of a house"}')
    with pytest.raises(FacereliefError, match="schema 'of a house', expected"):
        DataSet(tmp_path)
    with pytest.raises(FacereliefError):
        list(verify(tmp_path))


# ---------------------------------------------------------------- damages


def the_problem(out: Path) -> str:
    """Of a data set with one."""
    (line,) = verify(out)
    assert "\n" not in line
    return line


def test_a_flipped_bit_is_found(copy):
    file = copy / "train-000001.tar"
    data = bytearray(file.read_bytes())
    data[700] ^= 1  # in an image
    file.write_bytes(data)
    assert any("SHA-256" in line and line.startswith("train-000001.tar") for line in verify(copy))


def test_a_missing_shard_record_or_manifest_is_found(copy):
    (copy / "train-000001.tar").unlink()
    assert the_problem(copy).startswith("train-000001.tar: cannot be read")
    (copy / "train-000001.json").unlink()
    lines = list(verify(copy))
    assert "train-000001.json: missing, but the manifest names the shard" in lines
    (copy / MANIFEST).unlink()
    assert the_problem(copy).startswith("manifest.json: missing")


def test_a_cut_shard_is_found(copy):
    file = copy / "train-000000.tar"
    file.write_bytes(file.read_bytes()[:3000])
    lines = list(verify(copy))
    assert any("SHA-256" in line for line in lines)
    assert all("train-000000.tar" in line for line in lines)
    assert len(lines) >= 2


def test_what_does_not_belong_is_found(copy):
    (copy / "train-000099.tar").write_bytes(b"")
    assert the_problem(copy) == "train-000099.tar: not in the manifest"
    (copy / "train-000099.tar").rename(copy / ".tmp-train-000099.tar.12345678")
    assert the_problem(copy).startswith(".tmp-train-000099.tar.12345678: left over")


def test_a_manifest_of_something_else_is_found(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["seed"] = 7
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert "seed: 0 there, 7 in the manifest" in the_problem(copy)


def test_labels_that_are_not_finite_are_found(copy):
    bad = {"camera": np.array([0, np.nan, 0, 0, 0, 1])}
    rewrite(copy, "train-000000", lambda s: [changed(s[0], labels=bad), *s[1:]])
    assert the_problem(copy).endswith("label camera is not finite")


def test_a_key_twice_is_found(copy):
    first = next(read_shard(copy / "train-000000.tar")).key
    rewrite(copy, "train-000001", lambda s: [changed(s[0], key=first), *s[1:]])
    assert the_problem(copy) == f"train-000001.tar: {first}: a second time, after train-000000.tar"


def test_a_person_in_two_splits_is_found(copy):
    person = next(read_shard(copy / "train-000000.tar")).about["person"]
    rewrite(copy, "val-000000", lambda s: [changed(x, about={"person": person}) for x in s])
    assert any(f"person {person} is in" in line for line in verify(copy))


def test_a_family_on_the_wrong_side_is_found(copy):
    family = next(read_shard(copy / "train-000000.tar")).about["family"]
    rewrite(copy, "val-000000", lambda s: [changed(s[0], about={"family": family}), *s[1:]])
    lines = list(verify(copy))
    assert any("in a shard of val" in line for line in lines)
    assert any(f"family {family} is in" in line for line in lines)


def test_a_lost_sample_is_found(copy):
    rewrite(copy, "train-000000", lambda s: s[1:])
    assert the_problem(copy).startswith("train-000000.tar: samples of its photos")
