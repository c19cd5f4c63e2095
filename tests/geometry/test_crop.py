"""FineNet's crop: the same point by every road."""

import numpy as np
import pytest

from facerelief.geometry import WeakPerspective
from facerelief.geometry.crop import SquareCrop, fine_crop


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
