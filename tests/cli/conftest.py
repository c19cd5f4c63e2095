"""Fixtures of several commands."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import write_image as write

import facerelief
from facerelief.examples import astronaut_path


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """(130, 130, 3) uint8: the astronaut's face."""
    whole = facerelief.read_image(astronaut_path())
    return np.asarray(cv2.resize(whole[30:230, 110:310], (130, 130), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """The open model with 20 identity components: quicker to fit."""
    path = tmp_path_factory.mktemp("model") / "small.npz"
    facerelief.save_model(facerelief.open_model().truncated(identity=20), path)
    return path


@pytest.fixture
def photo(tmp_path, portrait) -> Path:
    return write(tmp_path / "in" / "eileen.jpg", portrait)
