"""Trained nets as ONNX files that need no torch: one file each, batch 1, half-precision weights.

All constants are inside: inputs are images in RGB in [0, 1], outputs coefficients and the camera of the crop.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import copy
import itertools
import json
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerelief._version import __version__
from facerelief.errors import FacereliefError
from facerelief.inference.crops import COARSE_MARGIN, CONTRAST_SIZES, FINE_MARGIN
from facerelief.io.atomic import output_error, write_bytes
from facerelief.lab.networks.e2far import E2far
from facerelief.lab.networks.guo import Backbone, CoarseNet, FineNet, TrackingNet
from facerelief.lab.networks.run_folder import load_net
from facerelief.morphable import open_model
from facerelief.morphable.model import FaceModel

SCHEMA = "facerelief net 1"
TOLERANCE = 0.01
"""Largest difference of an exported net from torch's, in units of `Port.unit`: half-precision weights."""
_LEAST_HALF = 256
"""Arrays of more numbers are kept in half precision."""


@dataclass(frozen=True)
class Port:
    """An input or output of an exported net."""

    name: str
    shape: tuple[int, ...]
    what: str
    unit: float = 1.0
    """A difference of this output that would be seen."""


class _Coarse(nn.Module):
    """CoarseNet with a camera instead of a pose, bounded expressions and a calibrated variance."""

    def __init__(self, net: CoarseNet, bounds: tuple[float, float], calibration: float) -> None:
        super().__init__()
        self.net, self.bounds, self.calibration = net, bounds, calibration

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        out = self.net(image)
        log_variance = out.log_variance + self.calibration
        return out.identity, out.expression.clamp(*self.bounds), _camera(out.pose), log_variance


class _Tracking(nn.Module):
    """Tracking CoarseNet with cameras instead of poses, bounded expressions and a calibrated variance."""

    def __init__(self, net: TrackingNet, bounds: tuple[float, float], calibration: float) -> None:
        super().__init__()
        self.net, self.bounds, self.calibration = net, bounds, calibration

    def forward(self, image: Tensor, pncc: Tensor, expression: Tensor, camera: Tensor) -> tuple[Tensor, ...]:
        pose = torch.cat([camera[:, :5], camera[:, 5:].log()], dim=1)
        out = self.net(image, pncc, expression, pose)
        log_variance = out.log_variance + self.calibration
        return out.expression.clamp(*self.bounds), _camera(out.pose), out.delta, log_variance


class _E2far(nn.Module):
    """UH-E2FAR with bounded expressions."""

    def __init__(self, net: E2far, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.net, self.bounds = net, bounds

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        out = self.net(image)
        return out.identity, out.expression.clamp(*self.bounds)


class _Fine(nn.Module):
    """FineNet with displacements in mm."""

    def __init__(self, net: FineNet) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        image: Tensor,
        depth: Tensor,
        mask: Tensor,
        face_width: Tensor,
        contrast: Tensor,
        cues: Tensor,
    ) -> Tensor:
        return self.net(image, depth, mask, face_width, cues, contrast) * (0.01 * face_width[:, None, None])


def _camera(pose: Tensor) -> Tensor:
    return torch.cat([pose[:, :5], pose[:, 5:].exp()], dim=1)


def signature(
    net: nn.Module, model: FaceModel, calibration: float = 0.0
) -> tuple[nn.Module, list[Port], list[Port], str]:
    """The module that is exported, its inputs, its outputs, and a sentence on its crop. calibration: added to
    the logarithm of the variance."""
    camera = "pitch, yaw, roll in radians, translation_u, translation_v in px of the crop, scale in px/mm"
    log_variance = Port("log_variance", (1,), "log mm^2, expected squared error of the projected points")
    if isinstance(net, CoarseNet | TrackingNet | E2far):
        c = net.config
        image = Port("image", (1, 3, c.size, c.size), "RGB in [0, 1]")
        expression = Port("expression", (1, c.expression), "weights of the model", 0.5)
        found = [expression, Port("camera", (1, 6), camera, 1.0), log_variance]
        identity = Port("identity", (1, c.identity), "standard deviations of the model", 1.0)
        crop = (
            f"upright square about the middle of the box of the model's face region, side "
            f"{COARSE_MARGIN} x the box's longer side"
        )
        if isinstance(net, E2far):
            return _E2far(net, model.expression_bounds), [image], [identity, expression], crop
        if isinstance(net, CoarseNet):
            return _Coarse(net, model.expression_bounds, calibration), [image], [identity, *found], crop
        previous = [
            image,
            Port("pncc", image.shape, "the previous state in this crop, in [0, 1] (inference.pncc)"),
            Port("previous_expression", expression.shape, "weights of the model"),
            Port("previous_camera", (1, 6), camera),
        ]
        crop = (
            f"as for coarse, of the previous state's projected face: side {COARSE_MARGIN} x (inference.pncc)"
        )
        delta = Port(
            "delta", (1, c.expression + 6), "change in standard deviations of the training data", 1.0
        )
        return (
            _Tracking(net, model.expression_bounds, calibration),
            previous,
            [*found[:2], delta, log_variance],
            crop,
        )
    assert isinstance(net, FineNet)
    size = net.config.size
    inputs = [
        Port("image", (1, 3, size, size), "RGB in [0, 1]"),
        Port("depth", (1, size, size), "mm along camera z of the coarse surface, 0 off the mask"),
        Port("mask", (1, size, size), "1 on the face, else 0"),
        Port("face_width", (1,), "mm, the longer side of the face's box in the crop over the camera's scale"),
        Port("contrast", (1, len(CONTRAST_SIZES), size, size), "of the image (inference.crops.contrasts)"),
        Port("cues", (1, 3, size, size), "of image, depth and mask (inference.shading_cues)"),
    ]
    crop = (
        f"square about the projected face, side {FINE_MARGIN} x its longer side (inference.crops.fine_crop)"
    )
    outputs = [Port("displacement", (1, size, size), "mm along camera z, toward the viewer", 1.0)]
    return _Fine(net), inputs, outputs, crop


def export_net(
    run: str | Path,
    out: str | Path,
    model: FaceModel | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the net of a run as ONNX, checked against torch with OpenVINO on random inputs.

    The net's variance is calibrated on the last measured samples.

    Args:
        run: folder of the run.
        out: file to write; its folder is made.
        model: the face model; the open model by default.
        progress: called with the name of each stage.

    Returns:
        The metadata of the file; "worst", the largest difference; "bytes", its size.

    Raises:
        FacereliefError: the run has no net, or the file's outputs differ from the net's.
        OutputError: the file cannot be written.
    """
    import onnx

    run, out, model = Path(run), Path(out), model or open_model()
    net, found = load_net(run, model)
    metrics = found["history"][-1] if found["history"] else {}
    calibration = math.log(max(float(metrics.get("confidence_ratio", 1.0)), 1e-6))
    module, inputs, outputs, crop = signature(net, model, calibration)
    folded = copy.deepcopy(module)
    for part in folded.modules():
        _fold_norms(part)
    progress("tracing")
    proto = _traced(folded.eval(), inputs, outputs)
    _halve(proto)
    _strip(proto)
    config = found["config"]
    about = {
        "schema": SCHEMA,
        "facerelief": __version__,
        "kind": config["task"]["kind"],
        "net": config["task"][_part(net)],
        "model": {"name": model.name, "version": str(model.version)},
        "crop": crop,
        "margin": FINE_MARGIN if isinstance(net, FineNet) else COARSE_MARGIN,
        "normalisation": "inside; images are RGB in [0, 1]",
        "inputs": {part.name: part.what for part in inputs},
        "outputs": {part.name: part.what for part in outputs},
        "trained": {
            "step": found["step"],
            "steps": config["steps"],
            "batch": config["batch"],
            "data": [Path(folder).name for folder in config["data"]],
            "data_sha256": found["data_sha256"],
        },
        "calibration": calibration,
        "metrics": metrics,
    }
    for key, value in about.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(proto)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    write_bytes(out, proto.SerializeToString())
    progress("checking")
    worst = difference(out, module.eval(), inputs, outputs)
    if not worst <= TOLERANCE:
        raise FacereliefError(
            f"{out}: differs from the trained net by {worst:.4f}, expected at most {TOLERANCE}; do not use it"
        )
    return about | {"worst": worst, "bytes": out.stat().st_size}


def _part(net: nn.Module) -> str:
    """Name of the net's field in `TaskConfig`."""
    return "fine" if isinstance(net, FineNet) else "e2far" if isinstance(net, E2far) else "coarse"


def random_inputs(inputs: list[Port], seed: int) -> dict[str, NDArray[Any]]:
    """Random inputs in the range of real ones, float32, by name."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[Any]] = {}
    for part in inputs:
        value = rng.random(part.shape)
        if part.name == "mask":
            value = (value > 0.1).astype(np.float64)
        elif part.name == "depth":
            value = 30 * value
        elif part.name == "face_width":
            value = 150 + 20 * value
        elif part.name == "previous_camera":
            value = np.array([[0.1, -0.3, 0.05, 112.0, 110.0, 1.1]]) + 0.1 * value
        found[part.name] = value.astype(np.float32)
    return found


def difference(
    file: Path, module: nn.Module, inputs: list[Port], outputs: list[Port], rounds: int = 3
) -> float:
    """Largest difference of the file's outputs from the module's, relative to the larger of the output's unit
    and its size."""
    from facerelief.runtime.network import Network

    network = Network(file, threads=1)
    worst = 0.0
    for seed in range(rounds):
        given = random_inputs(inputs, seed)
        with torch.no_grad():
            true = module(*(torch.from_numpy(given[part.name]) for part in inputs))
        true = true if isinstance(true, tuple) else (true,)
        for part, value, found in zip(outputs, true, network(*given.values())):
            value = value.numpy()
            apart = np.abs(found.reshape(value.shape) - value)
            worst = max(worst, float((apart / np.maximum(part.unit, np.abs(value))).max()))
    return worst


def _traced(module: nn.Module, inputs: list[Port], outputs: list[Port]) -> Any:
    given = tuple(torch.from_numpy(x) for x in random_inputs(inputs, 0).values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            program = torch.onnx.export(
                module,
                given,
                input_names=[part.name for part in inputs],
                output_names=[part.name for part in outputs],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ImportError as error:
        raise FacereliefError(
            f"export needs onnxscript ({error}): pip install 'facerelief[train]'"
        ) from error
    assert program is not None
    return program.model_proto


def _fold_norms(part: nn.Module) -> None:
    """Fold batch norms into the convolutions before them."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    if isinstance(part, nn.Sequential):
        names = list(part._modules)
        for name, following in itertools.pairwise(names):
            conv, norm = part._modules[name], part._modules[following]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part._modules[name] = fuse_conv_bn_eval(conv.eval(), norm.eval())
                part._modules[following] = nn.Identity()
    pairs = [("stem", "norm")] if isinstance(part, Backbone) else [("conv1", "norm1"), ("conv2", "norm2")]
    for conv_name, norm_name in pairs:
        conv: Any = getattr(part, conv_name, None)
        norm: Any = getattr(part, norm_name, None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(part, conv_name, fuse_conv_bn_eval(conv.eval(), norm.eval()))
            setattr(part, norm_name, nn.Identity())


def _strip(proto: Any) -> None:
    """Remove the exporter's notes on the traced program: they name files of this machine."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del proto.functions[:]


def _halve(proto: Any) -> None:
    """Store large weights in half precision, each with a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    casts: list[Any] = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size <= _LEAST_HALF:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
