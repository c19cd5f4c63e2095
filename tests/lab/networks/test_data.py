# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of training samples: labels move with the crop, positions decide alone, mirrors are exact."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import facerelief
from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.pncc import PnccRenderer, pncc_colors
from facerelief.lab.datasets.manifest import RECIPE
from facerelief.lab.networks.augment import AugmentConfig
from facerelief.lab.networks.data import (
    Batches,
    CoarseData,
    CropConfig,
    FineData,
    Order,
    Shards,
    TrackingData,
    camera_of,
    mirror_of,
    mirrored_pose,
    pose_of,
)
from facerelief.rendering.rasterizer import rasterize

CROP = CropConfig(size=80)


@pytest.fixture(scope="module")
def shards(face_set) -> Shards:
    return Shards([face_set], "train", "coarse")


# ---------------------------------------------------------------- order


def test_every_sample_comes_once_in_an_epoch():
    order = Order(17, seed=3)
    epochs = [[order(17 * e + k) for k in range(17)] for e in range(3)]
    assert all(sorted(epoch) == list(range(17)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_position_decides_alone():
    order = Order(17, seed=3)
    straight = [order(k) for k in range(40)]
    again = Order(17, seed=3)
    assert [again(k) for k in reversed(range(40))] == straight[::-1]
    assert [Order(17, seed=4)(k) for k in range(17)] != straight[:17]


def test_batches_go_on_where_they_were_and_are_shared_out():
    whole = list(Batches(0, 6, 8))
    assert list(Batches(4, 6, 8)) == whole[4:]
    assert [k for part in whole for k in part] == list(range(48))
    parts = [list(Batches(0, 6, 8, rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts)] == whole
    with pytest.raises(ValueError, match="multiple"):
        Batches(0, 6, 7, 0, 2)


# ---------------------------------------------------------------- shards


def test_samples_are_found_by_split(face_set, shards):
    assert len(shards) == 48
    assert len(Shards([face_set], "val", "coarse")) == 12
    assert len(Shards([face_set, face_set], "train", "tracking")) == 96
    assert shards.picture(5).shape == (96, 96, 3)


def test_data_of_another_kind_is_refused(face_set, fine_set):
    with pytest.raises(FacereliefError, match="holds fine, expected pairs"):
        Shards([fine_set], "train", "tracking")
    with pytest.raises(FacereliefError, match="give the folder of a data set"):
        Shards([face_set / "none"], "train", "coarse")


def test_damage_is_told_in_one_line(face_set, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(face_set, folder)
    shard = folder / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    found = Shards([folder], "train", "coarse")
    spot = found.spots[0]
    data[spot[1] : spot[1] + spot[2]] = bytes(int(spot[2]))
    data[spot[3] : spot[3] + spot[4]] = bytes(int(spot[4]))
    (folder / "new").write_bytes(data)
    (folder / "new").replace(shard)
    other = Shards([folder], "train", "coarse")
    for read in (lambda: other.picture(0), lambda: other.labels(0, ("camera",))):
        with pytest.raises(FacereliefError, match=r"damaged .* make it again") as told:
            read()
        assert "\n" not in str(told.value)
    with pytest.raises(FacereliefError, match="damaged"):
        other.labels(1, ("nothing",))
    shard.write_bytes(b"no tar at all")
    with pytest.raises(FacereliefError, match="make it again"):
        Shards([folder], "train", "coarse")


def test_another_recipe_is_another_data_set(face_set, tmp_path):
    folder = tmp_path / face_set.name
    shutil.copytree(face_set, folder)
    assert Shards([folder], "train", "coarse").sha256 == Shards([face_set], "train", "coarse").sha256
    (folder / RECIPE).write_text(json.dumps({"kind": "pairs", "seed": 1}))
    assert Shards([folder], "train", "coarse").sha256 != Shards([face_set], "train", "coarse").sha256


def test_a_split_without_samples_is_refused(face_set, toy_model):
    with pytest.raises(FacereliefError, match="no samples"):
        CoarseData(Shards([face_set], "test", "coarse"), toy_model, CROP)


# ---------------------------------------------------------------- crops


def test_landmarks_move_with_the_crop(shards, toy_model):
    """What the labels project into the crop is what the picture's landmarks become."""
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
def test_pictures_move_with_the_crop(flipped):
    """A spot in the picture is in the crop where the camera says."""
    picture = np.zeros((96, 96, 3), np.uint8)
    at = np.array([60.0, 35.0])
    grid = np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5), axis=2)
    spot = np.exp(-np.square(grid - at).sum(axis=2) / 18)
    picture[:] = (255 * spot + 0.5).astype(np.uint8)[..., None]
    crop = CROP.draw(np.array([20.0, 15.0, 80.0, 82.0]), np.random.default_rng(4))
    camera = crop.camera(WeakPerspective(0.0, 0.0, 0.0, *at, 1.0))
    pose = pose_of(camera)
    wanted = mirrored_pose(pose, CROP.size)[3:5] if flipped else pose[3:5]
    made = crop.cut(picture, flipped=flipped)[..., 0].astype(np.float64)
    here = np.stack(np.meshgrid(np.arange(80) + 0.5, np.arange(80) + 0.5), axis=2)
    centre = (made[..., None] * here).sum(axis=(0, 1)) / made.sum()
    np.testing.assert_allclose(centre, wanted, atol=0.1)


def test_crops_are_off_as_told(shards, toy_model):
    box = np.array([20.0, 15.0, 80.0, 82.0])
    rng = np.random.default_rng(0)
    crops = [CROP.draw(box, rng) for _ in range(400)]
    shift = np.array([[c.centre_u - 50.0, c.centre_v - 48.5] for c in crops]) / 67.0
    zoom = np.array([c.side for c in crops]) / (1.25 * 67.0)
    assert np.abs(shift).max() <= CROP.shift
    assert np.abs(zoom - 1).max() <= CROP.zoom
    assert np.abs(shift).max() > 0.9 * CROP.shift
    assert np.ptp(zoom) > 1.8 * CROP.zoom
    still = replace(CROP, shift=0.0, zoom=0.0, roll=0.0).draw(box, rng)
    assert (still.centre_u, still.centre_v, still.side, still.angle) == (50.0, 48.5, 1.25 * 67.0, 0.0)


def test_items_depend_on_their_position_alone(shards, toy_model):
    def data():
        return CoarseData(shards, toy_model, CROP, seed=2, spoil=AugmentConfig(), flip=True)

    one, two = data(), data()
    straight = [one[k] for k in range(6)]
    for k in reversed(range(6)):
        for a, b in zip(straight[k], two[k]):
            np.testing.assert_array_equal(a, b)
    later = one[48 + 2]  # another epoch
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(straight[2], later))
    assert straight[0].image.shape == (80, 80, 3)
    assert straight[0].image.dtype == np.uint8


def test_spreads_are_of_the_data(shards, toy_model):
    expression, pose = CoarseData(shards, toy_model, CROP).spreads(96)
    assert len(expression.mean) == 52
    assert pose.mean[3] == pytest.approx(40, abs=6)
    assert min(expression.std) >= 0.02


# ---------------------------------------------------------------- mirror


@pytest.mark.parametrize("name", ["toy", "open"])
def test_mirrored_labels_make_the_mirrored_face(name, toy_model):
    model = toy_model if name == "toy" else facerelief.open_model()
    mirror = mirror_of(model)
    assert mirror is not None
    rng = np.random.default_rng(0)
    identity = rng.normal(size=model.n_identity).astype(np.float32)
    expression = (rng.random(model.n_expression) * (rng.random(model.n_expression) < 0.2)).astype(np.float32)
    camera = WeakPerspective(0.2, 0.5, -0.1, 100.0, 110.0, 1.3)
    uvz = camera.project(model.shape(identity, expression))
    flipped = camera_of(mirrored_pose(pose_of(camera), 224)).project(
        model.shape(identity * mirror.identity, expression[mirror.expression])
    )
    wanted = uvz[model.symmetry] * [-1, 1, 1] + [224, 0, 0]
    apart = np.linalg.norm(flipped - wanted, axis=1)[model.face_vertices]
    assert float(apart.mean()) < 0.1


def test_a_model_without_a_mirror_has_none(toy_model):
    crooked = toy_model.expression.copy()
    crooked[:, 0, toy_model.expression_names.index("jawOpen")] += 1.0
    assert mirror_of(replace(toy_model, symmetry=None)) is None
    assert mirror_of(replace(toy_model, expression=crooked)) is None


def test_half_of_the_pictures_are_flipped(shards, toy_model):
    data = CoarseData(shards, toy_model, CROP, flip=True)
    assert 0.3 < np.mean([data.target(k)[2] for k in range(100)]) < 0.7


# ---------------------------------------------------------------- tracking


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


def test_the_face_is_drawn_where_the_pose_says(face_set, toy_model):
    """Without spoiling, the picture's head covers what the true state covers."""
    data = TrackingData(Shards([face_set], "val", "tracking"), toy_model, 64, flip=True)
    for position in range(6):
        item = data[position]
        uvz = camera_of(item.pose).project(toy_model.shape(item.identity, item.expression))
        covered = rasterize(uvz, toy_model.triangles, 64, 64).triangle >= 0
        inside = cv2.erode(covered.astype(np.uint8), np.ones((5, 5))) > 0
        seen = item.image.max(axis=2) > 12
        assert float(seen[inside].mean()) > 0.97


def test_changes_have_no_mean(face_set, toy_model):
    spread = TrackingData(Shards([face_set], "train", "tracking"), toy_model, 64).spread(96)
    assert set(spread.mean) == {0.0}
    assert len(spread.std) == 58


# ---------------------------------------------------------------- fine


def test_flipped_crops_keep_their_relief(fine_set, toy_model):
    found = Shards([fine_set], "train", "fine")
    plain, flipping = (FineData(found, toy_model, seed=5, flip=flip) for flip in (False, True))
    turned = 0
    for position in range(12):
        a, b = plain[position], flipping[position]
        if (a.image != b.image).any():
            turned += 1
            b = b._replace(**{n: getattr(b, n)[:, ::-1] for n in ("image", "depth", "mask", "displacement")})
            b = b._replace(cues=b.cues[:, :, ::-1] * np.array([1, -1, 1])[:, None, None])
        for name, x, y in zip(a._fields, a, b):
            if name == "cues":  # other pixels decide on the light
                assert np.corrcoef(np.ravel(x), np.ravel(y))[0, 1] > 0.85
            else:
                np.testing.assert_array_equal(x, y)
    assert 0 < turned < 12


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="readers end at once there")
def test_a_reader_told_to_end_finishes_its_step_first():
    program = """if True:
        import time
        from facerelief.lab.networks import data
        data._GRACE_S = 0.5
        data.start_worker(0)
        print("ready", flush=True)
        time.sleep(0.3)
        print("still here", flush=True)
        time.sleep(60)
    """
    reader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    reader.send_signal(signal.SIGINT)
    reader.send_signal(signal.SIGTERM)
    assert reader.stdout.readline() == "still here\n"
    assert reader.wait(timeout=30) == -signal.SIGALRM
    reader.stdout.close()
