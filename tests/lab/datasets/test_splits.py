"""Laws of splits: persons are never divided, shares are about as asked, families are read or refused."""

from __future__ import annotations

import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.splits import SHARES, SPLITS, read_families, split_of


def test_shares_come_out_and_never_change():
    names = [f"person {k}" for k in range(20000)]
    found = [split_of(name) for name in names]
    for split, share in SHARES.items():
        assert found.count(split) / len(found) == pytest.approx(share, abs=0.01)
    assert set(found) == set(SPLITS)
    # a promise to data sets already made
    assert [split_of(f"family {k}") for k in (0, 1, 15)] == ["val", "train", "test"]


def test_growing_the_held_out_share_moves_nobody_back():
    small, large = {"val": 0.05}, {"val": 0.2}
    for k in range(500):
        if split_of(f"p{k}", small) == "val":
            assert split_of(f"p{k}", large) == "val"


def test_families_are_read(tmp_path):
    file = tmp_path / "families.csv"
    file.write_text("person,family,note\nA,one,\nB,one,\nC,,left out\n", "utf-8")
    assert read_families(file) == {"A": "one", "B": "one", "C": ""}


@pytest.mark.parametrize("text", ["", "name,group\na,b\n"])
def test_other_files_are_refused_in_one_line(tmp_path, text):
    file = tmp_path / "families.csv"
    file.write_text(text, "utf-8")
    with pytest.raises(FacereliefError, match="expected the columns person and family"):
        read_families(file)
    with pytest.raises(FacereliefError, match="cannot be read"):
        read_families(tmp_path / "none.csv")
