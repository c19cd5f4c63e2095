"""`facerelief model build`: the command's own work; the building is tested in tests/lab/building."""

from __future__ import annotations

from command_line import run_command as run
from command_line import write_image as write

import facerelief


def test_model_build(model_file, tmp_path, portrait, monkeypatch):
    """The command's own work; the building is tested in tests/building."""
    from facerelief.lab.building import open_model

    model = facerelief.open_model().truncated(identity=3)
    given = {}

    def fake(scans, anny, config, faces, progress):
        given.update(scans=scans, anny=anny, config=config, faces=faces)
        progress("building")
        return open_model.Build(model, None, None, None, None)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(open_model, "build_open_model", fake)
    out = tmp_path / "built.npz"
    command = ("model", "build", "--heads", model_file, "-o", out, "--persons", 50)
    result = run(*command)
    assert result.stdout.startswith(f"{out}: facerelief-open 2, ")
    assert result.stderr == "building\n"
    assert given["config"].persons == 50
    assert given["faces"] is given["anny"] is None
    assert facerelief.load_model(out).n_identity == 3

    run(*command, "--overwrite", "--photos", tmp_path, code=2)  # --neutral is missing
    for i in range(3):
        write(tmp_path / "photos" / f"{i}_n.png", portrait)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"")
    few = run(*command, "--overwrite", "--photos", tmp_path / "photos", "--neutral", "*_n.png", code=1)
    assert "left out: " in few.stderr
    assert "faces found on 3 photos, 3 of them neutral" in few.stderr

    from facerelief.detection import detect_faces

    face = detect_faces(portrait)[0]
    monkeypatch.setattr("facerelief.detection.detect_faces", lambda *_, **__: [face])
    for i in range(3, 60):
        write(tmp_path / "photos" / f"{i}{'_n' if i < 30 else ''}.png", portrait[:40, :40])
    run(*command, "--overwrite", "--photos", tmp_path / "photos", "--neutral", "*_n.png")
    assert (len(given["faces"].any), len(given["faces"].neutral)) == (60, 30)


def test_model_build_report_without_its_extra(model_file, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run(
        "model", "build", "--heads", model_file, "--report", tmp_path / "r", "-o", tmp_path / "m.npz", code=1
    )
    assert result.stderr == "error: --report needs matplotlib: pip install 'facerelief[build]'\n"


def test_model_build_from_what_is_no_head_model(tmp_path, photo):
    result = run("model", "build", "--heads", photo, "-o", tmp_path / "m.npz", code=1)
    assert str(photo) in result.stderr
    assert not (tmp_path / "m.npz").exists()
