"""The tracker on a clip: jitter, lag, drift, and a face that leaves and comes back at another place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from facerelief.detection import detect_faces
from facerelief.geometry.boxes import overlap
from facerelief.lab.evaluation.metrics.face_errors import face_px, ibug68, ratio
from facerelief.lab.evaluation.metrics.reports import TARGETS, Target
from facerelief.tracking.tracker import Tracker, TrackerConfig
from facerelief.typed import Bool, Float, Image

RIGID = (27, 28, 29, 30, 33, 36, 39, 42, 45)
"""iBUG landmarks that no expression moves: bridge and base of the nose, corners of the eyes."""
MOST_JITTER, MOST_DRIFT, MOST_FRAMES = 0.5, 1.1, 5
"""Targets: jitter over that of CoarseNet frame by frame, distance to the detector last over first, frames
until a face that came back is followed."""
_SPEED_FRAMES = 3.0
"""Frames: deviation of the Gaussian by which speeds are smoothed."""
_WINDOW = 50
"""Frames at the beginning and at the end whose distances to the detector are compared."""


Start = Callable[[TrackerConfig], Tracker]
"""Makes a fresh tracker."""
Detect = Callable[[Image], Float | None]
"""Landmarks (68, 2), px, of the best face; see `best_marks`."""

VARIANTS = {
    "CoarseNet per frame": TrackerConfig(detail=False, per_frame=True, smooth=False),
    "tracker, no filter": TrackerConfig(detail=False, smooth=False),
    "tracker": TrackerConfig(detail=False),
}
PER_FRAME, RAW, FILTERED = VARIANTS


@dataclass(frozen=True, eq=False)
class LandmarkTrack:
    """Landmarks and states that a tracker gives for T frames."""

    marks: Float
    """(T, 68, 2) px, NaN where there is no face."""
    states: tuple[str, ...]

    @property
    def shown(self) -> Bool:
        """(T,) frames with a face."""
        return known(self.marks)


def known(marks: Float) -> Bool:
    """(T,) frames whose landmarks (T, L, 2) are all numbers."""
    return np.asarray(np.isfinite(marks).all(axis=(1, 2)), np.bool_)


def follow(tracker: Tracker, frames: Iterable[Image], times: Sequence[float]) -> LandmarkTrack:
    """Run a tracker over the frames of a clip, at times in seconds."""
    marks: list[Float] = []
    states: list[str] = []
    for image, time in zip(frames, times):
        state, face = tracker.step(image, float(time))
        states.append(state)
        marks.append(np.full((68, 2), np.nan) if face is None else np.asarray(face.landmarks68_px, float))
    return LandmarkTrack(np.array(marks).reshape(-1, 68, 2), tuple(states))


def best_marks(image: Image) -> Float | None:
    """(68, 2) px: landmarks of the best detected face, or None."""
    faces = detect_faces(image, max_faces=1, small_faces=False)
    return ibug68(faces[0].landmarks) if faces else None


# ---------------------------------------------------------------- jitter and lag


def smoothed(values: Float, sigma: float) -> Float:
    """(T, ...) Gaussian means along time over values that are not NaN; NaN where all near ones are."""
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    flat = values.reshape(len(values), -1).astype(np.float64)
    known = np.isfinite(flat)

    def mean(x: Float) -> Float:
        padded = np.pad(x, ((reach, reach), (0, 0)))
        return sum(w * padded[k : k + len(x)] for k, w in enumerate(kernel))  # pyright: ignore[reportReturnType]

    share = mean(known.astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(share > 1e-3, mean(np.where(known, flat, 0.0)) / share, np.nan)
    return out.reshape(values.shape)


def speed(marks: Float) -> Float:
    """(T,) px per frame: mean speed of landmarks (T, L, 2), velocities smoothed over some frames; NaN where
    unknown."""
    if len(marks) < 2:
        return np.full(len(marks), np.nan)
    velocity = smoothed(np.gradient(marks, axis=0), _SPEED_FRAMES)
    return np.linalg.norm(velocity, axis=2).mean(axis=1)


def third(values: Float, of: Bool, *, highest: bool = False) -> Bool:
    """(T,) frames among `of` (T,) in the lowest third of values (T,), or the highest."""
    usable = of & np.isfinite(values)
    if not usable.any():
        return usable
    if highest:
        return usable & (np.nan_to_num(values) >= np.quantile(values[usable], 2 / 3))
    return usable & (np.nan_to_num(values) <= np.quantile(values[usable], 1 / 3))


def jitter(marks: Float, where: Bool) -> float:
    """px per frame^2: mean length of the second difference of landmarks (T, L, 2) over the frames `where`
    (T,) whose neighbours are known too; NaN where there are none."""
    if len(marks) < 3:
        return float("nan")
    bend = np.linalg.norm(marks[2:] - 2 * marks[1:-1] + marks[:-2], axis=2).mean(axis=1)
    chosen = bend[where[1:-1] & np.isfinite(bend)]
    return float(chosen.mean()) if len(chosen) else float("nan")


def lag(filtered: Float, raw: Float, where: Bool) -> float:
    """Delay of filtered landmarks (T, L, 2) behind the raw ones in frames, from -1 to 6.

    The shift that brings both closest over the frames `where` (T,), both smoothed alike beforehand; 0 where
    nothing is known.
    """
    slow, quick = (smoothed(x, 1.5) for x in (filtered, raw))
    both = where & known(filtered) & known(raw)
    at = np.flatnonzero(both)
    at = at[(at >= 6) & (at < len(raw) - 2)]
    if not len(at):
        return 0.0
    shifts = np.arange(-1.0, 6.01, 0.05)
    apart: list[float] = []
    for shift in shifts:
        low = np.floor(at - shift).astype(int)
        share = (at - shift - low)[:, None, None]
        moved = (1 - share) * quick[low] + share * quick[low + 1]
        apart.append(float(np.nanmean(np.square(slow[at] - moved))))
    return round(float(shifts[int(np.argmin(apart))]), 2)


# ---------------------------------------------------------------- drift


def drift(track: Float, detected: Float, size: float, window: int = _WINDOW) -> dict[str, float]:
    """Distance of a track (T, 68, 2) from a detector's landmarks (T, 68, 2), over those of `RIGID`.

    first, last: mean distance in the first and last `window` frames (at most a third of the clip), per cent
    of a size in px; ratio: last over first; shift: length of the change of the mean offset between the two,
    per cent, which shows drift from one side to the other.
    """
    window = max(min(window, len(track) // 3), 1)
    apart = 100 * (track - detected)[:, list(RIGID)] / size
    both = known(apart)
    parts = [apart[:window][both[:window]], apart[-window:][both[-window:]]]
    if not all(len(part) for part in parts):
        return dict.fromkeys(("first", "last", "ratio", "shift"), float("nan"))
    first, last = (float(np.linalg.norm(part, axis=2).mean()) for part in parts)
    moved = np.linalg.norm(parts[1].mean(axis=0) - parts[0].mean(axis=0), axis=1).mean()
    return {"first": first, "last": last, "ratio": ratio(last, first), "shift": float(moved)}


def agreement(one: Float, other: Float, size: float, where: slice = slice(None)) -> float:
    """Mean distance of two tracks (T, 68, 2) over the frames known in both, per cent of a size in px."""
    apart = np.linalg.norm(one[where] - other[where], axis=2).mean(axis=1)
    both = np.isfinite(apart)
    return 100 * float(apart[both].mean()) / size if both.any() else float("nan")


# ---------------------------------------------------------------- a face that leaves


@dataclass(frozen=True, eq=False)
class EditedClip:
    """Frames of a clip in which the face slides out of the image, stays away, and comes back elsewhere."""

    frames: list[Image]
    sources: list[int]
    """Index of the clip's frame behind each frame."""
    shifts: list[int]
    """px by which each frame is moved to the right."""
    gone: int
    """The first frame without the face."""
    back: int
    """The first frame with the face again."""


def edited_clip(
    frames: Sequence[Image], box: Float, away: int, before: int = 30, after: int = 30, sliding: int = 5
) -> EditedClip:
    """Edit a clip so that its face leaves and returns.

    `before` frames unchanged; `sliding` frames in which the image slides out to one side, its border
    repeated behind it; `away` frames without the face; `after` frames with the face moved to the other side
    by a quarter of the width, or as far as it stays inside the image.

    Args:
        box: left, top, right, bottom of the face, px.

    Raises:
        ValueError: The clip has fewer than three frames.
    """
    if len(frames) < 3:
        raise ValueError(f"{len(frames)} frames: expected at least 3")
    width = frames[0].shape[1]
    room = (float(box[0]), width - float(box[2]))
    side = 1 if room[1] >= room[0] else -1
    moved = side * int(max(min(0.25 * width, 0.9 * max(room)), 0.0))
    out = -side * width
    last = len(frames) - 1
    shifts = [0] * before + [round(out * (k + 1) / (sliding + 1)) for k in range(sliding)]
    shifts += [out] * away + [moved] * after
    sources = [min(k, last) for k in range(len(shifts))]
    shown = [shifted(frames[source], shift) for source, shift in zip(sources, shifts)]
    return EditedClip(shown, sources, shifts, before + sliding, before + sliding + away)


def shifted(image: Image, right: int) -> Image:
    """An image moved to the right by a number of px, its border repeated."""
    columns = np.clip(np.arange(image.shape[1]) - right, 0, image.shape[1] - 1)
    return np.ascontiguousarray(image[:, columns])


def recovery(track: LandmarkTrack, clip: EditedClip, boxes: Sequence[Float | None]) -> dict[str, float]:
    """Loss and recovery of the face of an edited clip.

    recovered: frames from the face's return to the first track that overlaps it by half (0: at once;
    infinite: never); noticed: frames from the face's disappearance to the first frame without a track
    (infinite: never); ghosts: share of the frames without the face that have a track.

    Args:
        boxes: left, top, right, bottom of the face in the edited frames, px; None where unknown.
    """
    shown = track.shown
    away = ~shown[clip.gone : clip.back]
    right = [
        k - clip.back
        for k in range(clip.back, len(clip.frames))
        if shown[k] and boxes[k] is not None and overlap(_box(track.marks[k]), np.asarray(boxes[k])) >= 0.5
    ]
    return {
        "recovered": float(right[0]) if right else float("inf"),
        "noticed": float(np.argmax(away)) if away.any() else float("inf"),
        "ghosts": float(1 - away.mean()) if len(away) else 0.0,
    }


# ---------------------------------------------------------------- a clip


class _Pace(NamedTuple):
    """Frames by the speed of the detector's landmarks, (T,) each."""

    shown: Bool
    """All tracks have a face."""
    still: Bool
    """The slowest third of the frames that the detector knows."""
    fast: Bool
    """The fastest third."""


@dataclass(frozen=True)
class ClipReport:
    """All measures of the tracker on a clip; landmark distances in per cent of the face's size."""

    frames: int
    face_px: float
    """Median size of the face, px (`face_px`)."""
    detector: dict[str, float]
    """Of the detector's own landmarks: share of frames shown, jitter_px."""
    still_frames: int
    """Number of frames over which jitter is measured."""
    tracks: dict[str, dict[str, float]]
    """Variant of `VARIANTS` -> share of frames shown, number of times found, jitter and `drift`."""
    filter: dict[str, float]
    """Filtered against raw landmarks: `lag` over all and over fast frames, distance over fast frames."""
    backward: dict[str, float]
    """Distance between tracks of the clip forward and backward, over all frames and near both ends."""
    leaving: dict[str, float]
    """`recovery`"""
    targets: list[Target] = field(metadata=TARGETS)


def evaluate_clip(
    frames: Sequence[Image],
    times: Sequence[float],
    start: Start,
    detect: Detect = best_marks,
    progress: Callable[[str], None] = lambda text: None,
) -> ClipReport:
    """All measures of a clip.

    Frames that stand nearly still are those in the lowest third of the speed of the detector's landmarks, so
    that no track chooses its own.

    Args:
        frames: (H, W, 3) images.
        times: their times, s.
    """
    progress("detector")
    found = [detect(image) for image in frames]
    detected = np.array([np.full((68, 2), np.nan) if m is None else m[:, :2] for m in found], np.float64)
    seen = known(detected)
    size = float(np.median([face_px(marks) for marks in detected[seen]])) if seen.any() else float("nan")
    tracks: dict[str, LandmarkTrack] = {}
    for name, config in VARIANTS.items():
        progress(name)
        tracks[name] = follow(start(config), frames, times)
    shown = np.all([track.shown for track in tracks.values()], axis=0).astype(np.bool_)
    moving = speed(detected)
    pace = _Pace(shown, third(moving, seen & shown), third(moving, seen & shown, highest=True))
    table = _track_measures(tracks, detected, pace.still, size)
    progress("backward")
    again = follow(start(VARIANTS[RAW]), reversed(frames), [times[-1] - t for t in reversed(times)])
    progress("face leaves")
    leaving = _leaving(frames, times, detected, start)
    jitter_share, drift_share = table[FILTERED]["jitter_over_per_frame"], table[RAW]["drift_ratio"]
    return ClipReport(
        len(frames),
        size,
        {"shown": float(seen.mean()), "jitter_px": jitter(detected, pace.still)},
        int(pace.still.sum()),
        table,
        _filter_measures(tracks[FILTERED].marks, tracks[RAW].marks, pace, size),
        _backward_measures(tracks[RAW].marks, again.marks[::-1], size),
        leaving,
        [
            Target("jitter over CoarseNet's per frame", jitter_share, at_most=MOST_JITTER),
            Target("drift, last over first frames", drift_share, at_most=MOST_DRIFT),
            Target("frames until a returned face is followed", leaving["recovered"], at_most=MOST_FRAMES),
        ],
    )


def _track_measures(
    tracks: dict[str, LandmarkTrack], detected: Float, still: Bool, size: float
) -> dict[str, dict[str, float]]:
    measured = {name: jitter(track.marks, still) for name, track in tracks.items()}
    return {
        name: {
            "shown": float(track.shown.mean()),
            "found": float(track.states.count("found")),
            "jitter_px": measured[name],
            "jitter_percent": 100 * measured[name] / size,
            "jitter_over_per_frame": ratio(measured[name], measured[PER_FRAME]),
            **{f"drift_{key}": value for key, value in drift(track.marks, detected, size).items()},
        }
        for name, track in tracks.items()
    }


def _filter_measures(smooth: Float, raw: Float, pace: _Pace, size: float) -> dict[str, float]:
    return {
        "lag_frames": lag(smooth, raw, pace.shown),
        "lag_fast_frames": lag(smooth, raw, pace.fast),
        "apart_fast_percent": agreement(smooth[pace.fast], raw[pace.fast], size),
    }


def _backward_measures(forward: Float, backward: Float, size: float) -> dict[str, float]:
    ends = [agreement(forward, backward, size, s) for s in (slice(None, 20), slice(-20, None))]
    return {
        "apart_percent": agreement(forward, backward, size),
        "apart_ends_percent": float(np.mean(ends)),
    }


def _leaving(
    frames: Sequence[Image], times: Sequence[float], detected: Float, start: Start
) -> dict[str, float]:
    seen = np.flatnonzero(known(detected))
    if not len(seen) or len(frames) < 3:
        return dict.fromkeys(("recovered", "noticed", "ghosts"), float("nan"))
    step = float(np.median(np.diff(times)))
    around = [_box(detected[k]) for k in seen]
    widest = np.concatenate([np.min(around, axis=0)[:2], np.max(around, axis=0)[2:]])
    clip = edited_clip(frames, widest, away=max(round(1.0 / max(step, 1e-3)), 1))
    boxes = [
        _box(detected[source]) + [shift, 0, shift, 0] if source in seen else None
        for source, shift in zip(clip.sources, clip.shifts)
    ]
    track = follow(start(VARIANTS[FILTERED]), clip.frames, [step * k for k in range(len(clip.frames))])
    return recovery(track, clip, boxes)


def _box(marks: Float) -> Float:
    return np.concatenate([marks.min(axis=0), marks.max(axis=0)])
