"""Laws of shape from shading: exact derivatives, nothing from nothing, a bump from an image of a bump."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.depth import normals_from_depth
from facerelief.inverse import _kernels
from facerelief.inverse.relief import solve_relief
from facerelief.inverse.relief_config import ReliefConfig
from facerelief.rendering.lighting import directional_light, fold_light, shade
from facerelief.rendering.spherical_harmonics import sh_basis

LAMP = directional_light((0.7, 0.5, 1.0), color=(0.62, 0.6, 0.58), ambient=0.35).astype(np.float32)
SKIN = np.array([0.75, 0.58, 0.5], np.float32)


def hill(size: int, scale: float) -> np.ndarray:
    """(size, size) mm: a smooth dome, 100 mm in diameter."""
    x = (np.arange(size) + 0.5 - size / 2) / scale
    return (40 - (x[None, :] ** 2 + x[:, None] ** 2) / 90).astype(np.float32)


def disc(size: int, share: float = 0.9) -> np.ndarray:
    x = (np.arange(size) + 0.5) / size * 2 - 1
    return x[None, :] ** 2 + x[:, None] ** 2 < share**2


def bump(size: int, scale: float, x: float = 5.0, y: float = -8.0, high: float = -0.8, wide: float = 3.0):
    """(size, size) mm: one round dent."""
    t = (np.arange(size) + 0.5 - size / 2) / scale
    return (high * np.exp(-((t[None, :] - x) ** 2 + (-t[:, None] - y) ** 2) / (2 * wide**2))).astype(
        np.float32
    )


def photo(z: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(SKIN * shade(normals_from_depth(z, scale), LAMP), 0, 1).astype(np.float32)


def scene(size: int = 96, scale: float = 1.5):
    """depth, albedo, mask"""
    z = hill(size, scale)
    return z, np.broadcast_to(SKIN, (size, size, 3)).copy(), disc(size)


def random_level(rng: np.random.Generator, h: int = 12, w: int = 14):
    """Everything the kernels take, with holes in the mask."""
    mask = np.zeros((h, w), bool)
    mask[1:-1, 1:-1] = rng.random((h - 2, w - 2)) < 0.85
    active = mask & (rng.random((h, w)) < 0.9)
    p, q = (rng.normal(0, 0.4, (h, w)).astype(np.float32) for _ in range(2))
    factor = rng.normal(size=(h, w, 3, 3))
    precision = factor @ factor.transpose(0, 1, 3, 2)
    packed = precision[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32)
    target = rng.uniform(0.3, 1.0, (h, w, 3)).astype(np.float32)
    unit = rng.uniform(0.5, 1.0, (h, w, 3)).astype(np.float32)
    return mask, active, p, q, target, unit, packed, precision


def linearised(d, level, scale):
    mask, _, p, q, target, unit, packed, _ = level
    tensor = np.empty((*d.shape, 6), np.float32)
    force = np.empty((*d.shape, 4), np.float32)
    cost = np.empty(d.shape, np.float32)
    light = fold_light(LAMP).astype(np.float32)
    _kernels.linearise(d, mask, p, q, target, unit, packed, light, scale, tensor, force, cost)
    return tensor, force, cost


class TestKernels:
    def test_shading_of_slopes_is_that_of_normals_and_its_derivative_exact(self):
        rng = np.random.default_rng(0)
        p, q = (rng.normal(0, 0.6, (5, 6)).astype(np.float32) for _ in range(2))
        light = fold_light(LAMP).astype(np.float32)
        shading, jacobian = np.empty((5, 6, 3), np.float32), np.empty((5, 6, 3, 2), np.float32)
        _kernels.shade_slopes(p, q, light, shading, jacobian)

        def expected(p, q):
            n = np.stack([-p, -q, np.ones_like(p)], axis=-1).astype(np.float64)
            return sh_basis(n / np.linalg.norm(n, axis=-1, keepdims=True)) @ LAMP.astype(np.float64)

        np.testing.assert_allclose(shading, expected(p, q), atol=1e-5)
        p, q, h = p.astype(np.float64), q.astype(np.float64), 1e-5
        np.testing.assert_allclose(
            jacobian[..., 0], (expected(p + h, q) - expected(p - h, q)) / (2 * h), atol=1e-4
        )
        np.testing.assert_allclose(
            jacobian[..., 1], (expected(p, q + h) - expected(p, q - h)) / (2 * h), atol=1e-4
        )

    def test_force_is_the_gradient_of_the_cost(self):
        rng = np.random.default_rng(1)
        level = random_level(rng)
        mask, active = level[:2]
        scale = 1.7
        d = (rng.normal(0, 0.1, mask.shape) * active).astype(np.float32)
        _, force, _ = linearised(d, level, scale)
        gradient = np.empty_like(d)
        _kernels.slopes_adjoint(force, active, scale, gradient)
        for _ in range(5):
            step = (rng.normal(size=mask.shape) * active).astype(np.float32)
            h = np.float32(2e-3)
            up = linearised(d + h * step, level, scale)[2].sum(dtype=np.float64)
            down = linearised(d - h * step, level, scale)[2].sum(dtype=np.float64)
            # the force is -J^T P r toward lower cost r^T P r, whose derivative is twice that
            assert -2 * float((gradient * step).sum()) == pytest.approx(
                (up - down) / (2 * h), rel=2e-2, abs=0.5
            )

    def test_operator_is_symmetric_positive_and_has_that_diagonal(self):
        rng = np.random.default_rng(2)
        level = random_level(rng)
        mask, active = level[:2]
        scale = 1.3
        tensor, _, _ = linearised(np.zeros(mask.shape, np.float32), level, scale)
        pull, bend = (rng.uniform(0.1, 1, mask.shape).astype(np.float32) * active for _ in range(2))

        def apply(x):
            out = np.empty_like(x)
            _kernels.apply(x, active, tensor, pull, bend, scale, out)
            return out

        for _ in range(5):
            x, y = ((rng.normal(size=mask.shape) * active).astype(np.float32) for _ in range(2))
            assert float((apply(x) * y).sum()) == pytest.approx(
                float((x * apply(y)).sum()), rel=1e-3, abs=1e-2
            )
            assert float((apply(x) * x).sum()) > 0
        diagonal = np.empty(mask.shape, np.float32)
        _kernels.diagonal(active, tensor, pull, bend, scale, diagonal)
        for i, j in np.argwhere(active)[::7]:
            x = np.zeros(mask.shape, np.float32)
            x[i, j] = 1
            assert apply(x)[i, j] == pytest.approx(diagonal[i, j], rel=1e-4)

    def test_tensor_is_the_jacobian_times_itself(self):
        """x^T D^T T D x = sum of (dr)^T P (dr) for a small step x."""
        rng = np.random.default_rng(3)
        level = random_level(rng)
        mask, active, p, q, _, unit, _, precision = level
        scale = 1.4
        zero = np.zeros(mask.shape, np.float32)
        tensor, _, _ = linearised(zero, level, scale)
        x = (rng.normal(size=mask.shape) * active).astype(np.float32)
        out = np.empty_like(x)
        _kernels.apply(x, active, tensor, zero, zero, scale, out)

        def model(px, qx):
            n = np.stack([-px, -qx, np.ones_like(px)], axis=-1)
            return (sh_basis(n / np.linalg.norm(n, axis=-1, keepdims=True)) @ LAMP.astype(np.float64)) / unit

        wide = np.pad(x.astype(np.float64), 1)
        p, q = p.astype(np.float64), q.astype(np.float64)
        middle, right, left = wide[1:-1, 1:-1], wide[1:-1, 2:], wide[1:-1, :-2]
        up, down = wide[:-2, 1:-1], wide[2:, 1:-1]
        total, h = 0.0, 1e-6
        for dx, dy in ((right - middle, up - middle), (middle - left, middle - down)):
            change = (model(p + h * scale * dx, q + h * scale * dy) - model(p, q)) / h
            total += 0.5 * (np.einsum("ijc,ijcd,ijd->ij", change, precision, change) * mask).sum()
        assert float((out * x).sum()) == pytest.approx(total, rel=1e-3)

    def test_conjugate_gradients_solve(self):
        rng = np.random.default_rng(4)
        level = random_level(rng)
        mask, active = level[:2]
        tensor, _, _ = linearised(np.zeros(mask.shape, np.float32), level, 1.0)
        pull, bend = (np.full(mask.shape, v, np.float32) * active for v in (0.5, 0.1))
        wanted = (rng.normal(size=mask.shape) * active).astype(np.float32)
        b, x = np.empty_like(wanted), np.empty_like(wanted)
        _kernels.apply(wanted, active, tensor, pull, bend, 1.0, b)
        _kernels.conjugate_gradient(b, active, tensor, pull, bend, 1.0, 300, 1e-7, x)
        np.testing.assert_allclose(x, wanted, atol=1e-2)


class TestRelief:
    def test_picture_of_the_coarse_surface_has_no_relief(self):
        z, albedo, mask = scene()
        found = solve_relief(photo(z, 1.5), albedo, z, LAMP, 1.5, mask)
        assert np.abs(found.displacement).max() < 1e-3
        assert found.trust[mask].min() > 0.95

    def test_smoothly_wrong_albedo_makes_no_relief(self):
        """A wrong tint, and one that changes over the whole face, are the coarse fit's faults."""
        z, albedo, mask = scene()
        tint = 1 + 0.1 * np.linspace(-1, 1, len(z))[None, :, None] * np.array([1, 0.8, 0.6])
        color = photo(z, 1.5) * np.float32([0.9, 0.85, 0.8]) * tint.astype(np.float32)
        found = solve_relief(color, albedo, z, LAMP, 1.5, mask)
        assert np.abs(found.displacement).max() < 0.1

    def test_a_dent_is_found(self):
        z, albedo, mask = scene(160, 2.0)
        dent = bump(160, 2.0)
        found = solve_relief(photo(z + dent, 2.0), albedo, z, LAMP, 2.0, mask).displacement
        inside = found[mask]
        assert np.corrcoef(inside, dent[mask])[0, 1] > 0.9
        assert found.min() == pytest.approx(dent.min(), rel=0.35)
        truth = normals_from_depth(z + dent, 2.0)[mask]

        def angle(depth: np.ndarray) -> float:
            cosine = (normals_from_depth(depth, 2.0)[mask] * truth).sum(axis=1)
            return float(np.arccos(np.clip(cosine, -1, 1)).mean())

        assert angle(z + found) < 0.5 * angle(z)

    def test_same_relief_at_other_resolutions(self):
        """Weights are per mm: the same surface on grids of 1.5 and 3 px/mm, away from the border."""
        found = []
        for size, scale in ((120, 1.5), (240, 3.0)):
            z, albedo, mask = scene(size, scale)
            d = solve_relief(photo(z + bump(size, scale), scale), albedo, z, LAMP, scale, mask).displacement
            found.append(d if size == 120 else d.reshape(120, 2, 120, 2).mean(axis=(1, 3)))
        core = disc(120, 0.75)
        low, high = found[0][core], found[1][core]
        assert np.corrcoef(low, high)[0, 1] > 0.97
        assert np.abs(low - high).max() < 0.25 * np.abs(high).max()

    def test_nothing_off_the_mask_on_its_border_or_in_holes(self):
        size, scale = 120, 1.5
        z, albedo, mask = scene(size, scale)
        mask[50:58, 30:44] = False
        color = photo(z + bump(size, scale, x=-14, y=4), scale)
        found = solve_relief(color, albedo, z, LAMP, scale, mask)
        inner = mask.copy()
        for axis in (0, 1):
            for shift in (1, -1):
                inner &= np.roll(mask, shift, axis)
        assert not found.displacement[~inner].any()
        assert not found.trust[~mask].any()
        assert found.displacement[inner].any()

    def test_a_mole_leaves_less_relief_than_whitening_off(self):
        z, albedo, mask = scene(160, 2.0)
        spot = bump(160, 2.0, high=1.0, wide=1.5)[..., None] * np.array([0.6, 0.95, 1.05]) * -0.15
        color = photo(z, 2.0) * np.exp(spot).astype(np.float32)
        with_, without = (
            np.abs(solve_relief(color, albedo, z, LAMP, 2.0, mask, ReliefConfig(whiten=on)).displacement)
            for on in (True, False)
        )
        assert with_.sum() < 0.8 * without.sum()

    def test_no_trust_no_relief(self):
        z, albedo, mask = scene()
        color = photo(z + bump(96, 1.5), 1.5)
        found = solve_relief(color, albedo, z, LAMP, 1.5, mask, trust=np.zeros_like(z))
        assert not found.displacement.any()
        assert not found.trust.any()

    def test_never_beyond_the_limit(self):
        z, albedo, mask = scene()
        config = replace(ReliefConfig(), limit=0.002, displacement=0.0)
        d = solve_relief(photo(z + bump(96, 1.5), 1.5), albedo, z, LAMP, 1.5, mask, config).displacement
        width = np.ptp(np.flatnonzero(mask.any(axis=0))) + 1
        assert 0 < np.abs(d).max() <= 0.002 * width / 1.5 * (1 + 1e-5)

    def test_energy_does_not_rise(self):
        z, albedo, mask = scene()
        found = solve_relief(photo(z + bump(96, 1.5), 1.5), albedo, z, LAMP, 1.5, mask)
        assert found.energy_after < found.energy_before

    def test_same_answer_every_time_and_inputs_untouched(self):
        z, albedo, mask = scene()
        color = photo(z + bump(96, 1.5), 1.5)
        given = [x.copy() for x in (color, albedo, z, LAMP, mask)]
        one = solve_relief(color, albedo, z, LAMP, 1.5, mask)
        two = solve_relief(color, albedo, z, LAMP, 1.5, mask)
        np.testing.assert_array_equal(one.displacement, two.displacement)
        np.testing.assert_array_equal(one.trust, two.trust)
        for before, after in zip(given, (color, albedo, z, LAMP, mask)):
            np.testing.assert_array_equal(before, after)

    def test_moved_in_a_larger_grid_the_relief_moves_along(self):
        z, albedo, mask = scene()
        color = photo(z + bump(96, 1.5), 1.5)
        d = solve_relief(color, albedo, z, LAMP, 1.5, mask).displacement
        wide = ((7, 4), (11, 2))
        moved = solve_relief(
            np.pad(color, (*wide, (0, 0))),
            np.pad(albedo, (*wide, (0, 0))),
            np.pad(z, wide, constant_values=np.nan),
            LAMP,
            1.5,
            np.pad(mask, wide),
        ).displacement
        np.testing.assert_allclose(moved[7:-4, 11:-2], d, atol=1e-5)


class TestBadInput:
    @pytest.mark.parametrize("value", [0.0, 1.0, np.nan, np.inf, -5.0])
    def test_picture_of_one_value(self, value):
        z, albedo, mask = scene(64, 1.0)
        found = solve_relief(np.full((64, 64, 3), value), albedo, z, LAMP, 1.0, mask)
        assert np.isfinite(found.displacement).all()
        assert np.isfinite(found.trust).all()

    def test_noise(self):
        rng = np.random.default_rng(0)
        z, _, mask = scene(64, 1.0)
        found = solve_relief(rng.random((64, 64, 3)), rng.random((64, 64, 3)), z, LAMP, 1.0, mask)
        assert np.isfinite(found.displacement).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e20])
    def test_odd_lights(self, value):
        z, albedo, mask = scene(64, 1.0)
        found = solve_relief(photo(z, 1.0), albedo, z, np.full((9, 3), value), 1.0, mask)
        assert np.isfinite(found.displacement).all()

    @pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
    def test_odd_scales_give_nothing(self, scale):
        z, albedo, mask = scene(64, 1.0)
        assert not solve_relief(photo(z, 1.0), albedo, z, LAMP, scale, mask).displacement.any()

    def test_empty_and_tiny_masks_give_nothing(self):
        z, albedo, mask = scene(64, 1.0)
        for some in (np.zeros_like(mask), np.eye(64, dtype=bool)):
            found = solve_relief(photo(z + bump(64, 1.0), 1.0), albedo, z, LAMP, 1.0, some)
            assert not found.displacement.any()
        empty = solve_relief(
            np.zeros((0, 0, 3)), np.zeros((0, 0, 3)), np.zeros((0, 0)), LAMP, 1, np.zeros((0, 0))
        )
        assert empty.displacement.shape == (0, 0)

    def test_nan_depth_inside_the_mask_is_a_hole(self):
        z, albedo, mask = scene()
        color = photo(z + bump(96, 1.5), 1.5)
        z[40:50, 50:60] = np.nan
        found = solve_relief(color, albedo, z, LAMP, 1.5, mask)
        assert np.isfinite(found.displacement).all()
        assert not found.displacement[40:50, 50:60].any()
        assert found.displacement.any()

    def test_wild_depths_stay_finite(self):
        z, albedo, mask = scene(64, 1.0)
        z[::3] = 1e6
        assert np.isfinite(
            solve_relief(photo(hill(64, 1.0), 1.0), albedo, z, LAMP, 1.0, mask).displacement
        ).all()

    def test_shapes_are_checked(self):
        z, albedo, mask = scene(64, 1.0)
        color = photo(z, 1.0)
        for given in (
            (color[1:], albedo, z, LAMP, 1.0, mask),
            (color, albedo[..., :2], z, LAMP, 1.0, mask),
            (color, albedo, z[0], LAMP, 1.0, mask),
            (color, albedo, z, LAMP[:4], 1.0, mask),
            (color, albedo, z, LAMP, 1.0, mask[:, 1:]),
        ):
            with pytest.raises(ValueError, match="has shape"):
                solve_relief(*given)
        with pytest.raises(ValueError, match="trust has shape"):
            solve_relief(color, albedo, z, LAMP, 1.0, mask, trust=np.ones(3))
