"""Geometry detail by shape from shading: folds and wrinkles that the coarse model has not.

The unknown is a displacement d of the depth map along camera z, z = depth + d (Guo et al., TPAMI 2019):

    E(d) = mean rho(r^T C^-1 r) + mu1 mean d^2 + mu2 mean |Laplacian d|

with lengths in mm, so that the weights mean the same at every resolution. Both regularisers look at root
mean squares over a few mm and grow slowly: skin is flat with folds here and there. r (3,) is the relative
difference of the picture and albedo * (H(n) light), n ~ (-dz/dx, -dz/dy, 1); rho is Geman-McClure. C holds
what else changes colours: camera noise, and skin detail that the parametric albedo lacks (freckles, blotches,
hairs), which changes blue and green more than red, while shading changes all channels alike. For the same
reason the part of that detail which its colour gives away is taken out of the picture first
(`albedo_detail`), band by band, since it is smooth where noise is not.

Solved by Gauss-Newton over an image pyramid; both robust terms by reweighting; the linear systems by
matrix-free conjugate gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.depth import normals_from_depth
from facerelief.rendering.lighting import fold_light
from facerelief.typed import Bool, Float32

SKIN_DETAIL = ((0.00045, 0.00060, 0.00060), (0.00060, 0.00110, 0.00108), (0.00060, 0.00108, 0.00120))
"""Covariance (3, 3) of log RGB that skin has beyond a smooth albedo: melanin of about 2.2 % along (0.6, 0.95,
1.05), haemoglobin of 2 % along (0.3, 1.0, 0.8), and 1 % of grey."""


@dataclass(frozen=True)
class ReliefConfig:
    """Weights and schedule of shape from shading.

    Tuned on `evaluation.relief_truth` with other seeds than the benchmark's, and by eye on real photos, whose
    coarse light, shape and albedo are wrong in smooth ways: hence a narrower `lowpass_mm` and a milder
    `sparse_power` than known light would ask for.
    """

    displacement: float = 60.0
    """mu1, per mm^2 of mean squared displacement, for small ones."""
    sparse_mm: float = 0.05
    """Displacements beyond this cost ever less than their squares: skin is flat with folds here and there."""
    sparse_power: float = 1.5
    """How much less: the square's weight falls with (1 + (d / sparse_mm)^2)^-power; 0 is the plain square, 1
    a logarithm, 2 Geman-McClure."""
    fold_mm: float = 2.0
    """Whether skin is folded is decided over about this distance."""
    laplacian: float = 3.0
    """mu2, per 1/mm of the mean absolute Laplacian of the displacement."""
    soften: float = 0.1
    """|Laplacian| in 1/mm below which its cost is quadratic."""
    crease_mm: float = 1.0
    """|Laplacian| is the root mean square over about this distance, which keeps staircases and specks out."""
    robust: float = 3.0
    """Whitened residuals (root mean square of three channels) beyond this lose influence; infinity for
    none."""
    coherence_mm: float = 0.5
    """Robust weights come from costs averaged over about this distance."""
    contrast: float = 0.22
    """Log ratios of picture and coarse rendering beyond this, within `lowpass_mm` and over `contrast_mm`, are
    brows, beards or shine rather than relief; infinity for no such limit."""
    contrast_mm: float = 1.5
    """See `contrast`."""
    noise: float = 2.0 / 255.0
    """Standard deviation of the picture's noise, colours in [0, 1]."""
    skin: tuple[tuple[float, float, float], ...] = SKIN_DETAIL
    """Covariance (3, 3) of the log RGB of skin detail."""
    whiten: bool = True
    """Tell shading from albedo detail by colour; else every channel counts alike."""
    slope: float = 0.3
    """Deviation of the relief's slopes that is assumed while separating."""
    bands_mm: tuple[float, ...] = (0.4, 0.8, 1.6, 3.2)
    """Gaussian deviations that split the picture into bands for separating; the last band is what is
    smoother."""
    surroundings: float = 2.0
    """How strong detail is in a band is measured over this many of the band's deviations."""
    belief: float = 1.0
    """How firmly detail is believed to be as strong as `skin` where colours say little."""
    unexplained: float = 1.0
    """Share of the skin covariance, times its local strength, that is left in C after the detail that colour
    gives away is taken out."""
    least_detail: float = 0.2
    """The local strength is at least this, since a picture may have less noise than `noise`."""
    doubt: float = 1.0
    """Relative uncertainty of the detail taken out: moles and hairs leave little trust behind."""
    lowpass_mm: float = 10.0
    """Residuals smoother than this Gaussian deviation are the coarse fit's faults, not detail."""
    limit: float = 0.03
    """|d| stays below this share of the mask's width."""
    fade_px: float = 3.0
    """Over this distance from the mask's border the displacement is held to 0."""
    levels: int = 3
    """Resolutions, each half the next."""
    steps: int = 4
    """Gauss-Newton steps per level."""
    iterations: int = 20
    """Conjugate gradient iterations per step."""


@dataclass(frozen=True, eq=False)
class Relief:
    """Displacement of a depth map, and how far its pixels were believed."""

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
    """Displacement that makes the shaded surface look like the picture.

    color (h, w, 3) the picture, sRGB-coded in [0, 1]; albedo (h, w, 3) the smooth parametric one on the same
    pixels; depth (h, w) mm along camera z, larger is nearer, NaN off the face; light (9, 3) in camera space;
    scale px/mm of this grid; mask (h, w) bool: skin, with holes at eyes and mouth; trust (h, w) weights in
    [0, 1] known beforehand. Finite for any input of these shapes; 0 where nothing is known. Raises ValueError
    for shapes that do not fit.
    """
    config = config or ReliefConfig()
    picture, skin, z, usable, prior = _checked(color, albedo, depth, mask, trust)
    height, width = z.shape
    nothing = Relief(np.zeros((height, width), np.float32), np.zeros((height, width), np.float32), 0.0, 0.0)
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
    level = _level(
        _framed(picture[window]),
        _framed(skin[window]),
        _framed(normals[window]),
        _framed(usable[window]),
        _framed(prior[window]),
        fold_light(lamp).astype(np.float32),
        float(scale),
        config,
    )
    levels = [level]
    while len(levels) < config.levels and min(levels[-1].mask.shape) >= 48:
        levels.append(levels[-1].halved())
    d = np.zeros(levels[-1].mask.shape, np.float32)
    for level in reversed(levels):
        if d.shape != level.mask.shape:
            d = _doubled(d, level.mask.shape)
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
    jacobian: Float32,
    noise: Float32,
    mask: Bool,
    scale: float,
    config: ReliefConfig,
    prior: Float32,
) -> tuple[Float32, Float32, Float32]:
    """Skin detail in log RGB that its colour gives away, and what is too smooth for relief.

    ratio (h, w, 3) log of the picture over the coarse model's rendering; jacobian (h, w, 3, 2) of the log
    shading by the slopes; noise (h, w, 3) variance of `ratio`. Shading moves all channels of a pixel along
    the columns of its jacobian; what moves them otherwise is albedo or noise, and of the two only albedo is
    smooth. Hence per band of widths the best linear estimate of the detail, with the noise that is left in
    that band and with the strength of detail found around each pixel. Returns the detail (h, w, 3), what is
    too smooth (h, w, 3), and the detail's strength (h, w), 1 for that of `config.skin`.
    """
    from facerelief.inverse import _kernels

    inside = mask.astype(np.float32)
    sigmas = [s * scale for s in config.bands_mm if s * scale >= 0.5]
    covariance = np.asarray(config.skin, np.float64)
    total = np.zeros_like(ratio)
    smooth = ratio
    remaining = 1.0  # variance of white noise that is left after smoothing
    smoothest = _trend(ratio, prior, mask, config.lowpass_mm * scale)
    overall = np.zeros(mask.shape, np.float32)
    out = np.zeros_like(ratio)
    found = np.zeros_like(ratio)
    for index in range(len(sigmas) + 1):
        if index < len(sigmas):
            fresh = _blurred(ratio, inside, sigmas[index])
            left = 1.0 / (4 * np.pi * sigmas[index] ** 2)
            spread = sigmas[index]
        else:
            fresh, left, spread = smoothest, 0.0, 2 * sigmas[-1] if sigmas else 2.0
        band = smooth - fresh
        share = (noise * np.float32(max(remaining - left, 1e-3))).astype(np.float32)
        skin = covariance / (len(sigmas) + 1)
        _kernels.band_statistics(band, jacobian, share, skin, mask, found)
        local = _blurred(found, inside, config.surroundings * spread)
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


@dataclass(frozen=True, eq=False)
class _Level:
    """One resolution: everything on (h, w), with a frame of inactive pixels."""

    target: Float32
    """(h, w, 3) shading that the picture shows."""
    unit: Float32
    """(h, w, 3) what residuals are divided by: the coarse model's shading."""
    precision: Float32
    """(h, w, 6) C^-1."""
    p: Float32
    q: Float32
    """(h, w) slopes of the coarse depth."""
    mask: Bool
    active: Bool
    """Where d is free: the mask without its border."""
    prior: Float32
    pull: Float32
    """(h, w) factor on mu1, large beside the border."""
    light: Float32
    scale: float

    def halved(self) -> _Level:
        share = _pooled(self.mask.astype(np.float32))
        mask = share > 0.6
        mask[[0, -1]] = mask[:, [0, -1]] = False

        def mean(x: Float32) -> Float32:
            weight = self.mask.astype(np.float32).reshape(self.mask.shape + (1,) * (x.ndim - 2))
            total = _pooled(x * weight)
            held = np.maximum(share, 1e-6).reshape(share.shape + (1,) * (x.ndim - 2))
            return np.ascontiguousarray(total / held, np.float32)

        active = _shrunk(mask)
        return _Level(
            mean(self.target),
            np.maximum(mean(self.unit), np.float32(1e-3)),
            mean(self.precision),
            mean(self.p),
            mean(self.q),
            mask,
            active,
            mean(self.prior),
            np.ascontiguousarray(np.minimum(_pooled(self.pull), 1e4), np.float32),
            self.light,
            self.scale / 2,
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
        around = _blurred(cost, self.mask.astype(np.float32), config.coherence_mm * self.scale)
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
            _blurred(bent * bent, inside, config.crease_mm * self.scale),
            _blurred(d * d, inside, config.fold_mm * self.scale),
        )

    def energy(self, d: Float32, config: ReliefConfig) -> float:
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


def _level(
    picture: Float32,
    skin: Float32,
    normals: Float32,
    mask: Bool,
    prior: Float32,
    light: Float32,
    scale: float,
    config: ReliefConfig,
) -> _Level:
    """The finest level, all of whose arrays are framed already."""
    import cv2

    from facerelief.inverse import _kernels

    facing = np.maximum(normals[..., 2], np.float32(0.1))
    p = np.where(mask, -normals[..., 0] / facing, 0).astype(np.float32)
    q = np.where(mask, -normals[..., 1] / facing, 0).astype(np.float32)
    shading = np.empty_like(picture)
    jacobian = np.empty((*mask.shape, 3, 2), np.float32)
    _kernels.shade_slopes(p, q, light, shading, jacobian)
    unit = np.maximum(shading, np.float32(0.08))
    floor = np.float32(0.02)
    rendering = skin * unit
    ratio = np.log((picture + floor) / (rendering + floor)) * mask[..., None]
    log_jacobian = jacobian / unit[..., None]
    # dark pixels are noisy, clipped ones say nothing
    brightness = np.minimum(rendering, picture) + floor
    clipped = np.clip((picture - 0.94) / 0.04, 0, 1) ** 2
    noise = (config.noise / brightness) ** 2 + np.float32(100) * clipped
    prior = prior * (1 - clipped.mean(axis=2))
    noise = np.ascontiguousarray(noise, np.float32)
    prior = _plausible(ratio, prior, mask, scale, config)
    if config.whiten:
        detail, smooth, strength = albedo_detail(ratio, log_jacobian, noise, mask, scale, config, prior)
        covariance = config.unexplained * np.asarray(config.skin, np.float64)
    else:
        smooth = _trend(ratio, prior, mask, config.lowpass_mm * scale)
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
    target = np.exp(np.clip(ratio - detail - smooth, -3, 3)) * unit
    # the frame is off the mask, so it counts as border here
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    fade = np.clip((distance - 0.5) / max(config.fade_px, 0.5), 0.05, 1)
    pull = np.where(mask, fade**-4, 0).astype(np.float32)
    return _Level(
        np.ascontiguousarray(target, np.float32),
        unit,
        inverse,
        p,
        q,
        mask,
        _shrunk(mask),
        np.ascontiguousarray(prior, np.float32),
        pull,
        light,
        scale,
    )


def _plausible(ratio: Float32, prior: Float32, mask: Bool, scale: float, config: ReliefConfig) -> Float32:
    """The prior weights, less where the picture differs from the coarse rendering more than relief can.

    Brows, beards and highlights are such; found against a smooth background that is itself found without
    them.
    """
    if not np.isfinite(config.contrast):
        return prior
    grey = ratio.mean(axis=2)
    weight = prior * mask
    for _ in range(3):
        background = _trend(grey[..., None], weight, mask, config.lowpass_mm * scale)[..., 0]
        beyond = np.square((grey - background) / np.float32(config.contrast))
        beyond = _blurred(beyond, mask.astype(np.float32), config.contrast_mm * scale)
        weight = prior * mask / np.square(1 + beyond)
    return np.ascontiguousarray(weight, np.float32)


def _checked(
    color: ArrayLike, albedo: ArrayLike, depth: ArrayLike, mask: ArrayLike, trust: ArrayLike | None
) -> tuple[Float32, Float32, Float32, Bool, Float32]:
    """Arrays of the right shapes, finite and in range; the mask without pixels that are not."""
    z = np.asarray(depth, np.float32)
    if z.ndim != 2:
        raise ValueError(f"depth has shape {z.shape}, expected (h, w)")
    usable = np.array(mask, dtype=np.bool_)
    picture, skin = np.asarray(color, np.float32), np.asarray(albedo, np.float32)
    prior = np.ones(z.shape, np.float32) if trust is None else np.asarray(trust, np.float32)
    for name, found, expected in (
        ("color", picture.shape, (*z.shape, 3)),
        ("albedo", skin.shape, (*z.shape, 3)),
        ("mask", usable.shape, z.shape),
        ("trust", prior.shape, z.shape),
    ):
        if found != expected:
            raise ValueError(f"{name} has shape {found}, expected {expected}")
    usable &= np.isfinite(z) & np.isfinite(picture).all(axis=2) & np.isfinite(skin).all(axis=2)
    picture = np.where(usable[..., None], np.clip(picture, 0, 1), 0).astype(np.float32)
    skin = np.where(usable[..., None], np.clip(skin, 0.02, 1), 1).astype(np.float32)
    prior = np.where(usable & np.isfinite(prior), np.clip(prior, 0, 1), 0).astype(np.float32)
    return picture, skin, z, usable, prior


def _framed(x: Float32) -> Float32:
    wide = ((1, 1), (1, 1)) + ((0, 0),) * (x.ndim - 2)
    return np.pad(x, wide)


def _shrunk(mask: Bool) -> Bool:
    """The mask's pixels all of whose four neighbours are in it."""
    out = np.zeros_like(mask)
    out[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return out


def _pooled(x: Float32) -> Float32:
    """Means of 2 x 2 pixels inside the frame, framed again; an odd last row or column is repeated."""
    inner = x[1:-1, 1:-1]
    odd = ((0, inner.shape[0] % 2), (0, inner.shape[1] % 2)) + ((0, 0),) * (x.ndim - 2)
    inner = np.pad(inner, odd, mode="edge")
    return _framed((inner[::2, ::2] + inner[1::2, ::2] + inner[::2, 1::2] + inner[1::2, 1::2]) / 4)


def _doubled(d: Float32, shape: tuple[int, ...]) -> Float32:
    """A coarser level's displacement on the next level's grid."""
    import cv2

    inner = d[1:-1, 1:-1]
    size = (2 * inner.shape[1], 2 * inner.shape[0])
    wide = cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR)
    return _framed(wide[: shape[0] - 2, : shape[1] - 2])


def _blurred(x: Float32, inside: Float32, sigma: float) -> Float32:
    """Gaussian mean of x (h, w) or (h, w, c), c <= 4, with weights `inside` (h, w). Wide ones on a coarser
    grid."""
    import cv2

    weighted = x * (inside if x.ndim == 2 else inside[..., None])
    height, width = inside.shape
    factor = 1
    while sigma / factor > 5 and min(height, width) / factor > 16:
        factor *= 2
    if factor > 1:
        small = (-(-width // factor), -(-height // factor))
        weighted = cv2.resize(weighted, small, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside, small, interpolation=cv2.INTER_AREA)
    sigma = max(sigma / factor, 0.3)
    top = cv2.GaussianBlur(weighted, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    base = cv2.GaussianBlur(inside, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    base = np.maximum(base, np.float32(1e-4))
    out = top / (base if x.ndim == 2 else base[..., None])
    if factor > 1:
        out = cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def _trend(x: Float32, weight: Float32, mask: Bool, sigma: float) -> Float32:
    """x (h, w, c) smoothed: at each pixel the best plane under Gaussian weights of deviation sigma px.

    Planes rather than means, since a mean is off beside the mask's border wherever x has a slope. Found on a
    grid of about three samples per deviation.
    """
    import cv2

    height, width = mask.shape
    factor = max(int(sigma / 3), 1)
    small = (-(-width // factor), -(-height // factor))
    held = np.maximum(weight, np.float32(1e-3)) * mask

    def mean(y: Float32) -> Float32:
        coarse = y if factor == 1 else cv2.resize(y, small, interpolation=cv2.INTER_AREA)
        coarse = coarse.astype(np.float64)
        spread = max(sigma / factor, 0.3)
        return cv2.GaussianBlur(coarse, (0, 0), spread, borderType=cv2.BORDER_CONSTANT)

    h = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / np.float32(sigma)
    v = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / np.float32(sigma)
    axes = (np.ones_like(held), np.broadcast_to(h, held.shape), np.broadcast_to(v[:, None], held.shape))
    moment = np.empty((small[1], small[0], 3, 3))
    for i in range(3):
        for j in range(i, 3):
            moment[..., i, j] = moment[..., j, i] = mean(np.ascontiguousarray(held * axes[i] * axes[j]))
    terms = [mean(np.ascontiguousarray(held[..., None] * x * a[..., None])) for a in axes]
    right = np.stack([t.reshape(*moment.shape[:2], -1) for t in terms], axis=2)
    # moments about the pixel itself, so that the ridge that steadies thin places holds slopes alone
    here = _grid(small, width, height, sigma)
    shift = np.zeros_like(moment)
    shift[..., 0, 0] = shift[..., 1, 1] = shift[..., 2, 2] = 1
    shift[..., 1, 0], shift[..., 2, 0] = -here[0], -here[1]
    moment = shift @ moment @ shift.swapaxes(-1, -2)
    right = shift @ right
    total = np.maximum(moment[..., :1, :1], 1e-9)
    ridge = np.diag([0.0, 0.03, 0.03]) * total + np.eye(3) * 1e-9
    plane = np.linalg.solve(moment + ridge, right)[..., 0, :]
    out = np.ascontiguousarray(np.clip(plane, -20, 20), np.float32)
    if factor > 1:
        out = cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR)
    return out.reshape(x.shape)


def _grid(small: tuple[int, int], width: int, height: int, sigma: float) -> tuple[Float32, Float32]:
    """Centres of a coarser grid's pixels in the coordinates of `_trend`."""
    h = ((np.arange(small[0]) + 0.5) * (width / small[0]) - width / 2) / sigma
    v = ((np.arange(small[1]) + 0.5) * (height / small[1]) - height / 2) / sigma
    return np.broadcast_to(h, small[::-1]), np.broadcast_to(v[:, None], small[::-1])
