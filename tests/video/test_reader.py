"""A reader gives frames of one size, in order, once; `every` and `limit` choose among them."""

from __future__ import annotations

import numpy as np
import pytest
from clips import HEIGHT, WIDTH, frame_image, number_of

from facerelief.video import VideoReader
from facerelief.video.reader import letterboxed


def test_frames_come_as_they_were_written(clip):
    with VideoReader(clip("whole.mp4")) as reader:
        assert (reader.width, reader.height, reader.fps, reader.count) == (WIDTH, HEIGHT, 25.0, 12)
        frames = list(reader)
        assert reader.notes == []
    assert [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time for f in frames], np.arange(12) / 25, atol=1e-4)
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - frame_image(frame.index)).mean() < 3


def test_a_reader_is_read_once(clip):
    reader = VideoReader(clip("a.mp4"))
    assert len(list(reader)) == 12
    assert list(reader) == []


def test_every_and_limit(clip):
    path = clip("a.mp4")
    reader = VideoReader(path, every=5)
    assert reader.expected == 3
    assert [(f.index, number_of(f.image)) for f in reader] == [(0, 0), (5, 5), (10, 10)]
    reader = VideoReader(path, every=2, limit=2)
    assert reader.expected == 2
    assert [f.index for f in reader] == [0, 2]
    with pytest.raises(ValueError, match="at least 1"):
        VideoReader(path, every=0)


def test_other_sizes_are_fitted_into_the_first(clip, tmp_path):
    one = clip("one.h264", 5, container="h264").read_bytes()
    two = clip("two.h264", 4, width=64, height=96, container="h264").read_bytes()
    path = tmp_path / "both.h264"
    path.write_bytes(one + two)
    reader = VideoReader(path)
    frames = list(reader)
    assert [f.image.shape for f in frames] == [(HEIGHT, WIDTH, 3)] * 9
    assert [number_of(f.image[:, 30:66]) for f in frames] == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert frames[-1].image[:, :20].max() == 0
    assert f"of another size (64 x 96), fitted into {WIDTH} x {HEIGHT}: 4 frames (numbers 5 to 8)" in (
        reader.notes
    )


def test_a_letterboxed_image_is_whole():
    tall = np.full((90, 30, 3), 200, np.uint8)
    out = letterboxed(tall, 60, 45)
    assert out.shape == (45, 60, 3)
    columns = np.flatnonzero(out.max(axis=(0, 2)))
    assert (columns[0], columns[-1]) == (22, 36)
