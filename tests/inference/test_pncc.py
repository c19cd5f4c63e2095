import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.pncc import TRACK_MARGIN, pncc_colors, render_pncc, tracking_crop


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


def test_a_pixel_tells_the_place_on_the_mean_face(toy_model, toy_camera) -> None:
    colors = pncc_colors(toy_model.mean)
    low, high = toy_model.mean.min(axis=0), toy_model.mean.max(axis=0)
    picture = render_pncc(toy_model.mean, toy_model.triangles, colors, toy_camera, 160, 120)
    rows, columns = np.nonzero(picture.any(axis=2))
    place = picture[rows, columns] * (high - low) + low
    uv = toy_camera.project(place)[:, :2]
    assert len(rows) > 2000
    assert np.abs(uv - np.stack([columns + 0.5, rows + 0.5], axis=1)).max() < 0.01


def test_a_place_keeps_its_color_when_shape_and_pose_change(toy_model, toy_camera) -> None:
    colors = pncc_colors(toy_model.mean, toy_model.regions["face"])
    shape = toy_model.shape([1.0, -1.0, 0.5], np.full(52, 0.3))
    at = int(toy_model.landmarks["ibug68"].vertices[30, 0])
    for camera in (toy_camera, WeakPerspective(0, -0.2, 0.3, 64, 70, 0.5)):
        picture = render_pncc(shape, toy_model.triangles, colors, camera, 160, 120)
        u, v, _ = camera.project(shape[at])
        assert np.abs(picture[int(v), int(u)] - colors[at]).max() < 0.06


def test_hidden_parts_hide_and_stay_black(toy_model) -> None:
    colors = pncc_colors(toy_model.mean, toy_model.regions["face"])
    behind = WeakPerspective(0, np.pi, 0, 60, 80, 0.6)
    assert not render_pncc(toy_model.mean, toy_model.triangles, colors, behind, 160, 120).any()


def test_a_crop_shows_the_same(toy_model, toy_camera) -> None:
    colors = pncc_colors(toy_model.mean)
    whole = render_pncc(toy_model.mean, toy_model.triangles, colors, toy_camera, 160, 120)
    crop = render_pncc(toy_model.mean, toy_model.triangles, colors, toy_camera.in_crop(20, 30, 1), 64, 64)
    assert np.abs(crop - whole[30:94, 20:84]).max() < 1e-4


def test_shapes_that_do_not_fit(toy_model, toy_camera) -> None:
    with pytest.raises(ValueError, match="shown has shape"):
        pncc_colors(toy_model.mean, np.zeros(3, bool))
    with pytest.raises(ValueError, match="something to show"):
        pncc_colors(toy_model.mean, np.zeros(toy_model.n_vertices, bool))
    with pytest.raises(ValueError, match="mean has shape"):
        pncc_colors(toy_model.mean[:, :2])
    with pytest.raises(ValueError, match="colors have shape"):
        render_pncc(toy_model.mean, toy_model.triangles, np.zeros((3, 3)), toy_camera, 8, 8)


def test_the_tracking_crop_holds_the_face_in_its_middle(toy_model, toy_camera) -> None:
    face = toy_model.regions["face"]
    crop = tracking_crop(toy_model.mean, face, toy_camera)
    uv = toy_camera.project(toy_model.mean[face])[:, :2]
    extent = uv.max(axis=0) - uv.min(axis=0)
    assert crop.side == pytest.approx(TRACK_MARGIN * extent.max(), rel=1e-6)
    middle = (uv.max(axis=0) + uv.min(axis=0)) / 2
    assert np.allclose([crop.centre_u, crop.centre_v], middle, atol=1e-3)
    nearer = tracking_crop(toy_model.mean, face, toy_camera.in_crop(0, 0, 2))
    assert nearer.side == pytest.approx(2 * crop.side, rel=1e-5)
    with pytest.raises(ValueError, match="no vertex is shown"):
        tracking_crop(toy_model.mean, ~np.isfinite(toy_model.mean[:, 0]), toy_camera)
