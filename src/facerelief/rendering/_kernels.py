# pyright: basic
"""Compiled loops of the rendering room. Import inside functions only: importing facerelief stays quick.

Tested by tests/rendering/test_rasterizer.py, test_render.py and test_lighting.py, and by
tests/inference/test_shading_cues.py.
"""

from __future__ import annotations

import math

import numpy as np

from facerelief.geometry._jit import kernel
from facerelief.rendering.spherical_harmonics import K0, K1, K2

# Vertices are snapped to 1/65536 px: edge functions are exact in int64 up to 32768 px of width or height.
BITS = 16
ONE = 1 << BITS
HALF = ONE >> 1
EXTENT = 1 << (15 + BITS)
FAR = 2.0**40  # px


@kernel
def _edge_far(ax, ay, bx, by, px, py):
    """Edge function in float64, for triangles too wide for int64; the same from both sides of an edge."""
    if ax < bx or (ax == bx and ay < by):
        return (float(bx) - ax) * (float(py) - ay) - (float(by) - ay) * (float(px) - ax)
    return -((float(ax) - bx) * (float(py) - by) - (float(ay) - by) * (float(px) - bx))


@kernel
def rasterize(uvz, triangles, cull, triangle, barycentric, depth):
    """Z-buffer; see rasterizer.rasterize. The three outputs are overwritten."""
    height, width = triangle.shape
    n = uvz.shape[0]
    for i in range(height):
        for j in range(width):
            triangle[i, j] = -1
            depth[i, j] = np.nan
            barycentric[i, j, 0] = 0.0
            barycentric[i, j, 1] = 0.0
            barycentric[i, j, 2] = 0.0

    fixed = np.empty((n, 2), np.int64)
    usable = np.empty(n, np.bool_)
    for i in range(n):
        u, v = np.float64(uvz[i, 0]), np.float64(uvz[i, 1])
        good = abs(u) < FAR and abs(v) < FAR and math.isfinite(uvz[i, 2])
        usable[i] = good
        if good:
            fixed[i, 0] = np.int64(math.floor(u * ONE + 0.5))
            fixed[i, 1] = np.int64(math.floor(v * ONE + 0.5))
        else:
            fixed[i, 0] = 0
            fixed[i, 1] = 0

    for t in range(triangles.shape[0]):
        ia, ib, ic = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if not (usable[ia] and usable[ib] and usable[ic]):
            continue
        ax, ay = fixed[ia, 0], fixed[ia, 1]
        bx, by = fixed[ib, 0], fixed[ib, 1]
        cx, cy = fixed[ic, 0], fixed[ic, 1]

        # pixel centres inside the bounding box: j * ONE + HALF in [low, high]
        low_x, high_x = min(ax, bx, cx), max(ax, bx, cx)
        low_y, high_y = min(ay, by, cy), max(ay, by, cy)
        j0 = max((low_x + HALF - 1) >> BITS, 0)
        j1 = min((high_x - HALF) >> BITS, width - 1)
        if j1 < j0:
            continue
        i0 = max((low_y + HALF - 1) >> BITS, 0)
        i1 = min((high_y - HALF) >> BITS, height - 1)
        if i1 < i0:
            continue

        far = high_x - low_x >= EXTENT or high_y - low_y >= EXTENT
        if far:
            area = _edge_far(ax, ay, bx, by, cx, cy)
        else:
            area = float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
        # counter-clockwise with y up is clockwise with y down: positive area in (u, -v), negative here
        if area == 0.0 or (cull and area > 0.0):
            continue
        flip = area < 0.0
        if flip:
            bx, by, cx, cy = cx, cy, bx, by
            area = -area
        za, zb, zc = np.float64(uvz[ia, 2]), np.float64(uvz[ib, 2]), np.float64(uvz[ic, 2])
        if flip:
            zb, zc = zc, zb

        # top-left rule: a centre exactly on an edge belongs to the triangle below it or to the right of it
        bias_a = 0 if (cy < by or (cy == by and cx > bx)) else -1
        bias_b = 0 if (ay < cy or (ay == cy and ax > cx)) else -1
        bias_c = 0 if (by < ay or (by == ay and bx > ax)) else -1
        inverse = 1.0 / area

        if far:
            for i in range(i0, i1 + 1):
                for j in range(j0, j1 + 1):
                    px, py = j * ONE + HALF, i * ONE + HALF
                    fa = _edge_far(bx, by, cx, cy, px, py)
                    fb = _edge_far(cx, cy, ax, ay, px, py)
                    fc = _edge_far(ax, ay, bx, by, px, py)
                    if fa < 0 or fb < 0 or fc < 0:
                        continue
                    if (fa == 0 and bias_a != 0) or (fb == 0 and bias_b != 0) or (fc == 0 and bias_c != 0):
                        continue
                    share = 1.0 / (fa + fb + fc)
                    wa, wb, wc = fa * share, fb * share, fc * share
                    z = np.float32(wa * za + wb * zb + wc * zc)
                    if triangle[i, j] >= 0 and not z > depth[i, j]:
                        continue
                    triangle[i, j] = t
                    depth[i, j] = z
                    barycentric[i, j, 0] = wa
                    barycentric[i, j, 1] = wc if flip else wb
                    barycentric[i, j, 2] = wb if flip else wc
            continue

        px, py = j0 * ONE + HALF, i0 * ONE + HALF
        row_a = (cx - bx) * (py - by) - (cy - by) * (px - bx)
        row_b = (ax - cx) * (py - cy) - (ay - cy) * (px - cx)
        row_c = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
        right_a, right_b, right_c = -((cy - by) << BITS), -((ay - cy) << BITS), -((by - ay) << BITS)
        down_a, down_b, down_c = (cx - bx) << BITS, (ax - cx) << BITS, (bx - ax) << BITS
        for i in range(i0, i1 + 1):
            ea, eb, ec = row_a, row_b, row_c
            for j in range(j0, j1 + 1):
                if ((ea + bias_a) | (eb + bias_b) | (ec + bias_c)) >= 0:
                    wa, wb, wc = ea * inverse, eb * inverse, ec * inverse
                    z = np.float32(wa * za + wb * zb + wc * zc)
                    # equal depth: the lower id, rasterised first, stays
                    if triangle[i, j] < 0 or z > depth[i, j]:
                        triangle[i, j] = t
                        depth[i, j] = z
                        barycentric[i, j, 0] = wa
                        barycentric[i, j, 1] = wc if flip else wb
                        barycentric[i, j, 2] = wb if flip else wc
                ea += right_a
                eb += right_b
                ec += right_c
            row_a += down_a
            row_b += down_b
            row_c += down_c


@kernel
def interpolate(triangle, barycentric, triangles, attributes, out):
    """out (H, W, C) = barycentric mix of attributes (N, C), 0 where empty."""
    height, width = triangle.shape
    channels = attributes.shape[1]
    for i in range(height):
        for j in range(width):
            t = triangle[i, j]
            if t < 0:
                for k in range(channels):
                    out[i, j, k] = 0.0
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2]
            for k in range(channels):
                out[i, j, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]


@kernel
def visible_vertices(uvz, normal_z, triangles, triangle, depth, tolerance, out):
    """out (N,) bool: the vertex is at most tolerance mm behind the surface at a pixel centre beside it."""
    height, width = triangle.shape
    for n in range(uvz.shape[0]):
        out[n] = False
        u, v, z = np.float64(uvz[n, 0]), np.float64(uvz[n, 1]), np.float64(uvz[n, 2])
        if not (u >= 0.0 and u < width and v >= 0.0 and v < height and math.isfinite(z)):
            continue
        if normal_z.shape[0] > 0 and not normal_z[n] > 0.0:
            continue
        i, j = int(v), int(u)
        # the nearest pixel centres around the vertex: visible if it is not behind all of them
        i1 = i - 1 if v - i < 0.5 else i + 1
        j1 = j - 1 if u - j < 0.5 else j + 1
        seen = False
        covered = False
        for k in range(4):
            r = i if k < 2 else i1
            c = j if k % 2 == 0 else j1
            if r < 0 or r >= height or c < 0 or c >= width:
                continue
            t = triangle[r, c]
            if t < 0:
                continue
            covered = True
            if (
                triangles[t, 0] == n
                or triangles[t, 1] == n
                or triangles[t, 2] == n
                or z >= depth[r, c] - tolerance
            ):
                seen = True
                break
        # no triangle around it: a thin part between the pixel centres, which nothing can hide
        out[n] = seen or not covered


@kernel
def shade(normals, light, out):
    """out (P, 3) = basis(normals (P, 3)) @ light (9, 3), the constants folded into light beforehand."""
    for p in range(normals.shape[0]):
        x, y, z = normals[p, 0], normals[p, 1], normals[p, 2]
        xy, yz, xz = x * y, y * z, x * z
        zz, d = z * z, x * x - y * y
        for k in range(3):
            out[p, k] = (
                light[0, k]
                + light[1, k] * y
                + light[2, k] * z
                + light[3, k] * x
                + light[4, k] * xy
                + light[5, k] * yz
                + light[6, k] * zz
                + light[7, k] * xz
                + light[8, k] * d
            )


@kernel
def _encode(x):
    """Linear light in [0, 1] to sRGB."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    return 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1.0 / 2.4) - 0.055


@kernel
def shade_fragments(
    triangle, barycentric, triangles, normals, colors, light, studio, samples, background, image, coverage
):
    """Shade an image rasterised `samples` times too large and average it down.

    normals (N, 3) camera space; colors (N, 3) or (1, 3), sRGB for a harmonic light, linear for the studio;
    light (9, 3) as for `shade` (constants folded) or studio (L, 4) of direction and strength; background (H,
    W, 3) or (1, 1, 3) in [0, 1]; outputs image (H, W, 3) uint8 and coverage (H, W) float32.
    """
    height, width = coverage.shape
    harmonic = studio.shape[0] == 0
    plain = colors.shape[0] == 1
    single = background.shape[0] == 1 and background.shape[1] == 1
    basis = np.ones(9, np.float64)
    for i in range(height):
        for j in range(width):
            total0, total1, total2 = 0.0, 0.0, 0.0
            hits = 0
            for k in range(samples * samples):
                y, x = i * samples + k // samples, j * samples + k % samples
                t = triangle[y, x]
                if t < 0:
                    continue
                hits += 1
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                wa, wb, wc = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
                nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
                ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
                nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
                length = math.sqrt(nx * nx + ny * ny + nz * nz)
                if length > 0.0:
                    nx, ny, nz = nx / length, ny / length, nz / length
                else:
                    nz = 1.0
                if plain:
                    c0, c1, c2 = colors[0, 0], colors[0, 1], colors[0, 2]
                else:
                    c0 = wa * colors[a, 0] + wb * colors[b, 0] + wc * colors[c, 0]
                    c1 = wa * colors[a, 1] + wb * colors[b, 1] + wc * colors[c, 1]
                    c2 = wa * colors[a, 2] + wb * colors[b, 2] + wc * colors[c, 2]
                inside = nz < -0.05  # the back of the surface, through an opening or at its edge
                if inside:
                    nx, ny, nz = -nx, -ny, -nz
                gain = 0.3 if inside else 1.0
                if harmonic:
                    basis[1], basis[2], basis[3] = ny, nz, nx
                    basis[4], basis[5], basis[6], basis[7] = nx * ny, ny * nz, nz * nz, nx * nz
                    basis[8] = nx * nx - ny * ny
                    s0, s1, s2 = 0.0, 0.0, 0.0
                    for m in range(9):
                        s0 += light[m, 0] * basis[m]
                        s1 += light[m, 1] * basis[m]
                        s2 += light[m, 2] * basis[m]
                    total0 += min(max(c0 * s0 * gain, 0.0), 1.0)
                    total1 += min(max(c1 * s1 * gain, 0.0), 1.0)
                    total2 += min(max(c2 * s2 * gain, 0.0), 1.0)
                else:
                    shine = 0.0
                    sum_ = 0.09 + 0.06 * ny  # sky above, floor below
                    for m in range(studio.shape[0]):
                        dx, dy, dz, strength = studio[m, 0], studio[m, 1], studio[m, 2], studio[m, 3]
                        facing = nx * dx + ny * dy + nz * dz
                        if facing <= 0.0:
                            continue
                        sum_ += strength * facing
                        if not inside:
                            half = math.sqrt(dx * dx + dy * dy + (dz + 1.0) * (dz + 1.0))
                            gloss = (nx * dx + ny * dy + nz * (dz + 1.0)) / half
                            gloss *= gloss
                            gloss *= gloss
                            gloss *= gloss
                            gloss *= gloss
                            shine += 0.05 * strength * gloss * gloss
                    total0 += c0 * sum_ * gain + shine
                    total1 += c1 * sum_ * gain + shine
                    total2 += c2 * sum_ * gain + shine
            share = hits / (samples * samples)
            coverage[i, j] = share
            bi, bj = (0, 0) if single else (i, j)
            if hits > 0:
                total0, total1, total2 = total0 / hits, total1 / hits, total2 / hits
                if not harmonic:
                    total0, total1, total2 = _encode(total0), _encode(total1), _encode(total2)
            weight, rest = share * 255.0, (1.0 - share) * 255.0
            image[i, j, 0] = np.uint8(total0 * weight + rest * background[bi, bj, 0] + 0.5)
            image[i, j, 1] = np.uint8(total1 * weight + rest * background[bi, bj, 1] + 0.5)
            image[i, j, 2] = np.uint8(total2 * weight + rest * background[bi, bj, 2] + 0.5)


@kernel
def harmonic_rows(grey, depth, mask, half_scale, step, rows, values):
    """Basis values (9,) and brightness of every `step`-th pixel whose four neighbours are in the mask;
    returns the number of filled rows."""
    height, width = grey.shape
    k0, k1, k2 = np.float32(K0), np.float32(K1), np.float32(K2)
    one, three, half = np.float32(1.0), np.float32(3.0), np.float32(0.5)
    k6 = np.float32(K2 / (2.0 * math.sqrt(3.0)))
    used = 0
    for i in range(1, height - 1, step):
        for j in range(1, width - 1, step):
            if not (mask[i, j] and mask[i, j - 1] and mask[i, j + 1] and mask[i - 1, j] and mask[i + 1, j]):
                continue
            dx = (depth[i, j + 1] - depth[i, j - 1]) * half_scale
            dy = (depth[i - 1, j] - depth[i + 1, j]) * half_scale
            z = one / math.sqrt(dx * dx + dy * dy + one)
            x, y = -dx * z, -dy * z
            row = rows[used]
            row[0] = k0
            row[1] = -k1 * y
            row[2] = k1 * z
            row[3] = -k1 * x
            row[4] = k2 * x * y
            row[5] = -k2 * y * z
            row[6] = k6 * (three * z * z - one)
            row[7] = -k2 * x * z
            row[8] = half * k2 * (x * x - y * y)
            values[used] = grey[i, j]
            used += 1
    return used


@kernel
def shading_cues(grey, depth, mask, half_scale, light, darkest, most, out):
    """See inference.shading_cues; out (3, S, S): ratio of brightness to that of the surface, before the
    logarithm and 1 off the mask, and both derivatives."""
    height, width = grey.shape
    one, three = np.float32(1.0), np.float32(3.0)
    # coefficients times the basis's constants
    l0 = np.float32(K0) * light[0]
    l1, l2, l3 = np.float32(K1) * light[1], np.float32(K1) * light[2], np.float32(K1) * light[3]
    l4, l5, l7 = np.float32(K2) * light[4], np.float32(K2) * light[5], np.float32(K2) * light[7]
    l6 = np.float32(K2 / (2.0 * math.sqrt(3.0))) * light[6]
    l8 = np.float32(0.5 * K2) * light[8]
    two, six = np.float32(2.0), np.float32(6.0)
    for i in range(height):
        for j in range(width):
            out[0, i, j] = one
            out[1, i, j] = np.float32(0.0)
            out[2, i, j] = np.float32(0.0)
            if i == 0 or j == 0 or i == height - 1 or j == width - 1:
                continue
            if not (mask[i, j] and mask[i, j - 1] and mask[i, j + 1] and mask[i - 1, j] and mask[i + 1, j]):
                continue
            dx = (depth[i, j + 1] - depth[i, j - 1]) * half_scale
            dy = (depth[i - 1, j] - depth[i + 1, j]) * half_scale
            z = one / math.sqrt(dx * dx + dy * dy + one)
            x, y = -dx * z, -dy * z
            shade = l0 - l1 * y + l2 * z - l3 * x + l4 * x * y - l5 * y * z - l7 * x * z
            shade += l6 * (three * z * z - one) + l8 * (x * x - y * y)
            gx = -l3 + l4 * y - l7 * z + two * l8 * x
            gy = -l1 + l4 * x - l5 * z - two * l8 * y
            gz = l2 - l5 * y - l7 * x + six * l6 * z
            along = gx * x + gy * y + gz * z
            over = one / (max(shade, darkest) + darkest)
            # a slope p turns the normal by (-1, 0, 0) less its part along the normal, over the length 1 / z
            out[0, i, j] = (grey[i, j] + darkest) * over
            out[1, i, j] = min(max((along * x - gx) * z * over, -most), most)
            out[2, i, j] = min(max((along * y - gy) * z * over, -most), most)
