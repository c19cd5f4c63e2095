"""Video files are read as far as they can be, upright, and every failure is one line."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import HEIGHT, WIDTH, frame_image, number_of, packets, silence

from facerelief.errors import VideoError
from facerelief.video import VideoReader, file


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.ts", "libx264"), ("a.mov", "mpeg4")],
)
def test_other_containers(clip, name, codec):
    reader = VideoReader(clip(name, codec=codec))
    frames = list(reader)
    assert [number_of(f.image) for f in frames] == [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time for f in frames], np.arange(12) / 25, atol=2e-3)
    assert reader.notes == []


# ---------------------------------------------------------------- upright, square


CORNERS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (210, 210, 210)]


def corners(image: np.ndarray) -> list[int]:
    """Numbers of the CORNERS seen top left, top right, bottom left, bottom right."""
    h, w = image.shape[:2]
    found = []
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        color = image[int(y * h), int(x * w)].astype(int)
        found.append(int(np.abs(np.array(CORNERS) - color).sum(axis=1).argmin()))
    return found


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((1, 0, 0, 1), [0, 1, 2, 3]),
        ((0, 1, -1, 0), [2, 0, 3, 1]),  # a quarter clockwise, as phones held upright write
        ((0, -1, 1, 0), [1, 3, 0, 2]),
        ((-1, 0, 0, -1), [3, 2, 1, 0]),
        ((-1, 0, 0, 1), [1, 0, 3, 2]),  # mirrored, as selfies
    ],
)
def test_turned_recordings_come_upright(tmp_path, matrix, seen):
    image = np.zeros((48, 64, 3), np.uint8)
    for i, color in enumerate(CORNERS):
        image[24 * (i // 2) : 24 * (i // 2) + 24, 32 * (i % 2) : 32 * (i % 2) + 32] = color
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        file.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    reader = VideoReader(path)
    assert (reader.width, reader.height) == ((64, 48) if a else (48, 64))
    assert [corners(f.image) for f in reader] == [seen]


def test_pixels_become_square(clip):
    reader = VideoReader(clip("wide.mp4", aspect=Fraction(4, 3)))
    assert (reader.width, reader.height) == (WIDTH * 4 // 3, HEIGHT)
    assert [number_of(f.image) for f in reader] == list(range(12))


def test_both_codings_of_colour_give_the_colours(tmp_path):
    image = np.full((64, 64, 3), (200, 60, 40), np.uint8)
    for name, code, said in (("709", "ITU709", 1), ("601", "ITU601", 6)):
        path = tmp_path / f"{name}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=25, options={"crf": "8"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            stream.codec_context.colorspace = said
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=code)))
            file.mux(stream.encode(None))
        (frame,) = VideoReader(path)
        assert np.abs(frame.image.astype(int) - image).max() <= 4, name


# ---------------------------------------------------------------- broken files


def test_damaged_packets_are_left_out_and_counted(clip):
    path = clip("a.mp4", 16, bf="0", g="1")
    data = bytearray(path.read_bytes())
    for place, size in packets(path)[6:9]:
        for i in range(place + 4, place + size):
            data[i] ^= 0xA5
    path.write_bytes(data)
    reader = VideoReader(path)
    frames = list(reader)
    assert [f.index for f in frames] == [*range(6), *range(9, 16)]
    assert [number_of(f.image) for f in frames] == [f.index for f in frames]
    np.testing.assert_allclose([f.time for f in frames], [f.index / 25 for f in frames], atol=1e-4)
    assert reader.notes == ["not decodable: 3 frames (numbers 6 to 8)"]


def test_a_cut_off_file_ends_where_it_ends(clip):
    path = clip("a.mp4", 16, movflags="faststart", bf="0", g="1")
    place, size = packets(path)[10]
    path.write_bytes(path.read_bytes()[: place + size // 2])
    reader = VideoReader(path)
    assert [f.index for f in reader] == list(range(10))
    assert reader.notes[-1] == "the file breaks off: it announces 16 frames and holds 11"


def test_a_file_without_its_index_says_so(clip):
    path = clip("a.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(VideoError, match="its index is missing"):
        VideoReader(path)


def test_recordings_in_a_row_make_one(clip, tmp_path):
    path = tmp_path / "row.ts"
    path.write_bytes(clip("a.ts", 6).read_bytes() + clip("b.ts", 5).read_bytes())
    reader = VideoReader(path)
    frames = list(reader)
    assert [f.index for f in frames] == list(range(11))
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]
    assert all(a.time < b.time for a, b in pairwise(frames))
    assert reader.notes == ["without a usable time stamp, times made from the rate: 1 frame (number 6)"]


def test_random_damage_never_ends_in_anything_but_videoerror(clip, tmp_path):
    rng = np.random.default_rng(5)
    whole = clip("a.mp4", 8, movflags="faststart").read_bytes()
    path = tmp_path / "damaged.mp4"
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(0, len(data), rng.integers(1, 60))
        data[where] = rng.integers(0, 256, len(where))
        path.write_bytes(data[: rng.integers(len(data) // 4, len(data))].tobytes())
        try:
            frames = list(VideoReader(path))
        except VideoError:
            continue
        assert all(a.index < b.index and a.time < b.time for a, b in pairwise(frames))


# ---------------------------------------------------------------- not a video


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        file.mux(stream.encode(silence()))
        file.mux(stream.encode(None))
    return path


def error_of(source: object) -> str:
    with pytest.raises(VideoError) as caught:
        VideoReader(source)  # pyright: ignore[reportArgumentType]
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_such_file(tmp_path):
    assert error_of(tmp_path / "no.mp4") == (
        f"{tmp_path / 'no.mp4'}: no such file; give a video file, or the number of a camera (0 is the first)"
    )


def test_a_folder(tmp_path):
    assert error_of(tmp_path).startswith(f"{tmp_path}: is a folder")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "the file is empty" in error_of(path)


@pytest.mark.parametrize("text", ["hello " * 200, "\x7fELF" * 99, "%PDF-1.7\n" * 9, "<html>" * 50])
@pytest.mark.parametrize("name", ["letter.txt", "letter.mp4"])
def test_something_else(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert "not a video; expected MP4" in error_of(path)


def test_a_playlist_does_not_reach_other_files(clip, tmp_path):
    clip("secret.ts")
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    assert "not a video" in error_of(path)
    path = tmp_path / "list.ffconcat"
    path.write_text("ffconcat version 1.0\nfile secret.ts\n")
    assert "not a video" in error_of(path)


def test_an_image(tmp_path):
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    assert "facerelief reconstruct" in error_of(path)


def test_sound_without_video(tmp_path):
    assert error_of(sound_only(tmp_path / "song.m4a")).endswith(
        "holds sound and no video stream; expected a video"
    )


def test_a_cover_image_is_no_video_stream(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as file:
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        tone = file.add_stream("aac", rate=16000)
        file.mux(cover.encode(av.VideoFrame.from_ndarray(frame_image(0, 32, 32), "rgb24")))
        file.mux(cover.encode(None))
        file.mux(tone.encode(silence()))
        file.mux(tone.encode(None))
    assert "sound and no video stream" in error_of(path)


def test_sound_beside_the_video_does_not_matter(clip):
    assert len(list(VideoReader(clip("a.mp4", sound=True)))) == 12


def test_too_large_frames_are_refused(clip, monkeypatch):
    path = clip("a.mp4")
    monkeypatch.setattr(file, "MAX_PIXELS", 1000)
    assert f"frames of {WIDTH} x {HEIGHT} are too large" in error_of(path)


def test_frames_that_grow_too_large_are_left_out(clip, tmp_path, monkeypatch):
    path = tmp_path / "growing.h264"
    parts = [clip("a.h264", 4, container="h264"), clip("b.h264", 4, width=192, container="h264")]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    monkeypatch.setattr(file, "MAX_PIXELS", 9000)
    reader = VideoReader(path)
    assert [number_of(f.image) for f in reader] == [0, 1, 2, 3]
