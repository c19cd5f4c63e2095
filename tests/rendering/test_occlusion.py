"""Laws of ambient occlusion."""

from __future__ import annotations

import numpy as np

from facerelief.rendering.occlusion import seen_share


def test_what_is_convex_sees_everything_and_a_pit_does_not():
    n = 41
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    ids = np.arange(n * n).reshape(n, n)
    quads = np.stack([ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    middle = ids[n // 2, n // 2]
    shares = [
        seen_share(50 * np.stack([x, y, z], axis=2).reshape(-1, 3), triangles)[middle]
        for z in (-0.3 * (x**2 + y**2), 0 * x, -1.5 * np.exp(-20 * (x**2 + y**2)))
    ]
    assert shares[0] > 0.95
    assert shares[1] > 0.95
    assert shares[2] < 0.8
