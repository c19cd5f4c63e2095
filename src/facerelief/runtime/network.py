"""One exported network, run on the processor with OpenVINO.

OpenVINO is imported on first use, never by `import facerelief`, and without its usage reporting: its command
line tools, which `import openvino` pulls in, send an event to the network unless the user has opted out.
`openvino_telemetry` is therefore hidden while OpenVINO is imported, so that the tools take their own silent
stand-in.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError

Precision = Literal["f32", "bf16", "f16"]

_lock = threading.RLock()
_threads: int | None = None


def default_threads() -> int:
    """Threads a network uses unless told: `set_threads`, else FACERELIEF_THREADS, else the processors, at
    most four.

    The networks are small; beyond a few threads they get slower, not faster.
    """
    if _threads is not None:
        return _threads
    asked = os.environ.get("FACERELIEF_THREADS", "").strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, available))


def set_threads(count: int | None) -> int | None:
    """Set the threads of networks asked for from now on, None for the default; returns the setting before."""
    global _threads
    if count is not None and count < 1:
        raise ValueError(f"count is {count}: expected at least 1 thread, or None for the default")
    before, _threads = _threads, count
    return before


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

    build: Any = getattr(openvino, "Model")  # noqa: B009  # its stubs disagree with themselves
    wanted = [model.output(name).get_node() for name in names]
    return build(wanted, model.get_parameters(), model.friendly_name)


class Network:
    """An ONNX network compiled for the processor on its first call.

    file        the .onnx file; every input is float32
    threads     inference threads; None takes `default_threads()`
    precision   arithmetic asked for. "f32" gives the same numbers everywhere; "bf16" is faster on processors
                that have it and loses about three decimal digits; a processor without it computes in f32
    shapes      static input shapes by input name, for networks exported with free dimensions. A free
                dimension not named here becomes 1
    outputs     names of the outputs wanted, in that order; what only other outputs need is not computed. None
                for all

    Calls may come from several threads at once: each thread has its own request.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        threads: int | None = None,
        precision: Precision = "f32",
        shapes: Mapping[str, Sequence[int]] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self.file = Path(file)
        self.threads = default_threads() if threads is None else threads
        self.precision: Precision = precision
        self._shapes = {name: tuple(shape) for name, shape in (shapes or {}).items()}
        self._outputs = None if outputs is None else tuple(outputs)
        self._compiled: Any = None
        self._lock = threading.Lock()
        self._local = threading.local()
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}: expected at least 1")

    def compile(self) -> None:
        """Read and compile now rather than on the first call. Raises ModelError for a file that cannot be
        used."""
        with self._lock:
            if self._compiled is not None:
                return
            if not self.file.is_file():
                raise ModelError(
                    f"{self.file}: no such network file; reinstall facerelief or give an .onnx file"
                )
            core = _core()
            try:
                model = core.read_model(str(self.file))
                shapes: dict[str, Any] = {}
                for port in model.inputs:
                    name = port.get_any_name()
                    if name in self._shapes:
                        shapes[name] = list(self._shapes[name])
                    elif port.partial_shape.is_dynamic:
                        shapes[name] = [1 if d.is_dynamic else d.get_length() for d in port.partial_shape]
                if shapes:
                    model.reshape(shapes)
                if self._outputs is not None:
                    model = _with_outputs(model, self._outputs)
                self._compiled = core.compile_model(
                    model,
                    "CPU",
                    {
                        "INFERENCE_PRECISION_HINT": self.precision,
                        "PERFORMANCE_HINT": "LATENCY",
                        "NUM_STREAMS": "1",
                        "INFERENCE_NUM_THREADS": str(self.threads),
                    },
                )
            except RuntimeError as error:
                reason = (
                    str(error).strip().splitlines()[-1].strip() if str(error).strip() else "unknown reason"
                )
                raise ModelError(
                    f"{self.file}: expected an ONNX network that OpenVINO can run ({reason}); export it again"
                ) from error

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Static shapes of the inputs, in calling order."""
        self.compile()
        return [tuple(port.shape) for port in self._compiled.inputs]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Static shapes of the outputs, in the order a call gives them."""
        self.compile()
        return [tuple(port.shape) for port in self._compiled.outputs]

    def __call__(self, *arrays: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run once: float32 arrays in the network's input order -> copies of its outputs, in its output
        order."""
        if self._compiled is None:
            self.compile()
        request = getattr(self._local, "request", None)
        if request is None:
            compiled: Any = self._compiled
            request = self._local.request = compiled.create_infer_request()
            self._local.inputs = [tensor.data for tensor in request.input_tensors]
            self._local.outputs = [tensor.data for tensor in request.output_tensors]
        inputs: list[NDArray[np.float32]] = self._local.inputs
        if len(arrays) != len(inputs):
            raise ValueError(f"{self.file.name}: got {len(arrays)} arrays, expected {len(inputs)}")
        for i, (buffer, array) in enumerate(zip(inputs, arrays)):
            if buffer.shape != array.shape:
                raise ValueError(
                    f"{self.file.name}: input {i} has shape {array.shape}, expected {buffer.shape}"
                )
            np.copyto(buffer, array, casting="same_kind")
        request.infer()
        return [output.copy() for output in self._local.outputs]


@functools.lru_cache(maxsize=64)
def _cached(
    file: str,
    threads: int,
    precision: Precision,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    outputs: tuple[str, ...] | None,
) -> Network:
    return Network(file, threads=threads, precision=precision, shapes=dict(shapes), outputs=outputs)


def load_network(
    file: str | os.PathLike[str],
    *,
    threads: int | None = None,
    precision: Precision = "f32",
    shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
) -> Network:
    """The process's one `Network` for these settings; compiled on its first call."""
    return _cached(
        os.fspath(file),
        default_threads() if threads is None else threads,
        precision,
        tuple(sorted((name, tuple(shape)) for name, shape in (shapes or {}).items())),
        None if outputs is None else tuple(outputs),
    )
