# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of a run's folder: a run is never overwritten, a folder without one is free."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

from facerelief.errors import FacereliefError, OutputError
from facerelief.lab.networks.guo import CoarseNetConfig
from facerelief.lab.networks.run_config import RunConfig
from facerelief.lab.networks.run_folder import CHECKPOINT, CONFIG, coarse_config, load_net
from facerelief.lab.networks.tasks import TaskConfig
from facerelief.lab.networks.trainer import TrainConfig, train

RUN = RunConfig(readers=0, accelerator="cpu", devices=1, checkpoint_every=4, validate_every=0, log_every=1)


@pytest.fixture
def coarse(face_set) -> TrainConfig:
    task = TaskConfig("coarse", CoarseNetConfig(size=48, width=0.125))
    return TrainConfig(task, (str(face_set),), steps=10, batch=8, lr=2e-3, seed=3)


def test_a_folder_with_a_run_is_left_alone(coarse, toy_model, tmp_path):
    config = replace(coarse, steps=1)
    train(config, tmp_path / "run", RUN, model=toy_model)
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    with pytest.raises(OutputError, match="give --resume"):
        train(config, tmp_path / "run", RUN, model=toy_model)
    other = replace(config, lr=0.1, task=replace(config.task, coarse=CoarseNetConfig(48, 0.25)))
    with pytest.raises(FacereliefError, match=r"begun with other lr, task\.coarse\.width"):
        train(other, tmp_path / "run", RUN, resume=True, model=toy_model)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


def test_bad_checkpoints_and_losses_end_in_one_line(coarse, toy_model, tmp_path):
    with pytest.raises(FacereliefError, match="cannot be read as a checkpoint") as caught:
        load_net(tmp_path, toy_model)
    assert "\n" not in str(caught.value)
    (tmp_path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(FacereliefError, match="cannot be read as a checkpoint"):
        load_net(tmp_path, toy_model)
    torch.save({"format": 0}, tmp_path / CHECKPOINT)
    with pytest.raises(FacereliefError, match="train again"):
        load_net(tmp_path, toy_model)
    with pytest.raises(FacereliefError, match="lower --lr"):
        train(replace(coarse, lr=1e30, warmup=0.0), tmp_path / "run", RUN, model=toy_model)
    train(replace(coarse, steps=1), tmp_path / "good", RUN, model=toy_model)
    with pytest.raises(FacereliefError, match="trained with face model"):
        load_net(tmp_path / "good", replace(toy_model, name="another"))


def test_a_folder_without_a_checkpoint_is_free(coarse, toy_model, tmp_path):
    """A mistake in the first command needs no other folder."""
    wrong = replace(coarse, data=(str(tmp_path / "typo"),))
    with pytest.raises(FacereliefError, match="typo"):
        train(wrong, tmp_path / "run", RUN, model=toy_model)
    config = replace(coarse, steps=1)
    train(config, tmp_path / "run", RUN, model=toy_model)
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["data"] == list(coarse.data)


def test_a_run_knows_width_and_size_of_its_net(coarse, toy_model, tmp_path):
    train(replace(coarse, steps=1), tmp_path / "run", RUN, model=toy_model)
    found = coarse_config(tmp_path / "run")
    assert (found.size, found.width) == (48, 0.125)
    with pytest.raises(FacereliefError, match="cannot be read"):
        coarse_config(tmp_path)


def test_a_configuration_of_version_0_1_is_read_with_the_names_of_today(coarse, tmp_path):
    stored = json.loads(json.dumps(asdict(coarse)))
    stored["task"]["coarse_loss"]["gaps"] = stored["task"]["coarse_loss"].pop("openings")
    stored["task"]["fine_loss"]["rounded"] = stored["task"]["fine_loss"].pop("huber_delta")
    (tmp_path / CONFIG).write_text(json.dumps(stored), "utf-8")
    assert coarse_config(tmp_path) == coarse.task.coarse
