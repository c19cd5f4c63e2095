"""Laws of neighbours: known answers on two triangles, and what holds on any mesh."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry.adjacency import (
    diagonals,
    graph_laplacian,
    neighbour_mean,
    non_manifold_edges,
    open_edges,
    vertex_links,
)

# a square of two triangles that share the edge 0-2; vertex 4 belongs to none
SQUARE = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def test_known_links():
    links = vertex_links(SQUARE, 5).toarray()
    joined = {(0, 1), (1, 2), (0, 2), (2, 3), (0, 3)}
    for a in range(5):
        for b in range(5):
            assert links[a, b] == ((min(a, b), max(a, b)) in joined)


def test_counted_links_tell_the_triangles_at_an_edge():
    links = vertex_links(SQUARE, 5, counted=True).toarray()
    assert links[0, 2] == links[2, 0] == 2
    assert links[0, 1] == links[2, 3] == 1
    assert links.sum() == 6 * len(SQUARE)


def test_known_means():
    mean = neighbour_mean(vertex_links(SQUARE, 5))
    np.testing.assert_allclose(mean @ np.array([1.0, 2.0, 3.0, 6.0, 9.0]), [11 / 3, 2, 3, 2, 0])


@pytest.mark.parametrize("counted", [False, True])
def test_any_mesh(toy_model, counted):
    triangles, count = toy_model.triangles, toy_model.n_vertices
    links = vertex_links(triangles, count, counted=counted)
    assert abs(links - links.T).max() == 0
    assert links.diagonal().max() == 0
    # Euler's formula for a closed surface like a ball
    assert links.nnz == 2 * (count + len(triangles) - 2)
    ones, values = np.ones(count), np.random.default_rng(0).normal(size=(count, 3))
    mean, laplacian = neighbour_mean(links), graph_laplacian(links)
    np.testing.assert_allclose(mean @ ones, 1)
    assert (np.abs(mean @ values).max(axis=0) <= np.abs(values).max(axis=0)).all()
    np.testing.assert_allclose(laplacian @ ones, 0, atol=1e-12)
    # the quadratic form is the sum of squared differences along the edges
    a, b = links.nonzero()
    apart = 0.5 * (links.toarray()[a, b, None] * (values[a] - values[b]) ** 2).sum()
    assert (values * (laplacian @ values)).sum() == pytest.approx(apart)


def test_winding_and_order_of_triangles_do_not_matter(toy_model):
    links = vertex_links(toy_model.triangles, toy_model.n_vertices)
    other = vertex_links(toy_model.triangles[::-1, [2, 0, 1]][:, ::-1], toy_model.n_vertices)
    assert abs(links - other).max() == 0


def test_diagonals_of_a_grid_are_found_whatever_their_direction():
    rng = np.random.default_rng(1)
    at = np.arange(20).reshape(4, 5)
    vertices = np.array([(x, y, 0.1 * x * y) for y in range(4) for x in range(5)], np.float64)
    triangles, expected = [], set()
    for y in range(3):
        for x in range(4):
            a, b, c, d = at[y, x], at[y, x + 1], at[y + 1, x + 1], at[y + 1, x]
            if rng.random() < 0.5:
                a, b, c, d = b, c, d, a
            triangles += [(a, b, c), (a, c, d)]
            expected |= {(a, c), (c, a)}
    found = diagonals(vertices, np.array(triangles))
    assert set(zip(*(i.tolist() for i in found.nonzero()), strict=True)) == expected
    assert set(found.data) == {1.0}


def test_no_triangles_no_links():
    links = vertex_links(np.zeros((0, 3), np.int32), 4)
    assert links.nnz == 0
    np.testing.assert_array_equal(neighbour_mean(links) @ np.ones(4), 0)


def test_edges_are_counted():
    assert len(open_edges(SQUARE)) == 4
    assert non_manifold_edges(SQUARE) == 0
    assert non_manifold_edges(np.array([*SQUARE, [0, 2, 4]])) == 1
    assert non_manifold_edges(np.array([*SQUARE, [0, 2, 2]])) == 0  # no area, no edge
    assert non_manifold_edges(np.zeros((0, 3), int)) == 0
