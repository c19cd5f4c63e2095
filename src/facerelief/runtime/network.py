"""One exported network, run on the processor by an engine (`runtime.engines`)."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.runtime.engines import CompileSettings, Engine, Precision, Request, compile_file
from facerelief.runtime.threads import default_threads


class Network:
    """An ONNX network compiled for the processor on its first call.

    file        the .onnx file; every input is float32
    threads     inference threads; None takes `default_threads()`
    precision   arithmetic asked for. "f32" gives the same numbers everywhere; "bf16" is faster on processors
                that have it and loses about three decimal digits; a processor without it computes in f32,
                ONNX Runtime always does
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
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._local = threading.local()
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}: expected at least 1")

    def compile(self) -> Engine:
        """Read and compile now rather than on the first call. Raises ModelError for a file that cannot be
        used."""
        with self._lock:
            if self._engine is None:
                settings = CompileSettings(self.threads, self.precision, self._shapes, self._outputs)
                self._engine = compile_file(self.file, settings)
            return self._engine

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Static shapes of the inputs, in calling order."""
        return self.compile().input_shapes

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Static shapes of the outputs, in the order a call gives them."""
        return self.compile().output_shapes

    def __call__(self, *arrays: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run once: float32 arrays in the network's input order -> copies of its outputs, in its output
        order."""
        engine = self._engine or self.compile()
        request: Request | None = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = engine.request()
        if len(arrays) != len(engine.input_shapes):
            raise ValueError(
                f"{self.file.name}: got {len(arrays)} arrays, expected {len(engine.input_shapes)}"
            )
        for i, (shape, array) in enumerate(zip(engine.input_shapes, arrays)):
            if array.shape != shape:
                raise ValueError(f"{self.file.name}: input {i} has shape {array.shape}, expected {shape}")
        return request(arrays)


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
