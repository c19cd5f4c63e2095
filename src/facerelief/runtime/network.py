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

    Several threads may call it at once: each has its own request.

    Args:
        file: The .onnx file; every input is float32.
        threads: Inference threads; None for `default_threads()`.
        precision: Arithmetic. "f32" gives the same numbers everywhere; "bf16" is faster on processors that
            have it and loses about three decimal digits; other processors, and ONNX Runtime, use f32.
        shapes: Static input shapes by input name, for networks exported with free dimensions. A free
            dimension not named here becomes 1.
        outputs: Names of the outputs to compute, in the order of the results; None for all.

    Raises:
        ValueError: `threads` is less than 1.
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
        """Read and compile now rather than on the first call. Raises ModelError for an unusable file."""
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
        """Run once.

        Args:
            *arrays: float32, one for each input, in the order and shapes of `input_shapes`.

        Returns:
            Copies of the outputs.

        Raises:
            ValueError: Another number or shape of arrays.
            ModelError: The file cannot be used.
        """
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
    """The `Network` of these settings, one per process, compiled on its first call; arguments as there."""
    return _cached(
        os.fspath(file),
        default_threads() if threads is None else threads,
        precision,
        tuple(sorted((name, tuple(shape)) for name, shape in (shapes or {}).items())),
        None if outputs is None else tuple(outputs),
    )
