"""A reconstruction derives its shapes and landmarks from its coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pygltflib
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry.closest import ClosestPoint


def test_shapes_are_the_models(toy_reconstruction):
    r = toy_reconstruction
    np.testing.assert_array_equal(r.vertices, r.model.shape(r.identity, r.expression))
    np.testing.assert_array_equal(r.neutral, replace(r, expression=0 * r.expression).vertices)
    assert not np.array_equal(r.neutral, r.vertices)


def test_landmarks_lie_on_the_shape_and_in_the_image(toy_reconstruction):
    r = toy_reconstruction
    assert r.landmarks68_mm.shape == (68, 3)
    hit = ClosestPoint(r.vertices, r.model.triangles).query(r.landmarks68_mm.astype(np.float64))
    assert hit.distance.max() < 0.3  # the jaw's lie on chords of the surface
    np.testing.assert_allclose(r.landmarks68_px, r.camera.project(r.landmarks68_mm)[:, :2])


def test_the_mesh_is_the_shape_with_uv(toy_reconstruction):
    r = toy_reconstruction
    np.testing.assert_array_equal(r.mesh.vertices, r.vertices)
    np.testing.assert_array_equal(r.mesh.uv_triangles, r.model.uv_triangles)
    assert r.mesh is r.mesh
    bare = replace(r.model, uv=np.zeros((0, 2), np.float32), uv_triangles=np.zeros((0, 3), np.int32))
    assert replace(r, model=bare).mesh.uv is None


def test_repr_is_one_short_line(toy_reconstruction):
    text = repr(toy_reconstruction)
    assert "\n" not in text
    assert len(text) < 200
    assert "fit, model toy, face" in text
    assert "with relief" in text


def test_texture_and_glb_of_one_face(toy_reconstruction, tmp_path):
    texture = toy_reconstruction.texture(64)
    assert texture.shape == (64, 64, 3)
    path = toy_reconstruction.write_glb(tmp_path / "a.glb", texture_size=64, visemes=True)
    gltf = pygltflib.GLTF2().load(str(path))
    assert len(gltf.meshes[0].extras["targetNames"]) == 72
    assert gltf.materials[0].normalTexture is not None
    bare = replace(
        toy_reconstruction.model, uv=np.zeros((0, 2), np.float32), uv_triangles=np.zeros((0, 3), np.int32)
    )
    with pytest.raises(FacereliefError, match="model 'toy' has no uv"):
        replace(toy_reconstruction, model=bare).texture()


def test_save_takes_the_names_of_files(toy_reconstruction, tmp_path):
    folder = toy_reconstruction.save(tmp_path / "face0", texture_size=64, files=("glb", "json"))
    assert sorted(p.name for p in folder.iterdir()) == ["face.glb", "face.json"]
