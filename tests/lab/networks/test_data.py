# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of training samples: labels move with the crop, positions decide alone, mirrors are exact."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.pncc import PnccRenderer, pncc_colors
from facerelief.lab.networks.augment import AugmentConfig
from facerelief.lab.networks.data import CoarseData, CropConfig, FineData, TrackingData
from facerelief.lab.networks.labels import camera_of, mirrored_pose, pose_of
from facerelief.lab.networks.order import Shards
from facerelief.rendering.rasterizer import rasterize

CROP = CropConfig(size=80)


@pytest.fixture(scope="module")
def shards(face_set) -> Shards:
    return Shards([face_set], "train", "coarse")


def test_a_split_without_samples_is_refused(face_set, toy_model):
    with pytest.raises(FacereliefError, match="no samples"):
        CoarseData(Shards([face_set], "test", "coarse"), toy_model, CROP)


def test_landmarks_move_with_the_crop(shards, toy_model):
    """Labels project into the crop where the image's landmarks move."""
    data = CoarseData(shards, toy_model, CROP, seed=1)
    marks = toy_model.landmarks["ibug68"]
    for position in range(12):
        index, crop, flipped, identity, expression, pose, _ = data.target(position)
        assert not flipped
        vertices = toy_model.shape(identity, expression)
        found = marks.of(camera_of(pose).project(vertices))
        before = data.shards.labels(index, ("landmarks68",))["landmarks68"]
        moved = before[:, :2] @ crop.matrix[:, :2].T + crop.matrix[:, 2]
        np.testing.assert_allclose(found[:, :2], moved, atol=1e-2)
        np.testing.assert_allclose(found[:, 2], before[:, 2], atol=1e-2)


@pytest.mark.parametrize("flipped", [False, True])
def test_images_move_with_the_crop(flipped):
    """A spot in the image is in the crop where the camera says."""
    image = np.zeros((96, 96, 3), np.uint8)
    at = np.array([60.0, 35.0])
    grid = np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5), axis=2)
    spot = np.exp(-np.square(grid - at).sum(axis=2) / 18)
    image[:] = (255 * spot + 0.5).astype(np.uint8)[..., None]
    corners = np.array([[20.0, 15.0], [80.0, 82.0]])
    crop = CROP.random(corners, 0.0, np.random.default_rng(4))
    camera = crop.camera(WeakPerspective(0.0, 0.0, 0.0, *at, 1.0))
    pose = pose_of(camera)
    wanted = mirrored_pose(pose, CROP.size)[3:5] if flipped else pose[3:5]
    made = crop.cut(image, flipped=flipped)[..., 0].astype(np.float64)
    here = np.stack(np.meshgrid(np.arange(80) + 0.5, np.arange(80) + 0.5), axis=2)
    centre = (made[..., None] * here).sum(axis=(0, 1)) / made.sum()
    np.testing.assert_allclose(centre, wanted, atol=0.1)


def test_crops_are_off_as_configured(shards, toy_model):
    box = np.array([[20.0, 15.0], [80.0, 82.0]])
    rng = np.random.default_rng(0)
    crops = [CROP.random(box, 0.0, rng) for _ in range(400)]
    shift = np.array([[c.centre_u - 50.0, c.centre_v - 48.5] for c in crops]) / 67.0
    zoom = np.array([c.side for c in crops]) / (1.25 * 67.0)
    assert np.abs(shift).max() <= CROP.shift
    assert np.abs(zoom - 1).max() <= CROP.zoom
    assert np.abs(shift).max() > 0.9 * CROP.shift
    assert np.ptp(zoom) > 1.8 * CROP.zoom
    still = replace(CROP, shift=0.0, zoom=0.0, roll=0.0).random(box, 0.0, rng)
    assert (still.centre_u, still.centre_v, still.side, still.angle) == (50.0, 48.5, 1.25 * 67.0, 0.0)


def test_items_depend_on_their_position_alone(shards, toy_model):
    def data():
        return CoarseData(shards, toy_model, CROP, seed=2, augmentation=AugmentConfig(), flip=True)

    one, two = data(), data()
    straight = [one[k] for k in range(6)]
    for k in reversed(range(6)):
        for a, b in zip(straight[k], two[k]):
            np.testing.assert_array_equal(a, b)
    later = one[48 + 2]  # another epoch
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(straight[2], later))
    assert straight[0].image.shape == (80, 80, 3)
    assert straight[0].image.dtype == np.uint8


def test_moments_are_of_the_data(shards, toy_model):
    expression, pose = CoarseData(shards, toy_model, CROP).moments(96)
    assert len(expression.mean) == 52
    assert pose.mean[3] == pytest.approx(40, abs=6)
    assert min(expression.std) >= 0.02


def test_half_of_the_images_are_flipped(shards, toy_model):
    data = CoarseData(shards, toy_model, CROP, flip=True)
    assert 0.3 < np.mean([data.target(k)[2] for k in range(100)]) < 0.7


def test_the_pncc_is_of_the_previous_state_in_the_same_crop(face_set, toy_model):
    tracked = Shards([face_set], "train", "tracking")
    data = TrackingData(tracked, toy_model, 64, seed=1, flip=True)
    colors = pncc_colors(toy_model.mean, toy_model.face_vertices | toy_model.eyeballs)
    for position in range(6):
        item = data[position]
        camera = camera_of(item.previous_pose)
        vertices = toy_model.shape(item.previous_identity, item.previous_expression)
        wanted = PnccRenderer(toy_model.triangles, colors)(vertices, camera, 64, 64)
        np.testing.assert_array_equal(item.pncc, wanted)
        uv = camera.project(vertices)[toy_model.face_vertices, :2]
        # labels are of a face without these errors of shape: about in the middle, about at its size
        np.testing.assert_allclose((uv.min(axis=0) + uv.max(axis=0)) / 2, 32, atol=3)
        assert float(np.ptp(uv, axis=0).max()) == pytest.approx(64 / 1.25, rel=0.1)


def test_the_face_lies_where_the_pose_says(face_set, toy_model):
    """Without augmentation, the image's head covers what the true state covers."""
    data = TrackingData(Shards([face_set], "val", "tracking"), toy_model, 64, flip=True)
    for position in range(6):
        item = data[position]
        uvz = camera_of(item.pose).project(toy_model.shape(item.identity, item.expression))
        covered = rasterize(uvz, toy_model.triangles, 64, 64).triangle >= 0
        inside = cv2.erode(covered.astype(np.uint8), np.ones((5, 5))) > 0
        seen = item.image.max(axis=2) > 12
        assert float(seen[inside].mean()) > 0.97


def test_changes_have_no_mean(face_set, toy_model):
    moments = TrackingData(Shards([face_set], "train", "tracking"), toy_model, 64).moments(96)
    assert set(moments.mean) == {0.0}
    assert len(moments.std) == 58


def test_flipped_crops_keep_their_relief(fine_set):
    found = Shards([fine_set], "train", "fine")
    plain, flipping = (FineData(found, seed=5, flip=flip) for flip in (False, True))
    turned = 0
    names = ("image", "depth", "mask", "displacement", "known", "trust")
    for position in range(12):
        a, b = plain[position], flipping[position]
        if (a.image != b.image).any():
            turned += 1
            b = b._replace(**{n: getattr(b, n)[:, ::-1] for n in names})
            b = b._replace(cues=b.cues[:, :, ::-1] * np.array([1, -1, 1])[:, None, None])
        for name, x, y in zip(a._fields, a, b):
            if name == "cues":  # other pixels decide on the light
                assert np.corrcoef(np.ravel(x), np.ravel(y))[0, 1] > 0.85
            else:
                np.testing.assert_array_equal(x, y)
    assert 0 < turned < 12
