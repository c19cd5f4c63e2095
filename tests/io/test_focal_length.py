"""Focal lengths of EXIF: what lenses have is read, anything else is none."""

from __future__ import annotations

import math

import numpy as np
import PIL.Image
import pytest

from facerelief.io.focal_length import focal_length_of, focal_length_px


def exif(focal: int | None, size: tuple[int, int] | None = None) -> bytes:
    made = PIL.Image.Exif()
    inner = made.get_ifd(34665)
    if focal is not None:
        inner[41989] = focal
    if size is not None:
        inner[40962], inner[40963] = size
    return made.tobytes()


def test_the_equivalent_is_of_the_diagonal(tmp_path):
    """A 50 mm lens on 36 x 24 mm: the long side is seen under 2 atan(18 / 50)."""
    file = tmp_path / "a.jpg"
    PIL.Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(file, exif=exif(50))
    found = focal_length_px(file)
    assert found == pytest.approx(300 * 50 / 36, rel=1e-3)
    assert math.atan(150 / found) == pytest.approx(math.atan(18 / 50), rel=1e-3)


@pytest.mark.parametrize("focal", [None, 0, 3, 30_000])
def test_lengths_that_no_lens_has_are_none(focal):
    assert focal_length_of(exif(focal), 300, 200) is None


def test_cropped_photos_have_none_and_reduced_ones_theirs():
    whole = exif(28, (4000, 3000))
    assert focal_length_of(whole, 2000, 2000) is None
    assert focal_length_of(whole, 800, 600) == pytest.approx(28 * 1000 / 43.27)
    assert focal_length_of(whole, 600, 800) == pytest.approx(28 * 1000 / 43.27)  # turned


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", exif(50)[:30], bytes(200)])
def test_damaged_blocks_have_none(data):
    assert focal_length_of(data, 300, 200) is None


def test_no_photo_no_focal_length(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"no image")
    assert focal_length_px(tmp_path / "b.jpg") is None
    assert focal_length_px(tmp_path / "missing.jpg") is None
