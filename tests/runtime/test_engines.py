"""Both engines compute the same, load on first use, report nothing to anybody, and fail with one line."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.runtime import Network


def run(*code: str, **environment: str) -> str:
    """Output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


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
