"""Crops are where they are said to be, and the points sit on the face."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from facerelief.detection import detect_faces
from facerelief.detection.landmarks import (
    LEFT_EYE_CORNERS,
    LEFT_EYE_FOLDS,
    LEFT_EYE_OUTLINE,
    LEFT_IRIS,
    RIGHT_EYE_CORNERS,
    RIGHT_EYE_FOLDS,
    RIGHT_EYE_OUTLINE,
    RIGHT_IRIS,
    Square,
    eye_points,
    eye_square,
    face_points,
    face_square,
    planes,
    sample,
    settled_points,
)
from facerelief.examples import astronaut_path
from facerelief.io.images import read_image


@pytest.fixture(scope="module")
def photo():
    return read_image(astronaut_path())


@pytest.fixture(scope="module")
def face(photo):
    return detect_faces(photo)[0]


@pytest.fixture(scope="module")
def mesh(face):
    return np.column_stack([face.landmarks, face.landmarks_z])[:468].astype(np.float64)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_the_whole_image_sampled_at_its_own_size_is_the_image(noise):
    np.testing.assert_array_equal(sample(noise, Square(32, 32, 64, 0).matrix(64), 64), noise)


def test_a_square_turned_clockwise_shows_the_image_turned_counter_clockwise(noise):
    np.testing.assert_array_equal(
        sample(noise, Square(32, 32, 64, math.pi / 2).matrix(64), 64), np.rot90(noise)
    )


def test_a_mirrored_square_shows_the_mirrored_image(noise):
    shown = sample(noise, Square(32, 32, 64, 0).matrix(64, mirrored=True), 64)
    np.testing.assert_array_equal(shown, noise[:, ::-1])


def test_shrinking_averages_and_keeps_places():
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (256, 1, 3))
    small = sample(ramp, Square(128, 128, 256, 0).matrix(32), 32).astype(float)
    middle = (np.arange(32) + 0.5) * 8 - 0.5
    np.testing.assert_allclose(
        small[4:-4, 1:-1], np.broadcast_to(middle[None, 1:-1, None], (24, 30, 3)), atol=0.6
    )
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    grey = sample(
        np.repeat(board[..., None].astype(np.uint8), 3, 2), Square(128, 128, 200, 0.3).matrix(32), 32
    )
    np.testing.assert_allclose(grey, 127.5, atol=4)


def test_outside_the_image_is_black(noise):
    assert sample(noise, Square(-500, 0, 64, 0).matrix(32), 32).max() == 0
    assert sample(noise, Square(5000, 0, 640, 0).matrix(32), 32).max() == 0


def test_planes_are_channel_first_and_scaled(noise):
    np.testing.assert_allclose(planes(noise, 2 / 255, -1)[1], noise[..., 1] * (2 / 255) - 1, atol=1e-6)


def test_squares_of_turned_points_turn_with_them(mesh):
    angle, centre = 0.7, np.array([100.0, 40.0])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = np.column_stack([mesh[:, :2] @ turn.T + centre, mesh[:, 2]])
    for square_of in (face_square, lambda m: eye_square(m, LEFT_EYE_CORNERS)):
        before, after = square_of(mesh), square_of(moved)
        np.testing.assert_allclose(turn @ [before.x, before.y] + centre, [after.x, after.y])
        assert after.side == pytest.approx(before.side)
        assert math.remainder(after.angle - before.angle, math.tau) == pytest.approx(angle)


def test_the_points_hardly_depend_on_where_one_started_looking(photo, mesh):
    square = face_square(mesh)
    starts = [replace(square, x=square.x + 0.08 * square.side), replace(square, side=1.2 * square.side)]
    starts.append(replace(square, angle=square.angle + 0.35))
    eyes = np.linalg.norm(mesh[33, :2] - mesh[263, :2])
    for start in starts:
        found, odds = settled_points(photo, start, 0.0)
        assert odds > 8
        assert np.linalg.norm(found[:, :2] - mesh[:, :2], axis=1).mean() < 0.025 * eyes


def test_cloth_is_no_face(photo):
    _, odds = face_points(photo, Square(120, 400, 120, 0))
    assert odds < 0


def test_pupils_lie_between_the_corners_of_the_right_eyes(face):
    points = face.landmarks.astype(float)
    for iris, corners, outline in (
        (RIGHT_IRIS, RIGHT_EYE_CORNERS, RIGHT_EYE_OUTLINE),
        (LEFT_IRIS, LEFT_EYE_CORNERS, LEFT_EYE_OUTLINE),
    ):
        a, b = points[corners[0]], points[corners[1]]
        along = (points[iris[0]] - a) @ (b - a) / ((b - a) @ (b - a))
        assert 0.3 < along < 0.7
        low, high = points[list(outline)].min(axis=0), points[list(outline)].max(axis=0)
        assert np.all(points[iris[0]] > low)
        assert np.all(points[iris[0]] < high)


def test_lids_and_folds_lie_where_the_face_net_has_them_about(photo, face):
    """Of open eyes both nets see the same, point by point: the two lists name the same places."""
    square = face_square(face.landmarks[:468].astype(np.float64))
    mesh, _ = settled_points(photo, square, 0.0)
    refined, _ = eye_points(photo, mesh)
    changed = np.flatnonzero((refined != mesh).any(axis=1))
    lists = (RIGHT_EYE_OUTLINE, RIGHT_EYE_FOLDS, LEFT_EYE_OUTLINE, LEFT_EYE_FOLDS)
    named = [point for points in lists for point in points]
    assert len(set(named)) == len(named)
    assert set(changed) <= set(named)
    assert np.linalg.norm(refined - mesh, axis=1).max() < 0.04 * face.size


def test_iris_points_go_centre_image_right_above_image_left_below(face):
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        centre, right, above, left, below = face.landmarks[list(iris)]
        assert right[0] > centre[0] > left[0]
        assert above[1] < centre[1] < below[1]
        radii = np.linalg.norm(np.stack([right, above, left, below]) - centre, axis=1)
        assert radii.max() < 1.5 * radii.min()


def test_depth_is_larger_nearer_to_the_viewer(face):
    nose, outline = face.landmarks_z[1], face.landmarks_z[[234, 454, 10, 152]]
    assert nose > outline.max() + 0.1 * face.size


def test_the_person_s_right_eye_is_at_the_image_s_left(face):
    assert face.landmarks[468, 0] < face.landmarks[473, 0]
