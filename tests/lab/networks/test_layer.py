# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of the layer: the same points as the model and the camera give, and gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import facerelief
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.networks.data import camera_of, pose_of
from facerelief.lab.networks.layer import MorphableLayer, project, rotation


@pytest.mark.parametrize("name", ["toy", "open"])
def test_points_agree_with_model_and_camera(name, toy_model):
    model = toy_model if name == "toy" else facerelief.open_model()
    layer = MorphableLayer(model, every=8)
    rng = np.random.default_rng(0)
    identity = rng.normal(size=(3, model.n_identity)).astype(np.float32)
    expression = rng.random((3, model.n_expression)).astype(np.float32)
    cameras = [WeakPerspective(*rng.normal(0, 0.5, 3), *rng.normal(112, 9, 2), 1.2) for _ in range(3)]
    poses = np.stack([pose_of(camera) for camera in cameras])
    shapes = layer.shape(torch.from_numpy(identity), torch.from_numpy(expression))
    points = project(shapes, torch.from_numpy(poses))
    for k in range(3):
        vertices = model.shape(identity[k], expression[k])
        uvz = cameras[k].project(vertices)
        marks = model.landmarks["ibug68"]
        wanted = np.concatenate([vertices[layer.vertices], marks.of(vertices)])
        np.testing.assert_allclose(shapes[k], wanted, atol=1e-4)
        projected = np.concatenate([uvz[layer.vertices], marks.of(uvz)])
        # px: a float32 of 300 is exact to 3e-5
        np.testing.assert_allclose(points[k], projected, atol=3e-4)
        np.testing.assert_allclose(layer.landmarks(points)[k], marks.of(uvz), atol=3e-4)


def test_every_nth_face_vertex_is_there(toy_model):
    layer = MorphableLayer(toy_model, every=8)
    assert len(layer.vertices) == -(-int(toy_model.face_vertices.sum()) // 8)
    assert len(layer.mean) == len(layer.vertices) + 68
    assert float(layer.weights.mean()) == pytest.approx(1.0, abs=1e-5)
    assert float(layer.weights[-1] / layer.weights[0]) == pytest.approx(4.0)


def test_rotation_is_the_cameras():
    angles = torch.tensor([[0.3, -1.2, 0.7], [-0.2, 0.4, 3.0]], dtype=torch.float64)
    for row, matrix in zip(angles, rotation(angles)):
        camera = WeakPerspective(*row.tolist(), 0.0, 0.0, 1.0)
        np.testing.assert_allclose(matrix, camera.rotation, atol=1e-12)


def test_poses_come_back():
    camera = WeakPerspective(0.1, -0.4, 0.2, 100.0, 90.0, 1.3)
    np.testing.assert_allclose(camera_of(pose_of(camera)).vector, camera.vector, rtol=1e-6)


def test_gradients_of_projection():
    torch.manual_seed(0)
    points = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    pose = (0.3 * torch.randn(2, 6, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(project, (points, pose))


def test_another_size_differs_from_another_shape(toy_model):
    layer = MorphableLayer(toy_model, every=8).double()
    grown = 0.07 * (layer.mean - (layer.weights[:, None] * layer.mean).mean(dim=0))[None]
    size = (grown.square().sum(dim=2) * layer.weights).mean()
    for share in (0.0, 0.1, 1.0):
        left = layer.discount_size(grown, share)
        assert float((left.square().sum(dim=2) * layer.weights).mean() / size) == pytest.approx(
            share, abs=1e-6
        )
    apart = torch.randn(2, len(layer.mean), 3, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(layer.discount_size(apart, 1.0), apart)
    torch.testing.assert_close(
        layer.discount_size(apart + 3 * grown, 0.0), layer.discount_size(apart, 0.0), atol=1e-4, rtol=0
    )
