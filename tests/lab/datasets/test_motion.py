"""Laws of motion between frames: noise is told from motion, tails and blinks stay, weights are weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.datasets.motion import before, load_motion, motion_model
from motion_estimate import (
    MotionTrack,
    difference_noise,
    estimate_motion,
    find_blinks,
    save_motion,
    smoothed,
    spline_noise,
    state_series,
)

NAMES = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeSquintLeft")


def a_walk(frames: int, seed: int = 0) -> np.ndarray:
    """(T, 1) motion as smooth as a head's, a few degrees."""
    t = np.arange(frames)
    rng = np.random.default_rng(seed)
    waves = [np.sin(2 * np.pi * t / period + rng.uniform(0, 6)) * period / 20 for period in (90, 41, 27)]
    return np.sum(waves, axis=0)[:, None]


def a_track(frames: int = 200, seed: int = 0, noise: float = 0.003) -> MotionTrack:
    rng = np.random.default_rng(seed)
    turn = 0.05 * a_walk(frames, seed)
    camera = np.column_stack(
        [turn, -turn, 0.2 + 0.3 * turn, 250 + 40 * turn, 200 - 20 * turn, 2 + 0.1 * turn]
    )
    expression = np.clip(0.4 + 0.2 * np.tile(a_walk(frames, seed + 1), (1, len(NAMES))), 0, 1)
    opening = np.full(frames, 0.36) + rng.normal(0, 0.004, frames)
    for at in (30, 90, 150):
        opening[at - 1 : at + 4] *= [0.75, 0.5, 0.6, 0.8, 0.9]
    free_at = np.arange(0, frames, 2)
    off = rng.normal(0, 0.01, (len(free_at), 6)) * [1, 1, 1, 100, 100, 1]
    return MotionTrack(
        camera=camera + rng.normal(0, noise, camera.shape) * [1, 1, 1, 280, 280, 2],
        expression=np.clip(expression + rng.normal(0, noise, expression.shape), 0, 1),
        opening=opening,
        free_at=free_at,
        free_camera=camera[free_at] + off,
        free_expression=np.clip(expression[free_at] + rng.normal(0, 0.02, (len(free_at), len(NAMES))), 0, 1),
        free_identity=rng.normal(0, 0.1, (len(free_at), 7)) + 3.0,
        fps=25.0,
    )


@pytest.fixture(scope="module")
def made():
    return estimate_motion([a_track(seed=seed) for seed in range(3)], NAMES)


@pytest.fixture(scope="module")
def shipped():
    return motion_model()


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.5])
def test_noise_is_told_from_motion(noise: float) -> None:
    truth = a_walk(600)
    seen = truth + np.random.default_rng(1).normal(0, noise, truth.shape)
    assert difference_noise(seen)[0] == pytest.approx(noise, rel=0.25)
    assert spline_noise(seen)[0] == pytest.approx(noise, rel=0.25)


def test_smoothing_brings_changes_nearer_to_the_truth() -> None:
    truth = a_walk(600)
    seen = truth + np.random.default_rng(1).normal(0, 0.2, truth.shape)
    found = smoothed(seen, np.array([0.2]))
    wrong = np.diff(found, axis=0) - np.diff(truth, axis=0)
    assert wrong.std() < 0.4 * (np.diff(seen, axis=0) - np.diff(truth, axis=0)).std()
    spread = np.diff(truth, axis=0).std()
    assert np.diff(found, axis=0).std() == pytest.approx(spread, rel=0.15)
    assert np.array_equal(smoothed(seen, np.array([0.0])), seen)


def test_sudden_motion_survives_smoothing() -> None:
    rng = np.random.default_rng(2)
    truth = np.zeros((200, 1))
    truth[100:] = 5.0
    found = smoothed(truth + rng.normal(0, 0.1, truth.shape), np.array([0.1]))
    assert np.abs(np.diff(found, axis=0)).max() > 4.5


def test_blinks_are_found_and_their_course_kept() -> None:
    track = a_track()
    blinks, shut = find_blinks(track.opening)
    assert len(blinks) == 3
    assert np.allclose(blinks.max(axis=1), 1.0)
    assert np.allclose(blinks[:, 4:9].mean(axis=0), [0.5, 1.0, 0.8, 0.4, 0.2], atol=0.12)
    assert set(np.flatnonzero(shut > 0.9)) == {30, 90, 150}
    steady, none = find_blinks(np.full(60, 0.3))
    assert steady.shape == (0, 14)
    assert not none.any()


def test_changes_and_errors_have_the_tracks_size(made) -> None:
    truth = np.concatenate([np.diff(0.05 * a_walk(200, seed), axis=0) for seed in range(3)])
    assert made.changes[0][:, 0].std() == pytest.approx(truth.std(), rel=0.15)
    # three frames of smooth motion are thrice as far
    ratio = made.changes[2][:, 0].std() / made.changes[0][:, 0].std()
    assert 2.5 < ratio < 3.1
    assert made.errors[:, 0].std() == pytest.approx(0.01, rel=0.2)
    assert np.abs(made.identity_errors.mean(axis=0)).max() < 1e-5
    assert made.identity_errors.std() == pytest.approx(0.1, rel=0.1)
    # pitch and yaw are each other's opposite in every change, and in what is drawn
    table = made.changes[0].astype(np.float64)
    covariance = table.T @ table / len(table)
    assert covariance[0, 1] == pytest.approx(-covariance[0, 0], rel=0.1)


def test_before_undoes_a_change() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        later = WeakPerspective(*rng.normal(0, 0.3, 3), 100, 120, 1.5)
        change = rng.normal(0, 0.02, 6)
        earlier = before(later, change)
        assert np.allclose(later.vector[:3] - earlier.vector[:3], change[:3])
        assert np.log(later.scale / earlier.scale) == pytest.approx(change[5])
        assert before(later, np.zeros(6)) == later


def test_the_series_of_two_states_gives_the_change_back() -> None:
    later = WeakPerspective(0.1, 0.2, 0.4, 100, 120, 1.5)
    change = np.array([0.01, -0.02, 0.0, 0.03, -0.01, 0.0])
    cameras = np.stack([before(later, change).vector, later.vector])
    series = state_series(cameras, np.zeros((2, 1)), np.stack([later.vector] * 2))
    assert np.allclose(series[1, :6] - series[0, :6], change)
    # a face tilted by a quarter turn that moves toward its own side moves up in the image
    up = before(WeakPerspective(0, 0, np.pi / 2, 0, 0, 1), [0, 0, 0, 0.1, 0, 0])
    assert up.translation_v == pytest.approx(14.0)
    assert up.translation_u == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_what_is_drawn_keeps_weights_in_range(shipped, frames: int) -> None:
    rng = np.random.default_rng(frames)
    for _ in range(300):
        now = np.clip(rng.normal(0.1, 0.3, len(shipped.names)), 0, 1)
        pose, change = shipped.draw(rng, now, frames)
        assert pose.shape == (6,)
        assert np.isfinite(pose).all()
        past = now - change
        assert past.min() >= -1e-9
        assert past.max() <= 1 + 1e-9


def test_draws_have_the_spread_and_the_tails_of_the_video(shipped) -> None:
    rng = np.random.default_rng(0)
    now = np.full(len(shipped.names), 0.2)
    poses = np.array([shipped.draw(rng, now)[0] for _ in range(6000)])
    real = shipped.changes[0][:, :6].astype(float)
    spread = np.sqrt((real**2).mean(axis=0))
    assert np.allclose(np.sqrt((poses**2).mean(axis=0)), spread, rtol=0.25)
    assert np.abs(poses.mean(axis=0)).max() < 0.1 * spread.max()
    for table in (poses, real):
        assert ((table**4).mean(axis=0) / (table**2).mean(axis=0) ** 2 > 4.5).all()


def test_farther_apart_is_farther(shipped) -> None:
    spread = [np.sqrt((table[:, :6].astype(float) ** 2).mean(axis=0)) for table in shipped.changes]
    assert (spread[1] > 1.3 * spread[0]).all()
    assert (spread[2] > 1.2 * spread[1]).all()


def test_blinks_come_as_often_as_seen_and_with_both_eyes(shipped) -> None:
    rng = np.random.default_rng(0)
    left, right = (shipped.names.index(name) for name in NAMES[:2])
    for shut, column in ((0.0, 0), (0.9, 1)):
        now = np.zeros(len(shipped.names))
        now[[left, right]] = shut
        drawn = np.array([shipped.draw(rng, now)[1][[left, right]] for _ in range(3000)])
        moving = np.abs(drawn).max(axis=1) > 0.08
        assert moving.mean() == pytest.approx(shipped.blink_share[0, column], abs=0.05)
        assert np.abs(drawn[moving, 0] - drawn[moving, 1]).mean() < 0.08
    # half of the lids' way in one frame is nothing unusual
    assert np.quantile(np.abs(drawn[moving]), 0.75) > 0.3


def test_mirrored_motion_is_the_mirrored_faces(made) -> None:
    change = np.arange(1.0, 13.0)
    mirror = made._mirrored(change)
    assert mirror[:6].tolist() == [1, -2, -3, -4, 5, 6]
    assert mirror[6:].tolist() == [8, 7, 9, 11, 10, 12]


def test_errors_are_drawn_whole(made) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        error = made.previous_error(rng)
        vector = np.concatenate([error.pose, error.expression])
        # one of the real ones, longer or shorter, of either sign
        cosine = made.errors @ vector / np.linalg.norm(made.errors, axis=1) / np.linalg.norm(vector)
        assert np.abs(cosine).max() > 0.9999
        assert error.identity.shape == (7,)


def test_other_models_get_what_they_share(shipped) -> None:
    names = ("jawOpen", "somethingElse", "eyeBlinkRight", "eyeBlinkLeft")
    other = shipped.for_names(names)
    assert np.array_equal(other.changes[0][:, 6], shipped.changes[0][:, 6 + shipped.names.index("jawOpen")])
    assert not other.changes[0][:, 7].any()
    _, change = other.draw(np.random.default_rng(0), np.full(4, 0.5), 2)
    assert change.shape == (4,)
    assert shipped.for_names(shipped.names) is shipped
    with pytest.raises(FacereliefError, match="ARKit"):
        shipped.for_names(("component 1",))


def test_the_same_seed_draws_the_same(shipped) -> None:
    now = np.full(len(shipped.names), 0.3)
    one, two = (shipped.draw(np.random.default_rng(5), now, 2) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_a_file_goes_there_and_back(made, tmp_path: Path) -> None:
    save_motion(tmp_path / "motion.npz", made)
    again = load_motion(tmp_path / "motion.npz")
    assert again.names == made.names
    assert np.allclose(again.changes[1], made.changes[1], atol=1e-3)
    assert np.allclose(again.blink_share, made.blink_share)
    save_motion(tmp_path / "again.npz", again)
    assert (tmp_path / "motion.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and nothing more"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "motion.npz").write_bytes(content)
    with pytest.raises(FacereliefError, match="make it with benchmarks"):
        load_motion(tmp_path / "motion.npz")
    with pytest.raises(FacereliefError, match="cannot be read"):
        load_motion(tmp_path / "none.npz")


def test_wrong_arguments(made) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="expression has shape"):
        made.draw(rng, np.zeros(3))
    with pytest.raises(ValueError, match="frames is 4"):
        made.draw(rng, np.zeros(len(NAMES)), 4)
    with pytest.raises(ValueError, match="no tracks"):
        estimate_motion([], NAMES)
    with pytest.raises(ValueError, match="a track of"):
        estimate_motion([a_track()], NAMES[:3])


def test_the_shipped_motion_fits_the_shipped_model(shipped, open_model) -> None:
    assert shipped.names == open_model.expression_names
    assert shipped.identity_errors.shape[1] == open_model.n_identity
    # degrees a frame: people move, and do not spin
    turn = np.degrees(np.sqrt((shipped.changes[0][:, :3].astype(float) ** 2).mean(axis=0)))
    assert ((turn > 0.2) & (turn < 3)).all()
    assert (shipped.noise[0, :3] < np.radians(turn)).all()
