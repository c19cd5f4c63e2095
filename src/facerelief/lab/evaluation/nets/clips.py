"""The tracker on a clip: jitter, lag, drift, and a face that leaves and comes back at another place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from facerelief.detection import detect_faces
from facerelief.lab.evaluation.metrics.face_errors import (
    Bar,
    Bool,
    Float,
    Image,
    face_px,
    ibug68,
    overlap,
    ratio,
)
from facerelief.tracking.tracker import TrackerConfig

RIGID = (27, 28, 29, 30, 33, 36, 39, 42, 45)
"""iBUG landmarks that no expression moves: bridge and base of the nose, corners of the eyes."""
MOST_JITTER, MOST_DRIFT, MOST_FRAMES = 0.5, 1.1, 5
"""Bars: jitter over that of CoarseNet frame by frame, distance to the detector last over first, frames until
a face that came back is followed."""
_SPEED_FRAMES = 3.0
"""Frames: deviation of the Gaussian through which slow and fast frames are told apart."""
_WINDOW = 50
"""Frames at the beginning and the end that are compared."""


class Follower(Protocol):
    """`pipeline.tracker.Tracker` is one."""

    def step(self, image: Image, time: float) -> tuple[str, Any]:
        """How the next frame's face was had ("none", "found", "tracked"), and the face, of which
        `landmarks68_px` is used."""
        ...


Follow = Callable[[TrackerConfig], Follower]
"""A fresh tracker."""
Detect = Callable[[Image], Float | None]
"""Landmarks (68, 2), px, of the best face; see `best_marks`."""

VARIANTS = {
    "CoarseNet per frame": TrackerConfig(detail=False, per_frame=True, smooth=False),
    "tracker, no filter": TrackerConfig(detail=False, smooth=False),
    "tracker": TrackerConfig(detail=False),
}
PER_FRAME, RAW, FILTERED = VARIANTS


@dataclass(frozen=True, eq=False)
class Track:
    """What a tracker says of T frames."""

    marks: Float
    """(T, 68, 2) px, NaN where there is no face."""
    states: tuple[str, ...]

    @property
    def shown(self) -> Bool:
        """(T,) where there is a face."""
        return known(self.marks)


def known(marks: Float) -> Bool:
    """(T,) where all landmarks (T, L, 2) are numbers."""
    return np.asarray(np.isfinite(marks).all(axis=(1, 2)), np.bool_)


def follow(follower: Follower, frames: Iterable[Image], times: Sequence[float]) -> Track:
    """Run a tracker over frames of a clip, seconds."""
    marks: list[Float] = []
    states: list[str] = []
    for image, time in zip(frames, times):
        state, face = follower.step(image, float(time))
        states.append(state)
        marks.append(np.full((68, 2), np.nan) if face is None else np.asarray(face.landmarks68_px, float))
    return Track(np.array(marks).reshape(-1, 68, 2), tuple(states))


def best_marks(image: Image) -> Float | None:
    """(68, 2) px of the best face that the detector finds; None where it finds none."""
    faces = detect_faces(image, max_faces=1, small_faces=False)
    return ibug68(faces[0].landmarks) if faces else None


# ---------------------------------------------------------------- jitter and lag


def smoothed(values: Float, sigma: float) -> Float:
    """(T, ...) Gaussian means along time over what is known (not NaN); NaN where nothing near is known."""
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
    """(T,) px per frame: mean speed of landmarks (T, L, 2), their velocities averaged over some frames; NaN
    where unknown."""
    if len(marks) < 2:
        return np.full(len(marks), np.nan)
    velocity = smoothed(np.gradient(marks, axis=0), _SPEED_FRAMES)
    return np.linalg.norm(velocity, axis=2).mean(axis=1)


def third(values: Float, of: Bool, *, highest: bool = False) -> Bool:
    """(T,) those of some frames that are in the lowest third of values (T,), or the highest."""
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
    """Frames by which filtered landmarks (T, L, 2) come after the raw ones: the shift that brings both
    closest over the frames `where` (T,). Both are smoothed alike beforehand, which moves neither; 0 where
    nothing is known. From -1 to 6."""
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
    """Whether a track (T, 68, 2) leaves a detector's landmarks (T, 68, 2), over those of `RIGID`.

    first, last: mean distance in the first and last `window` frames (at most a third of the clip), per cent
    of a size in px; ratio: last over first; shift: length of the change of the mean offset between the two,
    per cent: what the ratio cannot tell where both err in different directions.
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
    """Mean distance of two tracks (T, 68, 2) over the frames both know, per cent of a size in px."""
    apart = np.linalg.norm(one[where] - other[where], axis=2).mean(axis=1)
    both = np.isfinite(apart)
    return 100 * float(apart[both].mean()) / size if both.any() else float("nan")


# ---------------------------------------------------------------- a face that leaves


@dataclass(frozen=True, eq=False)
class EditedClip:
    """Frames of a clip in which the face slides out of the picture, stays away, and is back elsewhere."""

    frames: list[Image]
    sources: list[int]
    """Which frame of the clip each shows."""
    shifts: list[int]
    """px by which each is moved to the right."""
    gone: int
    """The first frame without the face."""
    back: int
    """The first frame with the face again."""


def edited_clip(
    frames: Sequence[Image], box: Float, away: int, before: int = 30, after: int = 30, sliding: int = 5
) -> EditedClip:
    """Cut a clip so: `before` frames as they are; `sliding` in which the picture slides out to one side,
    its border going on behind it; `away` without it; `after` moved to the other side, away from the first
    place by a quarter of the width, or as far as the face stays in the picture.

    box: left, top, right, bottom of the face, px. Raises ValueError for a clip of fewer frames than three.
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
    """A picture moved to the right by so many px, its border going on."""
    columns = np.clip(np.arange(image.shape[1]) - right, 0, image.shape[1] - 1)
    return np.ascontiguousarray(image[:, columns])


def recovery(track: Track, clip: EditedClip, boxes: Sequence[Float | None]) -> dict[str, float]:
    """How a tracker took an edited clip; boxes: of the face in the edited frames, None where unknown.

    recovered: frames from the first one with the face again to the first one whose track overlaps it by half
    (0: at once; infinite: never); noticed: frames from the first one without the face to the first one
    without a track (infinite: never); ghosts: share of the frames without the face that have a track.
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


def evaluate_clip(
    frames: Sequence[Image],
    times: Sequence[float],
    tracker: Follow,
    detect: Detect = best_marks,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """All measures of a clip, frames (H, W, 3) at moments, s; with bars, JSON-serialisable but for NaN.

    The frames that stand nearly still are those in the lowest third of the speed of the detector's landmarks,
    so that no track chooses its own.
    """
    progress("detector")
    found = [detect(image) for image in frames]
    detected = np.array([np.full((68, 2), np.nan) if m is None else m[:, :2] for m in found], np.float64)
    seen = known(detected)
    size = float(np.median([face_px(marks) for marks in detected[seen]])) if seen.any() else float("nan")
    tracks: dict[str, Track] = {}
    for name, config in VARIANTS.items():
        progress(name)
        tracks[name] = follow(tracker(config), frames, times)
    pace = speed(detected)
    shown = np.all([track.shown for track in tracks.values()], axis=0).astype(np.bool_)
    still, fast = third(pace, seen & shown), third(pace, seen & shown, highest=True)
    measured = {name: jitter(track.marks, still) for name, track in tracks.items()}
    table = {
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
    progress("backward")
    again = follow(tracker(VARIANTS[RAW]), reversed(frames), [times[-1] - t for t in reversed(times)])
    back = again.marks[::-1]
    raw, smooth = (tracks[name].marks for name in (RAW, FILTERED))
    progress("face leaves")
    returned = _leaving(frames, times, detected, tracker)
    bars = [
        Bar("jitter over CoarseNet's per frame", table[FILTERED]["jitter_over_per_frame"], MOST_JITTER),
        Bar("drift, last over first frames", table[RAW]["drift_ratio"], MOST_DRIFT),
        Bar("frames until a returned face is followed", returned["recovered"], MOST_FRAMES),
    ]
    return {
        "frames": len(frames),
        "face_px": size,
        "detector": {"shown": float(seen.mean()), "jitter_px": jitter(detected, still)},
        "still_frames": int(still.sum()),
        "tracks": table,
        "filter": {
            "lag_frames": lag(smooth, raw, shown),
            "lag_fast_frames": lag(smooth, raw, fast),
            "apart_fast_percent": agreement(smooth[fast], raw[fast], size),
        },
        "backward": {
            "apart_percent": agreement(raw, back, size),
            "apart_ends_percent": float(
                np.mean([agreement(raw, back, size, s) for s in (slice(None, 20), slice(-20, None))])
            ),
        },
        "leaving": returned,
        "bars": [bar.document for bar in bars],
    }


def _leaving(
    frames: Sequence[Image], times: Sequence[float], detected: Float, tracker: Follow
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
    track = follow(tracker(VARIANTS[FILTERED]), clip.frames, [step * k for k in range(len(clip.frames))])
    return recovery(track, clip, boxes)


def _box(marks: Float) -> Float:
    return np.concatenate([marks.min(axis=0), marks.max(axis=0)])
