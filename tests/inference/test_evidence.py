"""Evidence of networks is what is asked for, and for models that have it."""

from __future__ import annotations

import numpy as np
import pytest

import facerelief
from facerelief.detection import detect_faces
from facerelief.examples import astronaut_path
from facerelief.inference.evidence import EvidenceRunner
from facerelief.morphable import open_model


@pytest.mark.parametrize(
    ("name", "options", "points", "skin"),
    [
        ("open2", {}, True, True),
        ("open", {}, False, True),
        ("open2", {"landmark_net": False, "skin_net": False}, False, False),
    ],
)
def test_what_is_asked_for_and_known(name, options, points, skin):
    image = facerelief.read_image(astronaut_path())
    face = detect_faces(image, max_faces=1)[0]
    found = EvidenceRunner(open_model(name), **options)(image, face.landmarks)
    assert (found.dense is not None) == points
    assert (found.bare_skin is not None) == skin
    if found.bare_skin is not None:
        assert found.bare_skin.shape == image.shape[:2]
        assert found.bare_skin.dtype == np.float32
