"""Measures of tracks: jitter, delay, drift, and a face that leaves and comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facerelief.lab.evaluation.nets.clips import (
    FILTERED,
    PER_FRAME,
    RAW,
    LandmarkTrack,
    agreement,
    drift,
    edited_clip,
    evaluate_clip,
    follow,
    jitter,
    lag,
    recovery,
    shifted,
    speed,
    third,
)

BASE = np.random.default_rng(0).uniform(-20, 20, (68, 2))


def path(frames: int, right: float = 0.0) -> np.ndarray:
    """(T, 68, 2) landmarks that move to the right by so many px a frame."""
    return BASE + 100 + np.stack([right * np.arange(frames), np.zeros(frames)], axis=1)[:, None]


class TestTracks:
    def test_jitter_is_acceleration(self):
        everywhere = np.ones(20, bool)
        assert jitter(path(20, 3.0), everywhere) == pytest.approx(0, abs=1e-9)
        shaking = path(20)
        shaking[::2, :, 0] += 1
        assert jitter(shaking, everywhere) == pytest.approx(2)
        shaking[4] = np.nan
        assert jitter(shaking, everywhere) == pytest.approx(2)
        assert np.isnan(jitter(shaking, np.zeros(20, bool)))
        assert np.isnan(jitter(shaking[:2], everywhere[:2]))

    def test_slow_frames_are_the_lowest_third(self):
        marks = np.concatenate([path(30), path(60, 4.0) + 0])
        slow = third(speed(marks), np.ones(90, bool))
        assert slow[:20].all()
        assert not slow[40:].any()
        fast = third(speed(marks), np.ones(90, bool), highest=True)
        assert fast[45:60].all()
        assert not fast[:25].any()

    def test_a_delay_is_found(self):
        turn = 30 * np.sin(np.arange(80) / 7)
        moving = path(80) + np.stack([turn, 0 * turn], axis=1)[:, None]
        late = np.concatenate([moving[:1], moving[:1], moving[:-2]])
        everywhere = np.ones(80, bool)
        assert lag(moving, moving, everywhere) == pytest.approx(0, abs=0.05)
        assert lag(late, moving, everywhere) == pytest.approx(2, abs=0.1)
        half = 0.5 * (moving[1:] + moving[:-1])
        assert lag(half, moving[1:], everywhere[1:]) == pytest.approx(0.5, abs=0.1)

    def test_drift(self):
        detected = path(200, 0.5)
        steady = drift(detected + [2, 0], detected, 40.0)
        assert steady["first"] == steady["last"] == pytest.approx(5.0)
        assert (steady["ratio"], steady["shift"]) == (pytest.approx(1.0), pytest.approx(0.0))
        away = detected + np.linspace(0, 4, 200)[:, None, None] * [1, 0]
        found = drift(away, detected, 40.0)
        assert found["ratio"] > 5
        assert found["shift"] == pytest.approx(found["last"] - found["first"])
        # errors to either side are as large, and yet the track moved
        both = detected + np.where(np.arange(200) < 100, -2, 2)[:, None, None] * [1, 0]
        assert drift(both, detected, 40.0)["ratio"] == pytest.approx(1)
        assert drift(both, detected, 40.0)["shift"] == pytest.approx(10)
        assert np.isnan(drift(np.nan * detected, detected, 40.0)["ratio"])

    def test_agreement(self):
        assert agreement(path(9), path(9) + [3, 4], 50.0) == pytest.approx(10)
        assert np.isnan(agreement(path(9) * np.nan, path(9), 50.0))


WIDTH, SQUARE = 160, 30


def frame(left: float, top: int = 50) -> np.ndarray:
    """An image with a white square for a face."""
    image = np.full((120, WIDTH, 3), 40, np.uint8)
    image[top : top + SQUARE, max(round(left), 0) : max(round(left) + SQUARE, 0)] = 255
    return image


def square_marks(image: Any) -> Any:
    """Landmarks on the white square, if it is whole."""
    rows, columns = np.nonzero(image[..., 0] > 200)
    if len(rows) < 0.9 * SQUARE * SQUARE or np.ptp(columns) > 2 * SQUARE:
        return None
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
    unit = (BASE - BASE.min(axis=0)) / np.ptp(BASE, axis=0)
    return low + unit * (high - low)


class Watcher:
    """Follows the square, as exactly as its configuration asks; finds it again after `slow` frames."""

    def __init__(self, config: Any, slow: int = 0) -> None:
        self.noise = 1.0 if config.per_frame else 0.1 if config.smooth else 0.5
        self.rng, self.slow, self.missed, self.seen = np.random.default_rng(0), slow, slow, False

    def step(self, image: Any, time: float) -> tuple[str, Any]:
        marks = square_marks(image)
        if marks is None:
            self.missed, self.seen = 0, False
            return "none", None
        self.missed += 1
        if self.missed <= self.slow:
            return "none", None
        state, self.seen = ("tracked" if self.seen else "found"), True
        return state, SimpleNamespace(landmarks68_px=marks + self.noise * self.rng.normal(size=2))


class TestClips:
    frames = tuple(frame(30 + 0.2 * k) for k in range(60))
    times = tuple(k / 25 for k in range(60))

    def test_pictures_move_and_their_border_goes_on(self):
        image = frame(50)
        np.testing.assert_array_equal(shifted(image, 7)[:, 57:87], image[:, 50:80])
        np.testing.assert_array_equal(shifted(image, -40)[:, 10:40], image[:, 50:80])
        assert (shifted(image, WIDTH) == 40).all()

    def test_a_face_leaves_and_is_back_elsewhere(self):
        box = np.array([30, 50, 75, 80])
        clip = edited_clip(self.frames, box, away=25)
        assert (clip.gone, clip.back, len(clip.frames)) == (35, 60, 90)
        assert all(square_marks(image) is None for image in clip.frames[clip.gone : clip.back])
        assert clip.shifts[clip.back] == 40  # a quarter of the width, to where there is room
        assert clip.shifts[clip.gone] == -WIDTH
        place = square_marks(clip.frames[clip.back])
        np.testing.assert_allclose(place, square_marks(self.frames[clip.sources[clip.back]]) + [40, 0])

    @pytest.mark.parametrize("slow", [0, 3])
    def test_recovery_is_counted_in_frames(self, slow):
        clip = edited_clip(self.frames, np.array([30, 50, 75, 80]), away=10)
        boxes = [
            None if (m := square_marks(image)) is None else np.concatenate([m.min(axis=0), m.max(axis=0)])
            for image in clip.frames
        ]
        config = SimpleNamespace(per_frame=False, smooth=True)
        track = follow(Watcher(config, slow), clip.frames, range(len(clip.frames)))
        assert recovery(track, clip, boxes) == {"recovered": slow, "noticed": 0.0, "ghosts": 0.0}

    def test_a_track_that_stays_where_nothing_is(self):
        clip = edited_clip(self.frames, np.array([30, 50, 75, 80]), away=10)
        marks = np.broadcast_to(square_marks(self.frames[0]), (len(clip.frames), 68, 2))
        boxes = [np.array([70, 50, 100, 80])] * len(clip.frames)
        found = recovery(LandmarkTrack(marks, ("tracked",) * len(clip.frames)), clip, boxes)
        assert found == {"recovered": float("inf"), "noticed": float("inf"), "ghosts": 1.0}

    def test_a_clip_whole(self):
        found = evaluate_clip(self.frames, self.times, Watcher, square_marks)
        assert found.frames == 60
        assert set(found.tracks) == {PER_FRAME, RAW, FILTERED}
        tracks = found.tracks
        assert tracks[PER_FRAME]["jitter_px"] > tracks[RAW]["jitter_px"] > tracks[FILTERED]["jitter_px"]
        assert tracks[FILTERED]["jitter_over_per_frame"] < 0.25  # the square itself moves by whole px
        assert tracks[FILTERED]["drift_ratio"] == pytest.approx(1, abs=0.4)
        assert found.leaving == {"recovered": 0.0, "noticed": 0.0, "ghosts": 0.0}
        assert found.detector["shown"] == 1.0
        assert {target.what: target.met for target in found.targets}["jitter over CoarseNet's per frame"]

    def test_a_clip_without_a_face(self):
        empty = [np.zeros((20, 20, 3), np.uint8)] * 10
        found = evaluate_clip(empty, self.times[:10], Watcher, square_marks)
        assert [target.met for target in found.targets] == [None, None, None]
