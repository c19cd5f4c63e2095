"""Frames of a video file or a webcam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from facerelief.errors import VideoError
from facerelief.typed import Image
from facerelief.video.source import DecodedFrame, Source
from facerelief.video.timeline import Spans


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame of a video."""

    index: int
    """Number in the source, from 0; frames that cannot be decoded have numbers too."""
    time: float
    """Seconds since the first frame, strictly rising."""
    image: Image
    """(H, W, 3) RGB, upright, square pixels; every frame of a reader has the same size."""


class VideoReader:
    """The frames of a video, once, in order: `for frame in VideoReader("clip.mp4")`.

    Turned recordings come upright, pixels that are not square are made so, and variable frame rates keep
    their times. A file is read as far as it can be: frames that cannot be decoded are left out, frames of
    another size than the first's are fitted into it with black beside them, missing and falling times are
    replaced by the usual rate. `notes` says what happened.

    Args:
        source: A video file, or the number of a webcam (0 is the first), also as a string of digits; a file
            whose name is a number is reached as "./0".
        every: Read every n-th frame by number, or the next one after it where that cannot be decoded.
        limit: Largest number of frames to deliver; None for all.

    Raises:
        VideoError: The file is missing, no video, or none of its frames can be decoded; no camera of that
            number; frames of more than 36 million pixels.
        ValueError: `every` or `limit` below 1.
    """

    def __init__(self, source: str | Path | int, *, every: int = 1, limit: int | None = None) -> None:
        if every < 1 or (limit is not None and limit < 1):
            raise ValueError(f"every is {every} and limit {limit}: expected at least 1")
        self._source = _source(source)
        self._every, self._limit = every, limit
        self._frames = self._source.frames()
        self._resized = Spans()
        self._other_size = ""
        self._first: tuple[DecodedFrame, Image] | None = None
        try:
            shown = ((frame, frame.image()) for frame in self._frames)
            self._first = next(((frame, image) for frame, image in shown if image is not None), None)
            if self._first is None:
                raise VideoError(f"{self.name}: no frame can be decoded; is the file whole?")
        except BaseException:
            self.close()
            raise
        self.height, self.width = (int(n) for n in self._first[1].shape[:2])

    @property
    def name(self) -> str:
        """The file's path, or "camera 0"."""
        return self._source.name

    @property
    def fps(self) -> float:
        """Frames a second in the source, before `every`; 30 where it states no usable rate."""
        return self._source.fps

    @property
    def count(self) -> int | None:
        """Number of frames that the source states, before `every` and `limit`; None if it states none."""
        return self._source.count

    @property
    def expected(self) -> int | None:
        """Number of frames that will probably be delivered."""
        count = None if self.count is None else -(-self.count // self._every)
        return min(n for n in (count, self._limit) if n is not None) if count or self._limit else None

    @property
    def notes(self) -> list[str]:
        """One line for each problem up to here that was repaired or left out."""
        notes = list(self._source.notes)
        if self._resized.count:
            notes.append(
                f"of another size ({self._other_size}), fitted into {self.width} x {self.height}: "
                f"{self._resized}"
            )
        return notes

    def __iter__(self) -> Iterator[VideoFrame]:
        delivered, wanted = 0, 0
        first, self._first = self._first, None
        for frame in chain([first[0]] if first else [], self._frames):
            if frame.number < wanted:
                continue
            image = first[1] if first and frame is first[0] else frame.image()
            if image is None:
                continue
            first = None
            wanted = (frame.number // self._every + 1) * self._every
            yield VideoFrame(frame.number, frame.time, self._fitted(image, frame.number))
            delivered += 1
            if delivered == self._limit:
                return

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file or the camera; may be called again."""
        self._first = None
        self._frames = iter(())
        self._source.close()

    def _fitted(self, image: Image, number: int) -> Image:
        """An image in the size of the first one."""
        if image.shape[:2] == (self.height, self.width):
            return image
        self._resized.add(number)
        self._other_size = f"{image.shape[1]} x {image.shape[0]}"
        return letterboxed(image, self.width, self.height)


def letterboxed(image: Image, width: int, height: int) -> Image:
    """Scale an image (h, w, 3) to fit into width x height px and centre it on black."""
    import cv2

    h, w = image.shape[:2]
    zoom = min(width / w, height / h)
    across, down = min(max(round(w * zoom), 1), width), min(max(round(h * zoom), 1), height)
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    out = np.zeros((height, width, 3), np.uint8)
    left, top = (width - across) // 2, (height - down) // 2
    out[top : top + down, left : left + across] = cv2.resize(image, (across, down), interpolation=method)
    return out


def _source(source: str | Path | int) -> Source:
    from facerelief.video.file import File
    from facerelief.video.webcam import Camera

    if isinstance(source, str) and source.isascii() and source.isdigit():
        source = int(source)
    return Camera(source) if isinstance(source, int) else File(Path(source))
