"""Shards give back what was put in, are plain tar, and the same samples give the same bytes."""

from __future__ import annotations

import hashlib
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import ShardWriter, encode_sample, pack_labels, read_shard, unpack_labels


def sample(number: int = 0, size: int = 40) -> Sample:
    rng = np.random.default_rng(number)
    smooth = np.linspace(0, 200, size)[:, None, None] + np.linspace(0, 50, size)[None, :, None] + [0, 2, 4]
    labels = {
        "camera": rng.normal(size=6),
        "count": np.int64(3),
        "map": rng.normal(size=(64, 64)).astype(np.float32),
        "seen": rng.uniform(size=(3, 5)) < 0.5,
    }
    return Sample(f"a_b-{number:04d}", smooth.astype(np.uint8), labels, {"person": "Zoë", "number": number})


def write(path: Path, samples, picture="jpg") -> tuple[str, int]:
    writer = ShardWriter(path)
    for one in samples:
        writer.write(one.key, encode_sample(one, picture))
    return writer.finish()


@pytest.mark.parametrize("picture", ["jpg", "png"])
def test_what_goes_in_comes_out(tmp_path, picture):
    put = [sample(k) for k in range(3)]
    write(tmp_path / "x.tar", put, picture)
    got = list(read_shard(tmp_path / "x.tar"))
    assert [s.key for s in got] == [s.key for s in put]
    for one, other in zip(put, got):
        off = np.abs(one.image.astype(int) - other.image)
        assert off.max() <= (0 if picture == "png" else 6)
        assert other.about == one.about
        assert other.labels.keys() == one.labels.keys()
        for name in one.labels:
            np.testing.assert_array_equal(other.labels[name], one.labels[name])
            assert other.labels[name].dtype == np.asarray(one.labels[name]).dtype


def test_the_same_samples_give_the_same_bytes_whenever_they_are_written(tmp_path, monkeypatch):
    first = write(tmp_path / "x.tar", [sample(1), sample(2)])
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert write(tmp_path / "y.tar", [sample(1), sample(2)]) == first
    data = (tmp_path / "x.tar").read_bytes()
    assert data == (tmp_path / "y.tar").read_bytes()
    assert first == (hashlib.sha256(data).hexdigest(), len(data))


def test_plain_tar_lists_the_members(tmp_path):
    write(tmp_path / "x.tar", [sample(7)])
    with tarfile.open(tmp_path / "x.tar") as tar:
        entries = tar.getmembers()
    assert [e.name for e in entries] == [f"a_b-0007.{ending}" for ending in ("jpg", "json", "npz")]
    assert {(e.mtime, e.uname, e.mode) for e in entries} == {(0, "facerelief", 0o644)}


def test_bytes_are_those_of_webdataset_1(tmp_path):
    """Made with its TarWriter: other data sets must not differ from those of version 0.1."""
    writer = ShardWriter(tmp_path / "x.tar")
    for k in range(12):
        members = {"jpg": bytes(range(256)) * k, "npz": b"n" * 512 * k, "json": b"{}"}
        writer.write(f"photo_{k}-coarse-0001" + "x" * (k * 11), members)
    digest, size = writer.finish()
    assert (digest[:16], size) == ("31d169a228a48b17", 92160)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c d", "e-f"]),
        hnp.arrays(
            st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool_, ">f4"]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        ),
    )
)
def test_labels_are_packed_and_unpacked(labels):
    packed = pack_labels(labels)
    assert packed == pack_labels(dict(reversed(labels.items())))
    got = unpack_labels(packed)
    assert got.keys() == labels.keys()
    for name, array in labels.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].shape == array.shape


def test_objects_are_no_labels():
    with pytest.raises(ValueError, match=r"(?i)object"):
        pack_labels({"x": np.array([{}])})


@pytest.mark.parametrize("key", ["a.b", "a/b", "", "ä", "a b"])
def test_keys_that_would_break_a_name_are_refused(key):
    one = sample()
    with pytest.raises(ValueError, match="sample key"):
        encode_sample(Sample(key, one.image, one.labels, one.about))


def test_an_unfinished_shard_has_no_name_and_a_dropped_one_leaves_nothing(tmp_path):
    writer = ShardWriter(tmp_path / "x.tar")
    writer.write("k", encode_sample(sample()))
    assert not (tmp_path / "x.tar").exists()
    writer.discard()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [100, 700, 5000, 9000])
def test_a_cut_shard_is_told_in_one_line(tmp_path, cut):
    write(tmp_path / "x.tar", [sample(k) for k in range(2)])
    data = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(data[:cut])
    with pytest.raises(FacereliefError, match=r"x\.tar") as error:
        list(read_shard(tmp_path / "x.tar"))
    assert "\n" not in str(error.value)
