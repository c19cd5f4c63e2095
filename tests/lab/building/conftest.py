"""The open model of the made-up head (tests/support/toy_head.py)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from toy_head import quad_sphere

from facerelief.geometry.mesh import Mesh
from facerelief.lab.building.open_model import Build, build_open_model
from facerelief.lab.building.population import PopulationConfig

settings.register_profile("laws", deadline=None)
settings.load_profile("laws")


@pytest.fixture(scope="session")
def toy_build(toy_wheel, toy_scans) -> Build:
    """The made-up head's open model, built as the real one is, from few persons."""
    return build_open_model(toy_scans, toy_wheel, PopulationConfig(persons=60, components=10))


@pytest.fixture(scope="session")
def ball_mesh() -> Mesh:
    """A round mesh to lay points on, radius 10 mm."""
    vertices, quads = quad_sphere(np.zeros(3), 10.0, n=6)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Mesh(vertices.astype(np.float32), triangles.astype(np.int32))
