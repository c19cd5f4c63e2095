"""A webcam gives frames until it stops, and a missing one is reported in one line."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import cv2
import pytest
from clips import frame_image, number_of

from facerelief.errors import VideoError
from facerelief.video import VideoReader, webcam


class FakeCamera:
    """Three images, then none."""

    def __init__(self, number: int) -> None:
        self.number, self.given, self.released = number, 0, False

    def isOpened(self) -> bool:  # noqa: N802
        return self.number == 0

    def get(self, _: int) -> float:
        return 0.0

    def set(self, *_: float) -> bool:
        return False

    def read(self):
        self.given += 1
        return (True, frame_image(self.given)[:, :, ::-1]) if self.given <= 3 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize("source", [0, "0"])
def test_a_camera_gives_frames_until_it_stops(monkeypatch, source):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    with VideoReader(source) as reader:
        assert (reader.name, reader.count, reader.fps) == ("camera 0", None, 30.0)
        frames = list(reader)
        assert reader.notes == ["the camera delivered no more frames after number 2"]
    assert [number_of(f.image) for f in frames] == [1, 2, 3]
    assert frames[0].time == 0
    assert all(a.time < b.time for a, b in pairwise(frames))


def test_a_camera_that_is_not_there_is_one_line():
    code = "from facerelief.video import VideoReader\ntry: VideoReader(63)\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("camera 63: no such camera")


def test_opencv_may_speak_again_afterwards():
    log = cv2.utils.logging
    before = log.getLogLevel()
    with pytest.raises(VideoError):
        webcam.Camera(63)
    assert log.getLogLevel() == before
