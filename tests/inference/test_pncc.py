import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.pncc import PnccRenderer, pncc_colors


def test_colors_fill_the_unit_cube_over_what_is_shown(toy_model) -> None:
    shown = toy_model.regions["face"]
    colors = pncc_colors(toy_model.mean, shown)
    assert np.isnan(colors[~shown]).all()
    assert np.allclose(colors[shown].min(axis=0), 0)
    assert np.allclose(colors[shown].max(axis=0), 1)
    # order along each axis is kept: x to the right, y up, z toward the viewer
    for axis in range(3):
        order = np.argsort(toy_model.mean[shown, axis])
        assert (np.diff(colors[shown][order, axis]) >= 0).all()


def test_a_pixel_shows_its_place_on_the_mean_face(toy_model, toy_camera) -> None:
    colors = pncc_colors(toy_model.mean)
    low, high = toy_model.mean.min(axis=0), toy_model.mean.max(axis=0)
    image = PnccRenderer(toy_model.triangles, colors)(toy_model.mean, toy_camera, 160, 120)
    rows, columns = np.nonzero(image.any(axis=2))
    place = image[rows, columns] * (high - low) + low
    uv = toy_camera.project(place)[:, :2]
    assert len(rows) > 2000
    assert np.abs(uv - np.stack([columns + 0.5, rows + 0.5], axis=1)).max() < 0.01


def test_a_place_keeps_its_color_when_shape_and_pose_change(toy_model, toy_camera) -> None:
    colors = pncc_colors(toy_model.mean, toy_model.regions["face"])
    shape = toy_model.shape([1.0, -1.0, 0.5], np.full(52, 0.3))
    at = int(toy_model.landmarks["ibug68"].vertices[30, 0])
    for camera in (toy_camera, WeakPerspective(0, -0.2, 0.3, 64, 70, 0.5)):
        image = PnccRenderer(toy_model.triangles, colors)(shape, camera, 160, 120)
        u, v, _ = camera.project(shape[at])
        assert np.abs(image[int(v), int(u)] - colors[at]).max() < 0.06


def test_hidden_parts_hide_and_stay_black(toy_model) -> None:
    colors = pncc_colors(toy_model.mean, toy_model.regions["face"])
    behind = WeakPerspective(0, np.pi, 0, 60, 80, 0.6)
    assert not PnccRenderer(toy_model.triangles, colors)(toy_model.mean, behind, 160, 120).any()


def test_a_crop_shows_the_same(toy_model, toy_camera) -> None:
    colors = pncc_colors(toy_model.mean)
    whole = PnccRenderer(toy_model.triangles, colors)(toy_model.mean, toy_camera, 160, 120)
    crop = PnccRenderer(toy_model.triangles, colors)(toy_model.mean, toy_camera.in_crop(20, 30, 1), 64, 64)
    assert np.abs(crop - whole[30:94, 20:84]).max() < 1e-4


def test_shapes_that_do_not_fit(toy_model, toy_camera) -> None:
    with pytest.raises(ValueError, match="shown has shape"):
        pncc_colors(toy_model.mean, np.zeros(3, bool))
    with pytest.raises(ValueError, match="something to show"):
        pncc_colors(toy_model.mean, np.zeros(toy_model.n_vertices, bool))
    with pytest.raises(ValueError, match="mean has shape"):
        pncc_colors(toy_model.mean[:, :2])
    with pytest.raises(ValueError, match="colors have shape"):
        PnccRenderer(toy_model.triangles, pncc_colors(toy_model.mean))(toy_model.mean[:3], toy_camera, 8, 8)
    with pytest.raises(ValueError, match="outside"):
        PnccRenderer(toy_model.triangles, np.zeros((3, 3)))
