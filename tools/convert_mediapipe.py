"""Convert MediaPipe's face detector, 468-point net and iris net from TensorFlow Lite to ONNX.

    pip install "facerelief[build]"
    pip download --no-deps mediapipe==0.10.21
    python tools/convert_mediapipe.py mediapipe-0.10.21-*.whl [--photos FOLDER]

writes src/facerelief/data/mediapipe/*.onnx and prints, for every output, the largest difference to LiteRT
over the photos divided by that output's range there. It fails when one exceeds 1e-3.

The three networks have only convolutions, PReLU/ReLU, additions, max pooling, channel padding and float16
weights. Activations are NHWC in the source and NCHW here; weights are kept as float16 initialisers followed
by a Cast. Inputs and outputs are float32. The first dimension is free ("N").
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src" / "facerelief" / "data" / "mediapipe"
TOLERANCE = 1e-3

OPERATORS = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
DTYPES: dict[int, Any] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}


@dataclass(frozen=True)
class Source:
    """One network of the wheel: its place, and names and shapes of its outputs (after the batch)."""

    path: str
    name: str
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    """TensorFlow Lite output name -> (ONNX name, shape after the batch dimension)."""


SOURCES = (
    Source(
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        "face_detection",
        {"regressors": ("boxes", (896, 16)), "classificators": ("scores", (896,))},
    ),
    Source(
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        "face_landmarks",
        {"conv2d_21": ("landmarks", (468, 3)), "conv2d_31": ("presence", (1,))},
    ),
    Source(
        "mediapipe/modules/iris_landmark/iris_landmark.tflite",
        "iris",
        {"output_eyes_contours_and_brows": ("eye", (71, 3)), "output_iris": ("iris", (5, 3))},
    ),
)


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME padding along one axis: the odd pixel goes to the end."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


@dataclass
class Converter:
    """Walks one TensorFlow Lite graph and collects ONNX nodes."""

    model: Any
    nodes: list[Any] = field(default_factory=list[Any])
    initialisers: list[Any] = field(default_factory=list[Any])
    constants: dict[int, NDArray[Any]] = field(default_factory=dict[int, NDArray[Any]])
    count: int = 0

    def __post_init__(self) -> None:
        self.graph = self.model.Subgraphs(0)

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self.graph.Tensors(index)
        return tuple(int(x) for x in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()

    def constant(self, index: int) -> NDArray[Any] | None:
        """The value of a constant tensor (dequantised ones included), or None for an activation."""
        if index in self.constants:
            return self.constants[index]
        tensor = self.graph.Tensors(index)
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer.DataLength() == 0:
            return None
        return np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()]).reshape(self.shape(index))

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def weight(self, value: NDArray[Any]) -> str:
        """Store a float weight as float16 and return the name of its float32 version."""
        name = self.fresh("weight")
        half = np.ascontiguousarray(value).astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError("a weight does not fit float16")
        self.initialisers.append(numpy_helper.from_array(half, name + "_half"))
        self.nodes.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
        return name

    def integers(self, values: Sequence[int]) -> str:
        name = self.fresh("shape")
        self.initialisers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def emit(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        name = output or self.fresh(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def activation(self, name: str, code: int, output: str) -> str:
        if code == tflite.ActivationFunctionType.NONE:
            return name
        if code == tflite.ActivationFunctionType.RELU:
            return self.emit("Relu", [name], output + "_relu")
        raise ValueError(f"fused activation {code} is not handled")

    def window(self, options: Any, x: int, kernel: tuple[int, int]) -> dict[str, Any]:
        """Strides, dilations and pads of a convolution or pooling."""
        strides = (options.StrideH(), options.StrideW())
        has_dilation = hasattr(options, "DilationHFactor")
        dilations = (options.DilationHFactor(), options.DilationWFactor()) if has_dilation else (1, 1)
        pads = [(0, 0), (0, 0)]
        if options.Padding() == tflite.Padding.SAME:
            size = self.shape(x)[1:3]
            pads = [same_padding(*axis) for axis in zip(size, kernel, strides, dilations)]
        result: dict[str, Any] = {
            "kernel_shape": list(kernel),
            "strides": list(strides),
            "pads": [pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        }
        if has_dilation:
            result["dilations"] = list(dilations)
        return result

    def convert(self, source: Source) -> onnx.ModelProto:
        graph = self.graph
        (start,) = (int(i) for i in graph.InputsAsNumpy())
        names: dict[int, str] = {start: "image"}
        _, height, width, channels = self.shape(start)
        ends = {int(i): graph.Tensors(int(i)).Name().decode() for i in graph.OutputsAsNumpy()}
        rank4: set[int] = {start}

        def options(operator: Any, kind: type[Any]) -> Any:
            table = operator.BuiltinOptions()
            result = kind()
            result.Init(table.Bytes, table.Pos)
            return result

        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            opcode = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = OPERATORS[max(opcode.BuiltinCode(), opcode.DeprecatedBuiltinCode())]
            inputs = [int(j) for j in operator.InputsAsNumpy()]
            (out,) = (int(j) for j in operator.OutputsAsNumpy())
            stem = f"{kind.lower()}_{out}"
            spatial = True
            if kind == "DEQUANTIZE":
                value = self.constant(inputs[0])
                assert value is not None, "only weights are dequantised"
                self.constants[out] = value
                continue
            if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                weights, bias = self.constant(inputs[1]), self.constant(inputs[2])
                assert weights is not None
                assert bias is not None
                depthwise = kind == "DEPTHWISE_CONV_2D"
                opts = options(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
                # (out, h, w, in) -> (out, in, h, w); depthwise (1, h, w, out) -> (out, 1, h, w)
                order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
                window = self.window(opts, inputs[0], weights.shape[1:3])
                group = self.shape(inputs[0])[3] if depthwise else 1
                args = [names[inputs[0]], self.weight(weights.transpose(order)), self.weight(bias)]
                result = self.emit("Conv", args, stem, group=group, **window)
                names[out] = self.activation(result, opts.FusedActivationFunction(), stem)
            elif kind == "PRELU":
                slope = self.constant(inputs[1])
                assert slope is not None
                assert slope.shape[:2] == (1, 1)
                names[out] = self.emit(
                    "PRelu", [names[inputs[0]], self.weight(slope.transpose(2, 0, 1))], stem
                )
            elif kind == "RELU":
                names[out] = self.emit("Relu", [names[inputs[0]]], stem)
            elif kind == "ADD":
                result = self.emit("Add", [names[j] for j in inputs], stem)
                names[out] = self.activation(
                    result, options(operator, tflite.AddOptions).FusedActivationFunction(), stem
                )
            elif kind == "MAX_POOL_2D":
                opts = options(operator, tflite.Pool2DOptions)
                window = self.window(opts, inputs[0], (opts.FilterHeight(), opts.FilterWidth()))
                result = self.emit("MaxPool", [names[inputs[0]]], stem, **window)
                names[out] = self.activation(result, opts.FusedActivationFunction(), stem)
            elif kind == "PAD":
                pads = self.constant(inputs[1])
                assert pads is not None
                pads = pads[[0, 3, 1, 2]]
                names[out] = self.emit(
                    "Pad", [names[inputs[0]], self.integers(pads.T.ravel().tolist())], stem
                )
            elif kind == "RESHAPE":
                # the source flattens NHWC: go there first, keep the batch free
                result = names[inputs[0]]
                if inputs[0] in rank4:
                    result = self.emit("Transpose", [result], perm=[0, 2, 3, 1])
                names[out] = self.emit(
                    "Reshape", [result, self.integers([0, -1, *self.shape(out)[2:]])], stem
                )
                spatial = False
            elif kind == "CONCATENATION":
                opts = options(operator, tflite.ConcatenationOptions)
                assert not rank4.intersection(inputs), "only flattened tensors are concatenated"
                names[out] = self.emit("Concat", [names[j] for j in inputs], stem, axis=opts.Axis())
                spatial = False
            else:
                raise ValueError(f"{source.path}: operator {kind} is not handled")
            if spatial:
                rank4.add(out)

        outputs: list[Any] = []
        for index, original in ends.items():
            name, shape = source.outputs[original]
            result = names[index]
            if index in rank4:
                result = self.emit("Transpose", [result], perm=[0, 2, 3, 1])
            self.emit("Reshape", [result, self.integers([0, -1, *shape[1:]])], name)
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
        outputs.sort(key=lambda o: [n for n, _ in source.outputs.values()].index(o.name))
        start_info = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", channels, height, width])
        made = helper.make_model(
            helper.make_graph(self.nodes, source.name, [start_info], outputs, self.initialisers),
            opset_imports=[helper.make_opsetid("", 17)],
            producer_name="facerelief tools/convert_mediapipe.py",
            doc_string=f"{source.path} of mediapipe 0.10.21. Copyright Google LLC, Apache License 2.0.",
        )
        made.ir_version = 8
        onnx.checker.check_model(made, full_check=True)
        return made


def check(source: Source, tflite_bytes: bytes, file: Path, inputs: list[NDArray[np.float32]]) -> float:
    """Largest |ONNX - LiteRT| / range of the LiteRT output over `inputs` (1, 3, H, W); prints a line per
    output."""
    from ai_edge_litert.interpreter import Interpreter

    from facerelief.runtime import Network

    reference = Interpreter(model_content=tflite_bytes, num_threads=1)
    reference.allocate_tensors()
    by_name = {d["name"]: d["index"] for d in reference.get_output_details()}
    network = Network(file, threads=1)
    theirs: dict[str, list[NDArray[Any]]] = {name: [] for name in source.outputs}
    ours: dict[str, list[NDArray[Any]]] = {name: [] for name in source.outputs}
    for x in inputs:
        reference.set_tensor(reference.get_input_details()[0]["index"], x.transpose(0, 2, 3, 1).copy())
        reference.invoke()
        for name, value in zip(source.outputs, network(x)):
            theirs[name].append(reference.get_tensor(by_name[name]).reshape(value.shape))
            ours[name].append(value)
    by_output = {name: np.stack(values) for name, values in theirs.items()}
    worst = 0.0
    for name, (ours_name, _) in source.outputs.items():
        a, b = by_output[name], np.stack(ours[name])
        if source.name == "face_detection":  # on anchors far from any face the values run off by thousands
            scores = by_output["classificators"]
            seen = scores > np.percentile(scores, 50)
            a, b = a[seen], b[seen]
        relative = float(np.abs(a - b).max() / max(np.ptp(a), 1e-9))
        print(
            f"  {ours_name:10s} range {a.min():8.2f} .. {a.max():8.2f}   "
            f"max |difference| / range = {relative:.1e}"
        )
        worst = max(worst, relative)
    return worst


def network_inputs(photos: list[Path]) -> dict[str, list[NDArray[np.float32]]]:
    """Inputs of each network when the package detects faces in these photos."""
    from facerelief.detection import detect_faces, detector, landmarks
    from facerelief.io.images import read_image

    sizes = {
        "face_detection": detector.FRAME,
        "face_landmarks": landmarks.FACE_SIZE,
        "iris": landmarks.EYE_SIZE,
    }
    seen: dict[str, list[NDArray[np.float32]]] = {source.name: [] for source in SOURCES}

    def spy(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: NDArray[np.float32], **settings: Any) -> Any:
            if (
                x.shape[2] == sizes[name]
            ):  # the detector also runs on larger inputs, which the original cannot
                seen[name].extend(row[None].copy() for row in x)
            return original(x, **settings)

        return run

    detector.run_detector = spy("face_detection", detector.run_detector)
    landmarks.run_landmarks = spy("face_landmarks", landmarks.run_landmarks)
    landmarks.run_iris = spy("iris", landmarks.run_iris)
    for photo in photos:
        detect_faces(read_image(photo))
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "wheel", type=Path, help="mediapipe 0.10.21 wheel: pip download --no-deps mediapipe==0.10.21"
    )
    parser.add_argument(
        "--photos", type=Path, help="folder of JPEG photos for the check (default: the example portrait)"
    )
    parser.add_argument(
        "--limit", type=int, default=60, help="check on at most this many photos, evenly chosen"
    )
    args = parser.parse_args()

    OUT.mkdir(parents=True, exist_ok=True)
    originals: dict[str, bytes] = {}
    with zipfile.ZipFile(args.wheel) as wheel:
        for source in SOURCES:
            data = originals[source.name] = wheel.read(source.path)
            made = Converter(tflite.Model.GetRootAs(data, 0)).convert(source)
            file = OUT / f"{source.name}.onnx"
            file.write_bytes(made.SerializeToString())
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} B from {len(data):,} B")

    if args.photos:
        photos = sorted(args.photos.rglob("*.jpg"))
        if not photos:
            parser.error(f"{args.photos}: no .jpg files there")
        photos = photos[:: max(1, -(-len(photos) // args.limit))]
    else:
        from facerelief.examples import astronaut_path

        photos = [astronaut_path()]
    print(f"check against LiteRT on {len(photos)} photos")
    inputs = network_inputs(photos)
    worst = 0.0
    for source in SOURCES:
        print(f"{source.name}: {len(inputs[source.name])} inputs")
        worst = max(
            worst, check(source, originals[source.name], OUT / f"{source.name}.onnx", inputs[source.name])
        )
    print(f"worst {worst:.1e}, allowed {TOLERANCE:.0e}")
    return 0 if worst < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
