"""The folder of a run: its configuration, its last checkpoint, its measures.

    config.json    the `TrainConfig`, as begun
    last.pt        the last checkpoint: weights, averaged weights, optimizer, step, measures so far
    metrics.json   the measures, written at the end
    tensorboard/   TensorBoard's files

A folder without a checkpoint is free: there is nothing in it to go on from.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facerelief.errors import FacereliefError, OutputError
from facerelief.io.atomic import atomic_file, clear_leftovers, output_error, write_bytes
from facerelief.lab.networks.guo import CoarseNetConfig
from facerelief.lab.networks.tasks import make_task, task_config
from facerelief.morphable import open_model
from facerelief.morphable.model import FaceModel

CHECKPOINT, METRICS, CONFIG = "last.pt", "metrics.json", "config.json"
FORMAT = 1
"""Of checkpoints; those of version 0.1 have the same."""
_RENAMED = {"gaps": "openings", "rounded": "huber_delta"}
"""Fields of configurations of version 0.1, and their names now."""


def take_folder(out: Path, config: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Make the folder of a run, or take one that is free or to be resumed.

    Args:
        out: the folder.
        config: `TrainConfig` as a dictionary.
        resume: go on with the checkpoint that is there.

    Returns:
        The checkpoint to go on from, None where the run begins.

    Raises:
        OutputError: the folder holds a run and `resume` is off, or cannot be written.
        FacereliefError: the folder holds a run of another configuration.
    """
    if (out / CHECKPOINT).exists():
        if not resume:
            raise OutputError(f"{out}: holds a run; give --resume to go on with it, or choose another folder")
        differing = sorted(_differing(_config_of(out), json.loads(json.dumps(config))))
        if differing:
            raise FacereliefError(
                f"{out}: begun with other {', '.join(differing)}; give the same, or choose another folder"
            )
        return last_checkpoint(out, resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    write_bytes(out / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
    return None


def _config_of(run: Path) -> dict[str, Any]:
    try:
        return _renamed(json.loads((run / CONFIG).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise FacereliefError(f"{run / CONFIG}: cannot be read ({error}); choose another folder") from error


def _renamed(config: Any) -> Any:
    """A stored configuration with the fields' names of today."""
    if not isinstance(config, dict):
        return config
    return {_RENAMED.get(name, name): _renamed(value) for name, value in config.items()}


def _differing(a: Any, b: Any, name: str = "") -> Iterator[str]:
    """Dotted names of the fields in which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {*a, *b}:
            yield from _differing(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
    elif (a or None) != (b or None):  # a field that is not there yet is off
        yield name


def last_checkpoint(out: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to go on from, None where there is none or none is wanted."""
    return _read(out / CHECKPOINT) if resume and (out / CHECKPOINT).exists() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise many kinds
        reason = " ".join(str(error).split())[:100]
        raise FacereliefError(
            f"{file}: cannot be read as a checkpoint ({reason}); give a run's folder"
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FacereliefError(f"{file}: no checkpoint of this version; train again")
    return found | {"config": _renamed(found["config"])}


def write_checkpoint(out: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint, whole or not at all, whenever the process is killed. Raises OutputError."""
    clear_leftovers(out / CHECKPOINT)
    with atomic_file(out / CHECKPOINT) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def kind_of(run: str | Path) -> str:
    """Kind of the net of a run: of `NetKind`, or "landmarks".

    Raises:
        FacereliefError: the folder holds no configuration of a run.
    """
    return str(_config_of(Path(run))["task"]["kind"])


def load_net(run: str | Path, model: FaceModel | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The trained net of a run.

    Returns:
        The net with its averaged weights where there are some, in evaluation mode, on the CPU; and the whole
        checkpoint.

    Raises:
        FacereliefError: there is no checkpoint, or it was trained with another face model.
    """
    file = Path(run) / CHECKPOINT
    found = _read(file)
    model = model or open_model()
    if found["model"] != [model.name, str(model.version)]:
        raise FacereliefError(f"{file}: trained with face model {' '.join(found['model'])}; give that one")
    net = make_task(task_config(found["config"]["task"]), model).net(None)
    net.load_state_dict(found["net"] if found["mean"] is None else found["mean"])
    return net.eval(), found


def coarse_config(run: str | Path) -> CoarseNetConfig:
    """Width and size of the CoarseNet or Tracking CoarseNet of a run, for a net that starts from it.

    Raises:
        FacereliefError: the folder holds no configuration of a run.
    """
    return task_config(_config_of(Path(run))["task"]).coarse
