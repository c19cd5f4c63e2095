"""Measures of relief on photos: known answers of shares and clay, and a whole photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facerelief.examples import astronaut_path
from facerelief.geometry.patch import DepthPatch
from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.photos.fit_models import PhotoPair
from facerelief.lab.evaluation.photos.relief_consistency import AtlasRelief
from facerelief.lab.evaluation.photos.relief_quality import (
    TILE,
    ReliefMeasures,
    clay,
    measure_reliefs,
    sheet,
    untrusted_share,
)
from facerelief.lab.evaluation.photos.relief_report import relief_report
from facerelief.lab.evaluation.photos.shading import ShadingGrid

SIZE = 120


@pytest.fixture
def grid() -> ShadingGrid:
    depth = DepthPatch(np.zeros((SIZE, SIZE), np.float32), 0, 0)
    far = np.full((68, 2), -50.0)
    made = ShadingGrid.of(np.full((SIZE, SIZE, 3), 128, np.uint8), 1.0, depth, depth, far)
    assert made is not None
    return made


def half_trusted() -> DepthPatch:
    trust = np.ones((SIZE, SIZE), np.float32)
    trust[:, SIZE // 2 :] = 0.1
    return DepthPatch(trust, 0, 0)


def ripples(columns: slice) -> np.ndarray:
    out = np.zeros((SIZE, SIZE), np.float32)
    out[:, columns] = np.sin(np.arange(SIZE))[columns]
    return out


class TestUntrusted:
    def test_relief_on_trusted_skin_is_none_of_it(self, grid):
        energy, pixels = untrusted_share(grid, ripples(slice(0, SIZE // 2 - 20)), half_trusted())
        assert energy < 0.01
        assert pixels == pytest.approx(0.5)

    def test_relief_on_untrusted_pixels_is_all_of_it(self, grid):
        assert untrusted_share(grid, ripples(slice(SIZE // 2 + 20, SIZE)), half_trusted())[0] > 0.99

    def test_even_relief_is_there_by_the_share_of_pixels(self, grid):
        assert untrusted_share(grid, ripples(slice(None)), half_trusted())[0] == pytest.approx(0.5, abs=0.05)

    def test_no_relief_has_no_share(self, grid):
        assert untrusted_share(grid, np.zeros((SIZE, SIZE)), half_trusted())[0] == 0


class TestClay:
    def test_a_ridge_is_bright_toward_the_light_and_dark_beyond(self):
        across = np.arange(60) - 30
        depth = np.repeat(5 * np.exp(-0.5 * (across / 4) ** 2)[None], 40, axis=0).astype(np.float32)
        left, right = (clay(depth, 1.0, azimuth)[20, :, 0].astype(int) for azimuth in (-60, 60))
        assert left[26] > left[34] + 40
        np.testing.assert_allclose(left, right[::-1][np.r_[-1, 0:59]], atol=40)
        assert right[34] > right[26] + 40

    def test_it_is_black_off_the_face(self):
        depth = np.zeros((20, 20), np.float32)
        depth[:, :10] = np.nan
        found = clay(depth, 1.0, 60)
        assert not found[:, :9].any()
        assert (found[2:-2, 12:-2] > 0).all()


def test_sheets_hold_all_rows():
    rows = [np.full((10, width, 3), 9, np.uint8) for width in (30, 20)]
    made = sheet(rows)
    assert made.shape == (28, 30, 3)
    assert made.sum() == 9 * 3 * (300 + 200)


def measures(solver: float, wrinkles: float) -> ReliefMeasures:
    rng = np.random.default_rng(int(1000 * wrinkles))
    atlas = AtlasRelief(rng.standard_normal((60, 60)).astype(np.float32), np.ones((60, 60), bool))
    return ReliefMeasures(0.1, float("nan"), solver, (0.01, 0.05, 0.1), wrinkles, 0.02, 0.1, atlas, None)


class TestReport:
    def test_groups_ages_pairs_and_targets(self):
        photos = [Photo(Path(f"{g}/{k}.jpg"), f"{g}{k}", g) for g in ("a", "b") for k in range(3)]
        found = {p: measures(0.2 if p.group == "a" else 0.4, 0.05 * (k + 1)) for k, p in enumerate(photos)}
        twin = [replace(p, file=p.file.with_suffix(".png")) for p in photos]
        everyone = {**found, **dict(zip(twin, found.values(), strict=True))}
        pairs = [PhotoPair(*both) for both in zip(photos, twin, strict=True)]
        made = relief_report("toy", photos, everyone, pairs, old=frozenset({"2"}), young=frozenset({"0"}))
        assert {g.group: g.photos for g in made.groups} == {"a": 3, "b": 3, "old": 2, "young": 2}
        assert [g.solver for g in made.groups] == pytest.approx([0.2, 0.4, 0.3, 0.3])
        assert np.isnan(made.groups[0].net)
        assert made.false_relief == pytest.approx(0.125 / 0.225)
        assert made.consistency is not None
        assert made.consistency.nearest == 1
        met = {t.what: t.met for t in made.targets}
        assert met["shading explained by the solver"]
        assert not met["shading explained, persons over 60"]
        assert not met["relief of the young over that of the old"]

    def test_without_pairs_and_ages(self):
        photo = Photo(Path("x.jpg"), "x", "g")
        made = relief_report("toy", [photo], {photo: measures(0.3, 0.1)})
        assert made.consistency is None
        assert np.isnan(made.false_relief)
        assert len(made.targets) == 1


def test_a_photo_is_measured_and_a_bad_one_named(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    photos = [Photo(astronaut_path(), "a", "g"), Photo(bad, "b", "g")]
    found, failures = measure_reliefs(photos, "open", tiles=2)
    assert list(found) == photos[:1]
    assert list(failures) == [str(bad)]
    one = found[photos[0]]
    assert 0 <= one.coarse < one.solver < 1
    assert 0 <= one.net < 1
    assert all(0 < s < 1 for s in one.strength_mm)
    assert 0 <= one.untrusted_share <= 1
    assert one.atlas.known.sum() > 2000
    assert one.tiles is not None
    assert one.tiles.shape[0] == TILE
