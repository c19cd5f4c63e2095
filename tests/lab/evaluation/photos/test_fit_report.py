"""Means over photos: identity, and skin tone against light."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.photos.fit_quality import FitMeasures
from facerelief.lab.evaluation.photos.fit_report import ToneRow, identity_agreement, light_share, tone_table


def made(name: str, person: str = "", identity: np.ndarray | None = None, **values: float) -> FitMeasures:
    """Measures of a photo that never was."""
    known = {
        "photo": Photo(Path(f"{name}.jpg"), person or name, "g"),
        "identity": np.zeros(5, np.float32) if identity is None else np.asarray(identity, np.float32),
        "warnings": (),
        "timings_ms": {},
    }
    return FitMeasures(**{f.name: 0.0 for f in fields(FitMeasures)} | known | values)  # type: ignore[arg-type]


class TestIdentityAgreement:
    def test_distances_are_those_of_the_shapes(self, toy_model):
        rng = np.random.default_rng(0)
        a, b, c, d = (rng.normal(size=5).astype(np.float32) for _ in range(4))
        found = identity_agreement(
            [made("1", "anna", a), made("2", "anna", b), made("3", "ben", c), made("4", "ben", d)], toy_model
        )

        def apart(one: np.ndarray, two: np.ndarray) -> float:
            moved = (toy_model.shape(one) - toy_model.shape(two))[toy_model.face_vertices]
            return float(np.sqrt((moved.astype(float) ** 2).sum(axis=1).mean()))

        assert found is not None
        assert found.subjects == 2
        assert found.same_mm == pytest.approx((apart(a, b) + apart(c, d)) / 2, rel=1e-3)
        assert found.different_mm == pytest.approx((apart(a, d) + apart(c, b)) / 2, rel=1e-3)
        assert found.same_over_different == pytest.approx(found.same_mm / found.different_mm)

    def test_equal_shapes_of_each_person(self, toy_model):
        shapes = 2 * np.eye(5)[:4]
        every = [made(f"{k}{half}", str(k), shapes[k]) for half in "ab" for k in range(4)]
        found = identity_agreement(every, toy_model)
        assert found is not None
        assert found.same_mm == pytest.approx(0, abs=1e-5)
        assert (found.subjects, found.rank1, found.rank1_coefficients) == (4, 1.0, 1.0)

    def test_persons_mixed_up(self, toy_model):
        first, second = np.eye(5)[:2]
        every = [made("1", "a", first), made("2", "a", second), made("3", "b", second), made("4", "b", first)]
        found = identity_agreement(every, toy_model)
        assert found is not None
        assert (found.rank1, found.rank1_coefficients) == (0.0, 0.0)
        assert found.different_mm == pytest.approx(0, abs=1e-5)

    def test_coefficients_are_compared_by_direction(self, toy_model):
        first, second = np.eye(5)[:2]
        every = [made("1", "a", first), made("2", "a", 9 * first)]
        every += [made("3", "b", second), made("4", "b", 0.1 * second)]
        found = identity_agreement(every, toy_model)
        assert found is not None
        assert found.rank1_coefficients == 1.0
        assert found.rank1 < 1.0

    def test_order_third_photos_and_single_ones_do_not_matter(self, toy_model):
        rng = np.random.default_rng(1)
        every = [made(f"{p}{k}", p, rng.normal(size=5)) for p in "abc" for k in range(2)]
        expected = identity_agreement(every, toy_model)
        more = [*reversed(every), made("b9", "b", rng.normal(size=5)), made("x", "x", rng.normal(size=5))]
        assert identity_agreement(more, toy_model) == expected

    def test_fewer_than_two_persons_tell_nothing(self, toy_model):
        assert identity_agreement([], toy_model) is None
        assert identity_agreement([made("1", "a"), made("2", "a"), made("3", "b")], toy_model) is None


class TestTones:
    def test_table(self):
        photos = [made(str(k), tone=t, albedo=2 * t, light=1.0) for k, t in enumerate((0.4, 0.1, 0.3, 0.2))]
        assert tone_table(photos, 2) == [
            ToneRow(2, pytest.approx(0.15), pytest.approx(0.3), 1.0),
            ToneRow(2, pytest.approx(0.35), pytest.approx(0.7), 1.0),
        ]

    @pytest.mark.parametrize("count", [0, 1, 3, 10])
    def test_table_of_any_number(self, count):
        rng = np.random.default_rng(count)
        rows = tone_table([made(str(k), tone=rng.random()) for k in range(count)])
        assert sum(row.photos for row in rows) == count
        assert len(rows) == min(count, 4)
        assert [row.tone for row in rows] == sorted(row.tone for row in rows)

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_light_share(self, share):
        photos = [made(str(t), tone=t, light=0.9 * t**share) for t in (0.2, 0.3, 0.5, 0.7)]
        assert light_share(photos) == pytest.approx(share, abs=1e-9)

    def test_light_share_needs_three_photos_that_differ(self):
        assert np.isnan(light_share([made("1", tone=0.2, light=1), made("2", tone=0.3, light=1)]))
        assert np.isnan(light_share([made(str(k), tone=0.2, light=1) for k in range(5)]))
