"""Commands run inside the test's process."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from facerelief.cli.app import main


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, one after the other."""
        return self.stdout + self.stderr


def run_command(*words: object, code: int | None = 0) -> Result:
    """Run `facerelief WORDS` without a terminal; its exit code must be `code`, unless that is None.

    No traceback may be printed; an error that is a bug comes through.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.dict(os.environ, {"COLUMNS": "200", "NO_COLOR": "1"}),
    ):
        found = main([str(word) for word in words])
    result = Result(found, out.getvalue(), err.getvalue())
    if code is not None:
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
    return result


def write_image(path: Path, rgb: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith(".tmp-")]
