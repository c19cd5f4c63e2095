"""Methods by name, and those whose networks are missing."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.compare.images import run_methods
from facerelief.lab.evaluation.compare.methods import METHODS, missing_nets, open_method

SIZE = 120


def test_methods_by_name(toy_model, states, face_of):
    face = face_of(toy_model, states[1])
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    opened = {name: open_method(toy_model, name) for name in ("landmarks", "mean_face")}
    found, ms = run_methods(opened, image, face)
    assert not found["mean_face"].identity.any()
    assert not found["mean_face"].expression.any()
    assert found["landmarks"].identity.any()
    assert all(spent > 0 for spent in ms.values())
    assert abs(found["mean_face"].camera.yaw - states[1].camera.yaw) < 0.2
    with pytest.raises(ValueError, match="'magic'"):
        open_method(toy_model, "magic")


def test_missing_networks_are_told(tmp_path):
    found = missing_nets(list(METHODS), tmp_path)
    assert list(found) == ["e2far", "net", "net_fine"]
    assert "e2far.onnx" in found["e2far"]
    (tmp_path / "coarse.onnx").touch()
    assert "fine.onnx" in missing_nets(["net", "net_fine"], tmp_path)["net_fine"]
    assert not missing_nets(["net", "fit", "mean_face"], tmp_path)
