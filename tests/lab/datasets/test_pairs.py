"""Laws of frame pairs: previous states lie where motion and error put them, crops hold the face, blur follows
the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import COARSE_MARGIN, SquareCrop
from facerelief.lab.datasets.coarse import CoarseConfig, CoarseMaker
from facerelief.lab.datasets.motion import FACE_WIDTH_MM, before, motion_model
from facerelief.lab.datasets.pairs import PairConfig, PairMaker, _inverse, _Motion, smear

COARSE = CoarseConfig(size=128, margin=1.75)
CONFIG = PairConfig(coarse=COARSE, previous=3, blur=0.5)
SHARP = PairConfig(coarse=COARSE, error=0.0, identity_error=0.0, lost=0.0, fast=0.0, blur=0.0)


@pytest.fixture(scope="module")
def maker(fits, open_model) -> PairMaker:
    return PairMaker(fits, open_model, CONFIG)


@pytest.fixture(scope="module")
def fit(fits):
    return fits.load("a/eileen")


@pytest.fixture(scope="module")
def ready(maker, fit):
    return maker.coarse.prepare(fit)


@pytest.fixture(scope="module")
def samples(maker, fit):
    return list(maker(fit, 8, 3))


def relative(previous: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(P, 6) changes from previous pose vectors (P, 6) to one (6,), without the turn of the axes."""
    change = now - previous
    change[:, :3] = (change[:, :3] + np.pi) % (2 * np.pi) - np.pi
    change[:, 3:5] /= FACE_WIDTH_MM * now[5]
    change[:, 5] = np.log(now[5] / previous[:, 5])
    return change


def test_labels_have_their_shapes_and_ranges(samples, open_model) -> None:
    for sample in samples:
        labels = sample.labels
        assert labels["previous_camera"].shape == (3, 6)
        assert labels["previous_expression"].shape == (3, open_model.n_expression)
        assert labels["previous_identity"].shape == (3, open_model.n_identity)
        assert labels["previous_crop"].shape == (3, 4)
        assert labels["blur"].shape == (1,)
        assert (labels["previous_frames"] <= 3).all()
        assert all(np.isfinite(value).all() for value in labels.values())
        assert labels["previous_expression"].min() >= 0
        assert labels["previous_expression"].max() <= 1
        assert (labels["previous_camera"][:, 5] > 0).all()
        assert sample.image.shape == (128, 128, 3)
        assert sample.about["kind"] == "pairs"
        assert "-pairs-" in sample.key
    assert len({sample.key for sample in samples}) == len(samples)


def test_the_seed_and_the_photo_decide_alone(fits, open_model, fit, samples) -> None:
    other = PairMaker(fits, open_model, CONFIG)
    list(other(fits.load("b/nelliee"), 1, 9))
    for one, two in zip(samples[:3], other(fit, 3, 3)):
        assert one.key == two.key
        assert np.array_equal(one.image, two.image)
        for name, value in one.labels.items():
            assert np.array_equal(value, two.labels[name]), name
    assert not np.array_equal(samples[0].image, next(iter(other(fit, 1, 4))).image)


def test_crops_are_squares_about_the_previous_face(samples, open_model) -> None:
    for sample in samples:
        labels = sample.labels
        for k in range(3):
            left, top, right, bottom = labels["previous_crop"][k].tolist()
            assert right - left == pytest.approx(bottom - top, abs=1e-3)
            camera = WeakPerspective.from_vector(labels["previous_camera"][k])
            shape = open_model.shape(labels["previous_identity"][k], labels["previous_expression"][k])
            uv = camera.project(shape[open_model.face_vertices])[:, :2]
            crop = SquareCrop.of_corners([left, top, right, bottom], 100, camera.roll)
            inner = uv @ crop.matrix[:, :2].T + crop.matrix[:, 2]
            assert (inner.max(axis=0) - inner.min(axis=0)).max() == pytest.approx(
                100 / COARSE_MARGIN, rel=1e-4
            )
            assert np.allclose((inner.max(axis=0) + inner.min(axis=0)) / 2, 50, atol=0.01)
            if labels["previous_frames"][k]:
                # the present face is in it, but for what moved very fast
                box = labels["box"]
                inside = np.minimum(box[2:], [right, bottom]) - np.maximum(box[:2], [left, top])
                assert inside.min() > 0.7 * (box[2:] - box[:2]).min()


def test_without_errors_a_previous_state_is_a_motion_away(maker, open_model, ready, fit) -> None:
    plain = PairMaker(maker.coarse.fits, open_model, SHARP)
    rng = np.random.default_rng(0)
    camera = WeakPerspective(0.1, 0.2, 0.0, 60, 60, 0.8)
    expression = np.full(open_model.n_expression, 0.2)
    identity = np.ones(open_model.n_identity)
    for _ in range(20):
        motion = plain.draw(rng, expression)
        was, weights, person, frames = plain.previous(rng, camera, expression, identity, motion)
        assert np.allclose(relative(was.vector[None], camera.vector)[0], motion.pose, atol=1e-9)
        assert np.allclose(expression - weights, motion.expression)
        assert np.array_equal(person, identity)
        assert frames == motion.frames


def test_errors_and_lost_tracks_come_as_often_as_asked(maker, open_model) -> None:
    still = _Motion(1, np.zeros(6), np.zeros(open_model.n_expression))
    camera = WeakPerspective(0.1, 0.2, 0.0, 60, 60, 0.8)
    expression = np.full(open_model.n_expression, 0.3)
    identity = np.zeros(open_model.n_identity)

    def states(config: PairConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made = PairMaker(maker.coarse.fits, open_model, config)
        rng = np.random.default_rng(1)
        found = [made.previous(rng, camera, expression, identity, still) for _ in range(400)]
        poses = np.stack([state[0].vector for state in found])
        return poses, np.stack([state[2] for state in found]), np.array([state[3] for state in found])

    poses, people, frames = states(replace(SHARP, error=1.0, identity_error=0.5))
    real = motion_model()
    spread = np.sqrt((real.errors[:, :6].astype(float) ** 2).mean(axis=0) * 13 / 12)
    assert np.allclose(relative(poses, camera.vector).std(axis=0), spread, rtol=0.3)
    assert people.std() == pytest.approx(0.5 * real.identity_errors.std() * np.sqrt(13 / 12), rel=0.2)
    assert (frames == 1).all()
    poses, _, frames = states(replace(SHARP, lost=0.5))
    assert (frames == 0).mean() == pytest.approx(0.5, abs=0.1)
    far = np.abs(relative(poses, camera.vector))
    assert np.median(far[frames == 0].max(axis=1)) > 0.3
    assert not far[frames == 1].any()


def test_a_still_face_is_not_blurred(maker, ready, fit) -> None:
    varied = maker.coarse.vary(ready, fit.split, np.random.default_rng(0))
    still = _Motion(1, np.zeros(6), np.zeros(len(varied.expression)))
    picture, path = maker.exposed(ready, fit, varied, still, 0.9, 0, 0)
    assert path == 0.0
    assert np.array_equal(picture.image, maker.coarse.make(ready, fit, varied, 0, 0).image)


def test_blur_follows_the_motion_and_keeps_the_labels(maker, ready, fit) -> None:
    varied = maker.coarse.vary(ready, fit.split, np.random.default_rng(0))
    sharp = maker.coarse.make(ready, fit, varied, 0, 0)
    camera = WeakPerspective.from_vector(sharp.labels["camera"])
    sideways = _Motion(1, np.array([0, 0, 0, 0.1, 0, 0.0]), np.zeros(len(varied.expression)))
    picture, path = maker.exposed(ready, fit, varied, sideways, 0.9, 0, 0)
    assert path == pytest.approx(0.09 * FACE_WIDTH_MM * camera.scale, rel=0.02)
    for name, value in sharp.labels.items():
        assert np.array_equal(picture.labels[name], value)
    left, top, right, bottom = (int(x) for x in sharp.labels["box"])
    way = np.array([np.cos(camera.roll), -np.sin(camera.roll)])

    def slopes(image: np.ndarray) -> tuple[float, float]:
        grey = image.astype(float).mean(axis=2)[top:bottom, left:right]
        dv, du = np.gradient(grey)
        along, across = way[0] * du + way[1] * dv, -way[1] * du + way[0] * dv
        return float((along**2).mean()), float((across**2).mean())

    before_blur, after = slopes(sharp.image), slopes(picture.image)
    assert after[0] / before_blur[0] < 0.6
    assert after[0] / before_blur[0] < 0.8 * after[1] / before_blur[1]
    # the exposure is centred: the image is not shifted
    grey = [x.astype(float).mean(axis=2)[top:bottom, left:right] for x in (sharp.image, picture.image)]
    shifted = [((np.roll(grey[0], step, axis=1) - grey[1])[:, 6:-6] ** 2).mean() for step in range(-3, 4)]
    assert 2 <= int(np.argmin(shifted)) <= 4


def test_lids_blur_when_they_move(maker, open_model, ready, fit) -> None:
    varied = maker.coarse.vary(ready, fit.split, np.random.default_rng(2))
    lids = [open_model.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    varied.expression[lids] = 0.5
    shut = np.zeros(len(varied.expression))
    shut[lids] = 1.0
    blink = _Motion(1, np.zeros(6), shut)
    sharp = maker.coarse.make(ready, fit, varied, 0, 0)
    picture, path = maker.exposed(ready, fit, varied, blink, 0.9, 0, 0)
    assert path > 2.0
    # the lids go far, the rest of the face stays
    change = np.abs(picture.image.astype(float) - sharp.image).max(axis=2)
    marks = sharp.labels["landmarks68"][:, :2]
    eyes, mouth = marks[36:48], marks[48:]
    eye_change, mouth_change = (
        change[top:bottom, left:right]
        for (left, top), (right, bottom) in (
            (part.min(axis=0).astype(int), part.max(axis=0).astype(int) + 1) for part in (eyes, mouth)
        )
    )
    assert eye_change.max() > 15
    assert mouth_change.max() < 8


def test_states_in_between_are_drawn_where_the_camera_says(maker, ready, fit) -> None:
    varied = maker.coarse.vary(ready, fit.split, np.random.default_rng(4))
    sharp = maker.coarse.make(ready, fit, varied, 0, 0)
    camera = before(
        WeakPerspective.from_vector(sharp.labels["camera"]), [0.02, -0.05, 0.03, 0.04, -0.02, 0.03]
    )
    state = replace(varied, camera=camera.moved(_inverse(varied.similarity)))
    drawn = maker.coarse.make(ready, fit, state, 0, 0)
    assert np.allclose(drawn.labels["camera"], camera.vector, atol=1e-6)


@pytest.mark.parametrize("way", [(6.0, 0.0), (0.0, -4.0), (3.0, 2.5), (0.2, 0.1)])
def test_smearing_keeps_brightness_and_place(way: tuple[float, float]) -> None:
    image = np.zeros((41, 41, 3), np.float32)
    image[20, 20] = 100
    out = smear(image, np.array(way))
    assert out.sum() == pytest.approx(300, rel=1e-4)
    share = out[..., 0] / 100
    rows, columns = np.mgrid[:41, :41]
    assert (share * columns).sum() == pytest.approx(20, abs=0.01)
    assert (share * rows).sum() == pytest.approx(20, abs=0.01)
    if np.hypot(*way) >= 0.5:
        # a bar of that length: its second moments are those of the way over twelve
        spread = np.sqrt((share * (columns - 20) ** 2).sum()), np.sqrt((share * (rows - 20) ** 2).sum())
        assert np.allclose(spread, np.abs(way) / np.sqrt(12), atol=0.45)


def test_wrong_configurations_and_models(fits, open_model) -> None:
    with pytest.raises(ValueError, match="previous is 0"):
        PairConfig(previous=0)
    with pytest.raises(ValueError, match="frames is 5"):
        PairConfig(frames=5)
    other = replace(open_model, expression_names=tuple(f"component {k}" for k in range(52)))
    with pytest.raises(FacereliefError, match="ARKit"):
        PairMaker(fits, other, CONFIG)


def test_the_coarse_maker_is_the_configured_one(maker) -> None:
    assert isinstance(maker.coarse, CoarseMaker)
    assert maker.coarse.config is COARSE
    assert maker.spent_ms is maker.coarse.spent_ms
