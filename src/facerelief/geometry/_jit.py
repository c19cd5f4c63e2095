"""Compiled kernels: one decorator for all of them. Tested by tests/geometry/test_jit.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

Function = Callable[..., Any]


def kernel(function: Function) -> Function:
    """Compile with numba on first call; one thread, strict floats, GIL released, machine code kept on disk.

    The code is kept in `__pycache__` beside the source, in the user's cache directory where that is
    read-only, or in NUMBA_CACHE_DIR; where none can be written the kernel is compiled again in each process.
    Numba notices a change of the file a kernel is defined in but not of files it calls into, so kernels call
    only kernels of their own file.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": False}
    compile_: Any = numba.njit
    try:
        return compile_(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return compile_(**options)(function)
