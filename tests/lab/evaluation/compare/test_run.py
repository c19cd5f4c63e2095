"""The parts of a comparison; tests/cli/test_evaluate_compare.py runs it whole."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.compare.photos import PhotoRow
from facerelief.lab.evaluation.compare.run import available_methods, subject_angles


def test_a_photo_without_skin_does_not_hide_the_subjects_other():
    rows = [PhotoRow(name, name[0], "g", True, {}, {}) for name in ("a1", "a2", "b1")]
    found = subject_angles(rows, {"a1": 40.0, "a2": float("nan"), "b1": float("nan")})
    assert found["a"] == 40.0
    assert np.isnan(found["b"])


def test_the_mean_face_is_always_measured(tmp_path):
    names, absent = available_methods(["fit", "net"], tmp_path)
    assert names == ["fit", "mean_face"]
    assert list(absent) == ["net"]
    with pytest.raises(ValueError, match="magic: expected some of e2far"):
        available_methods(["magic"], None)
