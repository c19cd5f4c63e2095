"""The head cut out of a base mesh: what belongs to it, what its sliders may do."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.alignment import rotation_from_vector
from facerelief.lab.building.head import _enlarge_centre, _mirror_map, load_slider_head, without_rigid_motion
from facerelief.lab.building.makehuman import AnnyFiles
from facerelief.lab.building.population import rigid_motions
from facerelief.morphable.arkit import ARKIT_NAMES


@pytest.fixture(scope="module")
def head(toy_wheel):
    return load_slider_head(AnnyFiles(toy_wheel))


def test_origin_lies_between_the_eyeballs(head):
    refined = head.refine(head.base)
    for side in (-1, 1):
        ball = refined[head.eyeballs & (np.sign(refined[:, 0]) == side)]
        assert len(ball) > 300
        middle = (ball.min(axis=0) + ball.max(axis=0)) / 2
        np.testing.assert_allclose(middle, [side * 31, 0, 0], atol=1.0)


def test_the_neck_comes_along_and_the_chest_does_not(head):
    """Quads that reach below 590 mm stay behind."""
    refined = head.refine(head.base)
    assert head.neck.sum() > 100
    assert refined[head.neck, 1].max() < -100
    assert refined[:, 1].min() > 590 - 740 - 1
    assert not (head.neck & head.eyeballs).any()


def test_mirror_images(head):
    refined = head.refine(head.base)
    np.testing.assert_array_equal(head.symmetry[head.symmetry], np.arange(len(refined)))
    np.testing.assert_allclose(refined[head.symmetry] * [-1, 1, 1], refined, atol=1e-3)
    np.testing.assert_array_equal(head.eyeballs[head.symmetry], head.eyeballs)


def test_sliders_are_shapes_of_the_head_only(head):
    assert set(head.direction_names) == {
        *("wide", "long", "deep", "forward", "bulge", "full", "nose", "chin", "cheek")
    }
    assert len(head.direction_names) == len(head.directions) == 13
    assert head.directions.shape[1:] == head.base.shape
    # no slider moves the face as a whole
    face = head.base[:, 2] > -20
    motion = rigid_motions(head.base[face]).reshape(-1, 6)
    for move in head.directions:
        np.testing.assert_allclose(motion.T @ move[face].reshape(-1) / face.sum(), 0, atol=1e-3)


def test_face_units_are_all_there(head):
    assert set(head.units) == set(ARKIT_NAMES)
    assert all(unit.shape == head.base.shape for unit in head.units.values())


def test_texture_fills_the_unit_square_upright(head):
    uv, topology = head.uv, head.step.topology
    assert uv.min() >= 0
    assert uv.max() <= 1
    refined = head.refine(head.base)
    of = np.zeros(len(uv), np.int64)
    of[topology.uv_quads.reshape(-1)] = topology.quads.reshape(-1)
    skin = ~head.eyeballs[of] & ~head.neck[of] & (uv[:, 1] > 0.2)
    assert skin.sum() > 2000
    # up is up and the person's left is to the right, as one sees the person
    assert np.corrcoef(refined[of[skin], 1], uv[skin, 1])[0, 1] > 0.9
    assert np.corrcoef(refined[of[skin], 0], uv[skin, 0])[0, 1] > 0.9


def test_refining_takes_any_values(head):
    b = len(head.base)
    assert head.refine(np.ones(b)).shape == (head.step.topology.n_vertices,)
    values = np.random.default_rng(0).normal(size=(b, 3, 2))
    together = head.refine(values)
    np.testing.assert_allclose(together[:, :, 1], head.refine(values[:, :, 1]))


class TestHelpers:
    def test_mirror_map_pairs_points(self):
        points = np.array([[1.0, 2, 3], [0, 1, 1], [-1, 2, 3], [-4, 0, 0], [4, 0, 0.5]])
        np.testing.assert_array_equal(_mirror_map(points), [2, 1, 0, 4, 3])

    def test_mirror_map_refuses_lopsided_heads(self):
        with pytest.raises(ValueError, match=r"not symmetric: 1\.50 mm"):
            _mirror_map(np.array([[1.0, 0, 0], [-1, 0, 1.5]]))

    def test_rigid_motion_is_taken_out_and_nothing_else(self):
        rng = np.random.default_rng(0)
        base = rng.normal(0, 50, (200, 3)) + [0, 0, 60]
        small = base @ rotation_from_vector([1e-4, -2e-4, 1e-4]).T - base + [0.3, 0, -0.1]
        np.testing.assert_allclose(without_rigid_motion(small.astype(np.float32), base), 0, atol=1e-4)
        shape = base * [0.1, 0, 0] * np.sign(base[:, :1])
        left = without_rigid_motion(shape.astype(np.float32), base)
        again = without_rigid_motion(left, base)
        np.testing.assert_allclose(again, left, atol=1e-4)
        assert np.linalg.norm(left) > 0.3 * np.linalg.norm(shape)

    def test_the_texture_stretch_is_monotone_and_keeps_its_ends(self):
        line = np.linspace(0, 1, 101)
        stretched = _enlarge_centre(np.stack([line, line], axis=1))
        np.testing.assert_allclose(stretched[[0, -1]], [[0, 0], [1, 1]], atol=1e-12)
        slope = np.diff(stretched, axis=0)
        assert (slope > 0).all()
        assert slope[50, 0] > 1.5 * slope[0, 0]
