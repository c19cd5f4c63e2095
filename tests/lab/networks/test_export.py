# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of exported nets: their outputs are torch's, and they are complete and self-describing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

from facerelief.errors import FacereliefError
from facerelief.inference.runners import FineRunner
from facerelief.lab.networks import export
from facerelief.lab.networks.export import SCHEMA, TOLERANCE, export_net, random_inputs
from facerelief.lab.networks.guo import CoarseNetConfig, FineNetConfig
from facerelief.lab.networks.losses import FineLoss
from facerelief.lab.networks.run_config import RunConfig
from facerelief.lab.networks.run_folder import kind_of, load_net
from facerelief.lab.networks.tasks import TaskConfig
from facerelief.lab.networks.trainer import TrainConfig, train
from facerelief.runtime.network import Network

RUN = RunConfig(readers=0, accelerator="cpu", devices=1, validate_samples=4)


@pytest.fixture(scope="module", params=["coarse", "tracking", "fine", "fine with trust"])
def exported(request, face_set, fine_set, toy_model, tmp_path_factory):
    """Run, ONNX file and metadata, of each kind; the file's folder is new."""
    kind, _, trust = request.param.partition(" with ")
    folder = tmp_path_factory.mktemp(kind)
    net, loss = FineNetConfig(64, 8, 2, trust=bool(trust)), FineLoss(bands=1.0, strength=0.1, trust=0.1)
    task = TaskConfig(kind, CoarseNetConfig(64, 0.125), net, fine_loss=loss)
    data = fine_set if kind == "fine" else face_set
    train(TrainConfig(task, (str(data),), steps=3, batch=4), folder / "run", RUN, model=toy_model)
    about = export_net(folder / "run", folder / "nets" / "net.onnx", toy_model)
    return folder / "run", folder / "nets" / "net.onnx", about


def test_the_file_computes_what_torch_computes(exported, toy_model):
    run, file, about = exported
    assert about["worst"] <= TOLERANCE
    form = export.exported(load_net(run, toy_model)[0], toy_model, about["calibration"])
    given = random_inputs(form.inputs, 9)
    with torch.no_grad():
        true = form.module(*map(torch.from_numpy, given.values()))
    true = true if isinstance(true, tuple) else (true,)
    for part, value, found in zip(form.outputs, true, Network(file, threads=1)(*given.values()), strict=True):
        assert found.shape == part.shape == tuple(value.shape)
        limit = TOLERANCE * np.maximum(part.unit, np.abs(value.numpy()))
        assert (np.abs(found - value.numpy()) <= limit).all(), part.name


def test_a_fine_net_states_trust_or_not(exported, toy_model):
    run, file, _ = exported
    if kind_of(run) != "fine":
        return
    image, mask = np.full((64, 64, 3), 128, np.uint8), np.ones((64, 64), bool)
    displacement, trust = FineRunner(toy_model, file).estimate(
        image, np.zeros((64, 64), np.float32), mask, 150.0
    )
    assert displacement.shape == (64, 64)
    if not load_net(run, toy_model)[0].config.trust:
        assert trust is None
    else:
        assert trust is not None
        assert trust.shape == (64, 64)
        assert 0 <= trust.min() <= trust.max() <= 1


def test_onnx_runtime_computes_the_same(exported):
    runtime = pytest.importorskip("onnxruntime")
    _, file, _ = exported
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    parts = [export.Port(x.name, tuple(x.shape), "") for x in session.get_inputs()]
    given = random_inputs(parts, 2)
    ours = Network(file, threads=1)(*given.values())
    for a, b in zip(session.run(None, given), ours, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


def test_the_file_holds_no_path_of_the_machine(exported):
    _, file, _ = exported
    data = file.read_bytes()
    assert b"stack_trace" not in data
    assert str(Path(export.__file__).parent).encode() not in data


def test_the_file_describes_itself(exported, toy_model):
    _, file, about = exported
    proto = onnx.load(str(file))
    found = {entry.key: entry.value for entry in proto.metadata_props}
    assert found["schema"] == SCHEMA
    assert json.loads(found["model"]) == {"name": toy_model.name, "version": str(toy_model.version)}
    assert len(json.loads(found["trained"])["data_sha256"]) == 64
    assert json.loads(found["metrics"])["samples"] == 4
    assert found["crop"]
    assert {x.name for x in proto.graph.input} == set(json.loads(found["inputs"]))
    assert {x.name for x in proto.graph.output} == set(json.loads(found["outputs"]))
    assert about["bytes"] == file.stat().st_size


def test_weights_are_half_as_large_and_shapes_static(exported):
    _, file, _ = exported
    proto = onnx.load(str(file))
    numbers = sum(int(np.prod(x.dims)) for x in proto.graph.initializer)
    assert sum(len(x.raw_data) for x in proto.graph.initializer) < 2.3 * numbers
    for value in (*proto.graph.input, *proto.graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        assert dims[0] == 1
        assert min(dims) > 0


def test_a_file_with_other_outputs_is_refused(exported, toy_model, tmp_path, monkeypatch):
    run, _, _ = exported
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    with pytest.raises(FacereliefError, match="do not use it"):
        export_net(run, tmp_path / "net.onnx", toy_model)
    with pytest.raises(FacereliefError, match="face model"):
        export_net(run, tmp_path / "net.onnx", replace(toy_model, version="0"))
