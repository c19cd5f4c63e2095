"""Motion between frames and the errors of a fit, estimated from fitted tracks for motion.py.

Tested by tests/lab/datasets/test_motion.py.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.io.atomic import write_bytes
from facerelief.lab.datasets.motion import FACE_WIDTH_MM, FORMAT, MOST_FRAMES, MotionModel
from facerelief.typed import Float

_LID_GROUP = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp")
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
