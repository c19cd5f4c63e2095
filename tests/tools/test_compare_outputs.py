"""The comparison of output folders sees every changed number, and ignores times, versions and paths."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from facerelief.video import VideoWriter

TOOL = Path(__file__).parents[2] / "tools" / "compare_outputs.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_outputs", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(packed: bool = True, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def png(image: np.ndarray, compression: int = 3) -> bytes:
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    assert done
    return data.tobytes()


def tar(mtime: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


NAN = np.float32([np.nan, 1])
IMAGE = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
SHARPER = np.where(IMAGE == 7, np.uint8(12), IMAGE)
RECORD = {"schema_version": 1, "pose": {"yaw": 0.25}, "version": "0.1.0", "timings_ms": {"fit": 3.0}}

SAME = {
    "other times, versions and folders": (
        "face.json",
        json.dumps(RECORD | {"image": "/one/photo.jpg"}).encode(),
        json.dumps(RECORD | {"version": "0.2.0", "timings_ms": {}, "image": "/two/photo.jpg"}).encode(),
    ),
    "1 and 1.0": ("track.csv", b"frame,yaw\n0,1\n", b"frame,yaw\n0,1.0\n"),
    "NaN is NaN": ("d.npy", npy(NAN), npy(NAN).replace(b"  \n", b" \n\n")),
    "packing of an npz": ("t.npz", npz(x=IMAGE), npz(packed=False, x=IMAGE)),
    "packing of an image": ("p.png", png(IMAGE, 0), png(IMAGE, 9)),
    "times of tar members": ("s.tar", tar(0, a_npy=npy(IMAGE)), tar(9, a_npy=npy(IMAGE))),
}
APART = {
    "array": ("depth.npy", npy(np.float32([1, 2])), npy(np.float32([1, 2.5])), 0.5),
    "unsigned": ("x.npy", npy(np.uint8([250])), npy(np.uint8([0])), 250.0),
    "NaN against a number": ("depth.npy", npy(np.float32([np.nan])), npy(np.float32([1])), np.inf),
    "dtype": ("x.npy", npy(np.float32([1])), npy(np.float64([1])), np.inf),
    "npz": ("t.npz", npz(x=np.arange(3)), npz(x=np.arange(3) * 2), 2.0),
    "npz member": ("t.npz", npz(x=np.arange(3)), npz(y=np.arange(3)), np.inf),
    "json": ("f.json", b'{"a": [1, {"b": 2}]}', b'{"a": [1, {"b": 2.25}]}', 0.25),
    "json schema": ("f.json", b'{"schema_version": 1}', b'{"schema_version": 2}', 1.0),
    "json null": ("f.json", b'{"a": null}', b'{"a": 0}', np.inf),
    "json key": ("f.json", b'{"a": 1}', b'{"b": 1}', np.inf),
    "csv": ("t.csv", b"yaw\n1\n", b"yaw\n1.5\n", 0.5),
    "csv rows": ("t.csv", b"yaw\n1\n", b"yaw\n1\n2\n", np.inf),
    "pixel": ("p.png", png(IMAGE), png(SHARPER), 5.0),
    "tar member": ("s.tar", tar(0, a_npy=npy(np.float32([1]))), tar(0, a_npy=npy(np.float32([2]))), 1.0),
    "mesh": ("m.obj", b"v 1 2 3", b"v 1 2 4", np.inf),
}


@pytest.mark.parametrize("case", SAME)
def test_equal(tool: ModuleType, folders: tuple[Path, Path], case: str) -> None:
    name, *contents = SAME[case]
    for folder, data in zip(folders, contents, strict=True):
        (folder / name).write_bytes(data)
    assert tool.compare(*folders) == {name: []}


@pytest.mark.parametrize("case", APART)
def test_largest_difference(tool: ModuleType, folders: tuple[Path, Path], case: str) -> None:
    name, a, b, expected = APART[case]
    for folder, data in zip(folders, (a, b), strict=True):
        (folder / name).write_bytes(data)
    assert tool.compare(*folders)[name][0].size == pytest.approx(expected)


def test_frames_of_a_video(tool: ModuleType, folders: tuple[Path, Path]) -> None:
    for folder, grey in zip(folders, (90, 140), strict=True):
        with VideoWriter(folder / "o.mp4", 64, 48, fps=25) as writer:
            for number in range(3):
                writer.write(np.full((48, 64, 3), grey, np.uint8), number / 25)
    (found,) = tool.compare(*folders)["o.mp4"]
    assert found.size == pytest.approx(50, abs=3)


def test_exit_status_missing_files_and_patterns(
    tool: ModuleType, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folders
    assert tool.main([str(a), str(b)]) == 1, "two empty folders prove nothing"
    for folder in folders:
        (folder / "x.npy").write_bytes(npy(np.arange(3)))
    assert tool.main([str(a), str(b)]) == 0
    (a / "only.obj").write_bytes(b"v 0 0 0")
    assert tool.main([str(a), str(b)]) == 1
    assert "only.obj: only in" in capsys.readouterr().out
    assert tool.main([str(a), str(b), "--ignore", "*.obj"]) == 0
