"""Measures by group: counts, and no measure of too few subjects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facerelief.lab.evaluation.compare.fairness import LEAST_SUBJECTS, image_fairness, photo_fairness
from facerelief.lab.evaluation.compare.images import ImageRow
from facerelief.lab.evaluation.compare.photos import PhotoRow
from facerelief.lab.evaluation.metrics.groups import AGE, GENDER, TONE
from facerelief.lab.evaluation.metrics.reports import to_json


def photo_rows(model: Any, persons: int) -> list[PhotoRow]:
    rng = np.random.default_rng(0)
    rows: list[PhotoRow] = []
    for k in range(persons):
        own = rng.normal(size=model.n_identity)
        for number in range(2):
            measures = {"nme68": float(k), "apart_mm": 1.0, "rerender": 0.1}
            identity = (own + 0.1 * rng.normal(size=len(own))).astype(np.float32)
            rows.append(PhotoRow(f"{k}-{number}", str(k), "g", True, {"net": measures}, {"net": identity}))
    return rows


class TestTables:
    def test_photos_by_group(self, toy_model):
        rows = photo_rows(toy_model, 12)
        groups = [
            {TONE: "light" if int(row.subject) < 8 else "dark", AGE: "", GENDER: "female"} for row in rows
        ]
        found = photo_fairness(toy_model, rows, groups)
        assert list(found) == [TONE, GENDER]
        assert list(found[TONE]) == ["light", "dark"]
        light, dark = found[TONE]["light"], found[TONE]["dark"]
        assert (light.photos, light.subjects) == (16, 8)
        assert light.methods["net"].measures["nme68"].value == pytest.approx(3.5)
        assert light.methods["net"].consistency.subjects == 8
        assert light.methods["net"].consistency.auc.value == 1
        # four persons are too few for a figure, and are counted
        assert LEAST_SUBJECTS > 4
        assert to_json(dark) == {"photos": 8, "persons": 4, "methods": {}}
        everybody = found[GENDER]["female"].methods["net"].measures["nme68"].value
        assert everybody == pytest.approx(np.mean([row.measures["net"]["nme68"] for row in rows]))

    def test_images_by_group(self):
        errors = dict.fromkeys(("rigid_mm", "level_mm", "neutral_mm", "nme68"), 1.0)
        rows = [
            ImageRow(str(k), f"{k}.jpg", 0.0, (), {"fit": {**errors, "rigid_mm": float(k)}}, {"fit": 1.0})
            for k in range(10)
        ]
        groups = [{TONE: "tan"} if k < 6 else {} for k in range(10)]
        found = image_fairness(rows, groups)
        assert list(found) == [TONE]
        assert found[TONE]["tan"].images == 6
        assert found[TONE]["tan"].methods["fit"].measures["rigid_mm"].value == pytest.approx(2.5)
