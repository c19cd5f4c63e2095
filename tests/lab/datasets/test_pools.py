"""Worker pools of the data engine: errors of jobs and lost workers.

tests/lab/datasets/test_engine.py tests both pools with whole data sets.
"""

from __future__ import annotations

import sys

import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.pools import check_ray, local_results

posix = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")


@posix
def test_workers_that_only_die_end_the_run():
    jobs = ["__import__('os')._exit(7)"] * 50
    with (
        local_results(eval, jobs, 1) as results,
        pytest.raises(FacereliefError, match=r"3 times \(exit code 7\)"),
    ):
        list(results)


def test_a_bug_is_reported_with_its_place():
    with local_results(eval, ["[][0]"], 1) as results, pytest.raises(IndexError) as error:
        list(results)
    assert 'File "<string>", line 1' in "".join(error.value.__notes__)


def test_every_job_has_one_result():
    with local_results(abs, [-1, 2, -3], 2) as results:
        assert sorted(results) == [1, 2, 3]


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(ValueError, match="workers is 0: expected at least 1"):
        check_ray(0)
