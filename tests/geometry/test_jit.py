"""Compiled kernels: nothing is imported or compiled before it is needed, and the code is kept between
runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facerelief.geometry import _jit


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_importing_the_rooms_loads_no_heavy_library() -> None:
    heavy = run(
        "import sys, facerelief.geometry, facerelief.rendering\n"
        "print([m for m in ('numba', 'scipy', 'cv2', 'trimesh', 'torch') if m in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_machine_code_is_kept_for_the_next_run(tmp_path: Path) -> None:
    code = (
        "from facerelief.geometry import _kernels, face_normals, vertex_normals\n"
        "vertex_normals([[0., 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])\n"
        "stats = _kernels.vertex_normals.stats\n"
        "print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))"
    )
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0", "1"]
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["1", "0"]


def test_where_no_cache_can_be_written_kernels_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = _jit.numba.njit

    def without_cache(*, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available")
        return compile_(**options)

    monkeypatch.setattr(_jit.numba, "njit", without_cache)

    @_jit.kernel
    def double(x: float) -> float:
        return 2.0 * x

    assert double(4.0) == 8.0
