"""Laws of the scan-based units: ARKit's names, left and right mirror images, the tongue's root at rest."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import sparse

from facerelief.errors import ModelError
from facerelief.lab.building.scan_head import ScanHead
from facerelief.lab.building.scan_mesh import HeadMesh
from facerelief.lab.building.scan_units import (
    EXTRA_UNITS,
    TONGUE_OUT_MM,
    UNITS,
    expression_units,
    source_names,
    symmetric_identity,
    tongue_out,
)
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored

SOURCES = tuple(name for unit in UNITS for name in source_names(unit))
MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def parts() -> tuple[ScanHead, HeadMesh, np.ndarray, np.ndarray]:
    """A cloud of mirrored points with random expressions; some polygons are the tongue."""
    rng = np.random.default_rng(0)
    half = rng.uniform(1, 40, (60, 3))
    mean = np.concatenate([half, half * MIRROR])
    symmetry = np.roll(np.arange(120), 60).astype(np.int32)
    polygons = np.arange(120, dtype=np.int32).reshape(-1, 4)
    part = np.where(np.isin(np.arange(30) % 15, (2, 5, 9)), "tongue", "face")
    head = ScanHead(
        mean,
        rng.normal(size=(120, 3, 4)),
        rng.normal(size=(120, 3, len(SOURCES))),
        SOURCES,
        polygons,
        np.zeros((120, 2)),
        polygons,
        part,
    )
    mesh = HeadMesh(sparse.identity(120).tocsr(), np.zeros((120, 3)), polygons, head.uv, polygons, part)
    return head, mesh, symmetry, mean


class TestNames:
    def test_arkit_first_then_what_is_named_extra(self):
        assert UNITS[:52] == ARKIT_NAMES
        assert UNITS[52:] == EXTRA_UNITS

    def test_every_unit_but_the_tongue_has_a_source_of_its_own(self):
        assert [unit for unit in UNITS if not source_names(unit)] == ["tongueOut"]
        assert max(Counter(SOURCES).values()) == 1

    @pytest.mark.parametrize("unit", UNITS)
    def test_a_partner_has_the_partners_sources(self, unit):
        swap = {"_L": "_R", "_R": "_L"}
        flipped = {
            name[:-2] + swap[name[-2:]] if name[-2:] in swap else mirrored(name)
            for name in source_names(unit)
        }
        assert flipped == set(source_names(mirrored(unit)))


class TestUnits:
    def test_partners_are_exact_mirror_images(self, parts):
        head, mesh, symmetry, mean = parts
        units = expression_units(head, mesh, symmetry, mean)
        assert units.shape == (120, 3, len(UNITS))
        for k, unit in enumerate(UNITS):
            other = units[:, :, UNITS.index(mirrored(unit))]
            np.testing.assert_array_equal(units[symmetry, :, k] * MIRROR, other)

    def test_a_unit_is_the_mean_of_both_sides_sources(self, parts):
        head, mesh, symmetry, mean = parts
        units = expression_units(head, mesh, symmetry, mean)
        for unit in ("mouthSmileLeft", "browInnerUp", "jawRight"):
            one, two = (
                sum(head.expression[:, :, SOURCES.index(name)] for name in source_names(u))
                for u in (unit, mirrored(unit))
            )
            found = units[:, :, UNITS.index(unit)]
            np.testing.assert_allclose(found, 0.5 * (one + two[symmetry] * MIRROR), atol=1e-12)

    def test_a_lacking_shape_is_named(self, parts):
        head, mesh, symmetry, mean = parts
        names = tuple("other" if name == "jawOpen" else name for name in SOURCES)
        lacking = ScanHead(
            head.mean,
            head.identity,
            head.expression,
            names,
            head.polygons,
            head.uv,
            head.uv_polygons,
            head.part,
        )
        with pytest.raises(ModelError, match="'jawOpen'"):
            expression_units(lacking, mesh, symmetry, mean)


def test_the_tongue_stretches_from_its_root(parts):
    _, mesh, _, mean = parts
    tongue = mesh.vertices_of("tongue")
    out = tongue_out(mesh, mean)
    assert not out[~tongue].any()
    ids = np.flatnonzero(tongue)
    order = ids[np.argsort(mean[ids, 2])]
    np.testing.assert_allclose(out[order[0]], 0, atol=1e-12)
    np.testing.assert_allclose(out[order[-1]], TONGUE_OUT_MM)
    assert (np.diff(out[order, 2]) >= -1e-12).all()


def test_components_are_symmetric_or_change_sign(parts):
    _, _, symmetry, _ = parts
    rng = np.random.default_rng(1)
    raw = rng.normal(size=(120, 3, 6))
    wanted = np.array([1, -1, 1, 1, -1, -1])
    pure = raw + wanted * raw[symmetry] * MIRROR[:, None]
    found, sign = symmetric_identity(pure + 0.05 * rng.normal(size=pure.shape), symmetry)
    np.testing.assert_array_equal(sign, wanted)
    np.testing.assert_allclose(found[symmetry] * MIRROR[:, None], sign * found, atol=1e-12)
    same, _ = symmetric_identity(pure, symmetry)
    np.testing.assert_allclose(same, pure, atol=1e-12)
