"""Laws of an image pyramid's level: colours, derivatives and cameras keep their place in the photo."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.image_level import image_level

Box = tuple[float, float, float, float]


class TestImageLevel:
    @pytest.mark.parametrize("face_px", [20, 33, 64, 100, 300])
    @pytest.mark.parametrize(
        "box",
        [(30, 40, 90, 100), (31.3, 20.7, 88.9, 100.2), (-20, 30, 50, 90), (70, 50, 150, 140)],
        ids=["middle", "fraction", "left", "corner"],
    )
    def test_a_ramp_lands_where_it_was(self, box: Box, face_px: int):
        """Level pixel centres, taken back to the photo, have the photo's colour there."""
        v, u = np.mgrid[:120, :110]
        image = np.stack([2 * u, 2 * v, 255 - u - v], axis=2).astype(np.uint8)
        level = image_level(image, box, face_px)
        rows, columns = level.inside
        i, j = np.mgrid[rows, columns]
        at_u, at_v = (j + 0.5) / level.zoom + level.left - 0.5, (i + 0.5) / level.zoom + level.top - 0.5
        assert at_u.size > 100
        # the blur feels the photo's border
        margin = 3 * 0.45 / level.zoom + 1
        clear = (at_u > margin) & (at_u < 109 - margin) & (at_v > margin) & (at_v < 119 - margin)
        found = level.color[rows, columns] * 255
        expected = np.stack([2 * at_u, 2 * at_v, 255 - at_u - at_v], axis=-1)
        np.testing.assert_allclose(found[clear], expected[clear], atol=0.15)
        slope = np.broadcast_to([2 / 255, 0, -1 / 255] / np.float64(level.zoom), found.shape)
        np.testing.assert_allclose(level.du[rows, columns][clear], slope[clear], atol=2e-3)
        slope = np.broadcast_to([0, 2 / 255, -1 / 255] / np.float64(level.zoom), found.shape)
        np.testing.assert_allclose(level.dv[rows, columns][clear], slope[clear], atol=2e-3)

    @pytest.mark.parametrize("zoom", [0.3, 0.5, 0.77, 1.0])
    def test_a_spot_keeps_its_place(self, zoom):
        v, u = np.mgrid[:200, :200] + 0.5
        spot = np.exp(-((u - 101.3) ** 2 + (v - 96.6) ** 2) / (2 * 6.0**2))
        image = np.repeat((255 * spot).astype(np.uint8)[:, :, None], 3, axis=2)
        level = image_level(image, (50, 50, 150, 150), int(100 * zoom))
        weight = level.color[:, :, 0]
        i, j = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
        centre = np.array([(weight * j).sum(), (weight * i).sum()]) / weight.sum()
        back = centre / level.zoom + [level.left, level.top]
        np.testing.assert_allclose(back, [101.3, 96.6], atol=0.05)

    def test_size_and_camera(self):
        image = np.zeros((300, 400, 3), np.uint8)
        level = image_level(image, (100, 50, 300, 210), 64)
        assert level.zoom == pytest.approx(0.32)
        # the box and 0.35 of its longer side around it
        assert level.color.shape == (int(np.ceil((160 + 140) * 0.32)), int(np.ceil((200 + 140) * 0.32)), 3)
        camera = WeakPerspective(0.1, 0.2, 0.3, 200.0, 120.0, 1.5)
        points = np.random.default_rng(0).normal(0, 50, (9, 3))
        photo, here = camera.project(points), level.camera(camera).project(points)
        np.testing.assert_allclose(here[:, :2], (photo[:, :2] - [level.left, level.top]) * level.zoom)

    def test_small_faces_are_not_blown_up(self):
        assert image_level(np.zeros((50, 50, 3), np.uint8), (10, 10, 40, 40), 256).zoom == 1.0

    @pytest.mark.parametrize(
        "box",
        [(60, 0, 90, 30), (0, -30, 30, -1), (10, 10, 10, 30), (float("nan"), 0, 10, 10)],
        ids=["right of it", "above it", "no width", "nan"],
    )
    def test_boxes_that_show_nothing_are_refused(self, box):
        with pytest.raises(ValueError, match="does not meet the picture of 50 x 50 px"):
            image_level(np.zeros((50, 50, 3), np.uint8), box, 64)

    def test_bare_skin_lies_where_the_image_has_it(self):
        share = np.zeros((120, 110), np.float32)
        share[:, :55] = 1
        image = np.repeat((255 * share).astype(np.uint8)[:, :, None], 3, axis=2)
        level = image_level(image, (30, 40, 90, 100), 40, share)
        assert level.bare is not None
        np.testing.assert_array_equal(level.bare[:, :15], level.color[:, :15, 0] > 0.5)
        assert level.bare[:, -5:].sum() == 0
