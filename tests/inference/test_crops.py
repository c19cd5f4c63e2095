"""FineNet's crop: the same point by every road."""

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry import WeakPerspective
from facerelief.inference.crops import (
    COARSE_MARGIN,
    SquareCrop,
    face_width,
    fine_crop,
    square_crop,
    tracking_crop,
)


def test_the_camera_of_a_crop_sees_each_point_where_the_crop_shows_it() -> None:
    camera = WeakPerspective(0.1, -0.4, 0.2, 210.0, 160.0, 1.7)
    crop = SquareCrop(200.0, 150.0, 300.0, 256, angle=0.3)
    points = np.random.default_rng(0).normal(size=(50, 3)) * 60
    uvz = camera.project(points)
    moved = crop.camera(camera).project(points)
    assert np.allclose(uvz[:, :2] @ crop.matrix[:, :2].T + crop.matrix[:, 2], moved[:, :2], atol=1e-9)
    assert np.allclose(uvz[:, 2], moved[:, 2])


def test_array_indices_are_half_a_pixel_before_points() -> None:
    crop = SquareCrop(40.0, 30.0, 50.0, 100, angle=-0.2)
    index = np.array([7.0, 9.0])
    point = crop.matrix @ [*(index + 0.5 + [4, 3]), 1.0]
    assert np.allclose(crop.pixel_matrix(4, 3) @ [*index, 1.0], point - 0.5)


def test_the_face_lies_in_the_middle_with_a_margin() -> None:
    crop = fine_crop([[10.0, 20.0, 5.0], [110.0, 220.0, 0.0]], size=256, margin=1.25)
    corners = np.array([[10, 20, 1], [110, 220, 1]]) @ crop.matrix.T
    assert np.allclose(corners.mean(axis=0), 128)
    assert np.isclose(np.ptp(corners[:, 1]), 256 / 1.25)


def test_no_face_no_crop() -> None:
    with pytest.raises(ValueError, match="expected"):
        fine_crop(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="finite"):
        fine_crop(np.full((4, 2), np.nan))


def test_a_pose_in_the_crop_comes_back_to_the_image():
    camera = WeakPerspective(0.1, -0.4, 0.3, 210.0, 130.0, 1.7)
    crop = SquareCrop(200.0, 140.0, 150.0, 224, 0.2)
    back = crop.outer_camera(crop.camera(camera))
    np.testing.assert_allclose(back.vector, camera.vector, atol=1e-9)


def test_a_cut_shows_points_where_the_matrix_says():
    """A ramp's colour at a point of the crop is that of the point of the image, flipped ones mirrored."""
    v, u = np.mgrid[0:120, 0:160] + 0.5
    ramp = np.stack([u, v, 0 * u], axis=-1).astype(np.uint8)
    crop = SquareCrop(80.0, 60.0, 64.0, 96, 0.15)
    shown = crop.cut(ramp).astype(float)
    inner = np.array([[30.5, 40.5], [50.5, 60.5], [70.5, 20.5]])
    back = np.linalg.inv(crop.matrix[:, :2])
    for column, row in inner:
        place = back @ ([column, row] - crop.matrix[:, 2])
        np.testing.assert_allclose(shown[int(row), int(column), :2] + 0.5, place, atol=1.1)
    np.testing.assert_array_equal(crop.cut(ramp, flipped=True), crop.cut(ramp)[:, ::-1])


def test_the_border_fills_the_crop_beyond_the_image():
    white = np.full((40, 40, 3), 255, np.uint8)
    crop = SquareCrop(0.0, 20.0, 40.0, 40)
    assert crop.cut(white)[20, 5].tolist() == [0, 0, 0]
    assert crop.cut(white, border="mirrored")[20, 5].tolist() == [255, 255, 255]
    assert crop.cut(white, border="repeated")[20, 5].tolist() == [255, 255, 255]


def test_the_tracking_crop_holds_the_face_in_its_middle(toy_model, toy_camera) -> None:
    face = toy_model.regions["face"]
    toy_camera = replace(toy_camera, roll=0.0)
    crop = tracking_crop(toy_model.mean, face, toy_camera)
    uv = toy_camera.project(toy_model.mean[face])[:, :2]
    extent = uv.max(axis=0) - uv.min(axis=0)
    assert crop.side == pytest.approx(COARSE_MARGIN * extent.max(), rel=1e-6)
    middle = (uv.max(axis=0) + uv.min(axis=0)) / 2
    assert np.allclose([crop.centre_u, crop.centre_v], middle, atol=1e-3)
    nearer = tracking_crop(toy_model.mean, face, toy_camera.in_crop(0, 0, 2))
    assert nearer.side == pytest.approx(2 * crop.side, rel=1e-5)
    with pytest.raises(ValueError, match="no vertex is shown"):
        tracking_crop(toy_model.mean, ~np.isfinite(toy_model.mean[:, 0]), toy_camera)


def test_the_width_of_a_face_is_its_longer_side():
    assert face_width(np.array([10.0, 20.0, 90.0, 220.0]), 1.25) == pytest.approx(160.0)


@pytest.mark.parametrize("roll", [-2.5, 0.4, 1.5708])
def test_a_crop_turned_by_the_roll_shows_the_face_upright(toy_model, toy_camera, roll) -> None:
    """The crop of a rolled image is that of the upright one; corners and roll give it back."""
    face = toy_model.mean[toy_model.face_vertices]
    upright = replace(toy_camera, roll=0.0)
    turned = replace(toy_camera, roll=roll)
    one, two = (square_crop(c.project(face), 64, 1.2, c.roll) for c in (upright, turned))
    assert two.side == pytest.approx(one.side)
    assert two.angle == -roll
    np.testing.assert_allclose(two.camera(turned).vector, one.camera(upright).vector, atol=1e-6)
    back = SquareCrop.of_corners(two.corners, 64, roll)
    np.testing.assert_allclose(back.matrix, two.matrix, atol=1e-9)
