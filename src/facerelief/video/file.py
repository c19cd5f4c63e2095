"""Frames from a video file, as far as it can be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facerelief.errors import VideoError
from facerelief.typed import Image
from facerelief.video.source import NOMINAL_FPS, DecodedFrame, usual_rate
from facerelief.video.timeline import Clock, Numbering, Spans

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_PIXELS = 36_000_000
"""Largest frame, pixels: a little more than 8K (8192 x 4320)."""
_FORMATS = "expected MP4, MOV, MKV, WebM, AVI or another kind of video that FFmpeg reads"
_NOT_VIDEOS = ("tty", "bin", "adf", "idf", "xbin", "hls", "dash", "concat")
"""FFmpeg's formats that read a text as a video, or name other files."""
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""Codings of colour: FFmpeg's number in files to that of its scaler (BT.709, FCC, BT.601, 240M, BT.2020)."""
_READ_FAILURES = 20
"""Number of successive failures to read on after which the file counts as ended."""


class File:
    """A video file.

    Raises:
        VideoError: The file is missing, empty, no video, without a video stream, of an unknown codec, or has
            frames of more than MAX_PIXELS.
    """

    def __init__(self, path: Path) -> None:
        from av.video.reformatter import VideoReformatter

        self.name = str(path)
        _check(path)
        self._container = _opened(path)
        try:
            self._stream = _video_stream(path, self._container)
        except BaseException:
            self._container.close()
            raise
        rates = (self._stream.average_rate, self._stream.guessed_rate)
        self.fps = next((r for r in map(usual_rate, rates) if r), NOMINAL_FPS)
        self.count: int | None = self._stream.frames if self._stream.frames > 0 else None
        self._aspect = _pixel_aspect(self._stream)
        self._reformatter = VideoReformatter()
        self._numbers = Numbering()
        self._clock = Clock(1.0 / self.fps)
        self._damaged = Spans()
        self._unshown = Spans()
        self._skipped = 0
        self._last = 0.0
        self._ended = False
        self._broken = ""

    def frames(self) -> Iterator[DecodedFrame]:
        """Every frame that can be decoded; frames that cannot have numbers too."""
        for frame in self._decoded():
            number = self._numbers.frame(frame.pts)
            if frame.width * frame.height > MAX_PIXELS:
                self._unshown.add(number)
                continue
            base = frame.time_base or self._stream.time_base  # the last frames have none
            stamp = None if frame.pts is None or base is None else float(frame.pts * base)
            if frame.is_corrupt:
                self._damaged.add(number)
            self._last = self._clock.at(stamp, number)
            yield DecodedFrame(number, self._last, partial(self._image, frame, number))
        self._numbers.end()
        self._ended = True

    @property
    def notes(self) -> list[str]:
        """Lines about failures up to here."""
        notes: list[str] = []
        if self._numbers.lost.count:
            notes.append(f"not decodable: {self._numbers.lost}")
        if self._damaged.count:
            notes.append(f"damaged: {self._damaged}")
        if self._unshown.count:
            notes.append(f"too large or of an unknown kind of colour: {self._unshown}")
        if self._clock.repaired.count:
            notes.append(f"without a usable time stamp, times made from the rate: {self._clock.repaired}")
        return [*notes, self._breaking_off()] if self._ended and self._breaking_off() else notes

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decoded(self) -> Iterator[VideoFrame]:
        """Frames in the order of showing, past what cannot be read or decoded."""
        from av.error import FFmpegError

        context = self._stream.codec_context
        failures = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError, LookupError) as error:  # LookupError: its streams have changed
                failures += 1
                if failures > _READ_FAILURES:
                    self._broken = str(getattr(error, "strerror", "") or error).rstrip(".")
                    break
                packets = self._container.demux(self._stream)
                continue
            failures = 0
            if packet is None:
                break
            if packet.size == 0:  # the mark of the end
                continue
            if packet.is_discard:  # cut away by the file's edit list: only other frames need it
                self._skipped += 1
            else:
                self._numbers.packet(packet.pts, packet.dts)
            try:
                yield from packet.decode()
            except FFmpegError:
                self._numbers.refused()
        try:
            yield from context.decode(None)
        except FFmpegError:
            self._numbers.refused()

    def _breaking_off(self) -> str:
        """A line where the file holds less than it announces."""
        there = self._numbers.next + self._skipped
        if self.count is not None and there < self.count:
            return f"the file breaks off: it announces {self.count} frames and holds {there}"
        if self._broken:
            return f"the file breaks off after frame {self._numbers.next - 1}: {self._broken}"
        announced = self._announced_seconds()
        if self.count is None and self._last + 1.0 < 0.9 * announced:
            return f"the file breaks off: it announces {announced:.1f} seconds and holds {self._last:.1f}"
        return ""

    def _announced_seconds(self) -> float:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if self._container.duration and len(self._container.streams) == 1:
            return self._container.duration / 1e6
        return 0.0

    def _image(self, frame: VideoFrame, number: int) -> Image | None:
        """A frame for display: RGB, square pixels, upright; None where it cannot be converted."""
        from av.error import FFmpegError

        width, height = frame.width, frame.height
        if self._aspect > 1:
            width = round(width * self._aspect)
        elif self._aspect < 1:
            height = round(height / self._aspect)
        try:
            rgb = self._reformatter.reformat(
                frame,
                width,
                height,
                "rgb24",
                src_colorspace=_color_coding(frame),
                src_color_range=int(frame.color_range),
                dst_color_range="JPEG",
            )
        except (FFmpegError, ValueError, MemoryError):
            self._unshown.add(number)
            return None
        return _upright(np.asarray(rgb.to_ndarray(), np.uint8), _display_matrix(frame))


def _check(path: Path) -> None:
    try:
        size, folder = path.stat().st_size, path.is_dir()
        if not folder:
            path.open("rb").close()
    except FileNotFoundError:
        advice = "give a video file, or the number of a camera (0 is the first)"
        raise VideoError(f"{path}: no such file; {advice}") from None
    except ValueError as error:
        raise VideoError(f"{str(path)!r}: no file has such a name; expected a video file") from error
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}); expected a video file") from error
    if folder:
        raise VideoError(f"{path}: is a folder; expected a video file")
    if size == 0 and path.is_file():
        raise VideoError(f"{path}: the file is empty; expected a video file")


def _opened(path: Path) -> InputContainer:
    import av
    from av.error import FFmpegError

    try:
        # the protocol makes it a path: FFmpeg gives some names another meaning
        options = {"protocol_whitelist": "file"}
        return av.open(f"file:{path}", "r", metadata_errors="replace", options=options)
    except (FFmpegError, OSError, ValueError) as error:
        with path.open("rb") as handle:
            start = handle.read(12)
        if start[4:8] == b"ftyp":
            reason = "its index is missing, as when a recording or a copy was cut off; get the whole file"
        else:
            reason = f"not a video; {_FORMATS}"
        raise VideoError(f"{path}: {reason}") from error


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream to read.

    Raises:
        VideoError: There is none that can be decoded.
    """
    from av.stream import Disposition

    kinds = container.format.name.split(",")
    if any(kind in _NOT_VIDEOS for kind in kinds):
        raise VideoError(f"{path}: not a video; {_FORMATS}")
    if any(kind == "image2" or kind.endswith("_pipe") for kind in kinds):
        raise VideoError(f"{path}: an image; expected a video (`facerelief reconstruct` takes images)")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "sound and no video stream" if container.streams.audio else "no video stream"
        raise VideoError(f"{path}: holds {what}; expected a video")
    best = container.streams.best("video")
    stream = next((s for s in streams if s is best), streams[0])
    context: Any = stream.codec_context
    if context is None:
        raise VideoError(
            f"{path}: FFmpeg does not know its video codec; convert the video, for instance to H.264 in MP4"
        )
    if context.width * context.height > MAX_PIXELS:
        raise VideoError(
            f"{path}: frames of {context.width} x {context.height} are too large; "
            f"expected at most {MAX_PIXELS // 1_000_000} million pixels: scale the video down"
        )
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _pixel_aspect(stream: VideoStream) -> float:
    """Width over height of a pixel as it is shown; 1 where the file says nothing sensible."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.25 <= aspect <= 4 else 1.0


def _color_coding(frame: VideoFrame) -> int:
    """The matrix between YCbCr and RGB; by the usual rule where the file does not say."""
    return _MATRICES.get(int(frame.colorspace), 1 if frame.height >= 720 else 5)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of x' = a x + c y, y' = b x + d y, in 1/65536: the file's rotation for display."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 65536, 0, 0, 65536
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d


def _upright(image: Image, matrix: tuple[int, int, int, int]) -> Image:
    """An image turned and mirrored by the multiple of 90 degrees nearest to a display matrix."""
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, across, down = image.transpose(1, 0, 2), c, b
    if across < 0:
        image = image[:, ::-1]
    if down < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)
