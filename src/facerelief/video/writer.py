"""Frames with times to an MP4 file that every player opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import OutputError
from facerelief.io.atomic import temporary_path

if TYPE_CHECKING:
    from av.container import OutputContainer

_TICKS = 60_000
"""Time unit of the file, per second: exact for all usual rates, and MPEG-4 admits no finer one."""
_BT709 = 1
_ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""H.264 where FFmpeg was built with an encoder of it."""
_BITS_PER_PIXEL = 0.25
"""Bit rate over pixel rate for encoders without a quality setting."""


class VideoWriter:
    """An H.264 video in MP4 (MPEG-4 where FFmpeg has no H.264), frame by frame, each with its own time.

    The file is written under a temporary name beside `path` and takes its name when closed; leaving a `with`
    block closes it after an error and Ctrl-C too, so what was done is kept and plays. Without
    a frame no file is left. Colours are coded by BT.709; sides of odd length get one more row or column, a
    copy of the last.

    Args:
        path: File to write; one of that name is replaced.
        width: Width of every frame, px, 2 to 16384.
        height: Height of every frame, px, 2 to 16384.
        fps: Frames a second; spaces frames that are given without a time.

    Raises:
        OutputError: The file cannot be written.
        ValueError: A size or rate that no video has.
    """

    def __init__(self, path: str | Path, width: int, height: int, fps: float = 30.0) -> None:
        if not (2 <= width <= 16384 and 2 <= height <= 16384):
            raise ValueError(f"a video of {width} x {height} px: expected sides of 2 to 16384")
        if not 0.01 <= fps <= 1000:
            raise ValueError(f"a video of {fps} frames a second: expected 0.01 to 1000")
        self.path = Path(path)
        self.width, self.height = width, height
        self.frames = 0
        """Frames written so far."""
        self._step = max(round(_TICKS / fps), 1)
        self._last = -self._step
        self._temporary = temporary_path(self.path)
        self._container: OutputContainer | None = None
        self._stream: Any = None
        try:
            with self._guarded():
                self._temporary.touch(exist_ok=False)
                self._open(fps)
        except BaseException:
            self._drop()
            raise

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Append a frame, (height, width, 3) uint8 RGB.

        Args:
            image: The frame.
            time: Seconds since the video's start, larger than that of the frame before (1/60000 s after it
                where it is not); one frame's length after it when left out.

        Raises:
            OutputError: The file cannot be written.
            ValueError: Another shape or type, or the video is closed.
        """
        from av.video.frame import VideoFrame

        if self._container is None:
            raise ValueError(f"{self.path}: the video is closed")
        if image.shape != (self.height, self.width, 3) or not np.issubdtype(image.dtype, np.uint8):
            raise ValueError(
                f"a frame of {image.dtype} {image.shape}, expected uint8 {(self.height, self.width, 3)}"
            )
        pad = (self.height % 2, self.width % 2)
        if any(pad):
            image = np.pad(image, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24"),
            format="yuv420p",
            src_color_range="JPEG",
            dst_colorspace=_BT709,
            dst_color_range="MPEG",
        )
        tick = self._last + self._step if time is None else round(time * _TICKS)
        self._last = frame.pts = max(tick, self._last + 1, 0)
        frame.time_base = Fraction(1, _TICKS)
        frame.duration = self._step
        with self._guarded():
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; may be called again. Raises OutputError."""
        if self._container is None:
            return
        with self._guarded():
            if self.frames:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            if self.frames:
                os.replace(self._temporary, self.path)
        self._drop()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, fps: float) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._container = av.open(
            f"file:{self._temporary}", "w", format="mp4", options={"movflags": "faststart"}
        )
        name = next(name for name in _ENCODERS if _has_encoder(name))
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = self._container.add_stream(name, rate=rate)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, _TICKS)
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.color_range = 1  # 16 to 235
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        if name == "libx264":
            # no B-frames: coding order is display order, whatever the times
            context.options = {"crf": "18", "preset": "veryfast", "bf": "0"}
        else:
            context.bit_rate = int(_BITS_PER_PIXEL * stream.width * stream.height * max(fps, 5.0))
        self._stream = stream

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn a failure into an OutputError and end the writing: FFmpeg takes no more after one."""
        from av.error import FFmpegError

        try:
            yield
        except (FFmpegError, OSError) as error:
            self._drop()
            reason = error.strerror or type(error).__name__
            advice = "free some space or choose another folder"
            raise OutputError(f"{self.path}: cannot write the video: {reason}; {advice}") from error

    def _drop(self) -> None:
        """Close the container and remove the temporary file, if it is still there."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(Exception):
                container.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _has_encoder(name: str) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        return Codec(name, "w").is_encoder
    except UnknownCodecError:
        return False
