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
from facerelief.inference.landmark_net import LANDMARK_MARGIN
from facerelief.io.atomic import output_error, write_bytes
from facerelief.lab.networks.e2far import E2far
from facerelief.lab.networks.guo import POSE, Backbone, CoarseNet, FineNet, TrackingNet
from facerelief.lab.networks.landmark_training import load_landmark_net
from facerelief.lab.networks.landmarks import LandmarkNet
from facerelief.lab.networks.run_folder import kind_of, load_net
from facerelief.lab.networks.skin import SkinNet
from facerelief.lab.networks.skin_training import load_skin_net
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


@dataclass(frozen=True)
class Exported:
    """A net in the form in which it is exported."""

    module: nn.Module
    """Called with one tensor for each input, batch 1; gives one for each output."""
    inputs: list[Port]
    outputs: list[Port]
    part: str
    """Name of the net's field in `TaskConfig`."""
    crop: str
    """The crop that it takes, in a sentence."""
    margin: float = COARSE_MARGIN


class _Wrapped(nn.Module):
    """A net whose outputs a function computes: call(net, inputs...)."""

    def __init__(self, net: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.net, *inputs)


_CAMERA = "pitch, yaw, roll in radians, translation_u, translation_v in px of the crop, scale in px/mm"
_WEIGHTS = "weights of the model"
_FACE_CROP = (
    "upright square about the middle of the box of the model's face region, side "
    f"{COARSE_MARGIN} x the box's longer side"
)
_VARIANCE = Port("log_variance", (1,), "log mm^2, expected squared error of the projected points")


def exported(net: nn.Module, model: FaceModel, calibration: float = 0.0) -> Exported:
    """A net with cameras for poses, bounded expressions, displacements in mm and a calibrated variance.

    Args:
        net: one of those of `guo`, `e2far`, `landmarks` and `skin`.
        calibration: added to the logarithm of the variance.
    """
    forms: dict[type[nn.Module], Callable[..., Exported]] = {
        CoarseNet: _coarse,
        TrackingNet: _tracking,
        E2far: _e2far,
        FineNet: _fine,
        LandmarkNet: _landmarks,
        SkinNet: _skin,
    }
    return forms[type(net)](net, model.expression_bounds, calibration)


def _image(size: int) -> Port:
    return Port("image", (1, 3, size, size), "RGB in [0, 1]")


def _identity(count: int) -> Port:
    return Port("identity", (1, count), "standard deviations of the model")


def _expression(count: int) -> Port:
    return Port("expression", (1, count), _WEIGHTS, 0.5)


def _camera(pose: Tensor) -> Tensor:
    return torch.cat([pose[:, :5], pose[:, 5:].exp()], dim=1)


def _coarse(net: CoarseNet, bounds: tuple[float, float], calibration: float) -> Exported:
    def call(net: CoarseNet, image: Tensor) -> tuple[Tensor, ...]:
        out = net(image)
        log_variance = out.log_variance + calibration
        return out.identity, out.expression.clamp(*bounds), _camera(out.pose), log_variance

    c = net.config
    outputs = [_identity(c.identity), _expression(c.expression), Port("camera", (1, 6), _CAMERA), _VARIANCE]
    return Exported(_Wrapped(net, call), [_image(c.size)], outputs, "coarse", _FACE_CROP)


def _tracking(net: TrackingNet, bounds: tuple[float, float], calibration: float) -> Exported:
    def call(
        net: TrackingNet, image: Tensor, pncc: Tensor, expression: Tensor, camera: Tensor
    ) -> tuple[Tensor, ...]:
        out = net(image, pncc, expression, torch.cat([camera[:, :5], camera[:, 5:].log()], dim=1))
        log_variance = out.log_variance + calibration
        return out.expression.clamp(*bounds), _camera(out.pose), out.delta, log_variance

    c = net.config
    image, expression = _image(c.size), _expression(c.expression)
    inputs = [
        image,
        Port("pncc", image.shape, "the previous state in this crop, in [0, 1] (inference.pncc)"),
        Port("previous_expression", expression.shape, _WEIGHTS),
        Port("previous_camera", (1, 6), _CAMERA),
    ]
    delta = Port("delta", (1, c.expression + POSE), "change in standard deviations of the training data")
    outputs = [expression, Port("camera", (1, 6), _CAMERA), delta, _VARIANCE]
    crop = f"as for coarse, of the previous state's projected face: side {COARSE_MARGIN} x (inference.pncc)"
    return Exported(_Wrapped(net, call), inputs, outputs, "coarse", crop)


def _e2far(net: E2far, bounds: tuple[float, float], _: float) -> Exported:
    def call(net: E2far, image: Tensor) -> tuple[Tensor, ...]:
        out = net(image)
        return out.identity, out.expression.clamp(*bounds)

    c = net.config
    outputs = [_identity(c.identity), _expression(c.expression)]
    return Exported(_Wrapped(net, call), [_image(c.size)], outputs, "e2far", _FACE_CROP)


def _fine(net: FineNet, _: tuple[float, float], __: float) -> Exported:
    def call(net: FineNet, *given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        image, depth, mask, face_width, contrast, cues = given
        out = net(image, depth, mask, face_width, cues, contrast)
        displacement = out.displacement * (0.01 * face_width[:, None, None])
        return displacement if out.trust is None else (displacement, out.trust.sigmoid() * mask)

    size = net.config.size
    inputs = [
        _image(size),
        Port("depth", (1, size, size), "mm along camera z of the coarse surface, 0 off the mask"),
        Port("mask", (1, size, size), "1 on the face, else 0"),
        Port("face_width", (1,), "mm, the longer side of the face's box in the crop over the camera's scale"),
        Port("contrast", (1, len(CONTRAST_SIZES), size, size), "of the image (inference.crops.contrasts)"),
        Port("cues", (1, 3, size, size), "of image, depth and mask (inference.shading_cues)"),
    ]
    outputs = [Port("displacement", (1, size, size), "mm along camera z, toward the viewer")]
    if net.config.trust:
        outputs.append(Port("trust", (1, size, size), "mask of trust, 0 to 1"))
    crop = (
        f"square about the projected face, side {FINE_MARGIN} x its longer side (inference.crops.fine_crop)"
    )
    return Exported(_Wrapped(net, call), inputs, outputs, "fine", crop, FINE_MARGIN)


def _landmarks(net: LandmarkNet, _: tuple[float, float], calibration: float) -> Exported:
    def call(net: LandmarkNet, image: Tensor) -> tuple[Tensor, ...]:
        out = net(image)
        return out.points, (out.log_sigma + 0.5 * calibration).exp(), net.vertices.float()

    count = net.config.points
    outputs = [
        Port("points", (1, count, 2), "px of the crop", 4.0),
        Port("sigma", (1, count), "px of the crop, standard deviation of each coordinate"),
        Port("vertices", (count,), "ids of the model's vertices that the points are"),
    ]
    crop = (
        "square about the box of the detected landmarks in the image turned upright, side "
        f"{LANDMARK_MARGIN} x its longer side (inference.landmark_net.landmark_crop)"
    )
    return Exported(_Wrapped(net, call), [_image(net.config.size)], outputs, "net", crop, LANDMARK_MARGIN)


def _skin(net: SkinNet, _: tuple[float, float], __: float) -> Exported:
    def call(net: SkinNet, image: Tensor) -> Tensor:
        return net(image).sigmoid()[:, 0]

    size = net.config.size
    outputs = [Port("skin", (1, size, size), "share of bare skin, 0 to 1")]
    crop = "as for the landmark net, at this size (inference.skin_net)"
    return Exported(_Wrapped(net, call), [_image(size)], outputs, "net", crop, LANDMARK_MARGIN)


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

    run, out = Path(run), Path(out)
    kind = kind_of(run)
    rendered: dict[str, Callable[[Path], tuple[nn.Module, dict[str, Any]]]] = {
        "landmarks": load_landmark_net,
        "skin": load_skin_net,
    }
    model = model or open_model("open2" if kind in rendered else "open")
    net, found = rendered[kind](run) if kind in rendered else load_net(run, model)
    metrics = found["history"][-1] if found["history"] else {}
    ratio = metrics.get("calibration" if kind == "landmarks" else "confidence_ratio", 1.0)
    calibration = math.log(max(float(ratio), 1e-6))
    form = exported(net, model, calibration)
    folded = copy.deepcopy(form.module)
    for part in folded.modules():
        _fold_norms(part)
    progress("tracing")
    proto = _traced(folded.eval(), form.inputs, form.outputs)
    _halve(proto)
    _strip(proto)
    config = found["config"]
    about = {
        "schema": SCHEMA,
        "facerelief": __version__,
        "kind": config["task"]["kind"],
        "net": config["task"][form.part],
        "model": {"name": model.name, "version": str(model.version)},
        "crop": form.crop,
        "margin": form.margin,
        "normalisation": "inside; images are RGB in [0, 1]",
        "inputs": {part.name: part.what for part in form.inputs},
        "outputs": {part.name: part.what for part in form.outputs},
        "trained": _trained(found),
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
    worst = difference(out, form)
    if not worst <= TOLERANCE:
        raise FacereliefError(
            f"{out}: differs from the trained net by {worst:.4f}, expected at most {TOLERANCE}; do not use it"
        )
    return about | {"worst": worst, "bytes": out.stat().st_size}


def _trained(found: dict[str, Any]) -> dict[str, Any]:
    """Facts about the training, from a checkpoint."""
    config = found["config"]
    if "data" not in config:  # rendered while it was trained
        return {name: config["task"][name] for name in ("minutes", "batch")} | {"step": found["step"]}
    return {
        "step": found["step"],
        "steps": config["steps"],
        "batch": config["batch"],
        "data": [Path(folder).name for folder in config["data"]],
        "data_sha256": found["data_sha256"],
    }


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


def difference(file: Path, form: Exported, rounds: int = 3) -> float:
    """Largest difference of the file's outputs from the module's, relative to the larger of the output's unit
    and its size."""
    from facerelief.runtime.network import Network

    network, module = Network(file, threads=1), form.module.eval()
    worst = 0.0
    for seed in range(rounds):
        given = random_inputs(form.inputs, seed)
        with torch.no_grad():
            true = module(*(torch.from_numpy(given[part.name]) for part in form.inputs))
        true = true if isinstance(true, tuple) else (true,)
        for part, value, found in zip(form.outputs, true, network(*given.values())):
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
