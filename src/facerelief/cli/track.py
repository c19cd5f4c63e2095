"""`facerelief track`: a video's face as an overlay, numbers and an animated head."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from tyro.conf import Positional, arg

from facerelief.cli import options
from facerelief.cli.console import handled_signals, note, progress, report, say
from facerelief.errors import NoFaceError

if TYPE_CHECKING:
    from facerelief.tracking.frame import TrackedFrame
    from facerelief.tracking.recording import Recording
    from facerelief.video import VideoReader

OVERLAY = "overlay.mp4"
_TEXTURE = 1024
"""Side of the textures, px."""
_MOST_GAPS = 8
"""Stretches without a face that are printed one by one."""


@dataclass
class _Stop:
    """Whether a signal asks for the end."""

    asked: bool = False
    finishing: bool = False
    """The frames are done, the files are being written."""
    warned: bool = False

    def receive(self, *_: object) -> None:
        """Handle Ctrl-C or SIGTERM: the first ends the loop after its frame, the second interrupts the frame.
        While the files are written, the first only warns."""
        first, self.asked = not self.asked, True
        if self.finishing and not self.warned:
            self.warned = True
            with suppress(RuntimeError):  # the signal came during another print
                note("the files are being written; Ctrl-C again leaves nothing")
        elif self.finishing or not first:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Track:
    """Follow a face through a video.

    Writes overlay.mp4, track.npz, track.csv, performance.glb and more. Ctrl-C ends early and keeps the frames
    that are done.

    Examples:
        facerelief track clip.mp4 -o out
        facerelief track 0 -o out --preview
    """

    source: Annotated[Positional[str], arg(metavar="VIDEO|NUMBER")]
    """A video file, or a webcam's number (0 is the first)."""
    out: options.OutFolder
    """Folder for the results."""
    nets: options.Nets = None
    """Folder with other networks (coarse.onnx, tracking.onnx, fine.onnx); the shipped one where it lacks a
    network. Unless given: the folder that the variable FACERELIEF_NETS names, or the shipped networks."""
    overwrite: options.Overwrite = False
    """Replace an earlier result in that folder."""
    no_detail: bool = False
    """Coarse surfaces only, which is quicker."""
    no_filter: bool = False
    """Do not smooth pose and expression over time."""
    max_frames: options.Count | None = None
    """Stop after this many frames."""
    every: options.Count = 1
    """Use only every n-th frame."""
    no_video: bool = False
    """Write no overlay.mp4."""
    preview: bool = False
    """Show the overlay in a window; q or Esc ends there."""
    json: options.JsonFile = None
    """Write track.json to this file too; - prints it in place of the report."""
    threads: options.Threads = None

    def run(self) -> int:
        """Follow the face. Returns the exit code."""
        from facerelief.tracking.tracker import TrackerConfig
        from facerelief.tracking.tracker import track as tracked_frames
        from facerelief.video import VideoReader

        if self.threads is not None:
            import cv2

            cv2.setNumThreads(self.threads)
        config = TrackerConfig(
            detail=not self.no_detail,
            smooth=not self.no_filter,
            threads=self.threads,
            nets=None if self.nets is None else str(self.nets),
        )
        options.note_missing_nets(self.nets, ["coarse", "tracking", *([] if self.no_detail else ["fine"])])
        stop = _Stop()
        try:
            with (
                handled_signals(stop.receive, signal.SIGINT, signal.SIGTERM),
                VideoReader(self.source, every=self.every, limit=self.max_frames) as reader,
            ):
                failure, summary = self._record(reader, tracked_frames(reader, config=config), stop)
        except KeyboardInterrupt:
            note("stopped; nothing is kept")
            return 130
        report(summary, self.json, lambda: _print_summary(summary, self.out))
        if failure is not None:
            note(f"stopped by an error after {summary['frames']} frames; what was done is kept in {self.out}")
            raise failure
        if summary["stopped"]:
            note(f"stopped: {summary['frames']} frames done; they are kept in {self.out}")
            return 130
        return 0

    def _record(
        self, reader: VideoReader, frames: Iterator[TrackedFrame], stop: _Stop
    ) -> tuple[Exception | None, dict[str, Any]]:
        """Fill the folder. Returns the error that ended the track early, and the content of track.json.

        Raises OutputError; NoFaceError, or the error or SystemExit that came earlier, where no face was seen.
        """
        from facerelief.io.atomic import atomic_folder
        from facerelief.lab.benchmarks.timing import machine
        from facerelief.tracking.recording import SUMMARY, Recording, overlay_sink, preview_window

        recording = Recording(reader)
        with atomic_folder(self.out, self.overwrite, marker=SUMMARY) as folder:
            overlay, detail = None if self.no_video else folder / OVERLAY, not self.no_detail
            window = preview_window(note) if self.preview else None
            with (
                overlay_sink(overlay, reader, detail=detail, every=self.every, window=window) as draw,
                progress("frames", last=False) as show,
            ):
                recording.follow(frames, draw, lambda: stop.asked, show)
                stop.finishing = True
            if not recording.capture.faces:
                _raise_no_face(recording)
            return recording.failure, recording.save(folder, machine(), _TEXTURE)


def _raise_no_face(recording: Recording) -> NoReturn:
    """End the command, since no frame shows a face."""
    if recording.failure is not None:
        raise recording.failure
    done = len(recording.capture)
    count = f"{done} frame{'' if done == 1 else 's'}"
    if recording.stopped:
        note(f"stopped: {count} done, none with a face; nothing is kept")
        raise SystemExit(130)
    advice = "is one seen upright, from the front, and large enough?"
    raise NoFaceError(f"{recording.reader.name}: no face was found in {count}; {advice}")


def _print_summary(summary: dict[str, Any], out: Path) -> None:
    say(
        f"{summary['source']}: {summary['frames']} frames, {summary['frames_with_face']} with a face, "
        f"{summary['processed_fps']:g} frames a second"
    )
    gaps = summary["lost"]
    for gap in gaps[:_MOST_GAPS]:
        one = gap["from_frame"] == gap["to_frame"]
        frames = f"frame {gap['from_frame']}" if one else f"frames {gap['from_frame']} to {gap['to_frame']}"
        say(f"  no face: {frames} ({gap['from_s']:.2f} to {gap['to_s']:.2f} s)")
    if len(gaps) > _MOST_GAPS:
        say(f"  no face: {len(gaps) - _MOST_GAPS} more stretches, listed in track.json")
    for line in summary["notes"]:
        say(f"  note: {line}")
    say(f"saved in {out}")
