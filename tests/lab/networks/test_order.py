"""Laws of samples out of shards: each once in an epoch, decided by its position, damage named in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.manifest import RECIPE
from facerelief.lab.networks.order import MixedOrder, Order, Shards


@pytest.fixture(scope="module")
def shards(face_set) -> Shards:
    return Shards([face_set], "train", "coarse")


def test_every_sample_comes_once_in_an_epoch():
    order = Order(17, seed=3)
    epochs = [[order(17 * e + k) for k in range(17)] for e in range(3)]
    assert all(sorted(epoch) == list(range(17)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_position_decides_alone():
    order = Order(17, seed=3)
    straight = [order(k) for k in range(40)]
    again = Order(17, seed=3)
    assert [again(k) for k in reversed(range(40))] == straight[::-1]
    assert [Order(17, seed=4)(k) for k in range(17)] != straight[:17]


def test_data_sets_have_their_shares_and_all_their_samples():
    order = MixedOrder([5, 400, 0], [1, 3, 2], seed=3)
    found = np.array([order(k) for k in range(480)])
    assert np.count_nonzero(found < 5) == 120
    assert (np.bincount(found[found < 5]) == 24).all()
    rest = found[found >= 5]
    assert len(np.unique(rest)) == len(rest) == 360
    again = MixedOrder([5, 400, 0], [1, 3, 2], seed=3)
    assert [again(k) for k in reversed(range(480))] == found[::-1].tolist()
    with pytest.raises(ValueError, match="above 0"):
        MixedOrder([3], [0.0], 1)


def test_shares_are_of_the_folders(face_set, fine_set):
    mixed = Shards([face_set, face_set], "train", "coarse", (3, 1))
    assert mixed.counts == [48, 48]
    order = mixed.order(2)
    assert sum(order(k) < 48 for k in range(240)) == 180
    with pytest.raises(FacereliefError, match="give one for each"):
        Shards([face_set], "train", "coarse", (3, 1))


def test_samples_are_found_by_split(face_set, shards):
    assert len(shards) == 48
    assert len(Shards([face_set], "val", "coarse")) == 12
    assert len(Shards([face_set, face_set], "train", "tracking")) == 96
    assert shards.image(5).shape == (96, 96, 3)


def test_data_of_another_kind_is_refused(face_set, fine_set):
    with pytest.raises(FacereliefError, match="holds fine, expected pairs"):
        Shards([fine_set], "train", "tracking")
    with pytest.raises(FacereliefError, match="give the folder of a data set"):
        Shards([face_set / "none"], "train", "coarse")


def test_damage_is_named_in_one_line(face_set, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(face_set, folder)
    shard = folder / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    found = Shards([folder], "train", "coarse")
    at = found.locations[0]
    data[at[1] : at[1] + at[2]] = bytes(int(at[2]))
    data[at[3] : at[3] + at[4]] = bytes(int(at[4]))
    (folder / "new").write_bytes(data)
    (folder / "new").replace(shard)
    other = Shards([folder], "train", "coarse")
    for read in (lambda: other.image(0), lambda: other.labels(0, ("camera",))):
        with pytest.raises(FacereliefError, match=r"damaged .* make it again") as caught:
            read()
        assert "\n" not in str(caught.value)
    with pytest.raises(FacereliefError, match="damaged"):
        other.labels(1, ("nothing",))
    shard.write_bytes(b"no tar at all")
    with pytest.raises(FacereliefError, match="make it again"):
        Shards([folder], "train", "coarse")


def test_another_recipe_is_another_data_set(face_set, tmp_path):
    folder = tmp_path / face_set.name
    shutil.copytree(face_set, folder)
    assert Shards([folder], "train", "coarse").digest == Shards([face_set], "train", "coarse").digest
    (folder / RECIPE).write_text(json.dumps({"kind": "pairs", "seed": 1}))
    assert Shards([folder], "train", "coarse").digest != Shards([face_set], "train", "coarse").digest
