"""Motion of a face from one frame of real video to the next, and errors of a previous frame's estimate.

Both are kept as samples of real vectors, not as moments of a distribution: motion has heavy tails (a face
rests, then turns; lids are open, then shut), and what moves together should go on moving together.
`estimate_motion` makes them from tracks that benchmarks/motion.py fits; the package holds the result
(docs/data.md says of which videos, and shows it).

A change is a vector of 6 + E numbers, present minus previous: pitch, yaw, roll (radians), the translation
along the face's own sideways and down axes in face widths (`FACE_WIDTH_MM` times the scale), log scale, and
expression weights.
"""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.io.atomic import write_bytes
from facerelief.morphable.arkit import mirrored
from facerelief.typed import Float

FACE_WIDTH_MM = 140.0
"""Unit of translations: the width of an average face."""
MOST_FRAMES = 3
FORMAT = 1
LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
_LID_GROUP = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp")
_MOUTH_GROUP = ("jaw", "mouth")
_BLINK_DEPTH = 0.18
"""A blink takes at least this share of the eye's opening away, and gives it back."""
_BEFORE, _AFTER = 5, 8
"""Frames of a blink kept before and after the lids are closest."""


@dataclass(frozen=True, eq=False)
class MotionTrack:
    """One clip, every frame fitted on its own; T frames in which the face was found, one after the other."""

    camera: Float
    """(T, 6) pose vectors, found with the person's identity held."""
    expression: Float
    """(T, E) likewise."""
    opening: Float
    """(T,) height of the eyes' opening over its width, from the landmarks."""
    free_at: NDArray[np.integer]
    """(F,) frames that were fitted again with nothing held."""
    free_camera: Float
    """(F, 6)"""
    free_expression: Float
    """(F, E)"""
    free_identity: Float
    """(F, K) in standard deviations."""
    fps: float
    """Frames a second."""


@dataclass(frozen=True, eq=False)
class PreviousError:
    """Error of an estimate."""

    pose: Float
    """(6,) in the units of changes."""
    expression: Float
    """(E,)"""
    identity: Float
    """(K,) standard deviations; the error of a single frame."""


@dataclass(frozen=True, eq=False)
class MotionModel:
    """Motion between frames and errors of estimates, resampled from real ones."""

    names: tuple[str, ...]
    """E expression names."""
    changes: tuple[Float, ...]
    """(M, 6 + E) changes over 1, 2 and 3 frames."""
    errors: Float
    """(F, 6 + E) error of a single frame's fit."""
    identity_errors: Float
    """(F, K) of the same frames."""
    blinks: Float
    """(B, 14) how far the lids are shut in each frame of a blink, 0 open to 1 shut."""
    blink_share: Float
    """(3, 2) by frames apart: how often the lids move in a blink where they now are open, and are shut."""
    noise: Float
    """(3, 6 + E) standard deviation of the fit's independent errors, root mean square over the clips: from
    fourth differences, from the best smoothing spline, and from pairs of frames on still stretches."""
    burst: float = 0.15
    """Share of draws from the strongest quarter of mouth motion."""
    _speaking: dict[int, NDArray[np.integer]] = field(default_factory=dict, repr=False)

    def draw(self, rng: np.random.Generator, expression: ArrayLike, frames: int = 1) -> tuple[Float, Float]:
        """A change that may have led to a state: pose (6,) and expression (E,), present minus previous.

        expression (E,) of the present state; present minus change stays within [0, 1]. frames: 1 to 3.
        A real change is taken forward or backward in time, as it is or mirrored, 0.5 to 1.5 times as strong;
        blinks are added as often as they were seen. Raises ValueError for other lengths or frames.
        """
        now = np.asarray(expression, np.float64)
        if now.shape != (len(self.names),):
            raise ValueError(f"expression has shape {now.shape}, expected ({len(self.names)},)")
        if not 1 <= frames <= len(self.changes):
            raise ValueError(f"frames is {frames}, expected 1 to {len(self.changes)}")
        table = self.changes[frames - 1]
        speaks = rng.random() < self.burst
        rows = self._mouth_rows(frames) if speaks else np.arange(len(table))
        change = table[rows[rng.integers(len(rows))]].astype(np.float64)
        change *= rng.uniform(1.0, 1.5) if speaks else rng.uniform(0.5, 1.5)
        if rng.random() < 0.5:
            change = self._mirrored(change)
        change *= rng.choice([-1.0, 1.0])
        moved = now - np.clip(now - change[6:], 0.0, 1.0)
        if np.abs(moved).sum() < 0.5 * np.abs(change[6:]).sum():
            # what cannot have come from there may have come from the other side
            change = -change
            moved = now - np.clip(now - change[6:], 0.0, 1.0)
        self._blink(rng, now, moved, frames)
        return change[:6], moved

    def previous_error(self, rng: np.random.Generator) -> PreviousError:
        """The error of an estimate of the previous state: a real one of either sign, 0.5 to 1.5 times."""
        at = int(rng.integers(len(self.errors)))
        gain = rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5)
        error = self.errors[at].astype(np.float64) * gain
        return PreviousError(error[:6], error[6:], self.identity_errors[at].astype(np.float64) * gain)

    def for_names(self, names: Sequence[str]) -> MotionModel:
        """The same for a model with other expressions or another order: what it lacks is left out, what was
        not seen stands still. Raises FacereliefError where nothing is shared."""
        if tuple(names) == self.names:
            return self
        known = {name: k for k, name in enumerate(self.names)}
        if not known.keys() & set(names):
            raise FacereliefError(
                f"motion between frames is known for ARKit's expressions only, not for {names[0]!r}; use a "
                "model with those"
            )
        columns = np.array([known.get(name, -1) for name in names])

        def renamed(table: Float) -> Float:
            out = np.zeros((len(table), 6 + len(columns)), table.dtype)
            out[:, :6] = table[:, :6]
            out[:, 6:][:, columns >= 0] = table[:, 6 + columns[columns >= 0]]
            return out

        return replace(
            self,
            names=tuple(names),
            changes=tuple(renamed(table) for table in self.changes),
            errors=renamed(self.errors),
            noise=renamed(self.noise),
            _speaking={},
        )

    def covariance(self, frames: int = 1) -> Float:
        """(6 + E, 6 + E) of the changes over `frames` frames, about zero (either direction of time)."""
        table = self.changes[frames - 1].astype(np.float64)
        return table.T @ table / len(table)

    def _mouth_rows(self, frames: int) -> NDArray[np.integer]:
        if frames not in self._speaking:
            mouth = [6 + k for k, name in enumerate(self.names) if name.startswith(_MOUTH_GROUP)]
            strength = np.linalg.norm(self.changes[frames - 1][:, mouth].astype(np.float64), axis=1)
            self._speaking[frames] = np.flatnonzero(strength >= np.quantile(strength, 0.75))
        return self._speaking[frames]

    def _mirrored(self, change: Float) -> Float:
        out = change.copy()
        # yaw, roll and the way to the side change sign
        out[[1, 2, 3]] *= -1.0
        known = {name: k for k, name in enumerate(self.names)}
        pairs = [known.get(mirrored(name), k) for k, name in enumerate(self.names)]
        out[6:] = change[6:][pairs]
        return out

    def _blink(self, rng: np.random.Generator, now: Float, moved: Float, frames: int) -> None:
        """Let the lids come from another moment of a blink, as often as they do."""
        lids = [k for k, name in enumerate(self.names) if name in LIDS]
        if not lids or not len(self.blinks):
            return
        shut = float(now[lids].mean())
        if rng.random() >= self.blink_share[frames - 1, int(shut >= 0.5)]:
            return
        present, before = self.blinks[:, frames:], self.blinks[:, :-frames]
        moving = np.abs(present - before) > 0.1
        away = np.abs(present - shut) + np.where(moving, 0.0, 10.0)
        near = np.argwhere(away <= max(0.15, float(away.min())))
        row, column = near[rng.integers(len(near))]
        was = shut + float(before[row, column] - present[row, column]) * rng.uniform(0.8, 1.1)
        # both lids go together
        for k in lids:
            moved[k] = now[k] - np.clip(now[k] - shut + was + rng.normal(0, 0.02), 0.0, 1.0)


def before(camera: WeakPerspective, change: ArrayLike) -> WeakPerspective:
    """The pose that a change (6,) led away from, to `camera`."""
    d = np.asarray(change, np.float64)
    cos, sin = np.cos(camera.roll), np.sin(camera.roll)
    unit = FACE_WIDTH_MM * camera.scale
    # the face's sideways and down axes in the image; roll is counter-clockwise as seen
    return WeakPerspective(
        pitch=camera.pitch - float(d[0]),
        yaw=camera.yaw - float(d[1]),
        roll=camera.roll - float(d[2]),
        translation_u=camera.translation_u - unit * float(cos * d[3] + sin * d[4]),
        translation_v=camera.translation_v - unit * float(-sin * d[3] + cos * d[4]),
        scale=camera.scale * float(np.exp(-d[5])),
    )


@functools.cache
def motion_model() -> MotionModel:
    """The motion that comes with the package."""
    return load_motion(Path(__file__).resolve().parents[2] / "data" / "motion.npz")


def save_motion(path: str | Path, model: MotionModel) -> None:
    """Write a motion model. Raises OutputError where that fails."""
    data = io.BytesIO()
    arrays: dict[str, Any] = {f"changes{k + 1}": table for k, table in enumerate(model.changes)}
    for name in ("errors", "identity_errors", "blinks"):
        arrays[name] = getattr(model, name)
    arrays = {name: np.asarray(table, np.float16) for name, table in arrays.items()}
    np.savez_compressed(
        data,
        format=np.array(FORMAT),
        names=np.array(model.names),
        blink_share=model.blink_share.astype(np.float32),
        noise=model.noise.astype(np.float32),
        **arrays,
    )
    write_bytes(Path(path), data.getvalue())


def load_motion(path: str | Path) -> MotionModel:
    """Read what `save_motion` wrote. Raises FacereliefError for another file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            if int(data["format"]) != FORMAT:
                raise ValueError(f"format {int(data['format'])}, expected {FORMAT}")
            return MotionModel(
                names=tuple(str(name) for name in data["names"]),
                changes=tuple(data[f"changes{k + 1}"].astype(np.float32) for k in range(MOST_FRAMES)),
                errors=data["errors"].astype(np.float32),
                identity_errors=data["identity_errors"].astype(np.float32),
                blinks=data["blinks"].astype(np.float32),
                blink_share=data["blink_share"],
                noise=data["noise"],
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FacereliefError(
            f"{path}: cannot be read ({error}); make it with benchmarks/motion.py"
        ) from error


def estimate_motion(tracks: Sequence[MotionTrack], names: Sequence[str]) -> MotionModel:
    """Changes between frames, without the fit's noise, and the fit's errors.

    names: the E expressions' names. Raises ValueError for tracks shorter than 20 frames or of other shapes.
    """
    if not tracks:
        raise ValueError("no tracks given, expected at least 1")
    changes: list[list[Float]] = [[] for _ in range(MOST_FRAMES)]
    errors: list[Float] = []
    identities: list[Float] = []
    blinks: list[Float] = []
    noises: list[Float] = []
    lids: list[Float] = []
    group = np.array([False] * 6 + [name.startswith(_LID_GROUP) for name in names])
    for track in tracks:
        raw = state_series(track.camera, track.expression, track.camera)
        if len(raw) < 20 or raw.shape[1] != 6 + len(names):
            raise ValueError(f"a track of {raw.shape} numbers, expected at least 20 of {6 + len(names)}")
        noise = difference_noise(raw)
        smooth = smoothed(raw, noise)
        smooth[:, 6:] = np.clip(smooth[:, 6:], 0.0, 1.0)
        found, shut = find_blinks(track.opening)
        blinks.append(found)
        lids.append(shut)
        for step in range(1, MOST_FRAMES + 1):
            change = smooth[step:] - smooth[:-step]
            # the fit hardly sees lids shut: blinks are sampled from the landmarks' instead
            blinking = np.maximum(shut[step:], shut[:-step]) > 0.1
            change[blinking[:, None] & group] = 0.0
            changes[step - 1].append(change)
        free = state_series(track.free_camera, track.free_expression, track.camera)
        errors.append(free - smooth[track.free_at])
        identities.append(track.free_identity - track.free_identity.mean(axis=0))
        noises.append(np.stack([noise, spline_noise(raw), still_noise(raw, smooth)]))
    return MotionModel(
        names=tuple(names),
        changes=tuple(np.concatenate(parts).astype(np.float32) for parts in changes),
        errors=np.concatenate(errors).astype(np.float32),
        identity_errors=np.concatenate(identities).astype(np.float32),
        blinks=np.concatenate(blinks).astype(np.float32),
        blink_share=_blink_share(lids),
        noise=np.sqrt(np.mean(np.square(noises), axis=0)).astype(np.float32),
    )


def state_series(camera: Float, expression: Float, whole: Float) -> Float:
    """(T, 6 + E) states in the units of changes, from pose vectors (T, 6) and expressions (T, E).

    whole (T', 6): the poses of the clip, whose middle roll and scale make axes and unit.
    """
    roll, scale = float(np.median(whole[:, 2])), float(np.median(whole[:, 5]))
    cos, sin = np.cos(roll), np.sin(roll)
    place = camera[:, 3:5] @ np.array([[cos, sin], [-sin, cos]]) / (FACE_WIDTH_MM * scale)
    return np.column_stack(
        [np.unwrap(camera[:, :3], axis=0), place, np.log(camera[:, 5]), expression]
    ).astype(np.float64)


def difference_noise(series: Float) -> Float:
    """(C,) standard deviation of independent errors in the columns of (T, C), from fourth differences.

    Motion that is smooth over five frames cancels; a median keeps sudden motion from counting. Where weights
    rest at 0 or 1 the fit's error is hidden, so only stretches off the bounds count.
    """
    fourth = np.diff(series, 4, axis=0)
    out = np.zeros(series.shape[1])
    for k in range(series.shape[1]):
        values = fourth[:, k]
        if k >= 6:
            free = (series[:, k] > 0.005) & (series[:, k] < 0.995)
            values = values[np.convolve(free, np.ones(5), "valid") == 5]
        if len(values) >= 10:
            # binomial weights 1, 4, 6, 4, 1: their squares sum to 70
            out[k] = 1.4826 * np.median(np.abs(values)) / np.sqrt(70)
    return out


def spline_noise(series: Float) -> Float:
    """(C,) standard deviation about the smoothing spline that cross-validation chooses."""
    from scipy.interpolate import make_smoothing_spline

    at = np.arange(len(series), dtype=np.float64)
    out = np.zeros(series.shape[1])
    for k, column in enumerate(series.T):
        if np.ptp(column) > 1e-9:
            out[k] = float(np.std(column - make_smoothing_spline(at, column)(at)))
    return out


def still_noise(raw: Float, smooth: Float, apart: int = 4) -> Float:
    """(C,) standard deviation of one frame's error, from pairs of frames up to `apart` frames from each other
    in the stillest quarter of each column. It has a little motion left in it."""
    out = np.zeros(raw.shape[1])
    reach = np.abs(smooth[apart:] - smooth[:-apart])
    for k in range(raw.shape[1]):
        still = reach[:, k] <= np.quantile(reach[:, k], 0.25)
        pairs = [(raw[step : step + len(reach), k] - raw[: len(reach), k])[still] for step in (1, 2, 3, 4)]
        out[k] = float(np.sqrt(np.mean(np.square(np.concatenate(pairs))) / 2))
    return out


def smoothed(series: Float, noise: Float) -> Float:
    """(T, C) the smoothest columns (least second differences) that stay within the noise (C,) of the given
    ones; single frames that lie three times farther off are left as they were, since sudden motion is real.
    """
    from scipy.linalg import solveh_banded

    second = np.diff(np.eye(len(series)), 2, axis=0)
    rough = second.T @ second
    # its upper diagonals, as the solver takes them
    bands = np.array([np.pad(np.diagonal(rough, k), (k, 0)) for k in (2, 1, 0)])
    one = np.array([[0.0], [0.0], [1.0]])
    out = series.astype(np.float64).copy()
    for k, column in enumerate(series.T.astype(np.float64)):
        if noise[k] <= 0:
            continue
        low, high = -4.0, 6.0
        best = column
        for _ in range(14):
            middle = 0.5 * (low + high)
            trial: Float = solveh_banded(one + 10.0**middle * bands, column)
            # the median keeps sudden motion from counting as noise
            left = 1.4826 * float(np.median(np.abs(trial - column)))
            low, high = (middle, high) if left < noise[k] else (low, middle)
            best = trial if left < noise[k] else best
        far = np.abs(best - column) > 3.0 * noise[k]
        out[:, k] = np.where(far, column, best)
    return out


def find_blinks(opening: Float) -> tuple[Float, Float]:
    """Blinks in a series (T,) of eye openings: (B, 14) how far shut in the frames of each, and (T,) how far
    shut in every frame, 0 to 1 (as far as the lids go in that blink)."""
    from scipy.ndimage import percentile_filter
    from scipy.signal import find_peaks

    series = np.asarray(opening, np.float64)
    wide = percentile_filter(series, 85, size=51, mode="nearest")
    closing = 1.0 - series / np.maximum(wide, 1e-6)
    peaks, about = find_peaks(closing, prominence=_BLINK_DEPTH, distance=4)
    shut = np.zeros(len(series))
    found: list[Float] = []
    for peak, depth in zip(peaks, about["prominences"]):
        frames = np.arange(peak - _BEFORE, peak + _AFTER + 1)
        inside = (frames >= 0) & (frames < len(series))
        profile = np.zeros(len(frames))
        profile[inside] = np.clip(1.0 - (closing[peak] - closing[frames[inside]]) / depth, 0.0, 1.0)
        for side in (slice(_BEFORE, None, -1), slice(_BEFORE, None)):
            part = profile[side]
            # lids need not open as far again as they were: a blink is what goes beyond either side's rest
            part[:] = (part - part.min()) / max(1.0 - part.min(), 1e-6)
            # neighbours have blinks of their own: each ends where it first is open
            closed = np.append(part, 0.0) < 0.08
            part[int(closed.argmax()) :] = 0.0
        shut[frames[inside]] = np.maximum(shut[frames[inside]], profile[inside])
        found.append(profile)
    return np.array(found).reshape(-1, _BEFORE + _AFTER + 1), shut


def _blink_share(lids: Sequence[Float]) -> Float:
    out = np.zeros((MOST_FRAMES, 2), np.float32)
    for step in range(1, MOST_FRAMES + 1):
        pairs = np.concatenate([np.stack([x[step:], x[:-step]], axis=1) for x in lids])
        moves = np.abs(pairs[:, 0] - pairs[:, 1]) > 0.1
        for k, where in enumerate((pairs[:, 0] < 0.5, pairs[:, 0] >= 0.5)):
            out[step - 1, k] = float(moves[where].mean()) if where.any() else 0.0
    return out
