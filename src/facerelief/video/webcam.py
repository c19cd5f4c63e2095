"""Frames from a webcam."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from facerelief.errors import VideoError
from facerelief.video.source import NOMINAL_FPS, DecodedFrame, usual_rate


class Camera:
    """A webcam by its number, 0 for the first.

    Raises:
        VideoError: There is none of that number, or it cannot be opened.
    """

    def __init__(self, number: int) -> None:
        import cv2

        self.name = f"camera {number}"
        self.count: int | None = None
        self.notes: list[str] = []
        """Lines about failures up to here."""
        with _quiet():
            self._capture = cv2.VideoCapture(number)
            if not self._capture.isOpened():
                self._capture.release()
                raise VideoError(
                    f"{self.name}: no such camera, or another program uses it; "
                    "plug it in, close the other program, or give another number or a video file"
                )
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # no stale images, where the driver supports it
            self.fps = usual_rate(self._capture.get(cv2.CAP_PROP_FPS)) or NOMINAL_FPS

    def frames(self) -> Iterator[DecodedFrame]:
        """Frames until the camera delivers no more; a frame's time is that of its arrival."""
        import cv2

        number, start, last = 0, 0.0, -1.0
        while True:
            with _quiet():
                there, bgr = self._capture.read()
            now = time.monotonic()
            if not there:
                if number:
                    self.notes.append(f"the camera delivered no more frames after number {number - 1}")
                return
            start = now if number == 0 else start
            last = max(now - start, last + 1e-6)
            image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            yield DecodedFrame(number, last, lambda image=image: image)
            number += 1

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's own messages about cameras off the terminal."""
    import cv2

    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)
