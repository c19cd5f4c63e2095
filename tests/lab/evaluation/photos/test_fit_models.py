"""The material that models are compared on: halves without a common subject, pairs of one subject."""

from __future__ import annotations

from pathlib import Path

import pytest

from facerelief.errors import ImageError
from facerelief.lab.evaluation.photos.fit_models import SAME_SHOT, fit_material, half_of

SUBJECTS = [f"s{k:02}" for k in range(40)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A collection with two sources and a list of pairs; no image is opened."""
    rows = ["file,person,source"]
    rows += [f"london/{s}_{n}.jpg,{s},london" for s in SUBJECTS for n in ("03", "08")]
    rows += [f"us_congress/{s}.jpg,c{s},us_congress" for s in SUBJECTS]
    rows += [f"canada/{s}.jpg,c{s},canada" for s in SUBJECTS[:20]]
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    pairs = ["person,file,other,likeness"]
    pairs += [
        f"c{s},us_congress/{s}.jpg,canada/{s}.jpg,{0.9 if k % 2 else 0.5}" for k, s in enumerate(SUBJECTS)
    ]
    (tmp_path / "congress_pairs.csv").write_text("\n".join(pairs) + "\n")
    return tmp_path


def subjects(material) -> set[str]:
    return {photo.subject for photo in material.all()}


def test_halves_share_no_subject_and_make_up_the_whole(folder):
    tune, report, whole = (fit_material(folder, half, 1000) for half in ("tune", "report", "all"))
    assert subjects(tune)
    assert subjects(report)
    assert not subjects(tune) & subjects(report)
    assert subjects(tune) | subjects(report) == subjects(whole)
    assert {half_of(s) for s in subjects(tune)} == {"tune"}
    for name, pairs in whole.pairs.items():
        assert len(tune.pairs[name]) + len(report.pairs[name]) == len(pairs)


def test_pairs_are_two_photos_of_one_subject(folder):
    for pairs in fit_material(folder, "all").pairs.values():
        assert pairs
        for pair in pairs:
            assert pair.first.subject == pair.second.subject
            assert pair.first.file != pair.second.file


def test_listed_pairs_need_both_photos_and_know_the_same_shot(folder):
    found = fit_material(folder, "all").pairs["congress"]
    # of the last twenty one photo is not in the index
    assert [pair.first.subject for pair in found] == [f"c{s}" for s in SUBJECTS[:20]]
    assert [pair.same_shot for pair in found] == [k % 2 == 1 for k in range(20)]
    assert 0.5 < SAME_SHOT < 0.9


def test_neutral_portraits_are_the_third_of_their_series(folder):
    neutral = fit_material(folder, "all").neutral
    assert len(neutral) == len(SUBJECTS)
    assert all(photo.file.name.endswith("_03.jpg") for photo in neutral)


def test_each_photo_is_fitted_once_and_groups_are_limited(folder):
    material = fit_material(folder, "all", limit=7)
    assert [sum(p.group == g for p in material.photos) for g in ("us_congress", "london")] == [7, 7]
    assert len(material.all()) == len(set(material.all()))
    assert len(set(material.photos)) == 14


def test_without_a_list_there_are_no_listed_pairs_and_a_wrong_one_is_named(folder):
    table = folder / "congress_pairs.csv"
    table.write_text("person,file\na,b\n")
    with pytest.raises(ImageError, match="lacks the columns other, likeness"):
        fit_material(folder)
    table.unlink()
    assert set(fit_material(folder).pairs) == {"london"}
