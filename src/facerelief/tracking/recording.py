"""Recording of a track: overlay to a video and a window, speed, the summary in track.json.

Tested by tests/cli/test_track.py.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from facerelief._version import __version__
from facerelief.facefolder.face_json import networks_document
from facerelief.facefolder.maps import head_maps
from facerelief.facefolder.save import save_reconstruction
from facerelief.io.atomic import write_bytes
from facerelief.tracking.capture import FaceCapture
from facerelief.tracking.frame import TrackedFrame
from facerelief.tracking.overlay import overlay_frame, overlay_size
from facerelief.typed import Image
from facerelief.video import VideoReader, VideoWriter

SUMMARY, FACE = "track.json", "face"
"""File and folder written beside those of `FaceCapture.save`."""
_WINDOW = "facerelief"

Window = Callable[[Image], bool]
"""Shows an image; False when the window has been closed."""


@contextmanager
def overlay_sink(
    file: Path | None, reader: VideoReader, *, detail: bool, every: int = 1, window: Window | None = None
) -> Iterator[Callable[[TrackedFrame], bool]]:
    """Context with a function that adds an overlay to video and window; False once the window is closed.

    Args:
        file: The .mp4 file to write, None for no file.
        reader: The video that is followed: size and frame rate.
        detail: Include the surface with relief.
        every: Only every n-th frame of the video is followed.
        window: From `preview_window`; it is closed at the end.
    """
    writer: VideoWriter | None = None
    if file is not None:
        width, height = overlay_size(reader.width, reader.height, detail=detail)
        writer = VideoWriter(file, width, height, max(reader.fps / every, 0.01))

    def add(frame: TrackedFrame) -> bool:
        if writer is None and window is None:
            return True
        panels = overlay_frame(frame, detail=detail)
        if writer is not None:
            writer.write(panels, frame.time)
        return window is None or window(panels)

    try:
        yield add
    finally:
        if writer is not None:
            writer.close()
        if window is not None:
            import cv2

            cv2.destroyAllWindows()


def preview_window(note: Callable[[str], None]) -> Window | None:
    """A window that q or Esc closes; None where there is none, after a call of `note` with the reason."""
    import cv2

    # checked first, since some window systems end the process where there is no display
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        note("no preview: there is no display")
        return None
    try:
        cv2.namedWindow(_WINDOW, cv2.WINDOW_NORMAL)
    except cv2.error:
        note("no preview: this OpenCV has no windows (opencv-python, in place of -headless, has them)")
        return None

    def show(image: Image) -> bool:
        cv2.imshow(_WINDOW, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    return show


class Recording:
    """The frames of a track, their speed, and the reason for an early end."""

    def __init__(self, reader: VideoReader) -> None:
        self.reader = reader
        self.capture = FaceCapture(fps=reader.fps, source=reader.name)
        self.stopped = False
        """True if `stop` or an interrupt ended it."""
        self.failure: Exception | None = None
        """The error that ended it."""
        self._start = self._first = self._last = time.perf_counter()

    def follow(
        self,
        frames: Iterable[TrackedFrame],
        add_overlay: Callable[[TrackedFrame], bool],
        stop: Callable[[], bool],
        progress: Callable[[int, int | None, str], None],
    ) -> None:
        """Add frames until they end, or `add_overlay` or `stop` ends them; frames before an error are kept.

        Args:
            frames: The tracked frames of the video.
            add_overlay: From `overlay_sink`.
            stop: True to end after this frame.
            progress: Called with the number of frames, the expected number, and a text, after each frame.
        """
        try:
            for frame in frames:
                self.capture.add(frame)
                wanted = add_overlay(frame)
                self._last = time.perf_counter()
                if len(self.capture) == 1:
                    self._first = self._last
                text = f"{self.capture.faces} with a face, {self.frames_per_second:.1f} a second"
                progress(len(self.capture), self.reader.expected, text)
                self.stopped = stop()
                if self.stopped or not wanted:
                    break
        except KeyboardInterrupt:
            self.stopped = True
        except Exception as error:
            self.failure = error

    @property
    def frames_per_second(self) -> float:
        """Speed without the first frame, whose time is mostly that of loading."""
        frames = len(self.capture)
        if frames > 1:
            return (frames - 1) / max(self._last - self._first, 1e-9)
        return frames / max(self._last - self._start, 1e-9)

    def save(self, folder: Path, machine: Mapping[str, Any], texture_size: int) -> dict[str, Any]:
        """Write the track, its best face and the summary into a folder. Returns the summary.

        Raises OutputError; ValueError where no frame shows a face.
        """
        best, *others = self.capture.merged()
        maps = head_maps(best, texture_size, others)
        self.capture.save(folder, maps=maps)
        save_reconstruction(replace(best, source=self.reader.name), folder / FACE, maps=maps)
        summary = self.summary(machine)
        text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
        write_bytes(folder / SUMMARY, text.encode("utf-8", "replace"))
        return summary

    def summary(self, machine: Mapping[str, Any]) -> dict[str, Any]:
        """The content of track.json; machine: from `lab.benchmarks.timing.machine`."""
        result = self.capture.track()
        gaps = [
            {
                "from_frame": gap.first,
                "to_frame": gap.last,
                "from_s": round(gap.start, 3),
                "to_s": round(gap.end, 3),
            }
            for gap in result.gaps
        ]
        return {
            "format": "facerelief-track-summary",
            "format_version": 1,
            "tool_version": __version__,
            "source": self.reader.name.encode("utf-8", "replace").decode(),  # file names need not be text
            "image_size": [self.reader.width, self.reader.height],
            "fps": round(self.reader.fps, 4),
            "frames": len(self.capture),
            "frames_with_face": self.capture.faces,
            "lost": gaps,
            "stopped": self.stopped or self.failure is not None,
            "seconds": round(self._last - self._start, 3),
            "processed_fps": round(self.frames_per_second, 2),
            "model": {"name": result.model, "version": result.model_version}
            | ({"sha256": result.model_sha256} if result.model_sha256 else {}),
            "networks": networks_document(result.networks),
            "notes": self.reader.notes,
            "versions": machine["versions"] | {"av": version("av"), "python": machine["python"]},
            "processor": machine["processor"],
            "cores": machine["cores"],
        }
