"""Relief by shape from shading (Horn; Zhang et al. 1999), with the energy of Guo et al. (TPAMI 2019).

*Relief* is the height of the skin above the coarse surface, wrinkles and folds, and is found here; *detail*,
in `detail`, is relief together with the photo's own albedo. The unknown is a displacement d of the depth map
along camera z, z = depth + d:

    E(d) = mean rho(r^T C^-1 r) + mu1 mean d^2 + mu2 mean |Laplacian d|

with lengths in mm, so that the weights mean the same at every resolution. Both regularisers look at root
mean squares over a few mm and grow slowly: skin is flat with folds here and there. r (3,) is the relative
difference of the image and albedo * (H(n) light), n ~ (-dz/dx, -dz/dy, 1); rho is Geman & McClure's (1985). C
is the covariance of other changes of colour: camera noise, and skin detail that the parametric albedo lacks
(freckles, blotches, hairs), which changes blue and green more than red, while shading changes all channels
alike. For the same reason the part of that detail which its colour reveals is first taken out of the image
(`albedo_detail`), band by band, since it is smooth where noise is not.

Solved by Gauss-Newton over an image pyramid; both robust terms by reweighting; the linear systems by
matrix-free conjugate gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.depth import normals_from_depth
from facerelief.inverse.grids import blurred, doubled, eroded, framed, pooled, trend
from facerelief.inverse.relief_config import ReliefConfig
from facerelief.inverse.trust import evidence, skin_trust
from facerelief.rendering.lighting import fold_light
from facerelief.typed import Bool, Float, Float32

LEAST_FACING = 0.1
"""Normals count as facing the camera at least this much (z), so that slopes stay finite."""
LEAST_SHADING = 0.08
"""Shading that residuals are divided by is at least this."""
FLOOR = 0.02
"""Added to colours before their logarithm."""
CLIPPED_FROM, CLIPPED_OVER, CLIPPED_NOISE = 0.94, 0.04, 100
"""Channel value where clipping begins, range over which it becomes complete, and the variance that it adds to
log colour."""
SMALLEST_LEVEL = 48
"""Levels with a shorter side, px, are not halved again."""


@dataclass(frozen=True, eq=False)
class Relief:
    """Displacement of a depth map, and the weights of its pixels."""

    displacement: Float32
    """(h, w) mm along camera z, toward the viewer; 0 off the mask and on its border."""
    trust: Float32
    """(h, w) final robust weights in [0, 1]; 0 off the mask."""
    energy_before: float
    """E at d = 0; 0 where nothing could be solved."""
    energy_after: float
    """E at the solution."""


def solve_relief(
    color: ArrayLike,
    albedo: ArrayLike,
    depth: ArrayLike,
    light: ArrayLike,
    scale: float,
    mask: ArrayLike,
    config: ReliefConfig | None = None,
    trust: ArrayLike | None = None,
) -> Relief:
    """Displacement that makes the shaded surface look like the image.

    Finite for any input of these shapes; 0 where nothing is known.

    Args:
        color: (h, w, 3) the image, sRGB-coded in [0, 1].
        albedo: (h, w, 3) the smooth parametric albedo on the same pixels.
        depth: (h, w) mm along camera z, larger is nearer, NaN off the face.
        light: (9, 3) in camera space.
        scale: px/mm of this grid.
        mask: (h, w) bool, skin, with holes at eyes and mouth.
        config: Weights and schedule.
        trust: (h, w) weights in [0, 1] known beforehand.

    Raises:
        ValueError: Shapes do not fit.
    """
    config = config or ReliefConfig()
    seen = _checked(color, albedo, depth, mask, trust)
    z, usable = seen.depth, seen.mask
    nothing = Relief(np.zeros(z.shape, np.float32), np.zeros(z.shape, np.float32), 0.0, 0.0)
    lamp = np.asarray(light, np.float64)
    if not (np.isfinite(lamp).all() and np.isfinite(scale) and scale > 0):
        return nothing
    rows, columns = np.flatnonzero(usable.any(axis=1)), np.flatnonzero(usable.any(axis=0))
    if not len(rows):
        return nothing
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    limit = config.limit * (columns[-1] + 1 - columns[0]) / scale
    normals = normals_from_depth(np.where(np.isfinite(z), z, np.nan), scale)
    # a frame of inactive pixels spares the kernels the question where the grid ends
    level = _finest(
        seen.cut(window),
        framed(normals[window]),
        fold_light(lamp).astype(np.float32),
        float(scale),
        config,
    )
    levels = [level]
    while len(levels) < config.levels and min(levels[-1].mask.shape) >= SMALLEST_LEVEL:
        levels.append(levels[-1].halved())
    d = np.zeros(levels[-1].mask.shape, np.float32)
    for level in reversed(levels):
        if d.shape != level.mask.shape:
            d = doubled(d, level.mask.shape)
        d = level.solve(np.where(level.active, d, np.float32(0)), config, limit)
    fine = levels[0]
    weight = fine.weights(d, config)
    before = fine.energy(np.zeros_like(d), config)
    after = fine.energy(d, config)
    displacement, believed = nothing.displacement, nothing.trust
    displacement[window] = d[1:-1, 1:-1]
    believed[window] = weight[1:-1, 1:-1]
    return Relief(displacement, believed, before, after)


def albedo_detail(
    ratio: Float32,
    jacobian: Float,
    noise: Float32,
    mask: Bool,
    scale: float,
    config: ReliefConfig,
    prior: Float32,
) -> tuple[Float32, Float32, Float32]:
    """Separate albedo detail and smooth differences from what may be relief.

    Shading moves all channels of a pixel along the columns of its jacobian; other changes are albedo or
    noise, and of the two only albedo is smooth. Hence per band of widths the best linear estimate of the
    detail, with the noise that is left in that band and with the strength of detail found around each pixel.

    Args:
        ratio: (h, w, 3) log of the image over the coarse model's rendering.
        jacobian: (h, w, 3, 2) of the log shading by the slopes.
        noise: (h, w, 3) variance of `ratio`.
        mask: (h, w) pixels that count.
        scale: px/mm.
        config: Bands, and the covariance of skin detail.
        prior: (h, w) weights in [0, 1].

    Returns:
        Detail in log RGB that its colour reveals (h, w, 3), differences too smooth for relief (h, w, 3), and
        the detail's strength (h, w), 1 for that of `config.skin`.
    """
    from facerelief.inverse import _kernels

    inside = mask.astype(np.float32)
    sigmas = [s * scale for s in config.bands_mm if s * scale >= 0.5]
    covariance = np.asarray(config.skin, np.float64)
    total = np.zeros_like(ratio)
    smooth = ratio
    remaining = 1.0  # variance of white noise that is left after smoothing
    smoothest = trend(ratio, prior, mask, config.lowpass_mm * scale)
    overall = np.zeros(mask.shape, np.float32)
    out = np.zeros_like(ratio)
    found = np.zeros_like(ratio)
    for index in range(len(sigmas) + 1):
        if index < len(sigmas):
            fresh = blurred(ratio, inside, sigmas[index])
            left = 1.0 / (4 * np.pi * sigmas[index] ** 2)
            spread = sigmas[index]
        else:
            fresh, left, spread = smoothest, 0.0, 2 * sigmas[-1] if sigmas else 2.0
        band = smooth - fresh
        share = (noise * np.float32(max(remaining - left, 1e-3))).astype(np.float32)
        skin = covariance / (len(sigmas) + 1)
        _kernels.band_statistics(band, jacobian, share, skin, mask, found)
        local = blurred(found, inside, config.surroundings * spread)
        # where colours say little, the usual strength of detail is believed
        weak = np.float32(config.belief)
        strength = (local[..., 0] - local[..., 1] + weak) / (local[..., 2] + weak)
        strength = np.ascontiguousarray(np.clip(strength, config.least_detail, 100.0), np.float32)
        slope = config.slope**2 / (len(sigmas) + 1)
        overall += strength / np.float32(len(sigmas) + 1)
        _kernels.separate(band, strength, slope, jacobian, share, skin, mask, out)
        total += out
        smooth, remaining = fresh, left
    return total, smoothest, overall


class _Observed(NamedTuple):
    """Checked inputs of `solve_relief`, all on (h, w)."""

    image: Float32
    albedo: Float32
    depth: Float32
    mask: Bool
    trust: Float32

    def cut(self, window: tuple[slice, slice]) -> _Observed:
        """A part of them, framed."""
        image, albedo, depth, trust = (
            framed(x[window]) for x in (self.image, self.albedo, self.depth, self.trust)
        )
        return _Observed(image, albedo, depth, framed(self.mask[window]), trust)


@dataclass(frozen=True, eq=False)
class _Level:
    """One resolution: everything on (h, w), with a frame of inactive pixels."""

    target: Float32
    """(h, w, 3) shading that the image shows."""
    unit: Float32
    """(h, w, 3) divisor of residuals: the coarse model's shading."""
    precision: Float32
    """(h, w, 6) C^-1."""
    p: Float32
    q: Float32
    """(h, w) slopes of the coarse depth."""
    mask: Bool
    active: Bool
    """Pixels whose height is free: the mask without its border."""
    prior: Float32
    pull: Float32
    """(h, w) factor on mu1, large beside the border."""
    light: Float32
    scale: float

    def halved(self) -> _Level:
        """The next coarser level."""
        share = pooled(self.mask.astype(np.float32))
        mask = share > 0.6
        mask[[0, -1]] = mask[:, [0, -1]] = False

        def mean(x: Float32) -> Float32:
            weight = self.mask.astype(np.float32).reshape(self.mask.shape + (1,) * (x.ndim - 2))
            total = pooled(x * weight)
            held = np.maximum(share, 1e-6).reshape(share.shape + (1,) * (x.ndim - 2))
            return np.ascontiguousarray(total / held, np.float32)

        active = eroded(mask)
        return _Level(
            target=mean(self.target),
            unit=np.maximum(mean(self.unit), np.float32(1e-3)),
            precision=mean(self.precision),
            p=mean(self.p),
            q=mean(self.q),
            mask=mask,
            active=active,
            prior=mean(self.prior),
            pull=np.ascontiguousarray(np.minimum(pooled(self.pull), 1e4), np.float32),
            light=self.light,
            scale=self.scale / 2,
        )

    def linearised(self, d: Float32) -> tuple[Float32, Float32, Float32]:
        """Tensor (h, w, 6), force (h, w, 4), cost (h, w) of the photometric term, see the kernel."""
        from facerelief.inverse import _kernels

        tensor = np.empty((*d.shape, 6), np.float32)
        force = np.empty((*d.shape, 4), np.float32)
        cost = np.empty(d.shape, np.float32)
        _kernels.linearise(
            d,
            self.mask,
            self.p,
            self.q,
            self.target,
            self.unit,
            self.precision,
            self.light,
            self.scale,
            tensor,
            force,
            cost,
        )
        return tensor, force, cost

    def robust(self, cost: Float32, config: ReliefConfig) -> Float32:
        """Weights (h, w) in [0, 1] of Geman-McClure, from costs averaged over the neighbourhood."""
        if not np.isfinite(config.robust):
            return self.prior * self.mask
        around = blurred(cost, self.mask.astype(np.float32), config.coherence_mm * self.scale)
        weight = 1.0 / (1.0 + around / np.float32(3 * config.robust**2)) ** 2
        return np.ascontiguousarray(weight * self.prior * self.mask, np.float32)

    def weights(self, d: Float32, config: ReliefConfig) -> Float32:
        return self.robust(self.linearised(d)[2], config)

    def reach(self, d: Float32, config: ReliefConfig) -> tuple[Float32, Float32]:
        """(h, w) mean squares of the Laplacian of d and of d over each pixel's surroundings."""
        from facerelief.inverse import _kernels

        bent = np.empty_like(d)
        _kernels.laplacian(d, self.active, self.scale, bent)
        inside = self.active.astype(np.float32)
        return (
            blurred(bent * bent, inside, config.crease_mm * self.scale),
            blurred(d * d, inside, config.fold_mm * self.scale),
        )

    def energy(self, d: Float32, config: ReliefConfig) -> float:
        """E(d) of the module's docstring."""
        count = max(int(self.mask.sum()), 1)
        cost = self.linearised(d)[2]
        if np.isfinite(config.robust):
            cost = cost / (1.0 + cost / np.float32(3 * config.robust**2))
        bent, size = self.reach(d, config)
        curved = config.laplacian * (np.sqrt(bent + np.float32(config.soften**2)) - config.soften)
        unit, power = config.sparse_mm**2, config.sparse_power
        grown = np.log1p(size / unit)
        if power != 1:  # the integral of (1 + x)^-power
            grown = np.expm1((1 - power) * grown) / (1 - power)
        held = np.minimum(self.pull, np.float32(1)) * grown * np.float32(config.displacement * unit)
        parts = (cost * self.prior)[self.mask].sum(dtype=np.float64)
        return float((parts + (held + curved)[self.active].sum(dtype=np.float64)) / count)

    def solve(self, d: Float32, config: ReliefConfig, limit: float) -> Float32:
        """Gauss-Newton steps from d (h, w) mm; |d| stays within `limit` mm."""
        from facerelief.inverse import _kernels

        rest = np.ascontiguousarray(config.displacement * self.pull * self.active, np.float32)
        b, step = np.empty_like(d), np.empty_like(d)
        for _ in range(config.steps):
            tensor, force, cost = self.linearised(d)
            weight = self.robust(cost, config)[..., None]
            tensor *= weight
            force *= weight
            bent, size = self.reach(d, config)
            bend = (0.5 * config.laplacian) / np.sqrt(bent + np.float32(config.soften**2))
            bend = np.ascontiguousarray(bend * self.active, np.float32)
            pull = rest / (1 + size / np.float32(config.sparse_mm**2)) ** np.float32(config.sparse_power)
            pull = np.ascontiguousarray(pull, np.float32)
            _kernels.slopes_adjoint(force, self.active, self.scale, b)
            # the regularisers' own force at d
            _kernels.apply(d, self.active, np.zeros_like(tensor), pull, bend, self.scale, step)
            b -= step
            _kernels.conjugate_gradient(
                b, self.active, tensor, pull, bend, self.scale, config.iterations, 1e-3, step
            )
            if not np.isfinite(step).all():
                break
            d = np.clip(d + step, -limit, limit).astype(np.float32)
        return d


def _finest(seen: _Observed, normals: Float32, light: Float32, scale: float, config: ReliefConfig) -> _Level:
    """The finest level; all arrays are framed already, light (9, 3) is folded."""
    import cv2

    from facerelief.inverse import _kernels

    image, mask = seen.image, seen.mask
    facing = np.maximum(normals[..., 2], np.float32(LEAST_FACING))
    p = np.where(mask, -normals[..., 0] / facing, 0).astype(np.float32)
    q = np.where(mask, -normals[..., 1] / facing, 0).astype(np.float32)
    shading = np.empty_like(image)
    jacobian = np.empty((*mask.shape, 3, 2), np.float32)
    _kernels.shade_slopes(p, q, light, shading, jacobian)
    unit = np.maximum(shading, np.float32(LEAST_SHADING))
    floor = np.float32(FLOOR)
    rendering = seen.albedo * unit
    ratio = np.log((image + floor) / (rendering + floor)) * mask[..., None]
    log_jacobian = jacobian / unit[..., None]
    # dark pixels are noisy, clipped ones say nothing
    brightness = np.minimum(rendering, image) + floor
    clipped = np.clip((image - CLIPPED_FROM) / CLIPPED_OVER, 0, 1) ** 2
    noise = (config.noise / brightness) ** 2 + np.float32(CLIPPED_NOISE) * clipped
    prior = seen.trust * (1 - clipped.mean(axis=2))
    noise = np.ascontiguousarray(noise, np.float32)
    prior = skin_trust(ratio, prior, mask, scale, config)
    if config.whiten:
        detail, smooth, strength = albedo_detail(ratio, log_jacobian, noise, mask, scale, config, prior)
        covariance = config.unexplained * np.asarray(config.skin, np.float64)
    else:
        smooth = trend(ratio, prior, mask, config.lowpass_mm * scale)
        detail = np.zeros_like(ratio)
        strength = np.ones(mask.shape, np.float32)
        covariance = config.unexplained * np.diag(np.full(3, np.trace(np.asarray(config.skin)) / 3))
    inverse = np.empty((*mask.shape, 6), np.float32)
    _kernels.precision(
        noise,
        covariance,
        config.doubt**2,
        detail,
        np.maximum(strength, np.float32(config.least_detail)),
        mask,
        inverse,
    )
    left = ratio - detail - smooth
    inverse *= evidence(np.ascontiguousarray(left.mean(axis=2)), mask, scale, config)[..., None]
    target = np.exp(np.clip(left, -3, 3)) * unit
    # the frame is off the mask, so it counts as border here
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    fade = np.clip((distance - 0.5) / max(config.fade_px, 0.5), 0.05, 1)
    pull = np.where(mask, fade**-4, 0).astype(np.float32)
    return _Level(
        target=np.ascontiguousarray(target, np.float32),
        unit=unit,
        precision=inverse,
        p=p,
        q=q,
        mask=mask,
        active=eroded(mask),
        prior=np.ascontiguousarray(prior, np.float32),
        pull=pull,
        light=light,
        scale=scale,
    )


def _checked(
    color: ArrayLike, albedo: ArrayLike, depth: ArrayLike, mask: ArrayLike, trust: ArrayLike | None
) -> _Observed:
    """Arrays of the right shapes, finite and in range; the mask without pixels that are not."""
    z = np.asarray(depth, np.float32)
    if z.ndim != 2:
        raise ValueError(f"depth has shape {z.shape}, expected (h, w)")
    usable = np.array(mask, dtype=np.bool_)
    image, skin = np.asarray(color, np.float32), np.asarray(albedo, np.float32)
    prior = np.ones(z.shape, np.float32) if trust is None else np.asarray(trust, np.float32)
    for name, found, expected in (
        ("color", image.shape, (*z.shape, 3)),
        ("albedo", skin.shape, (*z.shape, 3)),
        ("mask", usable.shape, z.shape),
        ("trust", prior.shape, z.shape),
    ):
        if found != expected:
            raise ValueError(f"{name} has shape {found}, expected {expected}")
    usable &= np.isfinite(z) & np.isfinite(image).all(axis=2) & np.isfinite(skin).all(axis=2)
    image = np.where(usable[..., None], np.clip(image, 0, 1), 0).astype(np.float32)
    skin = np.where(usable[..., None], np.clip(skin, 0.02, 1), 1).astype(np.float32)
    prior = np.where(usable & np.isfinite(prior), np.clip(prior, 0, 1), 0).astype(np.float32)
    return _Observed(image, skin, z, usable, prior)
