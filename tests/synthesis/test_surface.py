"""The rendered part of a model and the lining of its mouth."""

from __future__ import annotations

import numpy as np
import pytest
from toy_parts import with_parts

from facerelief.synthesis.surface import LINING_ROWS, face_surface


def test_a_model_without_an_opening_has_no_lining(toy_model):
    surface = face_surface(toy_model)
    assert face_surface(toy_model) is surface
    assert len(surface.triangles) == surface.first_mouth
    assert surface.extended(toy_model.mean) is toy_model.mean
    assert not surface.mouth(toy_model.mean).any()


def test_a_symmetric_model_has_a_symmetric_surface(toy_model):
    surface, other = face_surface(toy_model), toy_model.symmetry
    np.testing.assert_array_equal(surface.rendered, surface.rendered[other])
    apart = np.abs(surface.inset - surface.inset[other])
    assert (apart < 1e-4).mean() > 0.97  # the diagonals of the toy's quads are not mirrored
    assert (np.abs(surface.openness - surface.openness[other]) < 0.1).mean() > 0.99


def test_the_inset_rises_from_the_outline(toy_model):
    surface = face_surface(toy_model)
    assert 0 <= surface.inset.min() <= surface.inset.max() == 1
    assert not surface.inset[~surface.rendered].any()
    order = np.argsort(surface.outline_mm[surface.rendered])
    assert (np.diff(surface.inset[surface.rendered][order]) >= -1e-6).all()


@pytest.mark.parametrize("name", ["model", "toy_model"])
def test_edges_are_given_both_ways(name, request):
    a, b = face_surface(request.getfixturevalue(name)).neighbours
    pairs = set(zip(a.tolist(), b.tolist()))
    assert pairs == {(j, i) for i, j in pairs}
    assert len(pairs) == len(a)


def test_the_lining_hangs_between_the_rims(model):
    surface = face_surface(model)
    vertices = surface.extended(model.mean)
    count = len(surface.upper)
    assert len(vertices) == model.n_vertices + count * LINING_ROWS
    lining = vertices[model.n_vertices :].reshape(count, LINING_ROWS, 3)
    np.testing.assert_allclose(lining[:, 0], model.mean[surface.upper], atol=1e-5)
    np.testing.assert_allclose(lining[:, -1], model.mean[surface.lower], atol=1e-5)
    straight = (lining[:, 0] + lining[:, -1]) / 2
    assert (lining[:, LINING_ROWS // 2, 2] < straight[:, 2]).all()  # behind the lips
    assert surface.triangles.max() == len(vertices) - 1


def test_places_in_the_mouth_run_from_corner_to_corner_and_rim_to_rim(model):
    surface = face_surface(model)
    places = surface.mouth(model.mean)[model.n_vertices :].reshape(-1, LINING_ROWS, 3)
    across, below, gap = np.moveaxis(places, -1, 0)
    assert (across[0] == -1).all()
    assert (across[-1] == 1).all()
    assert not below[:, 0].any()
    np.testing.assert_allclose(below[:, -1], gap[:, 0], rtol=1e-5)


def test_the_lips_part_when_the_jaw_opens(model):
    surface = face_surface(model)
    weights = model.expression_weights({"jawOpen": 1.0})
    shut, wide = (surface.lip_gap(model.shape((), w)) for w in (None, weights))
    middle = slice(len(shut) // 3, -len(shut) // 3)
    assert (wide[middle] > shut[middle] + 5).all()


def test_skin_near_openings_is_skin(model):
    surface = face_surface(model)
    assert surface.near_openings.any()
    assert not surface.near_openings[model.eyeballs | ~surface.rendered].any()
    assert (surface.openness[model.eyeballs] == 1).all()
    assert surface.openness.min() < 0.75


def test_a_model_with_a_mouth_needs_no_lining(model):
    parts = with_parts(model)
    surface, hollow = face_surface(parts), face_surface(model)
    assert not len(surface.upper)
    assert len(surface.triangles) == surface.first_mouth
    np.testing.assert_array_equal(surface.extended(parts.mean), parts.mean)
    inside = parts.region("teeth", "mouth")
    np.testing.assert_array_equal(surface.inner, inside)
    assert surface.rendered[inside].all()
    assert (surface.inset[inside] == 1).all()
    assert not surface.rendered[parts.regions["lashes"]].any()
    # the skin is as before, and its lips are still known
    n = model.n_vertices
    np.testing.assert_array_equal(surface.rendered[:n], hollow.rendered)
    np.testing.assert_array_equal(surface.near_openings[:n], hollow.near_openings)
    np.testing.assert_array_equal(surface.lip_gap(parts.mean), hollow.lip_gap(model.mean))


def test_the_mouth_is_darker_the_deeper(model):
    parts = with_parts(model)
    surface = face_surface(parts)
    teeth, mouth = (surface.openness[parts.regions[name]] for name in ("teeth", "mouth"))
    assert mouth.max() < teeth.min()
