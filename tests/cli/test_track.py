"""`facerelief track` as a user meets it, with a tracker that needs no networks.

What it leaves behind, what it says, and what stopping and bad input do to it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from command_line import run_command
from pygltflib import GLTF2

from facerelief.cli import track as cli_track
from facerelief.errors import ModelError
from facerelief.facefolder.load import load_reconstruction
from facerelief.tracking import tracker
from facerelief.tracking.capture import FaceCapture
from facerelief.tracking.frame import TrackedFrame
from facerelief.tracking.track_file import load_track
from facerelief.video import VideoFrame, VideoReader, VideoWriter

CONTRACT = {"face", "overlay.mp4", "performance.glb", "track.csv", "track.json", "track.npz"}
FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory, toy_reconstruction) -> Path:
    """Twelve frames of the toy head, 25 a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 120, 160, fps=25) as video:
        for i in range(FRAMES):
            video.write(np.roll(toy_reconstruction.image, i, axis=1))
    return path


class Toy:
    """In place of `pipeline.tracker.track`: the toy head in every frame but those in `lost`.

    `trouble` is called with each frame's number before it is tracked.
    """

    def __init__(self, face, lost=(), trouble: Callable[[int], None] = lambda _: None) -> None:
        self.face, self.lost, self.trouble = face, set(lost), trouble
        self.config = tracker.TrackerConfig()

    def __call__(self, source, *, model="open", config=None) -> Iterator[TrackedFrame]:
        assert isinstance(source, VideoReader)
        assert model == "open"
        self.config = config or self.config
        return (self.step(frame) for frame in source)

    def step(self, frame: VideoFrame) -> TrackedFrame:
        self.trouble(frame.index)
        if frame.index in self.lost:
            return TrackedFrame(frame.index, frame.time, frame.image, "none", None)
        camera = replace(self.face.camera, translation_u=60.0 + frame.index)
        fine = self.face.fine if self.config.detail else None
        face = replace(self.face, image=frame.image, camera=camera, fine=fine)
        return TrackedFrame(frame.index, frame.time, frame.image, "tracked", face)


@pytest.fixture
def toy(monkeypatch, toy_reconstruction):
    """toy(lost=..., trouble=...): have the command track with a toy."""

    def put(**options) -> Toy:
        made = Toy(toy_reconstruction, **options)
        monkeypatch.setattr(tracker, "track", made)
        monkeypatch.setattr(cli_track, "_TEXTURE", 64)  # quicker
        return made

    return put


run = partial(run_command, "track")


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def summary(out: Path) -> dict:
    return json.loads((out / "track.json").read_text("utf-8"))


def check_whole(out: Path, frames: int) -> None:
    """A folder with everything in it, for so many frames."""
    assert names(out) == CONTRACT
    assert len(list(VideoReader(out / "overlay.mp4"))) == frames
    track = load_track(out / "track.npz")
    assert len(track.time) == frames
    assert len((out / "track.csv").read_text("utf-8").splitlines()) == frames + 1
    assert GLTF2().load(str(out / "performance.glb")).animations
    assert summary(out)["frames"] == frames


# ---------------------------------------------------------------- what it leaves behind


def test_a_clip_becomes_a_folder(clip, tmp_path, toy):
    toy(lost=(4, 5, 11))
    out = tmp_path / "new" / "out"
    result = run(clip, "-o", out)
    check_whole(out, FRAMES)
    assert names(out.parent) == {"out"}
    about = summary(out)
    assert about["source"] == str(clip)
    assert about["frames_with_face"] == 9
    assert about["image_size"] == [120, 160]
    assert about["lost"] == [
        {"from_frame": 4, "to_frame": 5, "from_s": 0.16, "to_s": 0.2},
        {"from_frame": 11, "to_frame": 11, "from_s": 0.44, "to_s": 0.44},
    ]
    assert about["stopped"] is False
    assert about["notes"] == []
    assert about["versions"]["av"] == av.__version__
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{clip}: 12 frames, 9 with a face, ")
    assert lines[0].endswith(" frames a second")
    assert lines[1:] == [
        "  no face: frames 4 to 5 (0.16 to 0.20 s)",
        "  no face: frame 11 (0.44 to 0.44 s)",
        f"saved in {out}",
    ]
    assert result.stderr == ""


def test_the_overlay_has_the_clip_s_times_and_three_panels(clip, tmp_path, toy):
    toy()
    run(clip, "-o", tmp_path / "out")
    reader = VideoReader(tmp_path / "out" / "overlay.mp4")
    assert (reader.width, reader.height) == (3 * 240, 320)
    np.testing.assert_allclose(
        [f.time for f in reader], [f.time for f in VideoReader(clip)], atol=1 / 60_000 + 1e-9
    )


def test_numbers_are_those_of_the_tracker(clip, tmp_path, toy):
    toy(lost=(3,))
    run(clip, "-o", tmp_path / "out")
    track = load_track(tmp_path / "out" / "track.npz")
    expected = [np.nan if i == 3 else 60.0 + i for i in range(FRAMES)]
    np.testing.assert_allclose(track.camera[:, 3], expected)
    assert track.fps == 25.0
    assert track.source == str(clip)


def test_the_best_face_is_a_face_folder(clip, tmp_path, toy, toy_model):
    toy()
    run(clip, "-o", tmp_path / "out")
    face = load_reconstruction(tmp_path / "out" / "face", toy_model)
    assert face.source == "clip.mp4"
    assert face.image.shape == (160, 120, 3)


def test_options(clip, tmp_path, toy):
    used = toy()
    run(clip, "-o", tmp_path / "a", "--no-detail", "--no-filter", "--threads", 1)
    assert (used.config.detail, used.config.smooth, used.config.threads) == (False, False, 1)
    assert VideoReader(tmp_path / "a" / "overlay.mp4").width == 2 * 240
    cv2.setNumThreads(-1)
    run(clip, "-o", tmp_path / "b", "--no-video")
    assert (used.config.detail, used.config.smooth, used.config.threads) == (True, True, None)
    assert names(tmp_path / "b") == CONTRACT - {"overlay.mp4"}
    run(clip, "-o", tmp_path / "c", "--every", 5, "--max-frames", 2, "--no-video")
    assert load_track(tmp_path / "c" / "track.npz").frame.tolist() == [0, 5]


def test_json_is_the_summary(clip, tmp_path, toy):
    toy()
    result = run(clip, "-o", tmp_path / "out", "--json", "-", "--no-video")
    assert json.loads(result.stdout) == summary(tmp_path / "out")


def test_an_earlier_result_is_replaced_only_when_told(clip, tmp_path, toy):
    toy()
    out = tmp_path / "out"
    run(clip, "-o", out, "--no-video")
    result = run(clip, "-o", out, code=1)
    assert "already there" in result.stderr
    assert "overlay.mp4" not in names(out)
    run(clip, "-o", out, "--overwrite")
    check_whole(out, FRAMES)
    (out / "track.json").unlink()
    result = run(clip, "-o", out, "--overwrite", code=1)
    assert "not an earlier result (no track.json in it)" in result.stderr


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopping_keeps_what_was_done(clip, tmp_path, toy, signum):
    toy(trouble=lambda i: os.kill(os.getpid(), signum) if i == 4 else None)
    out = tmp_path / "out"
    before = signal.getsignal(signum)
    result = run(clip, "-o", out, code=130)
    assert signal.getsignal(signum) is before
    check_whole(out, 5)
    assert summary(out)["stopped"] is True
    assert result.stderr == f"stopped: 5 frames done; they are kept in {out}\n"
    assert names(tmp_path) == {"out"}


def test_a_second_signal_does_not_wait_for_the_frame(clip, tmp_path, toy):
    def twice(i: int) -> None:
        if i == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the frame was finished")

    toy(trouble=twice)
    run(clip, "-o", tmp_path / "out", code=130)
    check_whole(tmp_path / "out", 4)


@pytest.mark.parametrize("during", [False, True])
def test_haste_loses_nothing(clip, tmp_path, toy, monkeypatch, during):
    """Ctrl-C while the files are written, with or without one before: they are finished all the same."""
    if during:
        toy(trouble=lambda i: os.kill(os.getpid(), signal.SIGINT) if i == 4 else None)
    else:
        toy()
    save = FaceCapture.save

    def interrupted(*args, **options) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save(*args, **options)

    monkeypatch.setattr(FaceCapture, "save", interrupted)
    result = run(clip, "-o", tmp_path / "out", code=130 if during else 0)
    assert result.stderr.startswith("the files are being written; Ctrl-C again leaves nothing\n")
    check_whole(tmp_path / "out", 5 if during else FRAMES)


def test_giving_up_on_the_files_leaves_nothing(clip, tmp_path, toy, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the files were written")

    toy()
    monkeypatch.setattr(FaceCapture, "save", interrupted)
    result = run(clip, "-o", tmp_path / "new" / "out", code=130)
    assert result.stderr.splitlines()[-1] == "stopped; nothing is kept"
    assert names(tmp_path) == set()


def test_stopped_before_any_face(clip, tmp_path, toy):
    toy(lost=range(FRAMES), trouble=lambda i: os.kill(os.getpid(), signal.SIGINT) if i == 2 else None)
    result = run(clip, "-o", tmp_path / "new" / "out", code=130)
    assert result.stderr == "stopped: 3 frames done, none with a face; nothing is kept\n"
    assert names(tmp_path) == set()


def test_an_error_in_the_middle_keeps_what_was_done(clip, tmp_path, toy):
    def broken(i: int) -> None:
        if i == 6:
            raise ModelError("coarse.onnx: broken")

    toy(trouble=broken)
    out = tmp_path / "out"
    result = run(clip, "-o", out, code=1)
    check_whole(out, 6)
    assert result.stderr.splitlines() == [
        f"stopped by an error after 6 frames; what was done is kept in {out}",
        "error: coarse.onnx: broken",
    ]


def test_a_bug_in_the_middle_is_not_hidden(clip, tmp_path, toy):
    def broken(i: int) -> None:
        if i == 6:
            raise ZeroDivisionError

    toy(trouble=broken)
    with pytest.raises(ZeroDivisionError):
        run(clip, "-o", tmp_path / "out")
    check_whole(tmp_path / "out", 6)


def test_an_error_at_once_leaves_nothing(clip, tmp_path, toy):
    def broken(_: int) -> None:
        raise ModelError("coarse.onnx: no such network file")

    toy(trouble=broken)
    result = run(clip, "-o", tmp_path / "out", code=1)
    assert result.stderr == "error: coarse.onnx: no such network file\n"
    assert names(tmp_path) == set()


# ---------------------------------------------------------------- bad input


def test_no_face_at_all(clip, tmp_path, toy):
    toy(lost=range(FRAMES))
    result = run(clip, "-o", tmp_path / "deep" / "er" / "out", code=1)
    assert result.stderr.startswith(f"error: {clip}: no face was found in 12 frames; ")
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == set()


@pytest.mark.parametrize("source", ["no.mp4", "63"])
def test_nothing_to_track(tmp_path, toy, source):
    toy()
    result = run(source, "-o", tmp_path / "out", code=1)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == set()


def test_what_is_odd_in_the_video_is_told(clip, tmp_path, toy):
    toy()
    damaged = tmp_path / "damaged.mp4"
    with av.open(str(clip)) as file:
        packets = [(p.pos, p.size) for p in file.demux(file.streams.video[0]) if p.size]
    data = bytearray(clip.read_bytes())
    place, size = packets[5]
    assert place is not None
    for i in range(place + 4, place + size):
        data[i] ^= 0xA5
    damaged.write_bytes(data)
    result = run(damaged, "-o", tmp_path / "out")
    assert "  note: not decodable: 1 frame (number 5)" in result.stdout.splitlines()
    assert summary(tmp_path / "out")["notes"] == ["not decodable: 1 frame (number 5)"]
    assert load_track(tmp_path / "out" / "track.npz").frame.tolist() == [0, 1, 2, 3, 4, *range(6, 12)]


def test_a_full_disk_is_one_line(clip, tmp_path, toy, monkeypatch):
    toy()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FaceCapture, "save", full)
    result = run(clip, "-o", tmp_path / "out", code=1)
    assert "the disk is full" in result.stderr
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == set()


# ---------------------------------------------------------------- the window


def test_no_display_no_preview_no_crash(clip, tmp_path, toy, monkeypatch):
    toy()
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = run(clip, "-o", tmp_path / "out", "--preview", "--no-video")
    assert result.stderr == "no preview: there is no display\n"


def test_opencv_without_windows(clip, tmp_path, toy, monkeypatch):
    toy()

    def none(*_: object) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", none)
    result = run(clip, "-o", tmp_path / "out", "--preview", "--no-video")
    assert result.stderr.startswith("no preview: this OpenCV has no windows")
    assert result.stderr.count("\n") == 1


def test_the_window_shows_the_overlay_and_q_ends_there(clip, tmp_path, toy, monkeypatch):
    toy()
    shown: list[np.ndarray] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    run(clip, "-o", tmp_path / "out", "--preview")
    assert [image.shape for image in shown] == [(320, 720, 3)] * 3
    check_whole(tmp_path / "out", 3)
    assert summary(tmp_path / "out")["stopped"] is False
