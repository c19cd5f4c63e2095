# pyright: basic
"""Compiled loops of the synthesis room. Import inside functions only: importing facerelief stays quick."""

from __future__ import annotations

import math

import numpy as np

from facerelief.geometry._jit import kernel


@kernel
def unfold(nodes, cell_x, cell_y, least, rounds):
    """Smooth a grid's displacements (gy, gx, 2), px, in place where its cells fold; the border stays.

    A corner of a cell folds where the cross product of its two sides falls below `least` of the cell's area.
    Returns the number of rounds used; `rounds` means that some may be folded still.
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
    """out (N,) = how much each vertex takes from the photo: seen there, and not stretched too far.

    Where the surface looks as it did (same normal, same size) the photo is right, whatever `seen` fears.
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


@kernel
def surface_maps(
    triangle,
    barycentric,
    triangles,
    uv_old,
    normals_old,
    normals_new,
    share,
    lit,
    border,
    light_old,
    light_new,
    floor_old,
    floor_new,
    relief,
    relief_left,
    relief_top,
    turn,
    texture,
    texture_uv,
    texture_triangles,
    colors,
    mouth,
    first_mouth,
    map_x,
    map_y,
    keep,
    alpha,
    gain,
    fill,
):
    """What each drawn pixel needs: where the photo shows it, how its light changes, what it is otherwise.

    Per vertex: uv_old (N, 2) photo px, normals (N, 3) camera space, share, lit and border (N,), colors (N, 3)
    albedo; mouth (N, 3) as `_mouth` reads it, for triangles from `first_mouth` on. Lights are folded (9, 3);
    floors (3,) keep shadows from dividing by nothing. relief (h, w, 3): what the photo's fine normals add to
    the smooth ones, on photo pixels from (relief_left, relief_top) on; turn (3, 3) old to new camera space.
    lit is 0 where the photo shows a wall and no skin: its light stays. Outputs over the picture part that
    was drawn: map_x, map_y column and row of the photo, keep the photo's share, alpha the face's share, gain
    (h, w, 3) light new by old, fill (h, w, 3) lit colour elsewhere.
    """
    height, width = triangle.shape
    size = texture.shape[0]
    rh, rw = relief.shape[0], relief.shape[1]
    inside = np.empty(3, np.float64)
    for i in range(height):
        for j in range(width):
            t = triangle[i, j]
            if t < 0:
                alpha[i, j] = 0.0
                keep[i, j] = 1.0
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2]
            u = wa * uv_old[a, 0] + wb * uv_old[b, 0] + wc * uv_old[c, 0] - 0.5
            v = wa * uv_old[a, 1] + wb * uv_old[b, 1] + wc * uv_old[c, 1] - 0.5
            map_x[i, j] = u
            map_y[i, j] = v
            w = wa * share[a] + wb * share[b] + wc * share[c]
            keep[i, j] = w
            alpha[i, j] = wa * border[a] + wb * border[b] + wc * border[c]

            ox = wa * normals_old[a, 0] + wb * normals_old[b, 0] + wc * normals_old[c, 0]
            oy = wa * normals_old[a, 1] + wb * normals_old[b, 1] + wc * normals_old[c, 1]
            oz = wa * normals_old[a, 2] + wb * normals_old[b, 2] + wc * normals_old[c, 2]
            nx = wa * normals_new[a, 0] + wb * normals_new[b, 0] + wc * normals_new[c, 0]
            ny = wa * normals_new[a, 1] + wb * normals_new[b, 1] + wc * normals_new[c, 1]
            nz = wa * normals_new[a, 2] + wb * normals_new[b, 2] + wc * normals_new[c, 2]
            length = math.sqrt(ox * ox + oy * oy + oz * oz) + 1e-12
            ox, oy, oz = ox / length, oy / length, oz / length
            length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            nx, ny, nz = nx / length, ny / length, nz / length
            if rh > 1 and rw > 1 and w > 0.0:
                x, y = u - relief_left, v - relief_top
                if x > -1.0 and y > -1.0 and x < rw and y < rh:
                    x, y = min(max(x, 0.0), rw - 1.001), min(max(y, 0.0), rh - 1.001)
                    j0, i0 = int(x), int(y)
                    fx, fy = x - j0, y - i0
                    w00, w01 = (1 - fx) * (1 - fy) * w, fx * (1 - fy) * w
                    w10, w11 = (1 - fx) * fy * w, fx * fy * w
                    dx = (
                        w00 * relief[i0, j0, 0]
                        + w01 * relief[i0, j0 + 1, 0]
                        + w10 * relief[i0 + 1, j0, 0]
                        + w11 * relief[i0 + 1, j0 + 1, 0]
                    )
                    dy = (
                        w00 * relief[i0, j0, 1]
                        + w01 * relief[i0, j0 + 1, 1]
                        + w10 * relief[i0 + 1, j0, 1]
                        + w11 * relief[i0 + 1, j0 + 1, 1]
                    )
                    dz = (
                        w00 * relief[i0, j0, 2]
                        + w01 * relief[i0, j0 + 1, 2]
                        + w10 * relief[i0 + 1, j0, 2]
                        + w11 * relief[i0 + 1, j0 + 1, 2]
                    )
                    ox, oy, oz = ox + dx, oy + dy, oz + dz
                    nx += turn[0, 0] * dx + turn[0, 1] * dy + turn[0, 2] * dz
                    ny += turn[1, 0] * dx + turn[1, 1] * dy + turn[1, 2] * dz
                    nz += turn[2, 0] * dx + turn[2, 1] * dy + turn[2, 2] * dz
                    length = math.sqrt(ox * ox + oy * oy + oz * oz) + 1e-12
                    ox, oy, oz = ox / length, oy / length, oz / length
                    length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
                    nx, ny, nz = nx / length, ny / length, nz / length
            s0 = max(_shade(light_new, nx, ny, nz, 0), floor_new[0])
            s1 = max(_shade(light_new, nx, ny, nz, 1), floor_new[1])
            s2 = max(_shade(light_new, nx, ny, nz, 2), floor_new[2])
            on = wa * lit[a] + wb * lit[b] + wc * lit[c]
            gain[i, j, 0] = 1.0 + on * (s0 / max(_shade(light_old, ox, oy, oz, 0), floor_old[0]) - 1.0)
            gain[i, j, 1] = 1.0 + on * (s1 / max(_shade(light_old, ox, oy, oz, 1), floor_old[1]) - 1.0)
            gain[i, j, 2] = 1.0 + on * (s2 / max(_shade(light_old, ox, oy, oz, 2), floor_old[2]) - 1.0)
            if w >= 1.0:
                continue
            if t >= first_mouth:
                _mouth(
                    wa * mouth[a, 0] + wb * mouth[b, 0] + wc * mouth[c, 0],
                    wa * mouth[a, 1] + wb * mouth[b, 1] + wc * mouth[c, 1],
                    wa * mouth[a, 2] + wb * mouth[b, 2] + wc * mouth[c, 2],
                    inside,
                )
                fill[i, j, 0], fill[i, j, 1], fill[i, j, 2] = inside[0] * s0, inside[1] * s1, inside[2] * s2
                continue
            if size > 1:
                d, e, f = texture_triangles[t, 0], texture_triangles[t, 1], texture_triangles[t, 2]
                x = wa * texture_uv[d, 0] + wb * texture_uv[e, 0] + wc * texture_uv[f, 0] - 0.5
                y = wa * texture_uv[d, 1] + wb * texture_uv[e, 1] + wc * texture_uv[f, 1] - 0.5
                x, y = min(max(x, 0.0), size - 1.001), min(max(y, 0.0), size - 1.001)
                j0, i0 = int(x), int(y)
                fx, fy = x - j0, y - i0
                w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
                for k in range(3):
                    color = (
                        w00 * texture[i0, j0, k]
                        + w01 * texture[i0, j0 + 1, k]
                        + w10 * texture[i0 + 1, j0, k]
                        + w11 * texture[i0 + 1, j0 + 1, k]
                    )
                    fill[i, j, k] = color * (s0 if k == 0 else s1 if k == 1 else s2)
            else:
                for k in range(3):
                    color = wa * colors[a, k] + wb * colors[b, k] + wc * colors[c, k]
                    fill[i, j, k] = color * (s0 if k == 0 else s1 if k == 1 else s2)


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
