"""Networks run the same from every thread, load lazily, report nothing to anybody, and fail with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facerelief.errors import ModelError
from facerelief.runtime import Network, default_threads, load_network, set_threads


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


def run(*code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_outputs_come_in_the_network_s_order(linear):
    x = np.float32([[1, 2, 3]])
    double, shifted = Network(linear, threads=1)(x)
    np.testing.assert_array_equal(double, 2 * x)
    np.testing.assert_array_equal(shifted, x + 1)


def test_chosen_outputs_come_in_the_order_asked_for(linear):
    x = np.float32([[1, 2, 3]])
    (shifted,) = Network(linear, threads=1, outputs=("shifted",))(x)
    np.testing.assert_array_equal(shifted, x + 1)


def test_free_dimensions_become_one_or_what_was_asked_for(linear):
    assert Network(linear, threads=1).input_shapes == [(1, 3)]
    network = Network(linear, threads=1, shapes={"x": (4, 3)})
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(network(x)[0], 2 * x)


def test_results_are_copies(linear):
    network = Network(linear, threads=1)
    first = network(np.ones((1, 3), np.float32))[0]
    network(np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(first, 2)


def test_threads_do_not_mix_their_results(linear):
    network = Network(linear, threads=1)

    def work(value: int) -> bool:
        x = np.full((1, 3), value, np.float32)
        return all(np.array_equal(network(x)[0], 2 * x) for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_the_same_settings_give_the_same_network(linear):
    assert load_network(linear, threads=1) is load_network(str(linear), threads=1)
    assert load_network(linear, threads=1) is not load_network(linear, threads=1, shapes={"x": (2, 3)})


def test_threads_come_from_the_setting_then_the_environment(monkeypatch):
    monkeypatch.setenv("FACERELIEF_THREADS", "3")
    assert default_threads() == 3
    set_threads(2)
    try:
        assert default_threads() == 2
    finally:
        set_threads(None)
    monkeypatch.delenv("FACERELIEF_THREADS")
    assert 1 <= default_threads() <= 4
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


@pytest.mark.parametrize("arrays", [(), (np.zeros((2, 3), np.float32),), (np.zeros((1, 3), np.float32),) * 2])
def test_wrong_arrays_are_refused(linear, arrays):
    with pytest.raises(ValueError, match="expected"):
        Network(linear, threads=1)(*arrays)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.onnx: no such network file"):
        Network(tmp_path / "gone.onnx")(np.zeros(1, np.float32))


def test_a_file_that_is_no_network_is_named_in_one_line(tmp_path):
    file = tmp_path / "text.onnx"
    file.write_text("not a network")
    with pytest.raises(ModelError, match=r"text\.onnx: expected an ONNX network") as caught:
        Network(file).compile()
    assert "\n" not in str(caught.value)


def test_imports_stay_light():
    code = "import sys, facerelief, facerelief.runtime, facerelief.detection"
    assert run(code, "print([m for m in ('openvino', 'cv2', 'torch') if m in sys.modules])") == "[]"


def test_openvino_reports_nothing(linear, tmp_path):
    """No usage reporting module is loaded, no client id is left in the home folder, no process or socket is
    opened.
    """
    code = """
import sys, socket, subprocess
def refuse(*a, **k): raise AssertionError("reached out")
socket.socket.connect = refuse; socket.getaddrinfo = refuse; subprocess.Popen.__init__ = refuse
import numpy as np
from facerelief.runtime import Network
Network(sys.argv[1] if len(sys.argv) > 1 else FILE, threads=1)(np.ones((1, 3), np.float32))
import openvino
assert openvino.convert_model is not None
print([m for m in sys.modules if m.startswith("openvino_telemetry")])
""".replace("FILE", repr(str(linear)))
    environment = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "CI": ""}
    assert run(code, **environment) == "[]"
    assert not (tmp_path / "intel").exists()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_agree(linear, tmp_path, monkeypatch, engine):
    monkeypatch.setenv("FACERELIEF_ENGINE", engine)
    one, two = Network(linear, threads=1), Network(linear, threads=1, shapes={"x": (4, 3)})
    x = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    together = two(x)
    assert two.input_shapes == [(4, 3)]
    assert two.output_shapes == [tuple(y.shape) for y in together]
    alone = [one(row[None]) for row in x]
    for k, whole in enumerate(together):
        np.testing.assert_allclose(whole, np.concatenate([y[k] for y in alone]), atol=1e-6)
    monkeypatch.setenv("FACERELIEF_ENGINE", "openvino")
    for a, b in zip(together, Network(linear, threads=1, shapes={"x": (4, 3)})(x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    monkeypatch.setenv("FACERELIEF_ENGINE", engine)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"broken\.onnx: expected an ONNX network"):
        Network(broken).compile()


def test_an_engine_that_is_not_there_is_named(linear, monkeypatch):
    monkeypatch.setenv("FACERELIEF_ENGINE", "abacus")
    with pytest.raises(ModelError, match="'abacus': expected openvino or onnxruntime"):
        Network(linear).compile()
    monkeypatch.setenv("FACERELIEF_ENGINE", "onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="onnxruntime cannot be imported"):
        Network(linear).compile()
