"""The Khronos glTF validator, where node and its package are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def run_validator(*files):
    """Report of the Khronos validator, or skip where node or the package is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, str(TOOLS / "validate_glb.mjs"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    if done.returncode == 2 and "not installed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)["reports"]
