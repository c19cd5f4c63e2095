"""The command `gallery` renders .glb files into sheets."""

from __future__ import annotations

from command_line import run_command

import facerelief


def test_a_folder_becomes_sheets(tmp_path, toy_reconstruction):
    (tmp_path / "in" / "a").mkdir(parents=True)
    toy_reconstruction.write_glb(tmp_path / "in" / "a" / "face.glb", texture_size=64)
    (tmp_path / "in" / "bad.glb").write_bytes(b"no")
    result = run_command("gallery", tmp_path / "in", "-o", tmp_path / "out", "--size", 64)
    assert "bad.glb: no .glb file that can be shown" in result.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a_face.png"]
    assert facerelief.read_image(tmp_path / "out" / "a_face.png").shape[0] > 128


def test_nothing_to_show_is_an_error(tmp_path):
    result = run_command("gallery", tmp_path, "-o", tmp_path / "out", code=1)
    assert "no .glb file there" in result.stderr
