"""The shipped networks: crops, coordinates and relief come back to the image's pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import facerelief
from facerelief.detection import detect_faces
from facerelief.errors import ModelError
from facerelief.examples import astronaut_path
from facerelief.geometry.patch import DepthPatch
from facerelief.inference.crops import fine_crop, tracking_crop
from facerelief.inference.runners import (
    CoarseRunner,
    E2farRunner,
    Estimate,
    FineRunner,
    TrackingRunner,
    camera_from_landmarks,
    coarse_crop,
    has_shipped_coefficients,
    net_file,
    smoothed_crop,
)
from facerelief.inverse.detail import coarse_depth
from facerelief.inverse.landmark_fit import FaceState
from facerelief.io.images import read_image
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig


@pytest.fixture(scope="module")
def model():
    return facerelief.open_model()


@pytest.fixture(scope="module")
def image():
    return read_image(astronaut_path())


@pytest.fixture(scope="module")
def landmarks(image):
    return detect_faces(image)[0].landmarks


@pytest.fixture(scope="module")
def found(model, image, landmarks) -> Estimate:
    return CoarseRunner(model).estimate(image, camera_from_landmarks(model, landmarks))


def shape(model, state: FaceState):
    return model.shape(state.identity, state.expression)


def test_the_face_lies_on_the_detected_landmarks(model, found, landmarks):
    points = model.landmarks["mediapipe478"].of(shape(model, found.state))
    apart = np.linalg.norm(found.state.camera.project(points)[:468, :2] - landmarks[:468], axis=1)
    side = np.ptp(landmarks, axis=0).max()
    assert apart.mean() < 0.06 * side
    assert 0.3 < found.error_mm < 30


def test_a_moved_image_moves_the_face(model, image, landmarks, found):
    """Shifted, enlarged images give the same face, its camera moved along."""
    import cv2

    zoom, shift = 1.5, np.array([20.0, 35.0])
    matrix = np.column_stack([zoom * np.eye(2), shift + 0.5 * zoom - 0.5])
    height, width = image.shape[:2]
    moved = cv2.warpAffine(image, matrix, (2 * width, 2 * height))
    again = CoarseRunner(model).estimate(moved, camera_from_landmarks(model, zoom * landmarks + shift))
    expected = found.state.camera.moved(np.column_stack([zoom * np.eye(2), shift]))
    assert again.state.camera.scale == pytest.approx(expected.scale, rel=0.03)
    assert again.state.camera.yaw == pytest.approx(expected.yaw, abs=0.05)
    apart = np.abs(again.state.camera.vector[3:5] - expected.vector[3:5])
    assert apart.max() < 3.0 * expected.scale  # 3 mm


@pytest.mark.parametrize("degrees", [37.0, 180.0])
def test_a_turned_image_turns_the_face(model, image, landmarks, found, degrees):
    """Shape and relief stay, roll follows."""
    from facerelief.lab.evaluation.photos.rolls import turned

    moved, matrix = turned(image, degrees)
    there = landmarks @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    again = CoarseRunner(model).estimate(moved, camera_from_landmarks(model, there)).state
    expected = found.state.camera.moved(matrix)
    assert np.abs(again.camera.vector - expected.vector)[:3].max() < 0.02
    apart = np.linalg.norm(shape(model, again) - shape(model, found.state), axis=1)
    assert apart[model.face_vertices].mean() < 0.2
    net = E2farRunner(model)
    one, two = net.estimate(image, landmarks), net.estimate(moved, there)
    apart = np.linalg.norm(shape(model, one) - shape(model, two), axis=1)
    assert apart[model.face_vertices].mean() < 0.3
    fine = FineRunner(model)
    reliefs = [fine(im, s, shape(model, s)).displacement for im, s in ((image, found.state), (moved, again))]
    assert np.abs(reliefs[0] - reliefs[1]).mean() < 0.02


def test_e2far_needs_no_pose_of_its_own(model, image, landmarks):
    """Its shape lies on the landmarks, and moves with them; the same crop gives the same shape."""
    net = E2farRunner(model)
    state = net.estimate(image, landmarks)
    points = model.landmarks["mediapipe478"].of(shape(model, state))
    apart = np.linalg.norm(state.camera.project(points)[:468, :2] - landmarks[:468], axis=1)
    assert apart.mean() < 0.06 * np.ptp(landmarks, axis=0).max()
    margin = 40
    framed = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    again = net.estimate(framed, landmarks + np.float32(margin))
    assert np.abs(again.camera.vector - state.camera.vector - [0, 0, 0, margin, margin, 0]).max() < 1.0
    assert np.abs(again.identity - state.identity).max() < 0.1
    # 68 landmarks do as well
    few = net.estimate(image, landmarks[list(IBUG68_AMONG_MEDIAPIPE)])
    assert abs(few.camera.yaw - state.camera.yaw) < 0.15


def test_e2far_fills_the_whole_contract(image):
    (result,) = Reconstructor(config=ReconstructorConfig("e2far", max_faces=1))(image)
    assert result.method == "e2far"
    assert result.expected_error_mm is None
    assert np.isfinite(result.fine.depth).any()
    assert 0.3 < result.confidence <= 1
    assert (np.nan_to_num(result.fine.depth) != np.nan_to_num(result.coarse.depth)).any()


def test_a_face_that_did_not_move_stays(model, image, found):
    tracking = TrackingRunner(model)
    vertices = shape(model, found.state)
    crop = tracking_crop(vertices, model.face_vertices, found.state.camera, tracking.size)
    again, delta = tracking(image, found.state, vertices, crop)
    assert delta.shape == (model.n_expression + 6,)
    np.testing.assert_array_equal(again.state.identity, found.state.identity)
    before, after = (
        s.camera.project(model.landmarks["ibug68"].of(shape(model, s)))[:, :2]
        for s in (found.state, again.state)
    )
    assert np.linalg.norm(after - before, axis=1).mean() < 4.0 * found.state.camera.scale  # 4 mm


def test_relief_is_on_the_skin_alone_and_lies_where_the_crop_lies(model, image, found):
    vertices = shape(model, found.state)
    relief = FineRunner(model)(image, found.state, vertices)
    assert not relief.displacement[~relief.surface.mask].any()
    assert np.abs(relief.displacement).max() < 20
    coarse = coarse_depth(model, vertices, found.state.camera, image.shape)
    fine = relief.on(coarse)
    assert (fine.left, fine.top) == (coarse.left, coarse.top)
    np.testing.assert_array_equal(np.isnan(fine.depth), np.isnan(coarse.depth))
    # a bump of the crop comes to its place in the image
    bump = np.zeros_like(relief.displacement)
    row, column = np.argwhere(relief.surface.mask).mean(axis=0).astype(int)
    bump[row - 3 : row + 4, column - 3 : column + 4] = 5.0
    plain = replace(relief.surface, base=relief.surface.depth, mask=np.ones_like(relief.surface.mask))
    shown = replace(relief, surface=plain, displacement=bump).on(
        DepthPatch(np.zeros_like(coarse.depth), coarse.left, coarse.top)
    )
    at = np.argwhere(shown.depth > 2.5).mean(axis=0) + 0.5 + [coarse.top, coarse.left]
    turn = relief.crop.matrix
    expected = np.linalg.inv(turn[:, :2]) @ ([column + 0.5, row + 0.5] - turn[:, 2])
    np.testing.assert_allclose(at[::-1], expected, atol=1.0)


def test_a_crop_of_the_same_size_keeps_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    corners = np.array([[0.0, 0.0], [64.0, 64.0]])
    np.testing.assert_array_equal(smoothed_crop(image, fine_crop(corners, 64, 1.0)), image)


def test_a_large_face_is_blurred_before_it_is_made_smaller():
    checks = np.indices((512, 512)).sum(axis=0) % 2 * np.uint8(255)
    image = np.repeat(checks[:, :, None].astype(np.uint8), 3, axis=2)
    small = smoothed_crop(image, fine_crop(np.array([[0.0, 0.0], [512.0, 512.0]]), 100, 1.0))
    assert np.abs(small.astype(float) - 127.5)[5:-5, 5:-5].max() < 6


def test_a_crop_without_size_is_refused():
    with pytest.raises(ValueError, match="no finite box"):
        coarse_crop(np.array([[3.0, 3.0]]), 224)


def test_only_the_open_model_has_the_nets_coefficients(model):
    assert has_shipped_coefficients(model)
    few = model.truncated(identity=30)
    assert not has_shipped_coefficients(few)
    with pytest.raises(ModelError, match=r'no coarse net for face model .* method "fit"'):
        CoarseRunner(few)
    assert facerelief.Reconstructor(few).method == "fit"


def test_other_nets_by_argument_or_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("FACERELIEF_NETS", raising=False)
    shipped = net_file("coarse")
    assert net_file("coarse", tmp_path) == tmp_path / "coarse.onnx"
    monkeypatch.setenv("FACERELIEF_NETS", str(tmp_path / "other"))
    assert net_file("coarse") == tmp_path / "other" / "coarse.onnx"
    assert net_file("coarse", tmp_path) == tmp_path / "coarse.onnx"
    monkeypatch.delenv("FACERELIEF_NETS")
    assert net_file("coarse") == shipped
