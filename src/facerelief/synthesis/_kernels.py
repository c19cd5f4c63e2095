# pyright: basic
"""Compiled loops of the synthesis room. Import inside functions only: importing facerelief stays quick."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from facerelief.geometry._jit import kernel


@kernel
def unfold(nodes, cell_x, cell_y, least, rounds):
    """Smooth a grid's displacements (gy, gx, 2), px, in place where its cells fold; the border stays.

    A corner of a cell folds where the cross product of its two sides falls below `least` of the cell's area.
    Returns the number of rounds used; at `rounds` some cells may still be folded.
    """
    gy, gx = nodes.shape[0], nodes.shape[1]
    bad = np.zeros((gy, gx), np.bool_)
    fresh = nodes.copy()
    limit = least * cell_x * cell_y
    for step in range(rounds):
        found = False
        bad[:] = False
        for i in range(gy - 1):
            for j in range(gx - 1):
                # sides of the cell: top, bottom, left, right
                tx = cell_x + nodes[i, j + 1, 0] - nodes[i, j, 0]
                ty = nodes[i, j + 1, 1] - nodes[i, j, 1]
                bx = cell_x + nodes[i + 1, j + 1, 0] - nodes[i + 1, j, 0]
                by = nodes[i + 1, j + 1, 1] - nodes[i + 1, j, 1]
                lx = nodes[i + 1, j, 0] - nodes[i, j, 0]
                ly = cell_y + nodes[i + 1, j, 1] - nodes[i, j, 1]
                rx = nodes[i + 1, j + 1, 0] - nodes[i, j + 1, 0]
                ry = cell_y + nodes[i + 1, j + 1, 1] - nodes[i, j + 1, 1]
                low = min(tx * ly - ty * lx, tx * ry - ty * rx, bx * ly - by * lx, bx * ry - by * rx)
                if low < limit:
                    found = True
                    for a in range(max(i - 1, 1), min(i + 3, gy - 1)):
                        for b in range(max(j - 1, 1), min(j + 3, gx - 1)):
                            bad[a, b] = True
        if not found:
            return step
        for i in range(1, gy - 1):
            for j in range(1, gx - 1):
                if bad[i, j]:
                    for k in range(2):
                        mean = (
                            nodes[i - 1, j, k] + nodes[i + 1, j, k] + nodes[i, j - 1, k] + nodes[i, j + 1, k]
                        )
                        fresh[i, j, k] = 0.4 * nodes[i, j, k] + 0.15 * mean
        for i in range(1, gy - 1):
            for j in range(1, gx - 1):
                if bad[i, j]:
                    nodes[i, j, 0] = fresh[i, j, 0]
                    nodes[i, j, 1] = fresh[i, j, 1]
    return rounds


@kernel
def projected_areas(uv, triangles, out):
    """out (N,) = area in px^2 of the triangles around each vertex that face the viewer, as seen in uv."""
    for n in range(out.shape[0]):
        out[n] = 0.0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        # v is down: triangles that face the viewer are clockwise in (u, v)
        area = (uv[c, 0] - uv[a, 0]) * (uv[b, 1] - uv[a, 1]) - (uv[b, 0] - uv[a, 0]) * (uv[c, 1] - uv[a, 1])
        if area > 0.0:
            out[a] += area
            out[b] += area
            out[c] += area


@kernel
def _step(low, high, x):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel
def photo_share(area_old, area_new, normals_old, normals_new, seen, out):
    """out (N,) = share of the photo in each vertex's colour: 1 where visible and not stretched too far.

    Where normal and size of the surface are unchanged the photo is used even where `seen` is low.
    """
    for n in range(out.shape[0]):
        new = area_new[n]
        ratio = area_old[n] / new if new > 1e-9 else 1.0
        cosine = (
            normals_old[n, 0] * normals_new[n, 0]
            + normals_old[n, 1] * normals_new[n, 1]
            + normals_old[n, 2] * normals_new[n, 2]
        )
        calm = _step(0.99, 0.999, cosine) * _step(0.6, 0.85, ratio)
        share = seen[n] * _step(0.12, 0.38, ratio)
        out[n] = share + (1.0 - share) * calm


@kernel
def _shade(light, x, y, z, k):
    return (
        light[0, k]
        + light[1, k] * y
        + light[2, k] * z
        + light[3, k] * x
        + light[4, k] * x * y
        + light[5, k] * y * z
        + light[6, k] * z * z
        + light[7, k] * x * z
        + light[8, k] * (x * x - y * y)
    )


@kernel
def _mouth(across, below_upper, gap, out):
    """Colour, before light, of a mouth's inside: dark, with a band of teeth below the upper rim.

    across -1..1 from corner to corner; below_upper mm below the upper rim; gap mm between the rims.
    """
    edge = 1.0 - across * across
    upper = 11.0 * (0.55 + 0.45 * edge)
    corner = _step(0.0, 0.55, edge)
    top = 1.0 - _step(upper - 0.9, upper + 0.5, below_upper)
    # teeth stand in the lips' shade at the rims
    top *= 0.55 + 0.45 * _step(0.0, 6.0, below_upper)
    # faint gaps between the teeth
    place = abs(across) * 4.2
    line = abs(place - math.floor(place) - 0.5)
    top *= 1.0 - 0.14 * _step(0.42, 0.5, line)
    share = top * corner * _step(1.0, 4.0, gap - upper * 0.5)
    out[0] = 0.20 + (0.76 - 0.20) * share
    out[1] = 0.075 + (0.71 - 0.075) * share
    out[2] = 0.07 + (0.64 - 0.07) * share


class PhotoArrays(NamedTuple):
    """The surface in the photo. Arrays by vertex unless stated; normals in the photo's camera space."""

    uv: Any
    """(N, 3) px, px, mm."""
    normals: Any
    """(N, 3)."""
    share: Any
    """(N,) share of the photo in the colour."""
    lit: Any
    """(N,) 0 where the photo shows background instead of skin, whose light stays."""
    inset: Any
    """(N,) share of the face in the image."""
    light: Any
    """(9, 3) folded."""
    floor: Any
    """(3,) least shading."""
    relief: Any
    """(h, w, 3) fine minus smooth normals on photo pixels."""
    relief_left: Any
    relief_top: Any


class ViewArrays(NamedTuple):
    """The surface in the new view."""

    triangle: Any
    """(h, w) triangle of each pixel, -1 for none."""
    barycentric: Any
    """(h, w, 3)."""
    triangles: Any
    """(T, 3)."""
    normals: Any
    """(N, 3) the new camera's space."""
    light: Any
    """(9, 3) folded."""
    floor: Any
    """(3,) least shading."""
    turn: Any
    """(3, 3) from the photo's to the new camera space."""


class FillArrays(NamedTuple):
    """Albedo for points that the photo does not show."""

    texture: Any
    """(S, S, 3), or smaller than 2 x 2 for none."""
    texture_uv: Any
    """(U, 2) texels."""
    texture_triangles: Any
    """(T, 3)."""
    colors: Any
    """(N, 3) without a texture."""
    mouth: Any
    """(N, 3) arguments of `_mouth`."""
    first_mouth: Any
    """Triangles from this one on are the inside of the mouth."""


class PixelMaps(NamedTuple):
    """Output of `surface_maps` over the rendered box."""

    x: Any
    """(h, w) column of the photo."""
    y: Any
    """(h, w) row of the photo."""
    keep: Any
    """(h, w) share of the photo in the face's colour."""
    alpha: Any
    """(h, w) share of the face in the image."""
    gain: Any
    """(h, w, 3) new by old shading."""
    fill: Any
    """(h, w, 3) lit colour of points that the photo does not show."""


@kernel
def _mix3(values, ids, i, wa, wb, wc):
    """Row i of ids (T, 3) names three rows of values (N, 3): their weighted sum."""
    a, b, c = ids[i, 0], ids[i, 1], ids[i, 2]
    return (
        wa * values[a, 0] + wb * values[b, 0] + wc * values[c, 0],
        wa * values[a, 1] + wb * values[b, 1] + wc * values[c, 1],
        wa * values[a, 2] + wb * values[b, 2] + wc * values[c, 2],
    )


@kernel
def _bilinear3(values, x, y, scale):
    """values (h, w, 3) at column x and row y, clamped to the array, times scale."""
    x = min(max(x, 0.0), values.shape[1] - 1.001)
    y = min(max(y, 0.0), values.shape[0] - 1.001)
    j, i = int(x), int(y)
    fx, fy = x - j, y - i
    w00, w01 = (1 - fx) * (1 - fy) * scale, fx * (1 - fy) * scale
    w10, w11 = (1 - fx) * fy * scale, fx * fy * scale
    return (
        w00 * values[i, j, 0]
        + w01 * values[i, j + 1, 0]
        + w10 * values[i + 1, j, 0]
        + w11 * values[i + 1, j + 1, 0],
        w00 * values[i, j, 1]
        + w01 * values[i, j + 1, 1]
        + w10 * values[i + 1, j, 1]
        + w11 * values[i + 1, j + 1, 1],
        w00 * values[i, j, 2]
        + w01 * values[i, j + 1, 2]
        + w10 * values[i + 1, j, 2]
        + w11 * values[i + 1, j + 1, 2],
    )


@kernel
def _unit(x, y, z):
    length = math.sqrt(x * x + y * y + z * z) + 1e-12
    return x / length, y / length, z / length


@kernel
def surface_maps(photo, view, fill, out):
    """Fill `out`, a PixelMaps: the place of each rendered pixel in the photo, its change of light, its fill.

    photo: PhotoArrays; view: ViewArrays; fill: FillArrays. Pixels off the face keep x, y, gain and fill.
    """
    height, width = view.triangle.shape
    size = fill.texture.shape[0]
    rh, rw = photo.relief.shape[0], photo.relief.shape[1]
    turn = view.turn
    inside = np.empty(3, np.float64)
    for i in range(height):
        for j in range(width):
            t = view.triangle[i, j]
            if t < 0:
                out.alpha[i, j] = 0.0
                out.keep[i, j] = 1.0
                continue
            a, b, c = view.triangles[t, 0], view.triangles[t, 1], view.triangles[t, 2]
            wa, wb, wc = view.barycentric[i, j, 0], view.barycentric[i, j, 1], view.barycentric[i, j, 2]
            u = wa * photo.uv[a, 0] + wb * photo.uv[b, 0] + wc * photo.uv[c, 0] - 0.5
            v = wa * photo.uv[a, 1] + wb * photo.uv[b, 1] + wc * photo.uv[c, 1] - 0.5
            out.x[i, j] = u
            out.y[i, j] = v
            w = wa * photo.share[a] + wb * photo.share[b] + wc * photo.share[c]
            out.keep[i, j] = w
            out.alpha[i, j] = wa * photo.inset[a] + wb * photo.inset[b] + wc * photo.inset[c]

            ox, oy, oz = _mix3(photo.normals, view.triangles, t, wa, wb, wc)
            ox, oy, oz = _unit(ox, oy, oz)
            nx, ny, nz = _mix3(view.normals, view.triangles, t, wa, wb, wc)
            nx, ny, nz = _unit(nx, ny, nz)
            if rh > 1 and rw > 1 and w > 0.0:
                x, y = u - photo.relief_left, v - photo.relief_top
                if x > -1.0 and y > -1.0 and x < rw and y < rh:
                    dx, dy, dz = _bilinear3(photo.relief, x, y, w)
                    ox, oy, oz = _unit(ox + dx, oy + dy, oz + dz)
                    nx += turn[0, 0] * dx + turn[0, 1] * dy + turn[0, 2] * dz
                    ny += turn[1, 0] * dx + turn[1, 1] * dy + turn[1, 2] * dz
                    nz += turn[2, 0] * dx + turn[2, 1] * dy + turn[2, 2] * dz
                    nx, ny, nz = _unit(nx, ny, nz)
            on = wa * photo.lit[a] + wb * photo.lit[b] + wc * photo.lit[c]
            s0 = max(_shade(view.light, nx, ny, nz, 0), view.floor[0])
            s1 = max(_shade(view.light, nx, ny, nz, 1), view.floor[1])
            s2 = max(_shade(view.light, nx, ny, nz, 2), view.floor[2])
            old0 = max(_shade(photo.light, ox, oy, oz, 0), photo.floor[0])
            old1 = max(_shade(photo.light, ox, oy, oz, 1), photo.floor[1])
            old2 = max(_shade(photo.light, ox, oy, oz, 2), photo.floor[2])
            out.gain[i, j, 0] = 1.0 + on * (s0 / old0 - 1.0)
            out.gain[i, j, 1] = 1.0 + on * (s1 / old1 - 1.0)
            out.gain[i, j, 2] = 1.0 + on * (s2 / old2 - 1.0)
            if w >= 1.0:
                continue
            if t >= fill.first_mouth:
                across, below, gap = _mix3(fill.mouth, view.triangles, t, wa, wb, wc)
                _mouth(across, below, gap, inside)
                red, green, blue = inside[0], inside[1], inside[2]
            elif size > 1:
                d, e, f = (
                    fill.texture_triangles[t, 0],
                    fill.texture_triangles[t, 1],
                    fill.texture_triangles[t, 2],
                )
                uv = fill.texture_uv
                x = wa * uv[d, 0] + wb * uv[e, 0] + wc * uv[f, 0] - 0.5
                y = wa * uv[d, 1] + wb * uv[e, 1] + wc * uv[f, 1] - 0.5
                red, green, blue = _bilinear3(fill.texture, x, y, 1.0)
            else:
                red, green, blue = _mix3(fill.colors, view.triangles, t, wa, wb, wc)
            out.fill[i, j, 0], out.fill[i, j, 1], out.fill[i, j, 2] = red * s0, green * s1, blue * s2


@kernel
def blend(face, keep, alpha, gain, fill, background, background_gain, out):
    """out (h, w, 3) uint8 = the lit face over the lit background.

    face, background (h, w, 3) uint8 photo colours; keep, alpha (h, w); gain, background_gain (h, w, 3), the
    latter possibly empty for no change; fill (h, w, 3) in [0, 1].
    """
    height, width = alpha.shape
    lit = background_gain.shape[0] > 0
    for i in range(height):
        for j in range(width):
            s = alpha[i, j]
            w = min(max(keep[i, j], 0.0), 1.0)
            for k in range(3):
                back = float(background[i, j, k])
                if lit:
                    back *= background_gain[i, j, k]
                if s > 0.0:
                    front = face[i, j, k] * gain[i, j, k] * w
                    if w < 1.0:
                        front += fill[i, j, k] * 255.0 * (1.0 - w)
                    back += (front - back) * s
                out[i, j, k] = np.uint8(min(max(back, 0.0), 255.0) + 0.5)


@kernel
def fade_gain(gain, matte):
    """gain (h, w, 3) in place: towards 1 where matte (h, w), 0..255, is low."""
    for i in range(gain.shape[0]):
        for j in range(gain.shape[1]):
            share = matte[i, j] / 255.0
            for k in range(3):
                gain[i, j, k] = 1.0 + (gain[i, j, k] - 1.0) * share
