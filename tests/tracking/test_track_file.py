"""Tracks come back as they were written, and a file that is none never does harm."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from facerelief.errors import VideoError
from facerelief.tracking import track_file
from facerelief.tracking.track_file import Track, load_track, write_track, write_track_csv

NAMES = ("jawOpen", "mouth, left")


@pytest.fixture
def track() -> Track:
    """Six frames, the third without a face."""
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        out = rng.normal(size=(6, *shape)).astype(np.float32)
        out[2] = np.nan
        return out

    return Track(
        frame=np.array([0, 1, 2, 3, 7, 8]),
        time=np.arange(6) / 7,
        state=np.array(["found", "tracked", "none", "found", "tracked", "tracked"]),
        camera=some(6),
        rotation=some(3, 3),
        expression=some(2),
        expression_names=NAMES,
        light=some(9, 3),
        box=some(4),
        confidence=some(),
        landmarks68_px=some(68, 2),
        person=np.array([0, 1, -1, 1, 1, 1], np.int32),
        identity=rng.normal(size=(2, 5)).astype(np.float32),
        albedo=np.zeros((2, 0), np.float32),
        model="toy",
        model_version="3",
        expression_kind="pca",
        image_size=(640, 480),
        fps=29.97,
        source="ä.mp4",
        networks={"coarse.onnx": "01" * 32},
        model_sha256="ab" * 32,
    )


def test_round_trip(track, tmp_path):
    write_track(tmp_path / "track.npz", track)
    back = load_track(tmp_path / "track.npz")
    for field in fields(Track):
        before, after = getattr(track, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before)
            assert after.dtype.kind == before.dtype.kind
            assert after.flags.writeable
        else:
            assert after == before
    assert [(g.first, g.last) for g in back.gaps] == [(2, 2)]


def test_numpy_reads_it_without_pickle(track, tmp_path):
    write_track(tmp_path / "track.npz", track)
    with np.load(tmp_path / "track.npz", allow_pickle=False) as archive:
        assert archive["expression_names"].tolist() == list(NAMES)
        assert (archive["state"] == "none").tolist() == [False, False, True, False, False, False]


def test_gaps_are_the_stretches_without_a_face(track):
    for person, expected in [
        ([-1, -1, 0, 0, -1, 0], [(0, 1), (7, 7)]),
        ([0] * 6, []),
        ([-1] * 6, [(0, 8)]),
        ([0, 0, 0, 0, 0, -1], [(8, 8)]),
    ]:
        gaps = replace(track, person=np.array(person, np.int32)).gaps
        assert [(g.first, g.last) for g in gaps] == expected


def test_csv_has_the_same_numbers(track, tmp_path):
    write_track_csv(tmp_path / "track.csv", track)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "track.csv").read_text("utf-8"))))
    assert [int(row["frame"]) for row in rows] == track.frame.tolist()
    assert [row["state"] for row in rows] == track.state.tolist()
    np.testing.assert_allclose([float(row["time_s"]) for row in rows], track.time, atol=1e-6)
    columns = {"pitch_rad": track.camera[:, 0], "s_px_per_mm": track.camera[:, 5]}
    columns |= {"confidence": track.confidence, "right_px": track.box[:, 2]}
    columns |= dict(zip(NAMES, track.expression.T, strict=True))
    for name, wanted in columns.items():
        got = [float(row[name] or "nan") for row in rows]
        np.testing.assert_allclose(got, wanted, rtol=1e-6, err_msg=name)
    assert rows[2]["pitch_rad"] == ""


# ---------------------------------------------------------------- hostile files


def said(path) -> str:
    with pytest.raises(VideoError) as caught:
        load_track(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def rewritten(path, **changes: bytes | None) -> None:
    """Replace members of a file; None takes one away."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, data in changes.items():
        members[f"{name}.npy"] = data or b""
        if data is None:
            del members[f"{name}.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_files_that_are_no_tracks(tmp_path, track):
    assert "no such file" in said(tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("hello")
    assert "not a readable track file" in said(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert "lacks 'meta'" in said(tmp_path / "other.npz")
    path = tmp_path / "track.npz"
    write_track(path, track)
    path.write_bytes(path.read_bytes()[:-200])
    assert "not a readable track file" in said(path)


def test_a_pickle_is_not_opened(tmp_path, track):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    path = tmp_path / "track.npz"
    write_track(path, track)
    rewritten(path, camera=npy(np.array([Bomb()], dtype=object)))
    assert "not what its header says" in said(path)


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path, track):
    path = tmp_path / "track.npz"
    write_track(path, track)
    honest = npy(track.camera)
    rewritten(path, camera=honest.replace(b"(6, 6), }" + b" " * 9, b"(6, 999999999999), }"[:18]))
    said(path)
    rewritten(path, camera=honest[:-4])
    assert "not what its header says" in said(path)


def test_a_file_that_unpacks_to_too_much(tmp_path, track, monkeypatch):
    path = tmp_path / "track.npz"
    write_track(path, track)
    monkeypatch.setattr(track_file, "MAX_BYTES", 100)
    assert "unpacks to more" in said(path)


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        ("camera", np.zeros((6, 5), np.float32), "camera has shape"),
        ("expression", np.zeros((5, 2), np.float32), "expression has shape"),
        ("light", np.full((6, 9, 3), "x"), "light has shape"),
        ("person", np.full(6, 9, np.int32), "no row of identity"),
        ("state", np.full(6, "gone"), "none, found or tracked"),
        ("meta", np.frombuffer(b"[]", np.uint8), "no format mark"),
        ("meta", np.frombuffer(b"{", np.uint8), "not a readable"),
        (
            "meta",
            np.frombuffer(json.dumps({"format": "facerelief-track", "format_version": 2}).encode(), np.uint8),
            "upgrade",
        ),
    ],
)
def test_contents_that_do_not_fit(tmp_path, track, name, array, why):
    path = tmp_path / "track.npz"
    write_track(path, track)
    rewritten(path, **{name: npy(array)})
    assert why in said(path)


def test_a_missing_array(tmp_path, track):
    path = tmp_path / "track.npz"
    write_track(path, track)
    rewritten(path, box=None)
    assert "lacks 'box'" in said(path)
