"""Motion of a face from one frame of real video to the next, and errors of a previous frame's estimate.

Both are kept as samples of real vectors, not as moments of a distribution: motion has heavy tails (a face
rests, then turns; lids are open, then shut), and what moves together should go on moving together.
benchmarks/motion.py fits tracks of real videos and makes them; the package holds the result (docs/data.md
lists the videos, and shows it).

A change is a vector of 6 + E numbers, present minus previous: pitch, yaw, roll (radians), the translation
along the face's own sideways and down axes in face widths (`FACE_WIDTH_MM` times the scale), log scale, and
expression weights.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.morphable.arkit import mirrored
from facerelief.typed import Float

FACE_WIDTH_MM = 140.0
"""Unit of translations: the width of an average face."""
MOST_FRAMES = 3
FORMAT = 1
LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
_MOUTH_GROUP = ("jaw", "mouth")


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


def load_motion(path: str | Path) -> MotionModel:
    """Read a file of benchmarks/motion.py. Raises FacereliefError for another file."""
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
