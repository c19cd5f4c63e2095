"""Digests are SHA-256 of the content, and follow a file that changes."""

from __future__ import annotations

import os

import pytest

from facerelief.errors import ImageError
from facerelief.io.digest import file_digest, unchanging_digest

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""The test vector of FIPS 180-2."""


@pytest.mark.parametrize("digest", [file_digest, unchanging_digest])
def test_the_digest_is_that_of_the_content(tmp_path, digest):
    for name in ("one.bin", "two.bin"):
        (tmp_path / name).write_bytes(b"abc")
        assert digest(tmp_path / name) == digest(str(tmp_path / name)) == ABC


@pytest.mark.parametrize("digest", [file_digest, unchanging_digest])
def test_a_missing_file_is_one_line(tmp_path, digest):
    with pytest.raises(ImageError, match=r"gone\.bin: cannot be read") as caught:
        digest(tmp_path / "gone.bin")
    assert "\n" not in str(caught.value)


def test_a_changed_file_has_a_new_digest(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"xyz")
    os.utime(path, ns=(0, 1_000_000_000))
    assert unchanging_digest(path) != ABC
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, 2_000_000_000))
    assert unchanging_digest(path) == ABC
