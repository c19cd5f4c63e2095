"""Documents of a data set: the plan, the recipe, records of shards and the manifest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import toy_maker

from facerelief.errors import FacereliefError, OutputError
from facerelief.lab.datasets.manifest import (
    MANIFEST,
    RECIPE,
    begin,
    differences,
    make_plan,
    read_json,
    read_record,
    write_manifest,
    write_record,
)
from facerelief.lab.datasets.splits import SPLITS


def test_limit_and_splits_choose_photos(toy_fits):
    plan = make_plan(replace(toy_maker.RECIPE, limit=7, splits=("train",)), toy_fits)
    assert {s.split for s in plan.shards} == {"train"}
    assert [len(s.photos) for s in plan.shards] == [5, 2]
    whole = make_plan(replace(toy_maker.RECIPE, splits=("train",)), toy_fits)
    assert plan.shards[0].photos == whole.shards[0].photos


def test_another_seed_gives_another_order_of_the_same_photos(toy_fits):
    one, other = (make_plan(replace(toy_maker.RECIPE, seed=s), toy_fits) for s in (0, 1))
    photos = [[p.name for s in plan.shards for p in s.photos] for plan in (one, other)]
    assert photos[0] != photos[1]
    assert sorted(photos[0]) == sorted(photos[1])


def test_splits_of_the_plan_share_no_family(toy_fits):
    families = {split: set() for split in SPLITS}
    for shard in make_plan(toy_maker.RECIPE, toy_fits).shards:
        families[shard.split] |= {p.family for p in shard.photos}
    assert not families["train"] & (families["val"] | families["test"])
    assert not families["val"] & families["test"]


@pytest.mark.parametrize(
    "wrong", [{"per_photo": 0}, {"seed": -1}, {"limit": 0}, {"image_format": "gif"}, {"splits": ()}]
)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} (is|are)"):
        replace(toy_maker.RECIPE, **wrong)


def test_the_recipe_is_written_once_and_another_refused(toy_fits, tmp_path):
    plan = make_plan(toy_maker.RECIPE, toy_fits)
    begin(tmp_path, plan)
    written = (tmp_path / RECIPE).read_bytes()
    assert read_json(tmp_path / RECIPE) == plan.about
    begin(tmp_path, plan)
    with pytest.raises(OutputError, match="seed: 0 there, 1 asked"):
        begin(tmp_path, make_plan(replace(toy_maker.RECIPE, seed=1), toy_fits))
    assert (tmp_path / RECIPE).read_bytes() == written


def test_a_manifest_is_read_back_equal(toy_fits, tmp_path):
    plan = make_plan(toy_maker.RECIPE, toy_fits)
    shard = plan.shards[0]
    photos = [
        {"licence": p.licence, "group": p.group, "person": p.subject, "samples": 3} for p in shard.photos
    ]
    samples = 3 * len(photos)
    record = {"name": shard.name, "split": shard.split, "bytes": 7, "sha256": "0", "samples": samples}
    record |= {"photos": photos, "failures": {"ä": "too small"}, "seconds": 0.5}
    manifest = write_manifest(tmp_path, plan, [record])
    assert read_json(tmp_path / MANIFEST) == manifest
    assert manifest["counts"][shard.split]["samples"] == samples
    assert manifest["failures"] == {"ä": "too small"}


def test_a_record_counts_only_beside_its_whole_shard(tmp_path):
    record = {"name": "train-000000", "bytes": 3}
    write_record(tmp_path, "train-000000", record)
    assert read_record(tmp_path, "train-000000") is None
    (tmp_path / "train-000000.tar").write_bytes(b"abc")
    assert read_record(tmp_path, "train-000000") == record
    (tmp_path / "train-000000.tar").write_bytes(b"ab")
    assert read_record(tmp_path, "train-000000") is None


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe"])
def test_a_file_without_a_json_object_is_refused(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(FacereliefError, match="give the folder of a data set"):
        read_json(tmp_path / MANIFEST)


def test_differences_name_the_keys():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ["a.c: 2 there, 3 asked"]
    assert differences({"a": 1}, {"a": 1}) == []
