"""A subdivided head keeps its vertices, gets rounder, and rises by its relief."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.facefolder.displaced import displaced_head
from facerelief.geometry.normals import vertex_normals


def test_subdivision_keeps_vertices_and_quadruples_triangles(toy_reconstruction):
    r = toy_reconstruction
    mesh = displaced_head(r, None, 2)
    np.testing.assert_array_equal(mesh.vertices[: r.model.n_vertices], r.vertices)
    assert len(mesh.triangles) == 16 * len(r.model.triangles)
    assert mesh.uv_triangles is not None
    assert mesh.uv_triangles.shape == mesh.triangles.shape


def test_a_sphere_becomes_rounder(toy_reconstruction):
    model = toy_reconstruction.model
    sphere = model.mean / np.linalg.norm(model.mean, axis=1, keepdims=True) * 80
    still = replace(model, mean=sphere.astype(np.float32))
    none = np.zeros(0, np.float32)
    r = replace(toy_reconstruction, model=still, identity=none, expression=none)

    def flatness(levels):
        radius = np.linalg.norm(
            displaced_head(r, None, levels).vertices[r.model.triangles.max() + 1 :], axis=1
        )
        return np.sqrt(np.mean((radius - 80) ** 2))

    flat = np.linalg.norm(sphere[model.triangles][:, :2].mean(axis=1), axis=1)
    assert flatness(2) < 0.5 * np.sqrt(np.mean((flat - 80) ** 2))


def test_constant_height_moves_along_the_normals(toy_reconstruction):
    r = toy_reconstruction
    mesh = displaced_head(r, np.full((32, 32), 1.5, np.float32), 0)
    moved = r.vertices + 1.5 * vertex_normals(r.vertices, r.model.triangles)
    np.testing.assert_allclose(mesh.vertices, moved, atol=1e-4)
