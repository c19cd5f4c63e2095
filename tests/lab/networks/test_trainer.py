# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of training: it learns, and a run that was stopped ends as one that was not."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

from facerelief.errors import FacereliefError
from facerelief.lab.networks.guo import CoarseNetConfig, FineNetConfig
from facerelief.lab.networks.losses import CoarseLoss
from facerelief.lab.networks.order import _locations
from facerelief.lab.networks.run_config import RunConfig
from facerelief.lab.networks.run_folder import CHECKPOINT, METRICS, load_net
from facerelief.lab.networks.tasks import TaskConfig
from facerelief.lab.networks.trainer import (
    Stopped,
    TrainConfig,
    averaged,
    describe,
    learning_rate,
    train,
)

RUN = RunConfig(readers=0, accelerator="cpu", devices=1, checkpoint_every=4, validate_every=0, log_every=1)


@pytest.fixture
def coarse(face_set) -> TrainConfig:
    task = TaskConfig("coarse", CoarseNetConfig(size=48, width=0.125))
    return TrainConfig(task, (str(face_set),), steps=10, batch=8, lr=2e-3, seed=3)


def weights(run, model):
    net, found = load_net(run, model)
    return net.state_dict(), found


class CrashError(Exception):
    """What nobody can prepare for."""


def crash_at(step):
    def progress(state):
        if state.step == step and state.metrics is None:
            raise CrashError

    return progress


@pytest.mark.parametrize("kind", ["coarse", "tracking"])
def test_a_run_that_died_ends_as_one_that_did_not(kind, coarse, toy_model, tmp_path):
    """It dies between checkpoints, twice, and is read by another number of processes afterwards."""
    config = replace(coarse, task=replace(coarse.task, kind=kind))
    train(config, tmp_path / "whole", RUN, model=toy_model)
    for step, run in ((6, RUN), (9, replace(RUN, readers=1))):
        with pytest.raises(CrashError):
            train(config, tmp_path / "died", run, resume=True, model=toy_model, progress=crash_at(step))
    (tmp_path / "died" / ".tmp-last.pt").write_bytes(b"half of a checkpoint")
    train(config, tmp_path / "died", RUN, resume=True, model=toy_model)
    (one, a), (two, b) = (weights(tmp_path / name, toy_model) for name in ("whole", "died"))
    assert a["step"] == b["step"] == 10
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=0)
        torch.testing.assert_close(a["net"][name], b["net"][name], atol=1e-6, rtol=0)
    metrics = [json.loads((tmp_path / name / METRICS).read_text())["metrics"] for name in ("whole", "died")]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-4)


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with(coarse, toy_model, tmp_path):
    """The same with kill -9, which leaves no last words."""
    config = replace(coarse, steps=60)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch; torch.set_num_threads(1)\n"
        "from conftest import make_toy_model\n"
        "from facerelief.lab.networks.trainer import *\n"
        "from facerelief.lab.networks.tasks import task_config\n"
        "import json\n"
        "fields = json.loads(sys.argv[2]); fields['task'] = task_config(fields['task'])\n"
        "fields['data'] = tuple(fields['data'])\n"
        "run = RunConfig(readers=1, accelerator='cpu', devices=1, checkpoint_every=4, validate_every=0)\n"
        "train(TrainConfig(**fields), sys.argv[3], run, resume=True, model=make_toy_model())\n"
    )
    from dataclasses import asdict
    from pathlib import Path

    tests = str(Path(__file__).parents[2])
    out = tmp_path / "killed"
    command = [sys.executable, "-c", code, tests, json.dumps(asdict(config)), str(out)]
    process = subprocess.Popen(command)
    end = time.monotonic() + 120
    while not (out / CHECKPOINT).exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert load_net(out, toy_model)[1]["step"] < 60
    subprocess.run(command, check=True, timeout=240)
    train(config, tmp_path / "whole", RUN, model=toy_model)
    (one, _), (two, _) = (weights(folder, toy_model) for folder in (tmp_path / "whole", out))
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_of_the_step_it_came_in(coarse, toy_model, tmp_path, signum):
    def progress(state):
        if state.step == 3:
            os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    with pytest.raises(Stopped, match=r"after step [34]"):
        train(coarse, tmp_path / "run", replace(RUN, readers=1), model=toy_model, progress=progress)
    # a reader left behind hears no signals, and would keep the program from ending
    assert not multiprocessing.active_children()
    assert signal.getsignal(signum) is before
    assert load_net(tmp_path / "run", toy_model)[1]["step"] in (3, 4)


def test_coarse_learns(coarse, toy_model, tmp_path):
    """The same images again and again, without augmentation."""
    task = replace(
        coarse.task, augment=0.0, flip=False, crop=replace(coarse.task.crop, shift=0, zoom=0, roll=0)
    )
    task = replace(task, coarse_loss=CoarseLoss(regular=0.0))
    config = replace(coarse, task=task, steps=160, batch=16, ema=0.9)
    errors = []
    about = train(
        config,
        tmp_path / "run",
        replace(RUN, log_every=10),
        model=toy_model,
        progress=lambda s: errors.append(s.parts.get("error_mm", math.nan)),
    )
    assert errors[-2] < 0.5 * errors[0]
    metrics = about["metrics"]
    assert metrics["posed_mm"] < 0.7 * metrics["baseline_posed_mm"]
    assert metrics["yaw_deg"] < 0.7 * metrics["baseline_yaw_deg"]


def test_fine_learns(fine_set, toy_model, tmp_path):
    # the toy's light is from one side: flipped, the same image would mean the opposite relief
    task = TaskConfig("fine", fine=FineNetConfig(64, 8, 2), augment=0.0, flip=False)
    config = TrainConfig(task, (str(fine_set),), steps=120, batch=8, lr=5e-3, ema=0.9)
    about = train(config, tmp_path / "run", RUN, model=toy_model)
    metrics = about["metrics"]
    assert about["split"] == "val"
    assert metrics["error_percent"] < 0.6 * metrics["baseline_error_percent"]
    assert metrics["normal_deg"] < 0.7 * metrics["baseline_normal_deg"]
    assert metrics["band_r"] > 0.7


def test_a_tracking_net_starts_from_a_run(coarse, toy_model, tmp_path):
    train(replace(coarse, steps=1), tmp_path / "coarse", RUN, model=toy_model)
    config = replace(
        coarse, task=replace(coarse.task, kind="tracking"), steps=1, start_from=str(tmp_path / "coarse")
    )
    train(replace(config, lr=1e-12, ema=0.0), tmp_path / "tracking", RUN, model=toy_model)
    (one, _), (two, _) = (weights(tmp_path / name, toy_model) for name in ("coarse", "tracking"))
    torch.testing.assert_close(two["backbone.stem.weight"][:, :3], one["backbone.stem.weight"])
    other = replace(config, task=coarse.task, start_from=str(tmp_path / "tracking"))
    with pytest.raises(FacereliefError, match="expected a CoarseNet"):
        train(other, tmp_path / "other", RUN, model=toy_model)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_data_end_in_one_line(coarse, face_set, toy_model, tmp_path, workers):
    data = tmp_path / "set"
    shutil.copytree(face_set, data)
    for shard in data.glob("*.tar"):
        content = bytearray(shard.read_bytes())
        at = _locations(0, shard)[3]
        content[at.image : at.image + at.image_size] = bytes(at.image_size)
        shard.write_bytes(content)
    with pytest.raises(FacereliefError, match="is damaged") as caught:
        train(
            replace(coarse, data=(str(data),)),
            tmp_path / "run",
            replace(RUN, readers=workers),
            model=toy_model,
        )
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(data))
    assert not multiprocessing.active_children()


def test_the_rate_rises_and_falls():
    config = TrainConfig(steps=100, warmup=0.1, lr=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.02


def test_averaged_weights_follow():
    net, other = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    mean = averaged(other, 0.9)
    torch.nn.init.normal_(net.weight)
    net.running_mean += 1
    net.num_batches_tracked += 3
    mean.update_parameters(net)
    torch.testing.assert_close(mean.module.weight, 0.1 * other.weight + 0.9 * net.weight)
    for _ in range(200):
        mean.update_parameters(net)
    torch.testing.assert_close(mean.module.state_dict(), net.state_dict())


def test_measures_stand_beside_the_baseline():
    assert describe({"step": 5, "nme": 2.0, "baseline_nme": 8.0, "band_r": 0.5}) == (
        "nme 2.00 (8.00), band_r 0.50"
    )


def test_impossible_settings_are_refused():
    for bad in ({"steps": 0}, {"batch": 0}, {"lr": 0.0}, {"ema": 1.0}):
        with pytest.raises(ValueError, match="expected"):
            TrainConfig(**bad)
