"""Written videos are read back: images within the codec's error, times to a tick, or no file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clips import frame_image, number_of

from facerelief.errors import OutputError
from facerelief.video import VideoReader, VideoWriter, writer

TICK = 1 / 60_000


def smooth(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """(height, width, 3) uint8: waves in all colours that wander."""
    v, u = np.mgrid[:height, :width] / 20
    waves = [np.sin(u + number / 3), np.sin(v - number / 4), np.cos(u + v)]
    return (128 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_colours_come_back(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 96, 64) as video:
        for i in range(10):
            video.write(smooth(i))
    frames = list(VideoReader(tmp_path / "a.mp4"))
    assert len(frames) == 10
    for i, frame in enumerate(frames):
        error = np.abs(frame.image.astype(int) - smooth(i))
        assert error.mean() < 3
        # colours as such are kept, not only on the whole
        np.testing.assert_allclose(frame.image.mean(axis=(0, 1)), smooth(i).mean(axis=(0, 1)), atol=2)


@pytest.mark.parametrize("times", [[0, 0.04, 0.1, 0.5, 0.51, 7.0], [0, 1001 / 30000, 2002 / 30000]])
def test_times_are_kept(tmp_path, times):
    with VideoWriter(tmp_path / "a.mp4", 96, 64, fps=25) as video:
        for i, time in enumerate(times):
            video.write(frame_image(i), time)
    frames = list(VideoReader(tmp_path / "a.mp4"))
    np.testing.assert_allclose([f.time for f in frames], times, atol=TICK)
    assert [number_of(f.image) for f in frames] == list(range(len(times)))


def test_frames_without_times_follow_the_rate(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 96, 64, fps=12.5) as video:
        for i in range(5):
            video.write(frame_image(i))
    reader = VideoReader(tmp_path / "a.mp4")
    assert reader.fps == 12.5
    np.testing.assert_allclose([f.time for f in reader], np.arange(5) / 12.5, atol=TICK)


def test_times_that_do_not_rise_are_made_to(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 96, 64) as video:
        for i, time in enumerate([0.0, 1.0, 1.0, 0.5, 2.0]):
            video.write(frame_image(i), time)
    frames = list(VideoReader(tmp_path / "a.mp4"))
    np.testing.assert_allclose([f.time for f in frames], [0, 1, 1 + TICK, 1 + 2 * TICK, 2], atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(95, 64), (96, 63), (95, 63)])
def test_odd_sides_get_one_more(tmp_path, width, height):
    with VideoWriter(tmp_path / "a.mp4", width, height) as video:
        video.write(smooth(0, width, height))
    (frame,) = VideoReader(tmp_path / "a.mp4")
    assert frame.image.shape == (64, 96, 3)
    assert np.abs(frame.image[:height, :width].astype(int) - smooth(0, width, height)).mean() < 3


def test_players_find_the_index_first_and_know_the_colours(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 96, 64) as video:
        video.write(frame_image(0))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)


def test_without_an_h264_encoder_it_is_mpeg4(tmp_path, monkeypatch):
    has = writer._has_encoder
    monkeypatch.setattr(writer, "_has_encoder", lambda name: "264" not in name and has(name))
    with VideoWriter(tmp_path / "a.mp4", 96, 64) as video:
        for i, time in enumerate([0, 0.04, 0.1]):
            video.write(frame_image(i), time)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].codec_context.name == "mpeg4"
    frames = list(VideoReader(tmp_path / "a.mp4"))
    np.testing.assert_allclose([f.time for f in frames], [0, 0.04, 0.1], atol=TICK)
    assert [number_of(f.image) for f in frames] == [0, 1, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_what_was_done_is_kept_when_stopped(tmp_path, error):
    def work() -> None:
        with VideoWriter(tmp_path / "a.mp4", 96, 64) as video:
            for i in range(4):
                video.write(frame_image(i))
            assert names(tmp_path) != ["a.mp4"]
            raise error

    with pytest.raises(error):
        work()
    assert names(tmp_path) == ["a.mp4"]
    assert [number_of(f.image) for f in VideoReader(tmp_path / "a.mp4")] == [0, 1, 2, 3]


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("old")
    video = VideoWriter(path, 96, 64)
    video.write(frame_image(0))
    assert path.read_text() == "old"
    video.close()
    video.close()
    assert len(list(VideoReader(path))) == 1


def test_no_frame_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 96, 64):
        pass
    assert names(tmp_path) == []


def test_what_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot write the video: No such file") as caught:
        VideoWriter(tmp_path / "no" / "a.mp4", 96, 64)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("room", [10, 20_000, 300_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, room):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    rng = np.random.default_rng(0)

    def work() -> None:
        with VideoWriter(tmp_path / "a.mp4", 320, 240) as video:
            for _ in range(20):
                video.write(rng.integers(0, 256, (240, 320, 3), np.uint8))

    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # as a disk with so many bytes left
    try:
        with pytest.raises(OutputError, match="cannot write the video") as caught:
            work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_wrong_frames_and_sizes_are_told(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 96, 64) as video:
        with pytest.raises(ValueError, match=r"expected uint8 \(64, 96, 3\)"):
            video.write(frame_image(0, 64, 96))
        with pytest.raises(ValueError, match="float"):
            video.write(frame_image(0).astype(float))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="closed"):
        video.write(frame_image(0))
    with pytest.raises(ValueError, match="sides of 2 to 16384"):
        VideoWriter(tmp_path / "a.mp4", 1, 64)
    with pytest.raises(ValueError, match="frames a second"):
        VideoWriter(tmp_path / "a.mp4", 96, 64, fps=0)
