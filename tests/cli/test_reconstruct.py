"""`facerelief reconstruct` as a user meets it: results, messages, bad input."""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import leftovers, names, run_command
from command_line import run_command as run
from command_line import write_image as write

import facerelief
from facerelief.cli.app import main
from facerelief.examples import astronaut_path
from facerelief.inference.runners import SHIPPED_NETS
from facerelief.io.digest import file_digest
from facerelief.morphable import OPEN_MODEL_PATH
from facerelief.pipeline import batch

CONTRACT = {
    "coarse.obj",
    "depth.npy",
    "depth_coarse.npy",
    "detail.ply",
    "face.glb",
    "face.json",
    "face.mtl",
    "neutral.obj",
    "normals.png",
    "photo.jpg",
    "preview.png",
    "texture.png",
    "normal_map.png",
    "displacement.png",
}
QUICK = ("--texture-size", "64")


def without_timings(path: Path) -> bytes:
    document = json.loads(path.read_text("utf-8"))
    del document["timings_ms"]
    return json.dumps(document).encode()


def test_a_photo_becomes_a_folder(photo, tmp_path, model_file):
    out = tmp_path / "out"
    result = run("reconstruct", photo, "-o", out, "--model", model_file, *QUICK)
    assert names(out) == {"eileen"}
    assert names(out / "eileen") == {"face0"}
    assert names(out / "eileen" / "face0") == CONTRACT
    line, saved = result.stdout.splitlines()
    assert line.startswith(f"{photo}: face 1 of 1, box ")
    for part in ("pitch ", "yaw ", "roll ", " deg, confidence 0.", " px (", " mm), colour ", " ms"):
        assert part in line
    assert saved == f"saved in {out / 'eileen'}"
    assert result.stderr == ""
    face = json.loads((out / "eileen" / "face0" / "face.json").read_text("utf-8"))
    assert face["source"] == "eileen.jpg"
    assert face["fit"]["photometric_rms_after"] <= face["fit"]["photometric_rms_before"]


def test_what_is_done_is_skipped_unless_told(photo, tmp_path, model_file):
    out = tmp_path / "out"
    command = ("reconstruct", photo, "-o", out, "--model", model_file, *QUICK)
    run(*command)
    marker = out / "eileen" / "face0" / "preview.png"
    before = marker.stat().st_mtime_ns
    result = run(*command)
    assert result.stdout == f"{photo}: already done, 1 face in {out / 'eileen'} (--overwrite does it again)\n"
    assert marker.stat().st_mtime_ns == before
    (out / "eileen" / "face7").mkdir()  # of an earlier state with more faces
    run(*command, "--overwrite")
    assert names(out / "eileen") == {"face0"}
    assert marker.stat().st_mtime_ns > before


def test_results_of_another_picture_or_model_are_not_taken_for_done(photo, tmp_path, portrait, model_file):
    out = tmp_path / "out"
    run("reconstruct", photo, "-o", out, "--model", model_file, *QUICK)
    other = write(tmp_path / "other" / "eileen.jpg", portrait[:, ::-1])
    result = run("reconstruct", other, "-o", out, "--model", model_file, *QUICK, code=1)
    assert f"error: {other}: {out / 'eileen'}: holds the result of another image" in result.stderr
    model = facerelief.open_model()
    facerelief.save_model(
        type(model)(**{**vars(model), "name": "mine", "version": "7"}), tmp_path / "mine.npz"
    )
    result = run("reconstruct", photo, "-o", out, "--model", tmp_path / "mine.npz", code=1)
    assert "not mine 7, fit" in result.stderr
    assert "--overwrite" in result.stderr


def test_a_folder_that_is_no_result_is_never_touched(photo, tmp_path, model_file):
    out = tmp_path / "out"
    (out / "eileen").mkdir(parents=True)
    (out / "eileen" / "letter.txt").write_text("keep me")
    for extra in ((), ("--overwrite",)):
        result = run("reconstruct", photo, "-o", out, "--model", model_file, *extra, code=1)
        assert str(out / "eileen") in result.stderr
    assert (out / "eileen" / "letter.txt").read_text() == "keep me"
    assert not leftovers(out)


def test_pictures_of_one_name_keep_apart(tmp_path, portrait, model_file):
    one = write(tmp_path / "a" / "x.png", portrait)
    two = write(tmp_path / "b" / "x.png", portrait[:, ::-1])
    out = tmp_path / "out"
    result = run("reconstruct", one, two, one, "-o", out, "--model", model_file, *QUICK)
    assert names(out) == {"a-x", "b-x"}
    assert "images done 2, skipped 0, failed 0; faces saved 2" in result.stdout


def test_a_folder_of_pictures(tmp_path, portrait, model_file, monkeypatch):
    folder = tmp_path / "in"
    write(folder / "b.png", portrait)
    write(folder / "A.JPG", portrait)
    write(folder / "sub" / "c.png", portrait)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_bytes(b"")
    seen = []
    monkeypatch.setattr(batch, "process", lambda job, *_: seen.append(job) or batch.Outcome(job, "done"))
    run("reconstruct", folder, "-o", folder / "out", "--model", model_file)
    assert [job.image.name for job in seen] == ["A.JPG", "b.png"]
    seen.clear()
    write(folder / "out" / "b" / "face0" / "texture.png", portrait)
    (folder / "out" / "b" / "face0" / "face.json").write_text("{}")
    run("reconstruct", folder, "-o", folder / "out", "--model", model_file, "--recursive")
    assert [job.image.name for job in seen] == ["A.JPG", "b.png", "c.png"]
    (tmp_path / "empty").mkdir()
    result = run("reconstruct", tmp_path / "empty", "-o", tmp_path / "out", code=1)
    assert "no images in this folder" in result.stderr


def bad_pictures(folder: Path, portrait: np.ndarray) -> dict[str, tuple[Path, str]]:
    """Kind -> file and what its error line says."""
    good = cv2.imencode(".jpg", portrait[..., ::-1])[1].tobytes()

    def png(width: int, height: int) -> bytes:
        def chunk(name: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = chunk(b"IDAT", zlib.compress(bytes(1 + 3 * width))) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data

    content = {
        "empty": (b"", ".jpg", "the file is empty"),
        "truncated": (good[: len(good) // 2], ".jpg", "truncated"),
        "text": (b"Dear reader,\n", ".jpg", "not an image"),
        "tiny": (png(1, 1), ".png", "1 x 1"),
        "vast": (png(20_000, 20_000), ".png", "20000 x 20000"),
        "wall": (cv2.imencode(".png", np.full((80, 80), 128))[1].tobytes(), ".png", "no face found"),
        "gone": (None, ".jpg", "no such file"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for kind, (data, ending, words) in content.items():
        path = folder / f"{kind}{ending}"
        if data is not None:
            path.write_bytes(data)
        found[kind] = (path, words)
    return found


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "tiny", "vast", "wall", "gone"])
def test_bad_pictures_end_in_one_line(kind, tmp_path, portrait):
    path, words = bad_pictures(tmp_path / "in", portrait)[kind]
    result = run("reconstruct", path, "-o", tmp_path / "out", code=1)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {path}: ")
    assert words in line.replace(",", "")
    assert "; " in line  # what to do
    assert names(tmp_path / "out") == {"failed.json"}


def test_bad_pictures_do_not_stop_the_others(tmp_path, portrait, photo, model_file):
    bad = bad_pictures(tmp_path / "bad", portrait)
    out = tmp_path / "out"
    files = [path for path, _ in bad.values()]
    result = run("reconstruct", *files[:4], photo, *files[4:], "-o", out, "--model", model_file, *QUICK)
    assert names(out) == {"eileen", "failed.json"}
    assert names(out / "eileen" / "face0") == CONTRACT
    failed = json.loads((out / "failed.json").read_text("utf-8"))["failed"]
    assert [row["file"] for row in failed] == [str(path) for path in files]
    assert {row["error"] for row in failed} == {"ImageError", "NoFaceError"}
    report = result.stderr.split("failed:\n")[1]
    for path, words in bad.values():
        assert any(str(path) in line and words in line.replace(",", "") for line in report.splitlines())
    assert f"images done 1, skipped 0, failed {len(bad)}; faces saved 1" in result.stdout
    # the report goes when there is nothing to report
    run("reconstruct", photo, "-o", out, "--model", model_file)
    assert names(out) == {"eileen"}


def test_a_face_cut_by_the_frame_is_done_with_a_warning(tmp_path, model_file):
    image = facerelief.read_image(astronaut_path())
    cut = write(tmp_path / "cut.png", image[30:230, 205:405])
    result = run("reconstruct", cut, "-o", tmp_path / "out", "--model", model_file, *QUICK)
    assert "\n  warning: the image's frame cuts the face (" in result.stdout
    assert names(tmp_path / "out" / "cut" / "face0") == CONTRACT


def test_two_of_several_faces(tmp_path, portrait, model_file):
    montage = write(tmp_path / "two.png", np.tile(portrait, (1, 3, 1)))
    result = run(
        "reconstruct", montage, "-o", tmp_path / "out", "--model", model_file, "--max-faces", 2, *QUICK
    )
    assert names(tmp_path / "out" / "two") == {"face0", "face1"}
    assert f"{montage}: face 2 of 2, " in result.stdout


@pytest.mark.slow
def test_thirty_faces(tmp_path, portrait, model_file):
    montage = write(tmp_path / "crowd.png", np.tile(portrait, (5, 6, 1)))
    result = run("reconstruct", montage, "-o", tmp_path / "out", "--model", model_file, *QUICK)
    assert names(tmp_path / "out" / "crowd") == {f"face{i}" for i in range(30)}
    assert result.stdout.count("of 30, ") == 30


def test_output_folder_that_is_read_only(photo, tmp_path, monkeypatch):
    def refuse(path, data):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(pathlib.Path, "write_bytes", refuse)
    result = run("reconstruct", photo, "-o", tmp_path / "out", code=1)
    assert result.stderr == (
        f"error: {tmp_path / 'out'}: cannot write: the file system is read-only; "
        "choose another output folder\n"
    )
    assert not leftovers(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_without_permission(photo, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    result = run("reconstruct", photo, "-o", locked, code=1)
    assert "permission denied" in result.stderr


def test_output_folder_below_a_file(photo, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("reconstruct", photo, "-o", tmp_path / "file" / "out", code=1)
    (line,) = result.stderr.splitlines()
    assert "is a file, not a folder" in line


def test_disk_that_fills_up(photo, tmp_path, portrait, model_file, monkeypatch):
    second = write(tmp_path / "in" / "second.jpg", portrait[:, ::-1])
    third = write(tmp_path / "in" / "third.jpg", portrait)
    real = pathlib.Path.write_bytes

    def fill_up(path, data):
        if "second" in str(path) and "texture.png" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(pathlib.Path, "write_bytes", fill_up)
    out = tmp_path / "out"
    result = run("reconstruct", photo, second, third, "-o", out, "--model", model_file, *QUICK)
    assert names(out) == {"eileen", "third", "failed.json"}
    assert not leftovers(out)
    line = result.stderr.splitlines()[0]
    assert line.startswith(f"error: {second}: {out / 'second' / 'face0'}")
    assert "the disk is full" in line
    assert ".tmp-" not in line


def test_bugs_do_not_stop_the_batch(photo, tmp_path, portrait, model_file, monkeypatch):
    second = write(tmp_path / "in" / "second.jpg", portrait)
    real = facerelief.Reconstructor.__call__

    def stumble(self, image):
        if "eileen" in str(image):
            raise KeyError("jawOpen")
        return real(self, image)

    monkeypatch.setattr(facerelief.Reconstructor, "__call__", stumble)
    command = ("reconstruct", photo, second, "-o", tmp_path / "out", "--model", model_file, *QUICK)
    result = run(*command)
    assert f"error: {photo}: internal error (KeyError: 'jawOpen'); please report it" in result.stderr
    assert names(tmp_path / "out") == {"second", "failed.json"}
    result = run_command(*command, "--verbose", code=None)
    assert result.exit_code == 0
    assert "Traceback (most recent call last)" in result.stderr


def test_files_of_networks_and_model_are_recorded(photo, tmp_path):
    nets = tmp_path / "nets"
    nets.mkdir()
    shutil.copy(SHIPPED_NETS / "coarse.onnx", nets)
    out = tmp_path / "out"
    result = run("reconstruct", photo, "-o", out, "--nets", nets, *QUICK)
    assert result.stderr == f"{nets}: no fine.onnx; the shipped network is used\n"
    face = json.loads((out / "eileen" / "face0" / "face.json").read_text("utf-8"))
    assert face["networks"] == {
        name: {"file": f"{name}.onnx", "sha256": file_digest(SHIPPED_NETS / f"{name}.onnx")}
        for name in ("coarse", "fine")
    }
    assert face["model"]["sha256"] == file_digest(OPEN_MODEL_PATH)


@pytest.mark.parametrize("by_variable", [False, True])
def test_folders_of_networks_that_are_not_there(photo, tmp_path, monkeypatch, by_variable):
    given = () if by_variable else ("--nets", tmp_path / "gone")
    if by_variable:
        monkeypatch.setenv("FACERELIEF_NETS", str(tmp_path / "gone"))
    result = run("reconstruct", photo, "-o", tmp_path / "out", *given, code=1)
    (line,) = result.stderr.splitlines()
    assert f"{tmp_path / 'gone'}: no such folder of networks" in line
    assert ("FACERELIEF_NETS" in line) is by_variable


def test_no_memory_is_said_in_a_line(photo, tmp_path, model_file, monkeypatch):
    def greedy(self, image):
        raise MemoryError

    monkeypatch.setattr(facerelief.Reconstructor, "__call__", greedy)
    result = run("reconstruct", photo, "-o", tmp_path / "out", "--model", model_file, code=1)
    assert "not enough memory" in result.stderr


def test_interrupt_keeps_what_is_done(photo, tmp_path, portrait, model_file, monkeypatch):
    second = write(tmp_path / "in" / "second.jpg", portrait)
    third = write(tmp_path / "in" / "third.jpg", portrait)
    real = batch._saved

    def interrupted(face, folder, final, size):
        done = real(face, folder, final, size)
        if "second" in str(final):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(batch, "_saved", interrupted)
    out = tmp_path / "out"
    result = run("reconstruct", photo, second, third, "-o", out, "--model", model_file, *QUICK, code=130)
    assert "stopped: 1 of 3 images ended, 2 left; give the same command again to go on" in result.stderr
    assert names(out) == {"eileen"}
    monkeypatch.undo()
    result = run("reconstruct", photo, second, third, "-o", out, "--model", model_file, *QUICK)
    assert "images done 2, skipped 1, failed 0" in result.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_all_processes(tmp_path, portrait, model_file, workers, kind):
    for i in range(40):
        write(tmp_path / "in" / f"{i:02}.jpg", portrait)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "facerelief", "reconstruct"]
    command += [str(tmp_path / "in"), "-o", str(out), "--model", str(model_file), *QUICK]
    command += ["--workers", str(workers)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (out / "02").exists():
            time.sleep(0.05)
            assert process.poll() is None
        os.killpg(process.pid, kind) if kind == signal.SIGINT else process.send_signal(kind)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "stopped: " in error
    done = names(out)
    assert {"00", "01", "02"} <= done
    assert not leftovers(out)
    assert all(names(out / name / "face0") == CONTRACT for name in done)
    time.sleep(0.5)
    assert names(out) == done  # nobody goes on


def test_workers_change_nothing_but_the_time(tmp_path, portrait, model_file):
    folder = tmp_path / "in"
    write(folder / "a.png", portrait)
    write(folder / "b.png", np.tile(portrait, (1, 2, 1)))
    write(folder / "c.png", portrait[:, ::-1])
    (folder / "bad.jpg").write_bytes(b"")
    for workers in (1, 2):
        out = tmp_path / str(workers)
        result = run("reconstruct", folder, "-o", out, "--model", model_file, *QUICK, "--workers", workers)
        assert "images done 3, skipped 0, failed 1; faces saved 4" in result.stdout
        assert not leftovers(out)
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*.*"))
    assert sum(file.name in CONTRACT for file in files) == 4 * len(CONTRACT)
    for file in files:
        one, two = tmp_path / "1" / file, tmp_path / "2" / file
        if file.name == "face.json":
            assert without_timings(one) == without_timings(two), file
        elif file.name != "failed.json":
            assert one.read_bytes() == two.read_bytes(), file


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--max-faces", "0"),
        ("--workers", "0"),
        ("--min-confidence", "1.5"),
        ("--method", "magic"),
        ("--texture-size", "1"),
        ("--same-subject", "--method", "net"),
        ("--no-such-option",),
    ],
)
def test_usage_errors(photo, tmp_path, args):
    out = () if not args else ("-o", tmp_path / "out")
    run("reconstruct", photo, *out, *args, code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_text(photo, tmp_path, model_file):
    odd = os.fsdecode(os.fsencode(photo.parent) + b"/caf\xe9.jpg")
    photo.rename(odd)
    (photo.parent / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"")
    out = tmp_path / "out"
    result = run("reconstruct", photo.parent, "-o", out, "--model", model_file, *QUICK)
    assert "caf?.jpg: face 1 of 1" in result.stdout
    face = out / os.fsdecode(b"caf\xe9") / "face0" / "face.json"
    assert json.loads(face.read_text("utf-8"))["source"] == "caf?.jpg"
    assert "bad?.jpg: the file is empty" in (out / "failed.json").read_text("utf-8")


def test_progress_only_for_somebody_who_looks(photo, tmp_path, portrait, model_file, monkeypatch):
    write(photo.with_name("second.jpg"), portrait)
    monkeypatch.setattr(batch, "process", lambda job, *_: batch.Outcome(job, "done"))
    result = run("reconstruct", photo.parent, "-o", tmp_path / "out", "--model", model_file)
    assert result.stdout == "images done 2, skipped 0, failed 0; faces saved 0\n"
    assert result.stderr == ""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert (
        main(["reconstruct", str(photo.parent), "-o", str(tmp_path / "out"), "--model", str(model_file)]) == 0
    )
    assert "images" in terminal.getvalue()
