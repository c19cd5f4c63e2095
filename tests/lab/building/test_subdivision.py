"""Laws of the Catmull-Clark operator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerelief.lab.building.subdivision import QuadTopology, boundary_loops, catmull_clark

CUBE = np.array(
    [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [2, 3, 7, 6], [1, 2, 6, 5], [0, 4, 7, 3]], np.int32
)
CORNERS = np.array(
    [[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]],
    float,
)


def grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (x, y) and counter-clockwise quads of a rows x columns grid of unit squares."""
    ids = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    quads = np.stack([ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]], axis=-1).reshape(-1, 4)
    y, x = np.mgrid[: rows + 1, : columns + 1].astype(float)
    return np.stack([x.ravel(), y.ravel()], axis=1), quads.astype(np.int32)


def topology(quads: np.ndarray, n: int | None = None) -> QuadTopology:
    count = int(quads.max()) + 1 if n is None else n
    return QuadTopology(count, quads, count, quads)


def annulus() -> tuple[np.ndarray, np.ndarray]:
    """A 5 x 5 grid without its middle square."""
    points, quads = grid(5, 5)
    return points, np.delete(quads, 12, axis=0)


ALL = pytest.mark.parametrize(
    "quads", [CUBE, grid(3, 4)[1], annulus()[1], grid(1, 1)[1]], ids=["cube", "grid", "annulus", "square"]
)


@ALL
def test_every_row_is_an_average(quads):
    """Weights are not negative and sum to 1: so any affine map commutes with refinement."""
    step = catmull_clark(topology(quads))
    for operator in (step.vertices, step.uv):
        np.testing.assert_allclose(np.asarray(operator.sum(axis=1)).ravel(), 1, atol=1e-12)
        assert operator.data.min() >= 0
    rng = np.random.default_rng(0)
    points, a, b = rng.normal(size=(quads.max() + 1, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    np.testing.assert_allclose(step.vertices @ (points @ a + b), (step.vertices @ points) @ a + b, atol=1e-12)


@ALL
def test_counts_and_order(quads):
    """Old vertices first, then one per edge, then one per face; four quads of each."""
    n = int(quads.max()) + 1
    sides = np.sort(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    edges = np.unique(sides, axis=0)
    step = catmull_clark(topology(quads))
    refined = step.topology
    assert refined.n_vertices == n + len(edges) + len(quads) == step.vertices.shape[0]
    assert refined.quads.shape == refined.uv_quads.shape == (4 * len(quads), 4)
    # each small quad: an old corner, an edge point, the face point, an edge point
    assert (refined.quads[:, 0] < n).all()
    np.testing.assert_array_equal(refined.quads[:, 0], quads.reshape(-1))
    for k in (1, 3):
        assert (refined.quads[:, k] >= n).all()
        assert (refined.quads[:, k] < n + len(edges)).all()
    np.testing.assert_array_equal(refined.quads[:, 2], np.repeat(n + len(edges) + np.arange(len(quads)), 4))
    # every quad side is shared by as many quads as before, two or one
    after = np.sort(np.concatenate([refined.quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    assert np.unique(after, axis=0, return_counts=True)[1].max() <= 2


def test_cube_by_hand():
    step = catmull_clark(topology(CUBE))
    points = step.vertices @ CORNERS
    assert points.shape == (26, 3)
    assert len(step.topology.quads) == 24
    np.testing.assert_allclose(points[:8], CORNERS * 5 / 9)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), np.tile([0, 0.75, 0.75], (12, 1)))
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), axis=1), np.tile([0, 0, 1], (6, 1)))
    # still outward
    a, b, c = (points[step.topology.quads[:, k]] for k in range(3))
    assert (np.linalg.det(np.stack([a, b, c], axis=1)) > 0).all()


def test_flat_grids_stay_where_they_are():
    """Linear functions of an even grid are reproduced inside; its border stays on the border."""
    points, quads = grid(4, 6)
    step = catmull_clark(topology(quads))
    refined = step.vertices @ points
    border = (points == 0) | (points == [6, 4])
    inner = ~border.any(axis=1)
    np.testing.assert_allclose(refined[: len(points)][inner], points[inner], atol=1e-12)
    corner = border.all(axis=1)
    straight = border.any(axis=1) & ~corner
    # along a straight border of even spacing even the rim rule moves nothing, but next to a corner
    np.testing.assert_allclose(refined[: len(points)][straight], points[straight], atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(refined[: len(points)][corner] - points[corner], axis=1), 0.125 * 2**0.5
    )
    assert refined.min() >= 0
    assert (refined <= [6, 4]).all()
    # interior edge and face points are midpoints
    expected = {(x / 2, y / 2) for x in range(13) for y in range(9)}
    rest = refined[len(points) :]
    assert {tuple(np.round(p, 9)) for p in rest} <= expected


def test_openings_keep_their_outline():
    """Points of a rim depend on the rim alone, by the (1, 6, 1) / 8 rule and midpoints."""
    points, quads = annulus()
    step = catmull_clark(topology(quads))
    for loop in boundary_loops(quads):
        rows = step.vertices[loop].toarray()
        expected = np.zeros_like(rows)
        for k in range(len(loop)):
            expected[k, [loop[k - 1], loop[k], loop[(k + 1) % len(loop)]]] = 1 / 8, 6 / 8, 1 / 8
        np.testing.assert_allclose(rows, expected)
    refined_loops = boundary_loops(step.topology.quads)
    assert sorted(map(len, refined_loops)) == [8, 40]
    for loop in refined_loops:
        others = np.ones(len(points), bool)
        others[np.concatenate(boundary_loops(quads))] = False
        assert step.vertices[loop][:, others].nnz == 0


def test_where_two_openings_touch_the_vertex_stays():
    points, quads = grid(4, 4)
    quads = np.delete(quads, [5, 10], axis=0)  # diagonal neighbours
    touching = 12
    step = catmull_clark(topology(quads, len(points)))
    row = step.vertices[touching].toarray().ravel()
    assert row[touching] == 1
    assert np.count_nonzero(row) == 1


def test_vertices_without_faces_stay():
    points, quads = grid(2, 2)
    step = catmull_clark(topology(quads, len(points) + 1))
    assert step.vertices[len(points), len(points)] == 1


def test_texture_is_refined_linearly_across_its_own_seams():
    """Two quads that share an edge in space but not in the texture."""
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4]], np.int32)
    uv_quads = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [5, 0], [6, 0], [6, 1], [5, 1]], float)
    step = catmull_clark(QuadTopology(6, quads, 8, uv_quads))
    assert step.topology.n_uv == 8 + 8 + 2
    refined = step.uv @ uv
    np.testing.assert_array_equal(refined[:8], uv)
    corners = refined[step.topology.uv_quads]
    # every small square is a quarter of its own big one
    size = np.ptp(corners, axis=1)
    np.testing.assert_allclose(size, 0.5)
    assert (corners[:4] <= 1).all()
    assert (corners[4:, :, 0] >= 5).all()


@given(st.integers(0, 2**32 - 1))
def test_refining_commutes_with_renumbering(seed):
    rng = np.random.default_rng(seed)
    points, quads = annulus()
    order = rng.permutation(len(points))
    place = np.argsort(order).astype(np.int32)
    one = catmull_clark(topology(quads)).vertices @ points
    two = catmull_clark(topology(place[quads])).vertices @ points[order]
    np.testing.assert_allclose(two[: len(points)], one[order], atol=1e-12)
    np.testing.assert_allclose(
        two[np.lexsort(np.round(two, 9).T)], one[np.lexsort(np.round(one, 9).T)], atol=1e-9
    )


class TestBoundaryLoops:
    def test_closed_surfaces_have_none(self):
        assert boundary_loops(CUBE) == []

    def test_an_annulus_has_two(self):
        points, quads = annulus()
        outer, inner = sorted(boundary_loops(quads), key=len, reverse=True)
        assert len(outer) == 20
        assert len(inner) == 4

        def area(loop: np.ndarray) -> float:
            x, y = points[loop].T
            return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))

        # in the winding of the quads: round the outside, and round the hole the other way
        assert area(outer) == pytest.approx(25)
        assert area(inner) == pytest.approx(-1)

    def test_neighbours_in_a_loop_share_a_border_side(self):
        _, quads = annulus()
        sides = {tuple(s) for s in np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]).tolist()}
        for loop in boundary_loops(quads):
            for a, b in zip(loop.tolist(), np.roll(loop, -1).tolist()):
                assert (a, b) in sides
                assert (b, a) not in sides
