"""Faces are found wherever, however large and however turned they are, once each, and nothing else is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import facerelief.detection
from facerelief.detection import DetectedFace, detect_faces
from facerelief.errors import ImageError
from facerelief.examples import astronaut_path
from facerelief.io.images import read_image

cv2 = pytest.importorskip("cv2")

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"
MIRROR = {33: 263, 133: 362, 61: 291, 1: 1, 152: 152, 10: 10, 468: 473, 70: 300, 234: 454}
"""Some mesh points and their partners on the other side."""


@pytest.fixture(scope="module")
def photo():
    return read_image(astronaut_path())


@pytest.fixture(scope="module")
def face(photo) -> DetectedFace:
    (found,) = detect_faces(photo)
    return found


@pytest.fixture(scope="module")
def head(photo, face):
    """The head of the astronaut, square, and the face's size as a part of its side."""
    left, top, right, bottom = face.box
    half = 1.05 * face.size
    x, y = (left + right) / 2, (top + bottom) / 2 - 0.1 * face.size
    crop = photo[max(0, int(y - half)) : int(y + half), int(x - half) : int(x + half)]
    side = min(crop.shape[:2])
    return crop[:side, :side]


def apart(face: DetectedFace, points: np.ndarray) -> float:
    """Mean distance of a face's points from others, in parts of the distance between its pupils."""
    eyes = np.linalg.norm(face.landmarks[468] - face.landmarks[473])
    return float(np.linalg.norm(face.landmarks - points, axis=1).mean() / eyes)


def turned(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The image turned clockwise on a canvas that holds all of it, and the (2, 3) matrix that moved its
    points.
    """
    height, width = image.shape[:2]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, -s], [s, c]])
    size = np.ceil(np.abs(turn) @ [width, height]).astype(int)
    matrix = np.c_[turn, size / 2 - turn @ [width / 2, height / 2]]
    inner = matrix.copy()
    inner[:, 2] += turn @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(image, inner, [int(v) for v in size]), matrix


def group(head: np.ndarray, rows: int, columns: int, cell: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A group image: one head of about `size` px in each cell, no two alike, and their (n, 2) middles."""
    rng = np.random.default_rng(4)
    canvas = cv2.GaussianBlur(
        rng.integers(60, 190, (rows * cell, columns * cell, 3)).astype(np.uint8), (0, 0), 6
    )
    middles = []
    for i in range(rows):
        for j in range(columns):
            side = int(size * rng.uniform(0.9, 1.15))
            one = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
            one = one[:, ::-1] if rng.random() < 0.5 else one
            one = np.clip(one * rng.uniform(0.7, 1.15, 3), 0, 255).astype(np.uint8)
            y, x = i * cell + rng.integers(0, cell - side + 1), j * cell + rng.integers(0, cell - side + 1)
            canvas[y : y + side, x : x + side] = one
            middles.append((x + side / 2, y + side / 2))
    return canvas, np.array(middles)


def test_the_astronaut_is_found_once(photo, face):
    left, top, right, bottom = face.box
    assert 165 < left < right < 285
    assert 50 < top < bottom < 200
    assert face.confidence > 0.8
    assert face.landmark_confidence > 0.99
    assert abs(face.roll) < 0.15
    assert face.landmarks.shape == (478, 2)
    assert face.landmarks.dtype == np.float32
    assert face.landmarks_z.shape == (478,)
    assert face.outside == 0
    assert not face.truncated


def test_the_same_image_gives_the_same_answer(photo, face):
    (again,) = detect_faces(photo.copy())
    assert again.box == face.box
    np.testing.assert_array_equal(again.landmarks, face.landmarks)
    np.testing.assert_array_equal(again.landmarks_z, face.landmarks_z)


def test_the_image_is_left_alone(photo):
    before = photo.copy()
    detect_faces(photo)
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_an_image_turned_by_quarters_turns_the_points(photo, face, quarters):
    (found,) = detect_faces(np.rot90(photo, quarters))
    points, side = face.landmarks.astype(float), photo.shape[0]
    for _ in range(quarters):
        points = np.column_stack([points[:, 1], side - points[:, 0]])
    assert apart(found, points) < 0.03
    assert math.remainder(found.roll - face.roll - quarters * math.pi / 2, math.tau) == pytest.approx(
        0, abs=0.05
    )


@pytest.mark.parametrize("degrees", [-75, -45, -20, 30, 60, 80, 140])
def test_an_image_turned_by_any_angle_turns_the_points(photo, face, degrees):
    image, matrix = turned(photo, degrees)
    (found,) = detect_faces(image)
    assert apart(found, face.landmarks @ matrix[:, :2].T + matrix[:, 2]) < 0.04
    assert math.remainder(found.roll - face.roll + math.radians(degrees), math.tau) == pytest.approx(
        0, abs=0.06
    )


def test_a_mirrored_image_mirrors_the_points(photo, face):
    (found,) = detect_faces(photo[:, ::-1])
    here, there = list(MIRROR), list(MIRROR.values())
    expected = face.landmarks[here] * [-1, 1] + [photo.shape[1], 0]
    distance = np.linalg.norm(found.landmarks[there] - expected, axis=1)
    assert distance.max() < 0.08 * np.linalg.norm(face.landmarks[468] - face.landmarks[473])
    assert found.roll == pytest.approx(-face.roll, abs=0.05)


@pytest.mark.parametrize("zoom", [0.4, 2.5])
def test_a_resized_image_scales_the_points(photo, face, zoom):
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    image = cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=method)
    scale = np.array([image.shape[1] / photo.shape[1], image.shape[0] / photo.shape[0]])
    (found,) = detect_faces(image)
    assert apart(found, face.landmarks * scale) < 0.03


def test_a_moved_image_moves_the_points(photo, face):
    image = np.pad(photo, ((37, 150), (81, 0), (0, 0)), mode="edge")
    (found,) = detect_faces(image)
    assert apart(found, face.landmarks + np.array([81, 37])) < 0.02


def test_a_grey_image_will_do(photo, face):
    (found,) = detect_faces(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    assert apart(found, face.landmarks) < 0.05


def test_floats_will_do(photo, face):
    (found,) = detect_faces(photo.astype(np.float32) / 255)
    np.testing.assert_array_equal(found.landmarks, face.landmarks)


@pytest.mark.parametrize(("cell", "size"), [(200, 150), (90, 70)])
def test_thirty_faces_are_all_found_and_once_each(head, cell, size):
    image, middles = group(head, 5, 6, cell, size)
    found = detect_faces(image)
    assert len(found) == 30
    boxes = np.array([f.box for f in found])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = np.linalg.norm(centres[:, None] - middles, axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(30))


def test_one_small_face_in_a_large_image_is_found(head):
    image, middles = group(head, 1, 1, 80, 70)
    scene = np.full((1200, 1800, 3), 120, np.uint8)
    scene[700:780, 300:380] = image
    (found,) = detect_faces(scene)
    left, top, right, bottom = found.box
    assert np.hypot((left + right) / 2 - middles[0, 0] - 300, (top + bottom) / 2 - middles[0, 1] - 700) < 12
    assert detect_faces(scene, small_faces=False) == []


def test_the_larger_of_two_faces_comes_first(head):
    scene = np.full((400, 700, 3), 120, np.uint8)
    small, large = (cv2.resize(head, (n, n), interpolation=cv2.INTER_AREA) for n in (230, 320))
    scene[100:330, 60:290] = small
    scene[40:360, 330:650] = large
    first, second = detect_faces(scene)
    assert first.size > 1.3 * second.size
    assert first.box[0] > second.box[0]
    (only,) = detect_faces(scene, max_faces=1)
    assert only.box == first.box


def test_a_face_cut_by_the_frame_is_found_and_said_to_be_cut(photo, face):
    middle = int((face.box[0] + face.box[2]) / 2)
    image = photo[:, middle - 12 :]
    (found,) = detect_faces(image)
    assert found.truncated
    assert 0.15 < found.outside < 0.6
    assert found.box[0] < 0
    eyes = np.linalg.norm(face.landmarks[468] - face.landmarks[473])
    seen = face.landmarks[:, 0] > middle
    difference = found.landmarks[seen] + [middle - 12, 0] - face.landmarks[seen]
    assert np.linalg.norm(difference, axis=1).mean() < 0.15 * eyes


def test_a_face_that_fills_the_frame_is_found(photo, face):
    left, top, right, bottom = (int(v) for v in face.box)
    (found,) = detect_faces(photo[top + 5 : bottom - 2, left + 5 : right - 5])
    assert apart(found, face.landmarks - [left + 5, top + 5]) < 0.12


@pytest.mark.parametrize("kind", ["flat", "noise", "stripes", "suit"])
def test_nothing_is_found_where_nobody_is(photo, kind):
    rng = np.random.default_rng(0)
    image = {
        "flat": np.full((300, 400, 3), 90, np.uint8),
        "noise": rng.integers(0, 256, (300, 400, 3), dtype=np.uint8),
        "stripes": np.tile(np.uint8([[[0], [255]]]), (300, 200, 3)),
        "suit": photo[260:],
    }[kind]
    assert detect_faces(image) == []


def test_the_smallest_image_holds_nobody():
    assert detect_faces(np.zeros((32, 32, 3), np.uint8)) == []
    with pytest.raises(ImageError, match="at least 32 px"):
        detect_faces(np.zeros((1, 1, 3), np.uint8))


def test_extreme_shapes_are_searched(photo, face):
    assert detect_faces(np.zeros((40, 3000, 3), np.uint8), small_faces=False) == []
    strip = photo[:220]
    wide = np.concatenate([strip[:, :60].repeat(12, axis=1)[:, :700], strip], axis=1)
    assert any(apart(f, face.landmarks + np.array([700, 0])) < 0.05 for f in detect_faces(wide))


@pytest.mark.parametrize("settings", [{"min_confidence": 0}, {"min_confidence": 1.0}, {"max_faces": 0}])
def test_arguments_out_of_range_are_refused(photo, settings):
    with pytest.raises(ValueError, match="expected"):
        detect_faces(photo, **settings)


def test_the_room_s_names():
    assert facerelief.detection.__all__ == ["DetectedFace", "detect_faces"]
    assert all(getattr(facerelief.detection, name).__doc__ for name in facerelief.detection.__all__)


@pytest.mark.shared
@pytest.mark.parametrize("source", ["us_congress", "london", "canada", "faker"])
def test_portraits_show_one_face(source):
    if not PHOTOS.is_dir():
        pytest.skip("no shared data")
    files = sorted((PHOTOS / source).glob("*.jpg"))
    files = [
        f for f in files[:: max(1, len(files) // 30)] if f.stem not in ("madeleine-dean", "raul-grijalva")
    ]
    assert [f.name for f in files if len(detect_faces(read_image(f))) != 1] == []
