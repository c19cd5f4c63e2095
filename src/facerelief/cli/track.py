"""`facerelief track`: a video's face as an overlay, numbers and an animated head."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerelief.errors import NoFaceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facerelief.tracking.capture import FaceCapture
    from facerelief.tracking.frame import TrackedFrame
    from facerelief.video import VideoReader, VideoWriter

    Show = Callable[[FaceCapture], None]

SUMMARY, OVERLAY, FACE = "track.json", "overlay.mp4", "face"
"""Names of what the command writes beside the files of `FaceCapture.save`."""
_WINDOW = "facerelief"
_TEXTURE = 1024
"""Side of the textures, px."""
_MOST_GAPS = 8
"""So many stretches without a face are told on the terminal."""


@dataclass
class _Stop:
    """Whether somebody wants the end."""

    code: int | None = None
    """Then the exit code that says so."""
    finishing: bool = False
    """The frames are done, the files are being written."""
    warned: bool = False

    def heard(self, signum: int, _: object) -> None:
        """Ctrl-C or a polite kill (SIGTERM): the first one is for the loop to end after its frame, the second
        interrupts the frame. While the files are written it takes two, so that none is lost in haste."""
        first, self.code = self.code is None, self.code or 128 + signum
        if self.finishing and not self.warned:
            self.warned = True
            with suppress(RuntimeError):  # caught in the middle of another print
                _note("the files are being written; Ctrl-C again leaves nothing")
        elif self.finishing or not first:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class _Options:
    detail: bool
    video: bool
    preview: bool
    every: int


def track(
    source: Annotated[
        str,
        typer.Argument(metavar="VIDEO|NUMBER", help="A video file, or a webcam's number (0 is the first)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result in that folder.")
    ] = False,
    no_detail: Annotated[
        bool, typer.Option("--no-detail", help="Coarse surfaces only, which is quicker.")
    ] = False,
    no_filter: Annotated[
        bool, typer.Option("--no-filter", help="Leave the jitter in pose and expression.")
    ] = False,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Look at every so manieth frame only.")] = 1,
    no_video: Annotated[bool, typer.Option("--no-video", help="Write no overlay.mp4.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the overlay in a window; q or Esc ends there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print track.json instead of the report.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of everything; as each part likes unless given.")
    ] = None,
) -> None:
    """Follow a face through a video: overlay.mp4, track.npz, track.csv, performance.glb and more.

    Ctrl-C ends early and keeps what was done.
    """
    from facerelief.tracking.tracker import TrackerConfig
    from facerelief.tracking.tracker import track as tracked_frames
    from facerelief.video import VideoReader

    if threads is not None:
        import cv2

        cv2.setNumThreads(threads)
    options = _Options(not no_detail, not no_video, preview, every)
    config = TrackerConfig(detail=options.detail, smooth=not no_filter, threads=threads)
    stop = _Stop()
    try:
        with (
            _heeding(stop),
            _no_new_parents(out),
            VideoReader(source, every=every, limit=max_frames) as reader,
        ):
            frames = tracked_frames(reader, config=config)
            summary, failure = _made(reader, frames, out, overwrite, options, stop)
    except KeyboardInterrupt:
        _note("stopped; nothing is kept")
        raise typer.Exit(stop.code or 130) from None
    if as_json:
        _say(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        _report(summary, out)
    if failure is not None:
        _note(f"stopped by an error after {summary['frames']} frames; what was done is kept in {out}")
        raise failure
    if summary["stopped"]:
        _note(f"stopped: {summary['frames']} frames done; they are kept in {out}")
        raise typer.Exit(stop.code or 130)


def _made(
    reader: VideoReader,
    frames: Iterator[TrackedFrame],
    out: Path,
    overwrite: bool,
    options: _Options,
    stop: _Stop,
) -> tuple[dict[str, Any], Exception | None]:
    """Follow the face and fill the folder. Returns the summary, and the error that ended it early.

    Raises OutputError; NoFaceError, or the error or typer.Exit that came earlier, where no face was seen.
    """
    from facerelief.io.atomic import atomic_folder, write_bytes
    from facerelief.tracking.capture import FaceCapture

    failure: Exception | None = None
    stopped = False
    with atomic_folder(out, overwrite, marker=SUMMARY) as folder:
        performance = FaceCapture(fps=reader.fps, source=reader.name)
        with _overlay(folder, reader, options) as draw:
            rate = _Rate()
            try:
                with _shown(reader.expected, rate) as show:
                    for frame in frames:
                        performance.add(frame)
                        wanted = draw(frame)
                        rate.add()
                        show(performance)
                        stopped = stop.code is not None
                        if stopped or not wanted:
                            break
            except KeyboardInterrupt:
                stopped = True
            except Exception as error:
                failure = error
            stop.finishing = True
        best = performance.best
        if best is None:
            _nothing(reader, performance, stop if stopped else None, failure)
        else:
            performance.save(folder, texture_size=_TEXTURE)
            replace(best, source=reader.name).save(folder / FACE, texture_size=_TEXTURE)
        summary = _summary(reader, performance, rate, stopped or failure is not None)
        text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
        write_bytes(folder / SUMMARY, text.encode("utf-8", "replace"))
    return summary, failure


def _nothing(
    reader: VideoReader, performance: FaceCapture, stop: _Stop | None, failure: Exception | None
) -> None:
    """End the command, since no frame shows a face."""
    if failure is not None:
        raise failure
    count = f"{len(performance)} frame{'' if len(performance) == 1 else 's'}"
    if stop is not None:
        _note(f"stopped: {count} done, none with a face; nothing is kept")
        raise typer.Exit(stop.code or 130)
    raise NoFaceError(
        f"{reader.name}: no face was found in {count}; is one seen upright, from the front, and large enough?"
    )


@contextmanager
def _overlay(
    folder: Path, reader: VideoReader, options: _Options
) -> Iterator[Callable[[TrackedFrame], bool]]:
    """A function that draws a frame into the video and the window, and says whether to go on."""
    from facerelief.tracking.overlay import overlay_frame, overlay_size
    from facerelief.video import VideoWriter

    writer: VideoWriter | None = None
    window = _window() if options.preview else None
    if options.video:
        width, height = overlay_size(reader.width, reader.height, detail=options.detail)
        writer = VideoWriter(folder / OVERLAY, width, height, max(reader.fps / options.every, 0.01))

    def draw(frame: TrackedFrame) -> bool:
        if writer is None and window is None:
            return True
        panels = overlay_frame(frame, detail=options.detail)
        if writer is not None:
            writer.write(panels, frame.time)
        return window is None or window(panels)

    try:
        yield draw
    finally:
        if writer is not None:
            writer.close()
        if window is not None:
            import cv2

            cv2.destroyAllWindows()


def _window() -> Callable[[NDArray[np.uint8]], bool] | None:
    """A function that shows a picture and says whether the window is still wanted; None without windows."""
    import cv2

    # asked first, since some kinds of windows end the process where there is no display
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        _note("no preview: there is no display")
        return None
    try:
        cv2.namedWindow(_WINDOW, cv2.WINDOW_NORMAL)
    except cv2.error:
        _note("no preview: this OpenCV has no windows (opencv-python, in place of -headless, has them)")
        return None

    def show(image: NDArray[np.uint8]) -> bool:
        cv2.imshow(_WINDOW, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    return show


# ---------------------------------------------------------------- what is told


def _summary(reader: VideoReader, performance: FaceCapture, rate: _Rate, stopped: bool) -> dict[str, Any]:
    """What track.json holds."""
    import av

    from facerelief._version import __version__
    from facerelief.lab.benchmarks.timing import machine

    result = performance.track()
    where = machine()
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
        "source": reader.name.encode("utf-8", "replace").decode(),  # file names need not be text
        "image_size": [reader.width, reader.height],
        "fps": round(reader.fps, 4),
        "frames": len(performance),
        "frames_with_face": performance.faces,
        "lost": gaps,
        "stopped": stopped,
        "seconds": round(rate.seconds, 3),
        "processed_fps": round(rate.per_second, 2),
        "model": {"name": result.model, "version": result.model_version},
        "notes": reader.notes,
        "versions": where["versions"] | {"av": av.__version__, "python": where["python"]},
        "processor": where["processor"],
        "cores": where["cores"],
    }


def _report(summary: dict[str, Any], out: Path) -> None:
    _say(
        f"{summary['source']}: {summary['frames']} frames, {summary['frames_with_face']} with a face, "
        f"{summary['processed_fps']:g} frames a second"
    )
    gaps = summary["lost"]
    for gap in gaps[:_MOST_GAPS]:
        one = gap["from_frame"] == gap["to_frame"]
        frames = f"frame {gap['from_frame']}" if one else f"frames {gap['from_frame']} to {gap['to_frame']}"
        _say(f"  no face: {frames} ({gap['from_s']:.2f} to {gap['to_s']:.2f} s)")
    if len(gaps) > _MOST_GAPS:
        _say(f"  no face: {len(gaps) - _MOST_GAPS} more stretches, listed in {SUMMARY}")
    for note in summary["notes"]:
        _say(f"  note: {note}")
    _say(f"saved in {out}")


@contextmanager
def _shown(total: int | None, rate: _Rate) -> Iterator[Show]:
    """A bar where somebody is looking, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(total, rate)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("frames", total=total, text="")

        def show(performance: FaceCapture) -> None:
            bar.update(task, completed=len(performance), text=f"{rate.per_second:.1f} a second")

        yield show


class _Rate:
    """How quickly frames are made."""

    def __init__(self) -> None:
        self.frames = 0
        self.start = self.first = self.last = time.perf_counter()

    def add(self) -> None:
        """Another frame is done."""
        self.frames += 1
        self.last = time.perf_counter()
        if self.frames == 1:
            self.first = self.last

    @property
    def seconds(self) -> float:
        """From the start to the last frame."""
        return self.last - self.start

    @property
    def per_second(self) -> float:
        """Frames a second after the first one, whose time is mostly that of loading."""
        if self.frames > 1:
            return (self.frames - 1) / max(self.last - self.first, 1e-9)
        return self.frames / max(self.seconds, 1e-9)


class _Lines:
    """Progress in plain lines, one in ten seconds."""

    def __init__(self, total: int | None, rate: _Rate) -> None:
        self.of = "" if total is None else f" of {total}"
        self.rate = rate
        self.said = time.monotonic()

    def __call__(self, performance: FaceCapture) -> None:
        now = time.monotonic()
        if now - self.said >= 10:
            self.said = now
            _note(
                f"frame {len(performance)}{self.of}, {performance.faces} with a face, "
                f"{self.rate.per_second:.1f} frames a second"
            )


def _note(text: str) -> None:
    _say(text, sys.stderr)


def _say(text: str, stream: Any = None) -> None:
    """Print; names may hold what the terminal cannot show."""
    stream = stream or sys.stdout
    coding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(coding, "replace").decode(coding), file=stream, flush=True)


# ---------------------------------------------------------------- ending


@contextmanager
def _heeding(stop: _Stop) -> Iterator[None]:
    """Ctrl-C and a polite kill go to `stop` inside."""
    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread
        for signum in (signal.SIGINT, signal.SIGTERM):
            before[signum] = signal.signal(signum, stop.heard)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _no_new_parents(out: Path) -> Iterator[None]:
    """Parent folders that were made for a result go again where it comes to nothing."""
    missing = [folder for folder in Path(os.path.abspath(out)).parents if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise
