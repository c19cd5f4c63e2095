"""Tasks by kind, and configurations that survive being stored.

tests/lab/networks/test_trainer.py and test_e2far.py train with them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import get_args

import pytest

pytest.importorskip("torch")

from facerelief.lab.networks.guo import CoarseNetConfig
from facerelief.lab.networks.tasks import (
    CoarseTask,
    NetKind,
    TaskConfig,
    TrackingTask,
    make_task,
    task_config,
)


@pytest.mark.parametrize("kind", get_args(NetKind))
def test_a_configuration_is_read_back_equal(kind):
    config = TaskConfig(kind, coarse=CoarseNetConfig(width=12), augment=0.5, flip=False)
    assert task_config(asdict(config)) == config
    json.dumps(asdict(config))


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="another"):
        task_config({"kind": "coarse", "another": 1})


def test_the_kind_decides_the_task(toy_model):
    for kind, expected in (("coarse", CoarseTask), ("tracking", TrackingTask)):
        assert type(make_task(TaskConfig(kind), toy_model)) is expected
