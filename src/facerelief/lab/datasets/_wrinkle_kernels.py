"""Kernels of `wrinkle_lines`. Tested by tests/lab/datasets/test_wrinkle_lines.py."""

from __future__ import annotations

import math
from typing import Any

from facerelief.geometry._jit import kernel


@kernel
def draw(
    points: Any,
    depth: Any,
    fold: Any,
    profile: Any,
    reach: float,
    texel: float,
    nearest: Any,
    furrow: Any,
    raised: Any,
) -> None:
    """Add a line's profile to two maps of the atlas.

    points: (P, 2) column and row, texels; depth, fold: (P,) mm at the points; profile: (7,) deviation and
    power of the furrow, shares of its valley and of its shoulders, distance of the shoulders, rise and reach
    of its fold, lengths in mm; reach: mm beyond which nothing is added; texel: mm; nearest: (h, w, 3)
    scratch, infinite in [..., 0] before and after; furrow: (h, w) cubes of depths, summed, so that crossing
    lines are as deep as the deeper one; raised: (h, w) mm.
    """
    sigma, power, valley, share, offset, rise, width = profile
    peak = 0.0
    for k in range(64):
        s = width * (k + 1) / 32
        peak = max(peak, (1 - math.exp(-s / rise)) * math.exp(-((s / width) ** 2)))
    far = reach / texel
    height, wide = furrow.shape
    left, right, top, bottom = wide, 0, height, 0
    for k in range(len(points) - 1):
        au, av = points[k, 0], points[k, 1]
        du, dv = points[k + 1, 0] - au, points[k + 1, 1] - av
        length = du * du + dv * dv
        if length <= 0:
            continue
        first = max(int(min(av, av + dv) - far), 0)
        last = min(int(max(av, av + dv) + far) + 2, height)
        begin = max(int(min(au, au + du) - far), 0)
        end = min(int(max(au, au + du) + far) + 2, wide)
        left, right, top, bottom = min(left, begin), max(right, end), min(top, first), max(bottom, last)
        for i in range(first, last):
            for j in range(begin, end):
                u, v = j + 0.5 - au, i + 0.5 - av
                t = min(max((u * du + v * dv) / length, 0.0), 1.0)
                eu, ev = u - t * du, v - t * dv
                square = eu * eu + ev * ev
                if square < nearest[i, j, 0]:
                    nearest[i, j, 0] = square
                    nearest[i, j, 1] = k + t
                    nearest[i, j, 2] = du * v - dv * u
    for i in range(top, bottom):
        for j in range(left, right):
            square = nearest[i, j, 0]
            nearest[i, j, 0] = math.inf
            if square >= far * far:
                continue
            k = min(int(nearest[i, j, 1]), len(points) - 2)
            t = nearest[i, j, 1] - k
            deep = (1 - t) * depth[k] + t * depth[k + 1]
            d = math.sqrt(square) * texel
            f = deep * (1 - valley) * math.exp(-((d / sigma) ** power))
            furrow[i, j] += f * f * f
            up = deep * share * math.exp(-(((d - offset) / (0.6 * offset)) ** 2))
            up -= deep * valley * math.exp(-((d / (0.6 * offset)) ** 2))
            if nearest[i, j, 2] < 0:  # to the left of the line's way, as seen
                high = (1 - t) * fold[k] + t * fold[k + 1]
                up += high / peak * (1 - math.exp(-d / rise)) * math.exp(-((d / width) ** 2))
            raised[i, j] += up
