"""The command `evaluate maps` prints a line for each face."""

from __future__ import annotations

from command_line import run_command


def test_a_folder_without_a_face_is_an_error(tmp_path):
    result = run_command("evaluate", "maps", tmp_path, code=1)
    assert "face.json" in result.stderr
