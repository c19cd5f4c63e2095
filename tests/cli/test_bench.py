"""`facerelief bench`: tables and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import toy_maker
from command_line import run_command as run

from facerelief.examples import astronaut_path
from facerelief.lab.datasets.kinds import KINDS


def test_bench_tables(monkeypatch):
    from facerelief.lab.benchmarks import stages as benchmarking

    rows = [
        benchmarking.Timing("detect", "all faces", 3, 10.0, 11.0, 12.0),
        benchmarking.Timing("save", "all files", 3, 900.0, 950.0, None),
        benchmarking.Timing("rasterise", "256 px", 3, 2.5, 3.0, 2.0),
    ]
    given = {}
    monkeypatch.setattr(
        benchmarking, "bench_reconstruct", lambda images, **kw: given.update(kw, images=images) or rows
    )
    text = run("bench", "--repeat", 3).stdout
    assert "12 ok" in text
    assert "2 over" in text
    assert given["images"] == [astronaut_path()]
    assert given["repeat"] == 3
    document = json.loads(run("bench", "--json", "-", "--threads", 1).stdout)
    assert [s["name"] for s in document["stages"]] == ["detect", "save", "rasterise"]
    assert [s["within"] for s in document["stages"]] == [True, None, False]
    assert document["machine"]["cores"] >= 1
    assert set(document["machine"]["versions"]) >= {"numpy", "opencv-python-headless", "openvino", "numba"}
    assert document["threads"] == 1


def test_bench_synthesis_prints_rates(toy_fits, here, monkeypatch):
    monkeypatch.setitem(KINDS, "toy", toy_maker.KIND)
    asked = ("bench", "synthesis", toy_fits.folder, "--kind", "toy", "--limit", 12, "--per-photo", 2)
    text = run(*asked, "--workers", 1).stdout
    for part in ("samples/s", "MB/s", "encode ms", "render ms", "memory MB"):
        assert part in text
    document = json.loads(run(*asked, "--workers", 1, "--json", "-", "--size", 32).stdout)
    assert [m["workers"] for m in document["runs"]] == [1]
    assert document["machine"]["cores"] >= 1
    run("bench", "synthesis", toy_fits.folder, "--kind", "nothing", code=2)


def test_bench_of_images_needs_no_name(monkeypatch):
    from facerelief.lab.benchmarks import stages as benchmarking

    given: list[list[Path]] = []
    monkeypatch.setattr(benchmarking, "bench_reconstruct", lambda images, **_: given.append(images) or [])
    for line in (("x.jpg", "--json", "-"), ("--json", "-", "x.jpg"), ("images", "x.jpg", "--json", "-")):
        run("bench", *line)
    assert given == [[Path("x.jpg")]] * 3
    run("bench", "--json", "-")
    assert given[-1][0].name == "astronaut.jpg"
