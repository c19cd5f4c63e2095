"""Engines for exported networks: OpenVINO, or ONNX Runtime where there is no OpenVINO.

Both are imported on first use, never by `import facerelief`. OpenVINO runs without its usage reporting: its
command line tools, which `import openvino` loads, send an event to the network unless the user has opted
out. `openvino_telemetry` is therefore hidden while OpenVINO is imported; without it the tools report nothing.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError

Precision = Literal["f32", "bf16", "f16"]
EngineName = Literal["openvino", "onnxruntime"]
Request = Callable[[Sequence[NDArray[np.float32]]], list[NDArray[np.float32]]]
"""Takes float32 inputs of the engine's shapes, returns copies of the outputs; for one thread at a time."""

_lock = threading.RLock()


@dataclass(frozen=True)
class CompileSettings:
    """Settings of a compiled network; see `network.Network`."""

    threads: int
    precision: Precision
    shapes: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...] | None


class Engine(ABC):
    """One compiled network."""

    input_shapes: list[tuple[int, ...]]
    output_shapes: list[tuple[int, ...]]

    @abstractmethod
    def request(self) -> Request:
        """A function that runs the network, with buffers of its own, for one thread."""


def engine_name() -> EngineName:
    """FACERELIEF_ENGINE, else OpenVINO if it is installed, else ONNX Runtime.

    Raises:
        ModelError: The variable holds another name, or neither is installed.
    """
    asked = os.environ.get("FACERELIEF_ENGINE", "").strip().lower()
    if asked in get_args(EngineName):
        return asked  # pyright: ignore[reportReturnType]
    if asked:
        known = " or ".join(get_args(EngineName))
        raise ModelError(f"FACERELIEF_ENGINE is {asked!r}: expected {known}")
    if "openvino" in sys.modules or find_spec("openvino") is not None:
        return "openvino"
    if find_spec("onnxruntime") is not None:
        return "onnxruntime"
    raise ModelError("networks need openvino or onnxruntime: pip install openvino, or 'facerelief[ort]'")


def compile_file(file: Path, settings: CompileSettings) -> Engine:
    """Read and compile a network. Raises ModelError for a file that cannot be used."""
    if not file.is_file():
        raise ModelError(f"{file}: no such network file; reinstall facerelief or give an .onnx file")
    name = engine_name()
    try:
        if name == "openvino":
            return OpenVino(file, settings)
        return OnnxRuntime(file, settings)
    except ImportError as error:
        raise ModelError(
            f"{name} cannot be imported ({error}); install it, or set FACERELIEF_ENGINE to the other one"
        ) from error
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[-1].strip() if lines else "unknown reason"
        title = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}[name]
        raise ModelError(
            f"{file}: expected an ONNX network that {title} can run ({reason}); export it again"
        ) from error


class OpenVino(Engine):
    """OpenVINO on the processor."""

    def __init__(self, file: Path, settings: CompileSettings) -> None:
        core = _core()
        model = core.read_model(str(file))
        shapes: dict[str, Any] = {}
        for port in model.inputs:
            name = port.get_any_name()
            if name in settings.shapes:
                shapes[name] = list(settings.shapes[name])
            elif port.partial_shape.is_dynamic:
                shapes[name] = [1 if d.is_dynamic else d.get_length() for d in port.partial_shape]
        if shapes:
            model.reshape(shapes)
        if settings.outputs is not None:
            model = _with_outputs(model, settings.outputs)
        self._compiled: Any = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": settings.precision,
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": str(settings.threads),
            },
        )
        self.input_shapes = [tuple(port.shape) for port in self._compiled.inputs]
        self.output_shapes = [tuple(port.shape) for port in self._compiled.outputs]

    def request(self) -> Request:
        request = self._compiled.create_infer_request()
        inputs = [tensor.data for tensor in request.input_tensors]
        outputs = [tensor.data for tensor in request.output_tensors]

        def run(arrays: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            for buffer, array in zip(inputs, arrays):
                np.copyto(buffer, array, casting="same_kind")
            request.infer()
            return [output.copy() for output in outputs]

        return run


class OnnxRuntime(Engine):
    """ONNX Runtime on the processor, always in single precision."""

    def __init__(self, file: Path, settings: CompileSettings) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come as exceptions
        try:
            session: Any = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own exceptions have no common base
            raise RuntimeError(str(error)) from error
        self._session = session
        self._names = [port.name for port in session.get_inputs()]
        self.input_shapes = [
            settings.shapes.get(port.name) or tuple(d if isinstance(d, int) else 1 for d in port.shape)
            for port in session.get_inputs()
        ]
        wanted = settings.outputs or tuple(port.name for port in session.get_outputs())
        self._outputs = list(wanted)
        # free dimensions of the outputs follow from those of the inputs
        blank = [np.zeros(shape, np.float32) for shape in self.input_shapes]
        self.output_shapes = [tuple(x.shape) for x in self.request()(blank)]

    def request(self) -> Request:
        def run(arrays: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            given = {
                name: np.ascontiguousarray(array, np.float32) for name, array in zip(self._names, arrays)
            }
            return self._session.run(self._outputs, given)

        return run


@functools.cache
def _core() -> Any:
    """The process's OpenVINO core, imported without usage reporting."""
    with _lock:
        name = "openvino_telemetry"
        hide = "openvino" not in sys.modules and name not in sys.modules
        if hide:
            # now "import openvino_telemetry" raises ImportError
            sys.modules[name] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            if hide:
                sys.modules.pop(name, None)
        return openvino.Core()


def _with_outputs(model: Any, names: tuple[str, ...]) -> Any:
    """The part of an OpenVINO model that computes the outputs of these names."""
    import openvino

    build: Any = getattr(openvino, "Model")  # noqa: B009  # its stubs contradict each other
    wanted = [model.output(name).get_node() for name in names]
    return build(wanted, model.get_parameters(), model.friendly_name)
