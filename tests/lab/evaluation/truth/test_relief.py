"""Laws of relief truth: same seed, same faces; right relief measures perfect; sizes as promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.inverse.relief import solve_relief
from facerelief.lab.evaluation.truth.relief import (
    ReliefTruthConfig,
    band_passed,
    relief_cases,
    relief_measures,
    skin_detail,
)
from facerelief.morphable import open_model

SMALL = ReliefTruthConfig(size=220, face_px=150)


@pytest.fixture(scope="module")
def case():
    return next(relief_cases(open_model(), 1, SMALL))


class TestCases:
    def test_same_seed_same_faces_however_many(self, toy_model):
        few, many = list(relief_cases(toy_model, 1, SMALL)), list(relief_cases(toy_model, 2, SMALL))
        assert (len(few), len(many)) == (1, 2)
        np.testing.assert_array_equal(few[0].image, many[0].image)
        np.testing.assert_array_equal(few[0].displacement, many[0].displacement)
        other = next(relief_cases(toy_model, 1, replace(SMALL, seed=1)))
        assert other.image.shape != few[0].image.shape or (other.image != few[0].image).any()

    def test_texture_changes_colours_alone(self, toy_model):
        plain, textured = (
            next(relief_cases(toy_model, 1, replace(SMALL, textured=t))) for t in (False, True)
        )
        np.testing.assert_array_equal(plain.displacement, textured.displacement)
        np.testing.assert_array_equal(plain.normals, textured.normals)
        np.testing.assert_array_equal(plain.albedo, textured.albedo)
        assert (plain.image != textured.image).mean() > 0.3

    def test_maps_are_finite_inside_the_mask(self, case):
        assert case.mask.mean() > 0.3
        assert np.isfinite(case.depth[case.mask]).all()
        np.testing.assert_allclose(np.linalg.norm(case.normals[case.mask], axis=1), 1, atol=1e-4)
        assert 0 < np.abs(case.displacement).max() < 2.5

    def test_texture_is_as_strong_as_skins(self, case):
        """A few per cent on bare skin, strongest in blue and green."""
        y, x = np.mgrid[50:-100:200j, -60:60:160j]
        place = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.float32)
        marks = open_model().landmarks["ibug68"].of(open_model().mean)
        spreads = []
        for seed in range(6):
            detail = skin_detail(place, marks, 1.3, np.random.default_rng(seed))[60:]  # below the brows
            spreads.append(1.4826 * np.median(np.abs(detail - np.median(detail, axis=(0, 1))), axis=(0, 1)))
        red, green, blue = np.mean(spreads, axis=0)
        assert 0.015 < green < 0.05
        assert red < 0.8 * green
        assert 0.015 < blue < 0.05


class TestMeasures:
    def test_truth_measures_perfect_and_nothing_measures_nothing(self, case):
        right = relief_measures(case, case.displacement)
        assert all(
            right[f"correlation_{b}"] == pytest.approx(1) for b in ("all", "fine", "wrinkles", "folds")
        )
        assert right["normals_refined_deg"] < 0.6 * right["normals_coarse_deg"]
        none = relief_measures(case, np.zeros_like(case.displacement))
        assert none["correlation_all"] == 0
        assert none["normals_refined_deg"] == pytest.approx(none["normals_coarse_deg"])

    def test_a_constant_and_a_factor_do_not_count(self, case):
        found = relief_measures(case, 3 * case.displacement + 1)
        assert found["correlation_all"] == pytest.approx(1, abs=1e-4)
        assert relief_measures(case, -case.displacement)["correlation_all"] == pytest.approx(-1)

    def test_band_pass_keeps_its_band(self):
        mask = np.ones((200, 200), bool)
        waves = {
            length: np.sin(2 * np.pi * np.arange(200) / length)[None].repeat(200, 0)
            for length in (3, 20, 150)
        }
        kept = {k: band_passed(v, mask, 1.5, 10.0)[50:150, 50:150].std() / v.std() for k, v in waves.items()}
        assert kept[3] < 0.05
        assert kept[20] > 0.7
        assert kept[150] < 0.2

    def test_the_solver_finds_some_of_it(self, case):
        color = case.image.astype(np.float32) / 255
        found = solve_relief(
            color, case.albedo, case.depth, case.light, case.scale, case.mask, trust=case.trust
        )
        measured = relief_measures(case, found.displacement)
        assert measured["correlation_all"] > 0.15
        assert measured["normals_refined_deg"] < 1.1 * measured["normals_coarse_deg"]
