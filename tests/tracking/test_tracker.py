"""A face followed through made-up clips of one portrait."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import facerelief
from facerelief import Tracker, TrackerConfig
from facerelief.examples import astronaut_path
from facerelief.io.images import read_image
from facerelief.video import VideoFrame

RATE = 25.0


@pytest.fixture(scope="module")
def portrait():
    return read_image(astronaut_path())


@pytest.fixture(scope="module")
def tracker():
    return Tracker(config=TrackerConfig(threads=1))


@pytest.fixture
def fresh(tracker):
    tracker.reset()
    return tracker


def moved(portrait, u: float, v: float):
    """(256, 256, 3) the portrait's face, near the middle, shifted by px."""
    import cv2

    matrix = np.array([[1.0, 0.0, u - 140.0], [0.0, 1.0, v - 30.0]])
    return cv2.warpAffine(portrait, matrix, (256, 256), borderMode=cv2.BORDER_REPLICATE)


def place(face) -> np.ndarray:
    return face.landmarks68_px.mean(axis=0)


def test_a_moving_face_is_followed(fresh, portrait):
    first = None
    for k in range(12):
        u, v = 30 + 2.0 * k, 20 + 1.0 * k
        state, face = fresh.step(moved(portrait, u, v), k / RATE)
        assert state == ("found" if k == 0 else "tracked")
        assert face is not None
        first = place(face) - [u, v] if first is None else first
        # a face is some 110 px wide here
        assert np.linalg.norm(place(face) - [u, v] - first) < 6.0
    assert face.fine is not None
    assert np.isfinite(face.fine.depth).any()
    assert face.method == "net"
    assert face.identity.shape == (100,)
    assert {"coarse", "fine", "depth"} <= set(face.timings_ms)


def test_identity_is_frozen_after_the_first_frames(portrait):
    tracker = Tracker(config=TrackerConfig(threads=1, detail=False, identity_frames=3))
    seen = []
    for k in range(8):
        _, face = tracker.step(moved(portrait, 40 + k, 30), k / RATE)
        assert face is not None
        assert face.fine is None
        seen.append(face.identity)
    assert not np.array_equal(seen[0], seen[2])
    for later in seen[3:]:
        np.testing.assert_array_equal(later, seen[2])


def test_a_face_that_leaves_is_found_again(fresh, portrait):
    empty = np.full((256, 256, 3), 120, np.uint8)
    states = []
    for k in range(40):
        image = moved(portrait, 40, 30) if k < 8 or k >= 25 else empty
        if k >= 25:
            image = moved(portrait, 70, 50)
        state, face = fresh.step(image, k / RATE)
        assert (face is None) == (state == "none")
        states.append(state)
    assert states[0] == "found"
    assert "none" in states[8:25]
    assert states[24] == "none"
    assert "found" in states[25:30]
    assert states[-1] == "tracked"


def test_a_face_that_lies_on_its_side_is_followed_as_it_lies(fresh, portrait):
    for k in range(6):
        image = np.ascontiguousarray(np.rot90(moved(portrait, 30 + k, 20)))
        _, face = fresh.step(image, k / RATE)
        assert face is not None
        assert abs(face.camera.roll - np.pi / 2) < 0.25
    assert face.confidence > 0.7


def test_a_sudden_turn_is_seen_and_the_face_found_anew(fresh, portrait):
    """The old state does not stay on a face that lies otherwise, however like itself it is."""
    for k in range(4):
        fresh.step(moved(portrait, 30, 20), k / RATE)
    state, face = fresh.step(np.ascontiguousarray(np.rot90(moved(portrait, 30, 20))), 4 / RATE)
    assert state == "found"
    assert abs(face.camera.roll - np.pi / 2) < 0.25


def test_a_face_taken_for_another_one_is_found_anew(portrait):
    """A frame is checked and confirmed; the next looks like one after a cut to somebody else."""
    tracker = Tracker(config=TrackerConfig(threads=1, detail=False, check_every=1))
    states = [tracker.step(moved(portrait, 30 + 2 * k, 20), k / RATE)[0] for k in range(3)]
    tracker.config = replace(tracker.config, cut=2.0, cut_subject_mm=-1.0)
    state, face = tracker.step(moved(portrait, 36, 20), 3 / RATE)
    assert [*states, state] == ["found", "tracked", "tracked", "found"]
    assert face is not None


def test_a_covered_face_is_trusted_less(fresh, portrait):
    for k in range(3):
        _, before = fresh.step(moved(portrait, 30, 20), k / RATE)
    for k in range(3, 6):
        image = moved(portrait, 30, 20)
        image[:, : 30 + 84] = (90, 70, 60)
        state, face = fresh.step(image, k / RATE)
    assert state == "none" or face.confidence < 0.8 * before.confidence


def test_no_face_no_result(fresh):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (120, 160, 3), np.uint8)
    assert fresh.step(noise, 0.0) == ("none", None)


def test_the_same_frames_give_the_same_track(fresh, portrait):
    def run():
        fresh.reset()
        return [fresh.step(moved(portrait, 40 + k, 30), k / RATE)[1].camera.vector for k in range(4)]

    np.testing.assert_array_equal(run(), run())


def test_frames_come_back_with_their_numbers(portrait):
    frames = [VideoFrame(3, 0.5, moved(portrait, 40, 30)), VideoFrame(4, 0.54, moved(portrait, 41, 30))]
    config = TrackerConfig(threads=1, detail=False)
    got = list(facerelief.track(frames, config=config))
    assert [(f.index, f.time, f.state) for f in got] == [(3, 0.5, "found"), (4, 0.54, "tracked")]
    for frame, given in zip(got, frames, strict=True):
        assert frame.face is not None
        np.testing.assert_array_equal(frame.image, given.image)
        np.testing.assert_array_equal(frame.face.image, given.image)


def test_the_filter_calms_a_still_face(portrait):
    rng = np.random.default_rng(1)
    base = moved(portrait, 40, 30).astype(float)
    frames = [np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8) for _ in range(14)]

    def shaking(smooth: bool) -> float:
        tracker = Tracker(config=TrackerConfig(threads=1, detail=False, smooth=smooth))
        points = [tracker.step(f, k / RATE)[1].landmarks68_px for k, f in enumerate(frames)]
        return float(np.linalg.norm(np.diff(points, 2, axis=0), axis=-1)[3:].mean())

    assert shaking(True) < 0.8 * shaking(False)


@pytest.mark.parametrize("field", ["identity_frames", "check_every"])
def test_impossible_settings_are_refused(field):
    with pytest.raises(ValueError, match="at least 1"):
        TrackerConfig(**{field: 0})
