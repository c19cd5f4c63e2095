"""preview.png: what the panels draw, and that they leave the rest of the photo alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.face.reconstruction import ColorPatch
from facerelief.facefolder import preview as panels
from facerelief.facefolder.preview import preview
from facerelief.facefolder.texture import model_skin
from facerelief.geometry.depth import depth_to_mesh, normals_from_depth
from facerelief.inverse.detail import coarse_depth, face_outline
from facerelief.rendering.lighting import shade
from facerelief.rendering.render import render_depth

SIDE, SIZE = 100, 200
LEFT, TOP = 10, 20


def drawn_again(r):
    return panels._predicted(r, LEFT, TOP, SIDE, SIZE)


def region(r):
    """(SIZE, SIZE) the pixels of the face in the square, and a few around them."""
    whole = np.zeros(r.image.shape[:2], bool)
    h, w = r.coarse.depth.shape
    whole[r.coarse.top : r.coarse.top + h, r.coarse.left : r.coarse.left + w] = np.isfinite(r.coarse.depth)
    part = whole[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    return part.repeat(2, 0).repeat(2, 1)


def test_overlay_is_the_photo_outside_the_face(toy_reconstruction):
    r = toy_reconstruction
    _, share = drawn_again(r)
    there = region(r)
    far = np.lib.stride_tricks.sliding_window_view(np.pad(there, 8), (17, 17)).any(axis=(2, 3))
    assert 0.05 < (~far).mean() < 0.95
    assert (share[~far] == 0).all()
    near = ~np.lib.stride_tricks.sliding_window_view(np.pad(~there, 8), (17, 17)).any(axis=(2, 3))
    np.testing.assert_allclose(share[near], 1, atol=0.01)


def test_overlay_of_a_fit_that_is_right_is_the_photo(toy_reconstruction):
    """The toy's photo is a drawing of its model, so skin times light must give it back."""
    r = replace(toy_reconstruction, fine=None)
    image, share = drawn_again(r)
    photo = panels._window(r.image, LEFT, TOP, SIDE, SIZE) / 255.0
    assert np.median(np.abs(image - photo)[share > 0.999]) < 0.02


def test_overlay_shows_relief_and_found_skin(toy_reconstruction):
    r = toy_reconstruction
    color = np.full((*r.fine.depth.shape, 3), np.nan, np.float32)
    color[np.isfinite(r.fine.depth)] = (0.2, 0.5, 0.3)
    found = replace(r, skin=ColorPatch(color, r.fine.left, r.fine.top))
    image, share = drawn_again(found)
    normals = normals_from_depth(r.fine.depth, r.camera.scale)
    middle = np.array(r.fine.depth.shape) // 2
    expected = shade(normals[tuple(middle)], r.light) * [0.2, 0.5, 0.3]
    row, column = ((middle + [r.fine.top - TOP, r.fine.left - LEFT] + 0.5) * SIZE / SIDE).astype(int)
    np.testing.assert_allclose(image[row, column], expected, atol=0.06)
    flat, _ = drawn_again(replace(found, fine=r.coarse))
    assert np.abs(flat - image)[share > 0.999].max() > 0.01


def test_nothing_found_inside_the_square(toy_reconstruction):
    r = toy_reconstruction
    empty = replace(r.coarse, depth=np.full_like(r.coarse.depth, np.nan))
    image, share = drawn_again(replace(r, coarse=empty, fine=None))
    assert not share.any()
    assert np.isfinite(image).all()


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_sheet_for_tiny_and_enlarged_faces(toy_reconstruction, scale):
    r = toy_reconstruction
    detail = depth_to_mesh(r.fine.depth, r.camera, r.fine.left, r.fine.top)
    sheet = preview(r, detail, model_skin(r), height=round(160 * scale))
    assert sheet.shape[0] >= round(160 * scale)
    assert sheet.std() > 10


def test_face_is_cut_where_its_depth_ends(toy_reconstruction):
    """The mesh of the coarse panel covers the pixels of the depth patch, and is cut without steps."""
    r = toy_reconstruction
    face = panels._face(r.model, r.vertices)
    height, width = r.image.shape[:2]
    depth = render_depth(face.vertices, face.triangles, r.camera, height, width)
    patch = coarse_depth(r.model, r.vertices, r.camera, r.image.shape)
    h, w = patch.depth.shape
    expected = np.full_like(depth, np.nan)
    expected[patch.top : patch.top + h, patch.left : patch.left + w] = patch.depth
    assert np.isfinite(expected).sum() > 1000
    assert (np.isfinite(depth) != np.isfinite(expected)).sum() < 0.005 * np.isfinite(expected).sum()
    both = np.isfinite(depth) & np.isfinite(expected)
    np.testing.assert_allclose(depth[both], expected[both], atol=1e-3)
    share, whole, _ = face_outline(r.model)
    cut = face.vertices[r.model.n_vertices :]
    assert len(cut) > 0
    assert not (face.triangles == np.flatnonzero(share < 0.5)[:, None, None]).any()
    assert whole.sum() < len(r.model.triangles)
