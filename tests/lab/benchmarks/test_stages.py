"""Measuring: the right stages, sane figures, and nothing left changed."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

import facerelief
from facerelief.examples import astronaut_path
from facerelief.lab.benchmarks.stages import STAGES, bench_reconstruct
from facerelief.lab.benchmarks.timing import report
from facerelief.runtime import default_threads


@pytest.mark.slow
def test_every_stage_is_measured(tmp_path):
    whole = facerelief.read_image(astronaut_path())
    small = np.asarray(cv2.resize(whole[30:230, 110:310], (130, 130), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(tmp_path / "small.png"), small[..., ::-1])
    before = default_threads(), cv2.getNumThreads()
    said: list[str] = []
    measured = bench_reconstruct([tmp_path / "small.png"], repeat=1, threads=1, progress=said.append)
    assert (default_threads(), cv2.getNumThreads()) == before
    assert [t.name for t in measured] == [s.name for s in STAGES]
    assert said == ["new processes", "warming up", "round 1 of 1"]
    calls = {t.name: t.calls for t in measured}
    assert (calls["import"], calls["load model"], calls["rasterise"]) == (1, 3, 20)
    once = [t for t in measured if t.name not in ("load model", "rasterise")]
    assert {t.calls for t in once} == {1}
    # parts of one run take no longer than the whole
    ms = {t.name: t.median_ms for t in once}
    fit = ("fit landmarks", "fit photometric", "depth", "relief", "albedo", "conditions")
    assert ms["image to folder"] >= sum(ms[name] for name in ("read", "detect", *fit, "save"))
    assert ms["import"] < ms["import all"] < ms["first face"]
    document = json.loads(json.dumps(report(measured, note="a test")))
    assert list(document) == ["machine", "note", "stages"]


def test_arguments():
    with pytest.raises(ValueError, match="repeat is 0"):
        bench_reconstruct([astronaut_path()], repeat=0)
    with pytest.raises(ValueError, match="no images"):
        bench_reconstruct([])


def test_an_unusable_image_is_reported_in_one_line(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(facerelief.ImageError, match="the file is empty"):
        bench_reconstruct([tmp_path / "x.jpg"], repeat=1)
