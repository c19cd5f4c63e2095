"""Head and normal map together have the fine surface's normals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facerelief.lab.evaluation.photos.map_agreement import map_agreement


def test_the_map_bridges_most_of_the_way(toy_reconstruction):
    found = map_agreement(toy_reconstruction, 512)
    assert found.pixels > 1000
    assert found.median < 4
    assert found.median < 0.5 * found.smooth_median


def test_without_relief_there_is_nothing_to_compare(toy_reconstruction):
    with pytest.raises(ValueError, match="no relief"):
        map_agreement(replace(toy_reconstruction, fine=None))
