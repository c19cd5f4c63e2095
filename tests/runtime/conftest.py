"""A small network to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x (N, 3) -> double = 2 x, and shifted = x + 1."""
    file = tmp_path_factory.mktemp("nets") / "linear.onnx"
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["double"]),
        helper.make_node("Add", ["x", "one"], ["shifted"]),
    ]
    constants = [numpy_helper.from_array(np.float32([v]), name) for v, name in ((2, "two"), (1, "one"))]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])
        for name in ("x", "double", "shifted")
    ]
    graph = helper.make_graph(nodes, "linear", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, file)
    return file
