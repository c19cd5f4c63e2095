"""The benchmark's numbers follow from the shards' records."""

from __future__ import annotations

import pytest
import toy_maker

from facerelief.lab.benchmarks.synthesis import bench_synthesis, summary


def record(pid: int, seconds: float, samples: int = 10, memory: float = 100.0) -> dict:
    spent = {"render": 600.0 * seconds, "write": 100.0 * seconds}
    return {
        "pid": pid,
        "seconds": seconds,
        "samples": samples,
        "bytes": 1e6 * samples,
        "spent_ms": spent,
        "memory_mb": memory,
    }


def test_the_first_shard_of_every_worker_is_left_out():
    records = [record(1, 60), record(2, 60), record(1, 2), record(2, 3), record(1, 2, 15)]
    found = summary(records, 2, False, 100.0)
    assert found.samples == 55
    assert found.samples_per_s == pytest.approx(2 * 35 / 7)
    assert found.mb_per_s == pytest.approx(2 * 35 / 7)
    assert found.whole_samples_per_s == pytest.approx(0.55)


def test_stages_add_up_to_the_time_of_a_sample():
    found = summary([record(1, 9), record(1, 2)], 1, False, 20.0)
    assert found.ms == {"render": pytest.approx(120), "write": pytest.approx(20), "other": pytest.approx(60)}
    assert sum(found.ms.values()) == pytest.approx(1e3 / found.samples_per_s)


def test_memory_is_the_largest_workers():
    records = [record(1, 1, memory=300), record(2, 1, memory=200), record(2, 1, memory=500)]
    records.append(record(2, 1, memory=250))
    assert summary(records, 2, False, 9.0).memory_mb == (200, 250, 500)


def test_a_single_shard_counts():
    assert summary([record(1, 2)], 1, True, 4.0).samples_per_s == pytest.approx(5)


def test_a_run_is_timed(toy_fits, here):
    found = bench_synthesis(toy_fits, toy_maker.RECIPE)
    assert found.samples == 120
    assert found.samples_per_s > 0
    assert {"encode", "write", "render", "other"} <= found.ms.keys()
