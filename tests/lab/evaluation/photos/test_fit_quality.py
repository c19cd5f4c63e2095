"""Measures on photos without truth: known answers on surfaces, persons and tones made for the purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import facerelief
from facerelief.errors import ModelError
from facerelief.examples import astronaut_path
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.patch import ColorPatch
from facerelief.lab.datasets.photos import Photo, find_photos
from facerelief.lab.evaluation.photos.fit_quality import (
    CROP,
    evaluate_fits,
    high_pass,
    measure,
)
from facerelief.rendering.lighting import shade

SIZE = 223
"""px along a patch whose crop has one cell for each pixel."""


def cells(depth: np.ndarray, scale: float = 2.0, where: np.ndarray | None = None) -> float:
    """`high_pass` of a depth patch (h, w) mm at `scale` px/mm."""
    result = SimpleNamespace(camera=SimpleNamespace(scale=scale))
    return high_pass(result, depth) if where is None else high_pass(result, depth, where)  # type: ignore[arg-type]


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[:size, :size] + 0.5
    return u, v


def ripple(size: int, waves: float, high: float) -> np.ndarray:
    """(size, size) mm: so many waves across, of amplitude `high`."""
    u, _ = grid(size)
    return high * np.sin(2 * np.pi * waves * u / size)


def passed(waves: float) -> float:
    """Share of a wave's amplitude that is left when a large photo is averaged over cells (a Gaussian of 0.45
    cells) and a Gaussian of 2 cells is taken away."""
    length = CROP / 1.15 / waves
    averaged, smooth = (np.exp(-2 * (np.pi * sigma / length) ** 2) for sigma in (0.45, 2.0))
    return averaged * (1 - smooth)


class TestHighPass:
    def test_flat_and_gently_curved_surfaces_have_none(self):
        u, v = (x - SIZE / 2 for x in grid(SIZE))
        assert cells(np.full((SIZE, SIZE), 7.0)) < 1e-3
        assert cells(0.1 * u + 0.05 * v) < 0.02
        dome = 50 - (u**2 + v**2) / 800
        assert cells(dome) < 0.03
        round_face = np.where(u**2 + v**2 < (0.48 * SIZE) ** 2, dome, np.nan)
        assert cells(round_face) < 0.03

    @pytest.mark.parametrize("waves", [15, 30, 60])
    @pytest.mark.parametrize("dome", [0.0, 1.0])
    def test_ripples_have_their_size_in_cells(self, waves, dome):
        size = 4 * SIZE
        u, v = (x - size / 2 for x in grid(size))
        depth = ripple(size, waves, 0.4) - dome * (u**2 + v**2) / 25600
        # amplitude 0.4 mm at 2 cells/mm
        assert cells(depth, scale=8.0) == pytest.approx(passed(waves) * 0.8 / np.sqrt(2), rel=0.05)

    def test_twice_the_ripple_twice_the_number(self):
        assert cells(ripple(SIZE, 30, 0.6)) == pytest.approx(2 * cells(ripple(SIZE, 30, 0.3)), rel=1e-3)

    @pytest.mark.parametrize("zoom", [0.5, 2.0, 3.0])
    def test_the_photos_resolution_does_not_matter(self, zoom):
        """The same face in mm on another grid; small waves are lost in small photos."""
        other = cells(ripple(round(SIZE * zoom), 12, 0.4), scale=2.0 * zoom)
        assert other == pytest.approx(cells(ripple(SIZE, 12, 0.4)), rel=0.12)

    def test_where_the_face_lies_in_its_patch_does_not_matter(self):
        depth = ripple(SIZE, 30, 0.4)
        aside = np.pad(depth, ((40, 3), (0, 77)), constant_values=np.nan)
        assert cells(aside) == pytest.approx(cells(depth), rel=0.02)

    def test_steps_along_the_outline_do_not_count(self):
        u, v = (x - SIZE / 2 for x in grid(SIZE))
        disc = np.hypot(u, v) < 100
        high = np.where(disc, 60.0, np.nan)
        assert cells(high) < 1e-2

    def test_only_the_pixels_asked_for_count(self):
        u, _ = grid(SIZE)
        left = u < SIZE / 2
        depth = np.where(left, 0.0, ripple(SIZE, 30, 0.4))
        assert cells(depth, where=left) < 1e-2
        assert cells(depth, where=~left) == pytest.approx(cells(ripple(SIZE, 30, 0.4)), rel=0.03)

    def test_nothing_known_nothing_told(self):
        assert np.isnan(cells(np.full((SIZE, SIZE), np.nan)))
        assert np.isnan(cells(np.where(np.eye(SIZE, dtype=bool), 1.0, np.nan)))


@pytest.fixture(scope="module")
def result(toy_reconstruction):
    """The toy with an albedo that explains its image exactly where light allows."""
    r = toy_reconstruction
    patch = r.fine
    height, width = patch.depth.shape
    picture = r.image[patch.top : patch.top + height, patch.left : patch.left + width] / 255.0
    shading = shade(np.nan_to_num(normals_from_depth(patch.depth, r.camera.scale)), r.light)
    color = picture / np.maximum(shading, 0.05)
    color[~np.isfinite(patch.depth)] = np.nan
    return replace(r, skin=ColorPatch(color.astype(np.float32), patch.left, patch.top))


@pytest.fixture(scope="module")
def found(result):
    return measure(Photo(Path("toy.png"), "toy", "g"), result)


class TestMeasure:
    def test_the_decomposition_gives_the_photo_back(self, result, found):
        assert found.full_error < 0.01
        # drawn from its own parameters, up to how facets are smoothed and the antialiased border
        assert found.full_error < found.coarse_error < 0.04

    def test_a_darker_photo_differs_by_that(self, result, found):
        dark = replace(result, image=result.image // 2)
        patch = result.fine
        known = np.isfinite(patch.depth)
        shading = shade(normals_from_depth(patch.depth, result.camera.scale)[known], result.light)
        drawn = np.clip(result.skin.color[known] * shading, 0, 1)
        assert measure(found.photo, dark).full_error == pytest.approx(0.5 * drawn.mean(), rel=0.02)

    def test_size_of_the_relief(self, result, found):
        """The toy's ripples are 0.3 sin(x / 2) mm."""
        assert found.relief_mm == pytest.approx(0.3 / np.sqrt(2), rel=0.02)
        assert found.fine_cells > found.coarse_cells
        none = measure(found.photo, replace(result, fine=result.coarse))
        assert none.relief_mm == 0
        assert none.edge_correlation == 0
        assert none.fine_cells == none.coarse_cells == found.coarse_cells

    def test_relief_along_the_albedos_edges_is_told_even_in_grey_photos(self, result, found):
        assert abs(found.edge_correlation) < 0.5
        grey = replace(result, image=np.repeat(result.image[..., 1:2], 3, axis=2))
        assert np.isfinite(measure(found.photo, grey).edge_correlation)
        black = replace(result, image=np.zeros_like(result.image))
        assert np.isfinite(measure(found.photo, black).edge_correlation)
        # displaced as the photo's tones say
        tones = np.log(result.image[..., 0] / 255 + 0.03) - np.log(result.image[..., 1] / 255 + 0.03)
        patch = result.coarse
        height, width = patch.depth.shape
        there = tones[patch.top : patch.top + height, patch.left : patch.left + width]
        embossed = replace(result, fine=replace(patch, depth=patch.depth + there))
        assert measure(found.photo, embossed).edge_correlation > 0.8

    def test_brightness_is_albedo_times_light(self, result, found):
        assert 0.3 < found.albedo < 0.9
        assert found.tone == pytest.approx(found.albedo * found.light, rel=0.2)
        bright = measure(found.photo, replace(result, light=1.5 * result.light))
        assert bright.light == pytest.approx(1.5 * found.light, rel=1e-5)
        assert bright.albedo == found.albedo

    def test_what_is_passed_on(self, result, found):
        assert found.identity is result.identity
        assert (found.confidence, found.warnings) == (result.confidence, result.warnings)
        assert found.timings_ms == result.timings_ms


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Photo]:
    """A portrait and no image."""
    folder = tmp_path_factory.mktemp("photos")
    whole = facerelief.read_image(astronaut_path())
    small = cv2.resize(whole[30:230, 110:310], (130, 130), interpolation=cv2.INTER_AREA)
    assert cv2.imwrite(str(folder / "eileen.png"), small[..., ::-1])
    (folder / "broken.jpg").write_bytes(b"no picture")
    return find_photos(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "small.npz"
    facerelief.save_model(facerelief.open_model().truncated(identity=10, albedo=5), path)
    return str(path)


class TestEvaluate:
    def test_any_number_of_workers_gives_the_same(self, photos, model):
        told: list[tuple[int, int]] = []
        one, two = (
            evaluate_fits(photos, model, workers=n, progress=lambda *at: told.append(at)) for n in (1, 2)
        )
        for report in (one, two):
            (measures,) = report.measures
            assert measures.photo.subject == "eileen"
            assert 0 < measures.full_error < measures.coarse_error < 0.15
            ((file, why),) = report.failures.items()
            assert file.endswith("broken.jpg")
            assert why.startswith(file)
        assert told == [(1, 2), (2, 2)] * 2
        np.testing.assert_array_equal(one.measures[0].identity, two.measures[0].identity)
        assert one.measures[0].full_error == two.measures[0].full_error

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_bad_model_is_told(self, photos, tmp_path, workers):
        (tmp_path / "model.npz").write_bytes(b"")
        with pytest.raises(ModelError, match="empty file"):
            evaluate_fits(photos, str(tmp_path / "model.npz"), workers=workers)
