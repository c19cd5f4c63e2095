"""Maps of one head: sizes, codes, and what a face without relief or uv has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.facefolder.maps import decode_displacement, encode_displacement, head_maps, relief_maps
from facerelief.facefolder.texture import working_size


def test_maps_have_the_size_asked_for(toy_reconstruction):
    maps = head_maps(toy_reconstruction, 1024)
    assert working_size(toy_reconstruction, 1024) == 512  # 0.6 px/mm: larger texels hold all that is seen
    for values in (maps.texture, maps.normal_map, maps.displacement):
        assert values is not None
        assert values.shape[:2] == (1024, 1024)
    small = relief_maps(toy_reconstruction, 512)[1]
    means = maps.displacement.reshape(512, 2, 512, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(means, small, atol=0.03)


def test_the_relief_of_several_photos_is_merged(toy_reconstruction):
    """One photo twice is that photo; one without relief adds nothing; what is hidden comes from the other."""
    r, own = toy_reconstruction, relief_maps(toy_reconstruction, 256)[1]
    for others in ([r], [replace(r, fine=None)]):
        off = np.abs(relief_maps(r, 256, others)[1] - own)
        assert (off > 0.02).mean() < 0.003  # the border fades a little more
        assert off.max() < 0.15
    left = r.fine.depth.copy()
    left[:, left.shape[1] // 2 :] = np.nan
    half = replace(r, fine=replace(r.fine, depth=left))
    both = relief_maps(half, 256, [r])[1]
    seen = np.abs(own) > 0.1
    assert (np.abs(relief_maps(half, 256)[1])[seen] < 0.01).mean() > 0.3
    assert np.corrcoef(both[seen], own[seen])[0, 1] > 0.9


def test_without_relief_or_uv_there_are_none(toy_reconstruction):
    maps = head_maps(replace(toy_reconstruction, fine=None), 64)
    assert maps.texture is not None
    assert maps.normal_map is None
    assert maps.displacement is None
    none = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
    bare = replace(toy_reconstruction.model, uv=none[0], uv_triangles=none[1])
    assert head_maps(replace(toy_reconstruction, model=bare), 64).texture is None


@pytest.mark.parametrize(("high", "reach"), [(0.0, 0.1), (0.31, 0.4), (2.0, 2.0)])
def test_displacement_round_trip(high, reach):
    height = np.linspace(-high, high, 101, dtype=np.float32).reshape(1, -1)
    coded, found = encode_displacement(height)
    assert found == pytest.approx(reach)
    assert coded[0, 50] == 32768
    np.testing.assert_allclose(decode_displacement(coded, found), height, atol=reach / 60000)
