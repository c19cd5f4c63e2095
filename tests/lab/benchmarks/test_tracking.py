"""Timing of tracking: the right frames count, targets belong to all threads, and nothing is left changed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import run_command

from facerelief.cli import bench
from facerelief.errors import FacereliefError, ModelError
from facerelief.examples import astronaut_path
from facerelief.inference.runners import net_file
from facerelief.lab.benchmarks.timing import Stopwatch
from facerelief.lab.benchmarks.tracking import (
    SIZE,
    Clip,
    bench_track,
    cold_start_ms,
    document,
    read_clip,
    squared,
    stages,
    time_landmark_net,
    time_tracker,
)
from facerelief.runtime import default_threads
from facerelief.tracking import tracker as pipeline_tracker
from facerelief.video import VideoWriter

FIGURES = {
    "coarse_ms_median": 5.0,
    "full_ms_median": 20.0,
    "landmark_net_ms_median": 2.0,
    "coarse_one_thread_ms_median": 10.0,
    "full_one_thread_ms_median": 40.0,
    "coarse_over_landmark_net": 2.5,
    "full_one_thread_over_landmark_net": 10.0,
}


def run(*args: object, code: int = 0) -> Any:
    return run_command("bench", "track", *args, code=code)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """(SIZE, SIZE, 3)"""
    image = cv2.imread(str(astronaut_path()))
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def filled(watch: Stopwatch | None = None) -> Stopwatch:
    watch = watch or Stopwatch()
    for suffix, factor in (("", 1), (", one thread", 2)):
        for name, ms in (("landmark net", 2.0), ("coarse", 5.0), ("full", 20.0)):
            for _ in range(4):
                watch.add(f"{name}{suffix}", factor * ms)
        watch.add(f"full: fine{suffix}", 9.0)
        watch.add(f"full: looking{suffix}", 90.0)
    watch.add("coarse: something new", 1.0)
    return watch


@pytest.fixture
def clip(tmp_path, portrait) -> Clip:
    return Clip(tmp_path / "clip.mp4", [portrait] * 4, [0.0, 0.04, 0.08, 0.12])


def test_frames_are_cut_square_and_scaled(portrait):
    assert squared(portrait) is portrait
    wide = np.concatenate([np.zeros_like(portrait[:, :100]), portrait, np.zeros_like(portrait[:, :100])], 1)
    np.testing.assert_array_equal(squared(wide), portrait)
    assert squared(portrait[:200, :300]).shape == (SIZE, SIZE, 3)


def test_a_video_is_decoded_first(tmp_path, portrait):
    file = tmp_path / "clip.mp4"
    with VideoWriter(file, 320, 256, 25) as writer:
        for k in range(5):
            writer.write(np.roll(portrait[:256, 100:420], k, axis=1))
    clip = read_clip(file, 3)
    assert [image.shape for image in clip.images] == [(SIZE, SIZE, 3)] * 3
    assert clip.times == pytest.approx([0, 0.04, 0.08])


def test_stages_have_an_order_and_targets_with_all_threads_alone():
    found = stages(filled())
    names = [stage.name for stage in found]
    assert len(set(names)) == len(names)
    assert names[:3] == ["landmark net", "coarse", "coarse: coarse"]
    assert {"full: looking", "full: fine, one thread", "coarse: something new"} <= set(names)
    targets = {stage.name: stage.target_ms for stage in found if stage.target_ms}
    assert targets == {"coarse": 6.0, "full": 16.0}


def test_the_document_has_what_is_promised(clip):
    about = json.loads(json.dumps(document(clip, filled(), 2500.0, 600.0, 2)))
    assert {name: about[name] for name in FIGURES} == FIGURES
    assert (about["clip"], about["frames"], about["followed"], about["threads"]) == ("clip.mp4", 4, 4, 2)
    assert (about["cold_start_ms"], about["memory_mb"]) == (2500.0, 600.0)
    assert about["machine"]["processor"]
    assert [bar["met"] for bar in about["bars"]] == [True, False, True, False]
    assert document(clip, filled(), 1.0, None, 2)["bars"][3]["met"] is None


class FakeTracker:
    """Finds the face in the first frame, loses it in the third."""

    states = ("found", "tracked", "none", "tracked")

    def __init__(self, config: Any) -> None:
        self.detail, self.left = config.detail, list(self.states)

    def step(self, image: Any, time: float) -> tuple[str, Any]:
        state = self.left.pop(0)
        return state, None if state == "none" else SimpleNamespace(timings_ms={"coarse": 1.0})


def test_only_followed_frames_count(clip, monkeypatch):
    monkeypatch.setattr(pipeline_tracker, "Tracker", FakeTracker)
    watch = Stopwatch()
    time_tracker(watch, clip, "coarse", detail=False)
    assert {name: len(ms) for name, ms in watch.ms.items()} == {
        "coarse": 2,
        "coarse: coarse": 2,
        "coarse: looking": 1,
    }
    monkeypatch.setattr(FakeTracker, "states", ("none",) * 4)
    with pytest.raises(FacereliefError, match=r"clip\.mp4: no face was followed in 4 frames"):
        time_tracker(watch, clip, "coarse", detail=False)


def test_the_landmark_net_alone(clip):
    watch = Stopwatch()
    time_landmark_net(watch, clip)
    assert len(watch.ms["landmark net"]) == 4
    empty = Clip(clip.file, [np.zeros_like(clip.images[0])], [0.0])
    with pytest.raises(FacereliefError, match="no face in 1 frames"):
        time_landmark_net(watch, empty)


def test_fresh_processes_that_fail_say_why_in_one_line(tmp_path):
    with pytest.raises(
        FacereliefError, match=r"a fresh process failed: .*(absent\.jpg|coarse\.onnx)"
    ) as caught:
        cold_start_ms(photo=tmp_path / "absent.jpg")
    assert "\n" not in str(caught.value)


def test_the_command_prints_a_table_or_json(clip, monkeypatch, tmp_path):
    """Printed lines of a document; `test_a_real_clip` makes a real one."""
    about = document(clip, filled(), 2500.0, 600.0, 2) | {"load_before": 2.0}
    monkeypatch.setattr(bench.tracking, "bench_track", lambda *args, **how: about)
    table = run("--video", "clip.mp4").stdout
    assert "coarse, one thread" in table
    assert "time over that of the landmark net, 2 threads: coarse 2.50, full 10.00" in table
    assert "load 2.0" in table
    assert json.loads(run("--video", "clip.mp4", "--json", "-").stdout) == about
    run("--video", "clip.mp4", "--json", tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == about


@pytest.mark.slow
@pytest.mark.skipif(not net_file("tracking").is_file(), reason="the networks are not there")
def test_a_real_clip(tmp_path, portrait):
    file = tmp_path / "clip.mp4"
    with VideoWriter(file, SIZE, SIZE, 25) as writer:
        for _ in range(8):
            writer.write(portrait)
    before = default_threads(), cv2.getNumThreads()
    said: list[str] = []
    about = bench_track(file, frames=6, threads=1, progress=said.append)
    assert (default_threads(), cv2.getNumThreads()) == before
    assert said[0] == "decoding"
    assert said[-1] == "fresh processes"
    rows = {row["name"]: row for row in about["stages"]}
    for suffix, ending in (("", ""), (", one thread", "_one_thread")):
        assert rows[f"landmark net{suffix}"]["calls"] == 6
        for name in ("coarse", "full"):
            whole = rows[f"{name}{suffix}"]
            assert whole["calls"] + rows[f"{name}: looking{suffix}"]["calls"] == 6
            for part in ("coarse", "light", "shape"):
                assert rows[f"{name}: {part}{suffix}"]["median_ms"] < whole["median_ms"]
            ratio = about[f"{name}{ending}_ms_median"] / about[f"landmark_net{ending}_ms_median"]
            assert about[f"{name}{ending}_over_landmark_net"] == pytest.approx(ratio, abs=2e-3)
    assert about["followed"] == rows["full"]["calls"]
    assert about["memory_mb"] is None or 100 < about["memory_mb"] < 1500


def test_wrong_input_ends_in_one_line(tmp_path):
    run(code=2)
    run("--video", "clip.mp4", "--limit", 1, code=2)
    result = run("--video", tmp_path / "absent.mp4", code=1)
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'absent.mp4'}")
    with pytest.raises(ValueError, match="frames is 1"):
        bench_track("clip.mp4", frames=1)


def test_missing_nets_are_reported(tmp_path, portrait):
    file = tmp_path / "clip.mp4"
    with VideoWriter(file, SIZE, SIZE, 25) as writer:
        for _ in range(3):
            writer.write(portrait)
    with pytest.raises(ModelError, match="absent: no such folder of networks"):
        bench_track(file, nets=tmp_path / "absent")
